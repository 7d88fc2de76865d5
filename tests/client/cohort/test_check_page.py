"""The check page as a file: private from its first byte, self-contained, safe against its own data, the same twice."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client.cohort.check.contact_sheet import CaseSheet
from fl_liver.client.cohort.check.fingerprint import Intensity, fingerprints
from fl_liver.client.cohort.check.flow import Step, flow_of
from fl_liver.client.cohort.check.page import PageWriter
from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.codes import finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.errors import DataError, FLLiverError
from tests.client.cohort.check_page_cases import MADE, one_sheet, one_tile, report_of, series_of

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> --> <!-- the cases --> {{ 7*7 }} &lt;"
SECTIONS = ["flow", "findings", "series", "fingerprints", "cases"]


class Parts(HTMLParser):
    """Tags with attributes, and the page's text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        self.text += "" if self._raw else data

    def of(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        """Attributes of every such tag; where `kind` is given, of those of that class."""
        every = [attrs for name, attrs in self.tags if name == tag]
        return [attrs for attrs in every if not kind or kind in (attrs.get("class") or "").split(" ")]


def small_report() -> tuple[CheckReport, dict[str, list[Intensity]]]:
    series = [series_of(case, "MR T2", n) for n, case in enumerate(("a1b2c3", "d4e5f6", "0f0f0f"))]
    found = [finding("E_ROI_EMPTY", "d4e5f6", "0 voxels"), finding("W_LOSSY", "a1b2c3", "3 images", series[0].id)]
    levels = {series[0].id: [Intensity("lesion", 10.0, 20.0, 30.0)]}
    return report_of(series, found), levels


def write(path: Path, **changes: Any) -> str:
    """A page of three cases."""
    report, levels = small_report()
    cases = ("a1b2c3", "d4e5f6", "0f0f0f")
    of_case = {case: tuple(one for one in report.findings if one.case == case) for case in cases}
    with PageWriter(path, changes.get("title", "North hospital"), MADE) as page:
        for case, found in of_case.items():
            page.case(one_sheet(case, found, usable=case != "d4e5f6"))
        page.close(report, flow_of(4, 3, report.findings, 2), fingerprints(report.series, levels))
    return path.read_text(encoding="utf-8")


@pytest.fixture
def page(tmp_path: Path) -> str:
    return write(tmp_path / "check.html")


def test_page_loads_nothing_from_elsewhere(page: str) -> None:
    """It must work from a folder without a network, and tell nobody that it was opened."""
    parts = Parts(page)
    assert not {tag for tag, _ in parts.tags} & {"link", "iframe", "object", "embed", "base", "form", "audio", "video"}
    links = [attrs[key] or "" for _, attrs in parts.tags for key in ("src", "srcset", "data", "action") if key in attrs]
    assert len(links) == 3
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    anchors = [attrs["href"] or "" for _, attrs in parts.tags if "href" in attrs]
    assert anchors
    assert all(re.fullmatch(r"#case-\d+", link) for link in anchors)
    assert not re.search(r"@import|url\(|https?:|//[a-z]|fetch\(|XMLHttp|WebSocket|sendBeacon|import\(|eval\(", page)


def test_only_the_scripts_own_hash_may_run(page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (policy,) = [attrs["content"] or "" for tag, attrs in Parts(page).tags if attrs.get("http-equiv")]
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")
    assert "<!--" not in scripts[0]
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_reader_is_told_that_the_page_stays_and_what_was_found(page: str) -> None:
    text = " ".join(Parts(page).text.split())
    assert "This page shows images of patients and stays in this hospital." in text
    assert "Not a medical device" in text
    assert "3 cases with images: 2 usable, 1 excluded." in text
    assert "Exit status 1: usable, with exclusions." in text
    assert "draw the lesion; the mask has no voxel in it" in text
    assert [attrs["id"] for attrs in Parts(page).of("section")] == SECTIONS


@pytest.mark.parametrize(
    ("found", "usable", "status"),
    [
        ([], True, "0: clean"),
        ([], False, "2: nothing usable"),
        ([finding("F_LOG_HAS_PHI", "", "x")], True, "2: nothing"),
    ],
)
def test_the_exit_status_is_put_into_words(found: list[Finding], usable: bool, status: str, tmp_path: Path) -> None:
    with PageWriter(tmp_path / "p.html", "x", MADE) as page:
        page.close(report_of([series_of("a", "CT axial", 0, usable=usable)], found), (), ())
    text = (tmp_path / "p.html").read_text()
    assert f"Exit status {status}" in text
    assert "No case has pictures." in text


def test_a_case_has_a_card_with_its_picture_findings_and_controls(page: str) -> None:
    cards = Parts(page).of("article")
    assert [(card["data-case"], card["data-codes"], card["data-usable"]) for card in cards] == [
        ("a1b2c3", "W_LOSSY", "yes"),
        ("d4e5f6", "E_ROI_EMPTY", "no"),
        ("0f0f0f", "", "yes"),
    ]
    parts = Parts(page)
    assert (
        len(parts.of("input", "looked")) == len(parts.of("select", "verdict-of")) == len(parts.of("path", "line")) == 3
    )
    assert [image["alt"] for image in parts.of("img")] == ["t2 5/9, lesion outlined"] * 3
    assert all(image["loading"] == "lazy" for image in parts.of("img"))


def test_no_finding_or_pseudonym_can_become_markup(tmp_path: Path) -> None:
    """Causes and notes come from files that anybody may have written."""
    bad = Finding("W_LOSSY", EVIL, EVIL, EVIL, EVIL)
    tile = one_tile(title=EVIL)
    series = series_of(EVIL, EVIL, 0, orientation=EVIL)
    with PageWriter(tmp_path / "p.html", EVIL, MADE) as page:
        page.case(CaseSheet(EVIL, (tile,), (bad, Finding("E_EXCLUDED_HERE", EVIL, EVIL, EVIL)), True, (EVIL,)))
        left = Finding("E_EXCLUDED_HERE", EVIL + "2", EVIL, EVIL)
        levels = {series.id: [Intensity(EVIL, 1, 2, 3)]}
        flow = (Step(EVIL, 2, ((EVIL, 1),)), Step(EVIL, 1))
        page.close(report_of([series], [bad, left]), flow, fingerprints([series], levels))
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    parts = Parts(text)
    assert [tag for tag, _ in parts.tags].count("script") == 1
    assert len(parts.of("img")) == 1
    assert not [key for _, attrs in parts.tags for key in attrs if key.startswith("on")]
    assert parts.text.count("{{ 7*7 }}") > 10
    assert parts.of("article")[0]["data-case"] == EVIL
    assert text.rstrip().endswith("</html>")


def test_equal_input_gives_equal_bytes(tmp_path: Path, page: str) -> None:
    assert write(tmp_path / "second.html") == page


def test_nobody_else_can_read_the_page_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while cases are collected, not while the page is put together, not under a careless umask."""
    path = tmp_path / "check.html"
    opened: list[str] = []
    replace = Path.replace

    def modes() -> list[int]:
        return [stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()]

    def replaced(part: Path, target: Path) -> Path:
        opened.append(f"{stat.S_IMODE(part.stat().st_mode):o}")
        assert part.stat().st_size > 10_000
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", replaced)
    umask = os.umask(0)
    try:
        with PageWriter(path, "x", MADE) as page:
            page.case(one_sheet("a"))
            assert modes() == []  # a file without a name: killed now, nothing stays
            page.case(one_sheet("b"))
            page.close(report_of([], []), (), ())
    finally:
        os.umask(umask)
    assert opened == ["600"]
    assert modes() == [0o600]


@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_an_older_page_that_others_could_read_is_replaced_by_a_private_one(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "check.html"
    path.write_text("old")
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_check_that_breaks_leaves_the_older_page_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "check.html"
    path.write_text("old")

    def breaks() -> None:
        with PageWriter(path, "x", MADE) as page:
            page.case(one_sheet())
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        breaks()
    assert [one.name for one in tmp_path.iterdir()] == ["check.html"]
    assert path.read_text() == "old"


def test_a_page_that_is_not_closed_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(FLLiverError, match="the page was not closed"),
        PageWriter(tmp_path / "p.html", "x", MADE) as page,
    ):
        page.case(one_sheet())
    assert not list(tmp_path.iterdir())


def test_one_pseudonym_has_one_card(tmp_path: Path) -> None:
    with PageWriter(tmp_path / "p.html", "x", MADE) as page:
        page.case(one_sheet("a"))
        with pytest.raises(DataError, match="case a: is on the page already"):
            page.case(one_sheet("a"))
        page.close(report_of([], []), (), ())


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path: Path) -> None:
    """300 cases with a megabyte of pictures each: the page is large, memory is that of one case."""
    noise = np.random.default_rng(0).integers(0, 255, (700, 700)).astype(np.uint8)
    tile = one_tile()
    with PageWriter(tmp_path / "p.html", "x", MADE) as page:
        peaks = []
        tracemalloc.start()
        for number in range(300):
            image = np.roll(noise[:300, :300], number)
            outline = np.zeros(image.shape, dtype=np.bool_)
            outline[40:90, 50:120] = True
            page.case(CaseSheet(f"{number:06}", (type(tile)("t2", image, outline, 1.0),), (), True))
            if number in (20, 299):
                peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
        page.close(report_of([], []), (), ())
        closing = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "p.html").stat().st_size > 20e6
    assert peaks[1] < peaks[0] + 2e5
    assert closing < 5e6


def test_who_was_left_out_before_is_still_in_the_list(tmp_path: Path) -> None:
    """With pictures: the card starts as "leave out". Without: a ticked line. An export must not take anybody back."""
    seen, unseen, third = (finding("E_EXCLUDED_HERE", case, "by a person") for case in ("a1", "b2", "d4"))
    with PageWriter(tmp_path / "p.html", "x", MADE, {"a1": "wrong series", "b2": "no liver", "c3": "moved"}) as page:
        page.case(one_sheet("a1", (seen,), usable=False))
        page.case(one_sheet("d4", (third,), usable=False))
        page.close(report_of([], [seen, unseen, third]), (), ())
    parts = Parts((tmp_path / "p.html").read_text())
    cards = [(card["data-case"], card["data-out"], card["data-reason"]) for card in parts.of("article")]
    assert cards == [("a1", "yes", "wrong series"), ("d4", "yes", "")]
    lines = [(line["data-case"], line["data-reason"]) for line in parts.of("input", "earlier") if "checked" in line]
    assert lines == [("b2", "no liver"), ("c3", "moved")]


def test_a_tick_counts_for_the_pictures_that_it_was_made_on(tmp_path: Path) -> None:
    """The digest of a sheet changes with its pictures, outlines and findings, and with nothing else."""

    def digests(name: str, sheet: CaseSheet, title: str = "x") -> str | None:
        with PageWriter(tmp_path / name, title, MADE) as page:
            page.case(one_sheet("first"))
            page.case(sheet)
            page.close(report_of([], []), (), ())
        return Parts((tmp_path / name).read_text()).of("article")[1]["data-sheet"]

    before = digests("a", one_sheet("c"))
    moved = one_tile()
    assert moved.outline is not None
    shifted = type(moved)(moved.title, moved.image, np.roll(moved.outline, 1, axis=1), moved.mm_per_px)
    assert digests("b", one_sheet("c"), "another title") == before
    assert digests("c", one_sheet("c", (finding("E_EXCLUDED_HERE", "c", "x"),))) == before
    assert digests("d", one_sheet("c", (finding("W_LOSSY", "c", "x"),))) != before
    assert digests("e", CaseSheet("c", (shifted,), (), True, ("lesion 23 mm",))) != before


def test_reasons_that_do_not_add_up_are_said_to(tmp_path: Path) -> None:
    with PageWriter(tmp_path / "p.html", "x", MADE) as page:
        page.close(report_of([], []), (Step("rows", 3, (("E_ROI_EMPTY", 2),)), Step("usable", 2)), ())
    assert "The reasons do not add up" in (tmp_path / "p.html").read_text()


def test_names_that_are_no_unicode_do_not_stop_the_page(tmp_path: Path) -> None:
    """A file name of another century comes as a lone surrogate."""
    with PageWriter(tmp_path / "p.html", "x", MADE) as page:
        page.case(one_sheet("a", notes=("caf\udce9",)))
        page.close(report_of([], []), (), ())
    assert "caf\\udce9" in (tmp_path / "p.html").read_text()
