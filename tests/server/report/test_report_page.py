"""The page as a whole: self-contained, complete, safe against its own data, the same twice."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fl_liver.errors import DataError
from fl_liver.server.report import write_report
from fl_liver.server.report.forest import draw_forest
from fl_liver.server.report.page import draw_figures, page_html
from fl_liver.server.report.pieces import Missing
from fl_liver.server.report.style import Drawing, Rendered
from simulation.display import result_table
from tests.server.report.study_summary import multiclass_summary, sample_images, study_summary

FIGURES = {"learning_curve", "roc", "forest_auc", "calibration", "odds_ratios", "samples"}
SECTIONS = [
    "result",
    "cohort",
    "samples",
    "learning",
    "models",
    "calibration",
    "cutoff",
    "fusion",
    "leave-one-out",
    "interval",
    "run",
]


class Parts(HTMLParser):
    """Tags with attributes, and the text of every table cell."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("td", "th"):
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("run") / "out"
    assert write_report(study_summary(), where, sample_images()) == where / "report.html"
    return where


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def words_only(summary: dict[str, Any]) -> str:
    """The page without its figures, which take seconds to draw."""
    return page_html(summary, dict.fromkeys(FIGURES, Missing("not drawn in this test")), phantom=False)


def test_page_loads_nothing_from_elsewhere(page: str) -> None:
    """A hospital's browser may have no network, and a report must not tell anyone that it was opened."""
    parts = Parts(page)
    assert not {tag for tag, _ in parts.tags} & {"script", "link", "iframe", "object", "embed", "base"}
    links = [attrs[key] or "" for _, attrs in parts.tags for key in ("src", "href", "srcset", "data") if key in attrs]
    assert len(links) == len(FIGURES)
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links)
    assert not re.search(r"@import|url\(|https?://", page)


def test_sections_stand_in_reading_order(page: str) -> None:
    ids = [attrs["id"] for tag, attrs in Parts(page).tags if tag == "section"]
    assert ids == SECTIONS
    assert "Not a medical device" in page


def test_each_hospital_left_out_has_a_line_with_its_auc_or_the_reason(page: str) -> None:
    rows = Parts(page).rows
    assert ["H01", ".871 [.800, .940]", "120"] in rows
    assert any(row[:2] == ["H02", "a class has fewer than 5 patients"] for row in rows)


def test_a_mean_over_few_hospitals_says_over_how_many() -> None:
    """Beside a federated AUC of everybody, one hospital's own 1.000 would look like eight hospitals'."""
    summary = study_summary()
    few = {"auc": 1.0, "ci95": None, "n": None, "positives": None, "models": 1, "of_models": 8}
    summary["models"]["local_only"]["internal"] = few
    row = next(row for row in Parts(words_only(summary)).rows if row[0] == "Local-only (mean)")
    assert row[1:4] == ["1.000", "1 of 8 hospitals", "–"]
    figure = draw_forest(summary)
    assert isinstance(figure, Drawing)
    assert "1 of 8 hospitals" in [text.get_text() for text in figure.figure.axes[0].texts]
    shown = result_table(summary).columns[1]
    assert "1.000  mean of 1 of 8 hospitals" in list(shown.cells)


def test_every_figure_is_written_as_svg_and_png(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert set(files) == {f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png")}
    assert all(b"<svg" in content for name, content in files.items() if name.endswith(".svg"))
    assert all(content.startswith(b"\x89PNG") for name, content in files.items() if name.endswith(".png"))


def test_every_figure_has_words_for_who_cannot_see_it(page: str) -> None:
    images = [attrs for tag, attrs in Parts(page).tags if tag == "img"]
    assert all(len(attrs["alt"] or "") > 20 for attrs in images)


def test_equal_summaries_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    write_report(study_summary(), tmp_path, sample_images())
    for path in [folder / "report.html", *(folder / "figures").iterdir()]:
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path.name


def test_an_explanation_that_was_not_drawn_says_why() -> None:
    page = words_only(study_summary() | {"not_drawn": ["t-SNE wants 4 images, there are <2>"]})
    assert 'id="explanations"' in page
    assert "Not drawn: t-SNE wants 4 images, there are &lt;2&gt;." in page
    assert 'id="explanations"' not in words_only(study_summary() | {"not_drawn": []})
    with pytest.raises(DataError, match=r"summary, not_drawn: found 'why', wanted a list of texts"):
        words_only(study_summary() | {"not_drawn": "why"})


def test_result_is_told_in_one_paragraph(page: str) -> None:
    assert (
        "A model trained across 11 hospitals without moving their data separates malignant from benign cases in 2 "
        "hospitals that it never saw with an AUC of .84 [.79, .88]. Each hospital&#39;s own model reaches .71 there"
    ) in page


def test_model_table_holds_the_summary_numbers(page: str) -> None:
    rows = {row[0]: row[1:] for row in Parts(page).rows if len(row) == 7}
    for name, label in {"federated": "Federated", "pooled": "Pooled", "fusion": "Fusion"}.items():
        parts = study_summary()["models"][name]
        expected = []
        for part in ("internal", "external"):
            auc, (low, high) = parts[part]["auc"], parts[part]["ci95"]
            printed = " ".join(f"{x:.3f}" for x in (auc, low, high)).replace("0.", ".").split()
            expected += [
                f"{printed[0]} [{printed[1]}, {printed[2]}]",
                str(parts[part]["n"]),
                str(parts[part]["positives"]),
            ]
        assert rows[label] == expected


def test_cohort_table_holds_every_hospital_and_the_sums(page: str) -> None:
    rows = Parts(page).rows
    sites = study_summary()["sites"]
    for site in sites:
        role = "training" if site["role"] == "train" else "external test"
        counts = [str(site[key]) for key in ("patients", "positives", "excluded")]
        assert [site["name"], role, site["device"], *counts] in rows
    trained = [site for site in sites if site["role"] == "train"]
    sums = [str(sum(site[key] for site in trained)) for key in ("patients", "positives", "excluded")]
    assert ["All 11", "training", "", *sums] in rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"incomplete": "H07 stopped at round 9."}, "This run is incomplete: H07 stopped at round 9."),
        ({"secure_sum": "plain"}, "Sums were added in the clear inside one process"),
        ({"data_note": "Labels by one reader."}, "Labels by one reader."),
    ],
)
def test_reader_is_warned_above_the_result(change: dict[str, str], said: str) -> None:
    page = words_only({**study_summary(), **change})
    assert said in page[: page.index('id="result"')]


def test_masked_and_real_runs_carry_no_warning() -> None:
    page = words_only({**study_summary(), "secure_sum": "masked"})
    assert 'class="warning"' not in page


def test_reader_is_told_what_masked_means_where_sums_were_masked() -> None:
    assert "Sums were masked: each hospital" in words_only({**study_summary(), "secure_sum": "masked"})
    assert "Sums were masked" not in words_only(study_summary())


def test_phantom_images_come_with_the_word_phantom(page: str) -> None:
    assert "Phantom data." in page[: page.index('id="result"')]


def test_a_name_is_text_and_never_markup_or_formula(tmp_path: Path) -> None:
    """A site name, factor or device of another hospital must not run in the reader's browser, nor break a figure."""
    evil = "<script>alert(1)</script>$\\frac$\"'"
    summary = study_summary()
    summary["title"] = summary["software"]["numpy"] = summary["sites"][0]["name"] = summary["sites"][1]["device"] = evil
    summary["models"]["federated"]["per_site"][evil] = {"auc": 0.8, "ci95": [0.7, 0.9], "n": 30, "positives": 12}
    summary["models"]["federated"]["external"] = {"not_released": evil}
    summary["fusion"]["fused"]["terms"][1]["label"] = summary["comparisons"][0]["a"] = evil
    summary["analysis"] = {evil: {evil: [evil]}}
    page = write_report(summary, tmp_path, {evil: sample_images(1)["H01"]}).read_text(encoding="utf-8")
    parts = Parts(page)
    assert "script" not in {tag for tag, _ in parts.tags}
    assert not any(key.startswith("on") for _, attrs in parts.tags for key in attrs)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert b"<script" not in b"".join(path.read_bytes() for path in (tmp_path / "figures").glob("*.svg"))


@pytest.mark.parametrize("key", sorted(study_summary()))
@pytest.mark.parametrize("value", [None, {"not_released": "fewer than 3 hospitals"}])
def test_any_piece_may_be_missing(key: str, value: object) -> None:
    page = words_only({**study_summary(), key: value})
    optional = {"samples", "leave-one-out"} if key == "analysis" else {"samples"}
    assert all(f'id="{section}"' in page for section in SECTIONS if section not in optional)
    if value is not None and key in ("sites", "models", "rounds", "comparisons", "fusion"):
        assert "not released: fewer than 3 hospitals" in page


LOST = {"seconds": 0.0, "sites_answered": 0, "loss": None, "internal_auc": None}


def test_a_lost_round_is_a_row_with_nobody_in_it_and_a_gap_in_the_curve(tmp_path: Path) -> None:
    """It was begun before an interruption and may have been opened then: nobody answers it twice."""
    summary = study_summary()
    summary["rounds"][4] |= LOST
    page = write_report(summary, tmp_path, sample_images()).read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in Parts(page).rows if len(row) == 6}
    assert rows["5"][:2] == ["11", "0"]
    assert rows["5"][2] == rows["5"][3] == "–"
    assert rows["6"][:2] == ["11", "11"]
    assert (tmp_path / "figures" / "learning_curve.svg").is_file()


def test_a_run_of_lost_rounds_has_no_curve_and_still_a_page(tmp_path: Path) -> None:
    summary = study_summary()
    summary["rounds"] = [one | LOST for one in summary["rounds"][:2]]
    page = write_report(summary, tmp_path, sample_images()).read_text(encoding="utf-8")
    assert "no round reported a loss or an AUC" in page
    assert not (tmp_path / "figures" / "learning_curve.svg").exists()


def test_empty_summary_still_makes_a_page(tmp_path: Path) -> None:
    page = write_report({}, tmp_path).read_text(encoding="utf-8")
    assert "The federated model has no AUC to report (not computed in this run)." in page
    assert list((tmp_path / "figures").iterdir()) == []


def test_external_pair_without_consent_is_said_in_the_result() -> None:
    summary = study_summary()
    for model in summary["models"].values():
        model["external"] = {"not_released": "H13 did not consent"}
    page = words_only(summary)
    assert "among 178 patients of the same hospitals whom it was not trained on with an AUC of .86" in page
    assert page.count("not released: H13 did not consent") == 1 + len(summary["models"])


def test_several_classes_get_a_table_and_a_matrix(tmp_path: Path) -> None:
    page = write_report(multiclass_summary(), tmp_path).read_text(encoding="utf-8")
    rows = Parts(page).rows
    assert ["Federated", "metastasis", ".930 [.880, .980]", ".930 [.880, .980]"] in rows
    assert (tmp_path / "figures" / "confusion_federated.svg").is_file()
    assert 'id="samples"' not in page
    assert "Phantom data" not in page


def test_means_of_tasks_stand_below_them_and_are_compared_with_the_best() -> None:
    figure = {"auc": 0.9, "ci95": [0.85, 0.95], "n": 90}
    line = {"classes": ["0", "1"], "internal": figure, "external": {"not_released": "min_cell: too few"}}
    against: dict[str, Any] = {"a": "Mean of A, B", "b": "B", "class": "", "rows": "internal"}
    against |= {"difference": 0.05, "ci95": [0.01, 0.09], "p": 0.02}
    mean = {"of": ["A", "B"], "internal": figure | {"auc": 0.95, "ci95": [0.91, 0.98]}}
    summary = study_summary() | {
        "tasks": [{"task": name, "title": f"Question {name}"} | line for name in "AB"],
        "task_ensembles": [mean | {"external": {"not_released": "min_cell: too few"}, "against_best": [against]}],
    }
    rows = Parts(words_only(summary)).rows
    place = next(k for k, row in enumerate(rows) if row[:1] == ["B"])
    assert rows[place][1:3] == ["Question B", ".900 [.850, .950]"]
    name, title, internal, external = rows[place + 1]
    assert (name, title) == ("Mean of A, B", "Their mean probability, for patients tested in all of them")
    assert (internal, external) == (".950 [.910, .980]", "not released: min_cell: too few")
    assert ["Mean of A, B − B", "–", "internal", ".050 [.010, .090]", ".020"] in rows
    del summary["task_ensembles"]
    assert "Mean of" not in words_only(summary)


def test_further_questions_of_tasks_and_of_their_mean_have_a_table_of_their_own() -> None:
    endpoint = {"malignant": {"auc": 0.8, "ci95": [0.7, 0.9], "n": 60}}
    figure = {"auc": 0.9, "ci95": [0.85, 0.95], "n": 90}
    asked = figure | {"endpoints": endpoint, "composite": 0.87}
    kept_back = figure | {"endpoints": {"malignant": {"not_released": "min_cell: too few"}}, "composite": None}
    summary = study_summary() | {
        "endpoints": [{"name": "malignant", "title": "Malignant or benign"}],
        "tasks": [
            {"task": "A", "title": "Asks twice", "internal": asked, "external": asked},
            {"task": "B", "title": "Asks once", "internal": figure, "external": figure},
        ],
        "task_ensembles": [{"of": ["A", "C"], "internal": kept_back, "external": asked, "against_best": []}],
    }
    rows = Parts(words_only(summary)).rows
    place = next(k for k, row in enumerate(rows) if row[:2] == ["Task", "Endpoint"])
    assert rows[place + 1 : place + 3] == [
        ["A", "Malignant or benign", ".800 [.700, .900]", ".800 [.700, .900]", "60"],
        ["A", "Composite of all", ".870", ".870", "–"],
    ]
    name, title, internal, external, n = rows[place + 3]
    assert (name, title, external, n) == ("Mean of A, C", "Malignant or benign", ".800 [.700, .900]", "60")
    assert internal == "not released: min_cell: too few"
    assert not any(row[:2] == ["B", "Malignant or benign"] for row in rows)
    del summary["tasks"], summary["task_ensembles"]
    assert ["Task", "Endpoint"] not in [row[:2] for row in Parts(words_only(summary)).rows]


def test_tasks_of_several_classes_have_an_accuracy_or_say_that_it_is_kept_back() -> None:
    figure = {"auc": 0.9, "ci95": [0.85, 0.95], "n": 90}
    several = figure | {"confusion": {"labels": ["a", "b", "c"], "counts": []}, "accuracy": [0.8, 0.7, 0.9]}
    withheld = figure | {"confusion": {"not_released": "min_cell: too few"}}
    tasks = [
        {"task": "A", "title": "Three classes", "internal": withheld, "external": several},
        {"task": "C", "title": "Two classes", "internal": figure, "external": figure},
    ]
    rows = Parts(words_only(study_summary() | {"tasks": tasks})).rows
    place = next(k for k, row in enumerate(rows) if row[:1] == ["Task"])
    assert rows[place][-2:] == ["Internal accuracy", "External accuracy"]
    assert [row[-2:] for row in rows[place + 1 : place + 3]] == [["not released", ".800"], ["–", "–"]]
    mean = {"of": ["A", "B"], "internal": figure | {"accuracy": [0.9, 0.8, 0.95]}, "external": figure}
    mean_rows = Parts(
        words_only(study_summary() | {"tasks": tasks, "task_ensembles": [mean | {"against_best": []}]})
    ).rows
    (found,) = [row for row in mean_rows if row[0] == "Mean of A, B"]
    assert found[-2:] == [".900", "–"]
    rows = Parts(words_only(study_summary() | {"tasks": tasks[1:]})).rows
    assert rows[next(k for k, row in enumerate(rows) if row[:1] == ["Task"])][-1] == "External AUC [95 %]"


def test_wrong_type_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    summary = study_summary()
    summary["models"]["federated"]["external"]["auc"] = "high"
    with pytest.raises(DataError, match=r"auc: found 'high', wanted a number; the report was not written"):
        write_report(summary, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_figures_leave_the_callers_settings_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert isinstance(draw_figures(study_summary())["roc"], Rendered)
    assert dict(matplotlib.rcParams) == before


def test_where_rows_are_lesions_the_page_says_which_intervals_go_by_patient() -> None:
    said = "Intervals of AUCs and tests between AUCs allow for several lesions of one patient"
    of_lesions, of_patients = (words_only(study_summary() | {"unit": unit}) for unit in ("lesion", "patient"))
    assert said in of_lesions
    assert said not in of_patients
    for page, lesions in ((of_lesions, True), (of_patients, False)):
        assert ("a positive lesion gets a higher score" in page) == lesions
        assert ("An interval of a pooled AUC is DeLong" in page) != lesions
        assert ("test (Obuchowski) on the same lesions" in page) == lesions
