"""The check page in a real browser: ticks, keys, filters, and the list that comes out of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_liver.client.cohort.check.page import PageWriter
from fl_liver.client.cohort.codes import finding
from fl_liver.client.cohort.table.exclude import read_excluded
from tests.client.cohort.check_page_browser import Browser, started
from tests.client.cohort.check_page_cases import MADE, one_sheet, one_tile, report_of

CASES = ("a1", "=b2", "c3", "d4")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Path:
    """Four cases, one of them left out before, and one left out before without pictures; opened, nothing ticked."""
    path = tmp_path / "check.html"
    write(path)
    browser.open(path)
    browser.evaluate("localStorage.clear()")
    browser.open(path)
    return path


def write(path: Path, seed: int = 0) -> None:
    before, gone = (finding("E_EXCLUDED_HERE", case, "by a person") for case in ("d4", "e5"))
    lossy = finding("W_LOSSY", "c3", "1 image")
    with PageWriter(path, "North", MADE, {"d4": "treated before", "e5": "wrong series"}) as page:
        for case in CASES:
            found = {"d4": (before,), "c3": (lossy,)}.get(case, ())
            sheet = one_sheet(case, found)
            tile = one_tile(seed=seed) if case == "a1" else sheet.tiles[0]
            page.case(type(sheet)(case, (tile,), found, case != "d4", ()))
        page.close(report_of([], [before, gone, lossy]), (), ())


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def progress(browser: Browser) -> str:
    return str(browser.evaluate("document.getElementById('progress').textContent"))


def shown(browser: Browser) -> list[str]:
    script = "[...document.querySelectorAll('article.case')].filter(c => !c.hidden).map(c => c.dataset.case)"
    return list(browser.evaluate(script))


def choose(browser: Browser, selector: str, value: str, event: str = "change") -> None:
    browser.evaluate(
        f"(() => {{ const it = document.querySelector({selector!r}); it.value = {value!r};"
        f" it.dispatchEvent(new Event({event!r}, {{bubbles: true}})); }})()"
    )


def test_the_page_runs_without_an_error_and_asks_nothing_of_the_network(browser: Browser, page: Path) -> None:
    browser.evaluate("document.querySelector('footer').scrollIntoView()")
    browser.wait_for("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    bad = [e for e in browser.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert bad == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert [url for url in asked if url.startswith("file")] in ([page.as_uri()], [])


def test_a_script_that_is_not_the_pages_own_does_not_run(browser: Browser, page: Path) -> None:
    """Even if a hole were found in the escaping."""
    browser.evaluate(
        "(() => { const it = document.createElement('script'); it.textContent = 'window.hurt = 1';"
        " document.body.append(it); const image = document.createElement('div');"
        " image.innerHTML = '<img src=x onerror=\"window.hurt = 1\">'; document.body.append(image); })()"
    )
    browser.wait_for("true")
    assert browser.evaluate("window.hurt === undefined")


def test_keys_tick_cases_off(browser: Browser, page: Path) -> None:
    assert progress(browser) == "0 of 4 looked at · 2 to leave out"
    for key in ("j", " ", "j", "x", "k", "c"):
        browser.press(key)
    assert progress(browser) == "1 of 4 looked at · 3 to leave out"
    assert browser.evaluate("document.querySelector('.here').dataset.case") == "a1"
    assert browser.evaluate("document.querySelector('#case-1 .looked').checked")
    assert browser.evaluate("document.querySelector('#case-2 .verdict-of').value") == "out"
    assert browser.evaluate("getComputedStyle(document.querySelector('#case-1 .line')).visibility") == "hidden"
    browser.press("Enter")
    assert browser.evaluate("document.querySelector('.here').dataset.case") == "=b2"
    browser.press("Enter")
    assert progress(browser) == "2 of 4 looked at · 3 to leave out"


def test_letters_typed_as_a_reason_are_not_commands(browser: Browser, page: Path) -> None:
    for key in ("j", "x"):
        browser.press(key)
    browser.evaluate("document.querySelector('#case-1 .reason').focus()")
    for key in "x jk":
        browser.press(key)
    assert browser.evaluate("document.querySelector('#case-1 .reason').value") == "x jk"
    assert progress(browser) == "0 of 4 looked at · 3 to leave out"


def test_the_exported_list_is_what_was_left_out(browser: Browser, page: Path) -> None:
    """A reason may look like a formula, and hold whatever a table is made of."""
    for key in ("j", "x", "j", "x"):
        browser.press(key)
    choose(browser, "#case-1 .reason", '=HYPERLINK("x"), größer; "so"\tgenannt')
    choose(browser, "#case-2 .reason", " -1+1")
    browser.evaluate("document.getElementById('export').click()")
    content = browser.downloaded("exclude.csv")
    assert content.startswith(b"\xef\xbb\xbfcase,reason\r\n")
    assert content.endswith(b"\r\n")
    assert rows(content) == [
        ["case", "reason"],
        ["a1", '\'=HYPERLINK("x"), größer; "so" genannt'],
        ["'=b2", "' -1+1"],
        ["d4", "treated before"],
        ["e5", "wrong series"],
    ]


def test_the_hospitals_own_reader_takes_the_exported_list(browser: Browser, tmp_path: Path) -> None:
    """Also an empty one: everybody was taken back."""
    case = "0123456789ab"
    with PageWriter(tmp_path / "p.html", "Contract", MADE, {case: "wrong series"}) as page:
        page.case(one_sheet(case))
        page.close(report_of([], []), (), ())
    browser.open(tmp_path / "p.html")
    for expected in ({case: "wrong series"}, {}):
        browser.evaluate("document.getElementById('export').click()")
        (tmp_path / "exclude.csv").write_bytes(browser.downloaded("exclude.csv"))
        assert read_excluded(tmp_path / "exclude.csv") == expected
        browser.press("j")
        browser.press("x")


def test_an_imported_list_is_taken_and_strangers_stay_in_it(browser: Browser, page: Path, tmp_path: Path) -> None:
    """A list that a spreadsheet has saved with semicolons; a case that is not on this page must not be lost."""
    given = tmp_path / "given.csv"
    given.write_text(
        "\ufeffcase;reason\r\nc3;\"not; usable\"\r\n0123456789ab;away\r\n4.71E+11;x\r\n'=b2;'=1\r\n", encoding="utf-8"
    )
    browser.choose_file("#import", given)
    browser.wait_for("document.getElementById('said').textContent.startsWith('Taken')")
    said = "Taken from the list: 2 to leave out. Not on this page, kept in the list: 1. Not a pseudonym, dropped: 1."
    assert browser.evaluate("document.getElementById('said').textContent") == said
    browser.evaluate("document.getElementById('export').click()")
    assert rows(browser.downloaded("exclude.csv"))[1:] == [
        ["'=b2", "'=1"],
        ["c3", "not; usable"],
        ["d4", "treated before"],
        ["e5", "wrong series"],
        ["0123456789ab", "away"],
    ]


def test_an_exported_list_comes_back_as_it_was(browser: Browser, page: Path, tmp_path: Path) -> None:
    for key in ("j", "x"):
        browser.press(key)
    choose(browser, "#case-1 .reason", 'a "b", c; \'d')
    browser.evaluate("document.getElementById('export').click()")
    first = browser.downloaded("exclude.csv")
    (tmp_path / "back.csv").write_bytes(first)
    browser.evaluate("localStorage.clear()")
    browser.open(page)
    browser.choose_file("#import", tmp_path / "back.csv")
    browser.wait_for("document.getElementById('said').textContent.startsWith('Taken')")
    browser.evaluate("document.getElementById('export').click()")
    assert browser.downloaded("exclude.csv") == first


def test_a_file_that_is_no_list_changes_nothing(browser: Browser, page: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("patient,label\na1,1\n")
    browser.choose_file("#import", tmp_path / "other.csv")
    browser.wait_for("document.getElementById('said').textContent.startsWith('Not taken')")
    assert progress(browser) == "0 of 4 looked at · 2 to leave out"


def test_a_person_can_take_somebody_back(browser: Browser, page: Path) -> None:
    """A card that starts as left out, and a line of the earlier list."""
    choose(browser, "#case-4 .verdict-of", "keep")
    browser.evaluate("document.querySelector('input.earlier').click()")
    assert progress(browser) == "0 of 4 looked at · 0 to leave out"
    browser.evaluate("document.getElementById('export').click()")
    assert rows(browser.downloaded("exclude.csv")) == [["case", "reason"]]
    browser.open(page)
    assert progress(browser) == "0 of 4 looked at · 0 to leave out"


def test_ticks_outlive_the_window_but_not_a_change_of_the_pictures(browser: Browser, page: Path) -> None:
    for key in ("j", " ", "j", " ", "x"):
        browser.press(key)
    browser.open(page)
    assert progress(browser) == "2 of 4 looked at · 3 to leave out"
    write(page, seed=1)
    browser.open(page)
    assert progress(browser) == "1 of 4 looked at · 3 to leave out"
    assert not browser.evaluate("document.querySelector('#case-1 .changed').hidden")
    assert browser.evaluate("document.querySelector('#case-2 .changed').hidden")


def test_filters_show_what_they_say(browser: Browser, page: Path) -> None:
    browser.press("j")
    browser.press(" ")
    expected = {"all": list(CASES), "unseen": list(CASES[1:]), "seen": ["a1"], "out": ["d4"], "unusable": ["d4"]}
    for which, cases in expected.items():
        choose(browser, "#which", which)
        assert shown(browser) == cases, which
    choose(browser, "#which", "all")
    choose(browser, "#search", "B", "input")
    assert shown(browser) == ["=b2"]
    assert progress(browser).endswith("1 shown")
    browser.evaluate("document.querySelector('[data-show-code=W_LOSSY]').click()")
    assert shown(browser) == ["c3"]
    browser.evaluate("location.hash = '#case-4'")
    browser.wait_for("document.querySelector('.here').dataset.case === 'd4'")
    assert shown(browser) == list(CASES)


def test_a_case_that_is_gone_to_begins_below_the_bar(browser: Browser, page: Path) -> None:
    """Also in a narrow window, where the bar has several lines, and when it gets one more."""
    browser.call("Emulation.setDeviceMetricsOverride", width=420, height=400, deviceScaleFactor=1, mobile=False)
    bar = "document.getElementById('bar').getBoundingClientRect()"
    browser.wait_for(f"{bar}.height > 100")
    for _ in range(2):
        browser.press("j")
    top = "document.querySelector('.here').getBoundingClientRect().top"
    just_below = f"{bar}.top === 0 && {top} >= {bar}.bottom && {top} < {bar}.bottom + 20"
    browser.wait_for(just_below)
    before = browser.evaluate(f"{bar}.height")
    browser.evaluate("document.getElementById('export').click()")
    browser.downloaded("exclude.csv")
    browser.wait_for(f"{bar}.height > {before} && {just_below}")
    browser.call("Emulation.clearDeviceMetricsOverride")
