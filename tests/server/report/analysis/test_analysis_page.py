"""The page of an analysis plan: self-contained, a section for each analysis, refusals told, safe, the same twice."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fl_liver.errors import ConfigError, DataError
from fl_liver.server.report.analysis import write_analysis_report
from fl_liver.server.report.analysis.asked import asked
from fl_liver.server.report.analysis.page import SECTIONS, page_html
from fl_liver.stats.plan import KINDS, parse_plan
from tests.server.report.analysis.whole_plan import (
    ENTRIES,
    PRIVATE,
    plan,
    private_plan,
    private_results,
    results,
)

SITES = ["S1", "S2", "S3", "S4", "S5"]
FIGURES = {
    **dict.fromkeys(["auc", "lesions", "two", "both", "sexes", "cut", "kappa", "odds", "rulers"], 1),
    **dict.fromkeys(["ranks", "kruskal", "risk", "decide", "classes", "readers", "twice", "mean"], 1),
    "auc by sex": 3,
}
"""Figures in the section of an analysis; the others have tables alone."""


class Parts(HTMLParser):
    """Tags, and by section its images, words and table rows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, list[str]] = {}
        self.images: dict[str, int] = {}
        self.rows: list[list[str]] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "section":
            self.sections[str(dict(attrs)["id"])] = []
        elif tag == "img":
            section = list(self.sections)[-1]
            self.images[section] = self.images.get(section, 0) + 1
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.sections and data.strip():
            list(self.sections.values())[-1].append(data.strip())
        if self._inside and self._inside[-1] in ("td", "th"):
            self.rows[-1][-1] += data.strip()

    def words(self, section: str) -> str:
        return " ".join(self.sections[section])


def anchor(name: str) -> str:
    return f"analysis-{1 + [entry['id'] for entry in ENTRIES].index(name)}"


def page_of(*ids: str, **changed: Any) -> str:
    return page_html(plan(*ids).analyses, {**results(*ids), **changed}, sites=SITES, min_cell=5)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("out")
    path = write_analysis_report(plan().analyses, results(), folder, sites=SITES, min_cell=5)
    assert path == folder / "analysis.html"
    assert [one.name for one in folder.iterdir()] == ["analysis.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parts(page: str) -> Parts:
    return Parts(page)


def test_page_loads_nothing_from_elsewhere(page: str, parts: Parts) -> None:
    assert not {tag for tag, _ in parts.tags} & {"script", "link", "iframe", "object", "embed", "base"}
    links = [attrs[key] or "" for _, attrs in parts.tags for key in ("src", "href", "srcset", "data") if key in attrs]
    assert all(link.startswith(("data:image/svg+xml;base64,", "#analysis-")) for link in links)
    assert not re.search(r"@import|url\(|https?://", page)


def test_every_kind_of_a_plan_has_a_section_and_a_question() -> None:
    kinds = [kind.model_fields["kind"].annotation.__args__[0] for kind in KINDS]  # type: ignore[union-attr]
    assert list(SECTIONS) == kinds
    assert {entry["kind"] for entry in (*ENTRIES, PRIVATE)} == set(kinds)
    assert all(asked(entry).endswith((".", "?")) for entry in (*plan().analyses, *private_plan().analyses))


def test_a_noised_auc_stands_with_its_noise_and_its_cost() -> None:
    found = private_results()
    shown = Parts(page_html(private_plan().analyses, found, sites=SITES, min_cell=5))
    for name, one in found["noised"].items():
        auc, low, high = (f"{x:.3f}".replace("0.", ".") for x in (one["auc"], *one["ci95"]))
        row = next(row for row in shown.rows if row[0] == name)
        assert row[1:4] == [f"{auc} [{low}, {high}]", str(one["n_pos"]), str(one["n_neg"])]
        assert f"‘{name}’: {one['cost']}." in shown.words("analysis-1")
    assert ["ε of all scores together", "4.00"] in shown.rows
    assert ["Hospitals whose noise alone suffices", "5 of 5"] in shown.rows
    assert ["Noise of one cell, standard deviation", f"{found['noised']['lp']['noise_sd']:.2f}"] in shown.rows
    assert "fewer than 200 patients" in shown.words("analysis-1")
    assert shown.images == {"aucs": 1}


def test_sections_stand_in_the_plans_order(parts: Parts) -> None:
    sections = [anchor(entry["id"]) for entry in ENTRIES]
    assert list(parts.sections) == ["overview", "aucs", *sections, "interval"]
    for entry in ENTRIES:
        told = parts.words(anchor(entry["id"]))
        assert told.startswith(entry["id"])
        assert entry["kind"] in told


def test_figures_stand_in_their_sections(parts: Parts) -> None:
    expected = {anchor(name): count for name, count in FIGURES.items()}
    assert parts.images == {"aucs": 1, **expected}
    assert all(len(attrs["alt"] or "") > 12 for tag, attrs in parts.tags if tag == "img")


def test_a_refusal_is_told_with_its_rule(parts: Parts, page: str) -> None:
    told = parts.words(anchor("few"))
    assert "Refused. min_cell: rare = 1: fewer than 5 patients over all sites" in told
    assert "1 of 25 analyses was refused" in page[: page.index('id="overview"')]
    assert ["few", "proportion", "refused"] in parts.rows or ["", "proportion", "refused"] in parts.rows


def test_a_level_that_is_refused_is_told_and_the_others_are_shown() -> None:
    stratified = results("auc by sex")["auc by sex"]
    strata = {**stratified["strata"], "F": {"not_released": "all rows of a stratum are missing"}}
    parts = Parts(page_of("auc by sex", **{"auc by sex": {**stratified, "strata": strata}}))
    told = parts.words("analysis-1")
    assert "sex = F Refused. all rows of a stratum are missing" in told
    assert "2 levels, 1 of them refused" in parts.words("overview")
    assert parts.images["analysis-1"] == 2


def test_tables_hold_the_results_numbers(parts: Parts) -> None:
    found = results()
    auc, (low, high) = found["auc"]["auc"], found["auc"]["ci95"]
    shown = " ".join(f"{x:.3f}" for x in (auc, low, high)).replace("0.", ".").split()
    assert ["AUC [95 %, DeLong]", f"{shown[0]} [{shown[1]}, {shown[2]}]"] in parts.rows
    counts = found["table"]["sex"]["counts"]
    whole = [sum(column) for column in zip(*counts, strict=True)]
    cells = [f"{n} ({100 * n / of:.1f} %)" for n, of in zip(counts[0], whole, strict=True)]
    assert ["F", *cells, ""] in parts.rows
    odds = found["odds"]["odds_ratio"][2]
    assert any(row[0] == "grade: b (against a)" and row[-1].startswith(f"{odds:.2f} [") for row in parts.rows)
    assert ["Hospitals with both classes", "5"] in parts.rows


def test_intervals_are_explained_where_they_occur(parts: Parts) -> None:
    told = parts.words("interval")
    for words in ("for these hospitals", "for a patient of the same hospital", "for a further hospital", "Wald"):
        assert words in told
    alone = Parts(page_of("share")).words("interval")
    assert "Clopper–Pearson" in alone
    assert "DeLong" not in alone


def test_caveats_of_calibration_stand_beside_it(parts: Parts) -> None:
    assert "Apparent calibration" in parts.words(anchor("risk"))
    assert "no proof of good calibration" in parts.words(anchor("fit"))
    assert "does not mark this as apparent" in parts.words(anchor("fit"))


def test_reader_is_told_of_plain_sums_and_of_floors() -> None:
    shown = page_of("share")
    assert "Sums were added in the clear" in shown
    assert "at least 5 patients over all sites" in shown
    public = page_html(plan("share").analyses, results("share"), sites=SITES, min_cell=1, secure_sum="masked")
    assert "Floors are off (min_cell 1)" in public
    assert "in the clear" not in public
    assert "Sums were masked" in public
    assert "Sums were masked" not in shown


def test_equal_results_give_equal_bytes() -> None:
    names = ("auc", "rulers", "decide", "classes")
    assert page_of(*names) == page_of(*names)


def test_a_name_is_text_and_never_markup_or_formula(tmp_path: Path) -> None:
    """A column, level or refusal that a hospital wrote must not run in the reader's browser, nor break a figure."""
    evil = "<script>alert(1)</script>$\\frac$\"'"
    found = results()
    entries = [
        {"id": evil, "kind": "roc", "score": evil, "label": evil},
        {"id": "k", "kind": "cohen_kappa", "raters": [evil, "b"]},
        {"id": "t", "kind": "table_one", "group": evil, "categorical": [evil]},
        {"id": "n", "kind": "nomogram", "outcome": "y" + evil, "terms": [evil], "factors": {evil: evil}},
        {"id": "r", "kind": "proportion", "column": evil},
    ]
    changed = {
        evil: found["auc"],
        "k": {**found["kappa"], "table": {"levels": [evil, "x"], "counts": [[1, 2], [3, 4]]}},
        "t": {"groups": [evil], "n": [3], evil: {**found["table"]["sex"], "counts": [[3]], "levels": [evil]}},
        "n": {**found["rulers"], "limits": {}, "points": {}, "level_points": {evil: {evil: 0.0, "b": 100.0}}},
        "r": {"not_released": evil},
    }
    changed["t"][evil]["missing"] = [0]
    where = write_analysis_report(
        parse_plan({"analysis": entries}, "plan").analyses, changed, tmp_path / "out.html", sites=[evil], min_cell=5
    )
    page = where.read_text(encoding="utf-8")
    parts = Parts(page)
    assert "script" not in {tag for tag, _ in parts.tags}
    assert not any(key.startswith("on") for _, attrs in parts.tags for key in attrs)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_wrong_type_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"auc: found 'high', wanted a number; the report was not written"):
        write_analysis_report(
            plan("auc").analyses, {"auc": {**results()["auc"], "auc": "high"}}, tmp_path, sites=SITES, min_cell=5
        )
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_a_wrong_option(tmp_path: Path) -> None:
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(ConfigError, match=r"taken\.html: cannot be written .* give another --report path"):
        write_analysis_report(
            plan("share").analyses, results("share"), tmp_path / "taken.html", sites=SITES, min_cell=5
        )


def test_an_analysis_without_a_result_is_told() -> None:
    shown = Parts(page_html(plan("share").analyses, {}, sites=SITES, min_cell=5))
    assert "the results hold no answer of this analysis" in shown.words("analysis-1")


def test_the_overview_says_a_few_levels_one_by_one(parts: Parts) -> None:
    row = next(row for row in parts.rows if row[1:2] == ["roc"] and "F: AUC" in row[2])
    assert "; M: AUC" in row[2]


def test_columns_that_the_plan_makes_are_listed() -> None:
    made = {"name": "old", "how": "at_least", "of": ["age"], "threshold": 60}
    entry = {"id": "share", "kind": "proportion", "column": "smoke"}
    asked = parse_plan({"column": [made], "analysis": [entry]}, "plan")
    html = page_html(asked.analyses, results("share"), sites=["S1", "S2", "S3"], min_cell=5, made=asked.derived)
    assert ["old", "1 where age ≥ 60, else 0"] in Parts(html).rows
    assert "Columns that the plan makes" not in page_html(
        asked.analyses, results("share"), sites=["S1", "S2", "S3"], min_cell=5
    )
