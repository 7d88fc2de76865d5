"""Excel workbooks: each cell as a person sees it, and every sheet that shows something else than it holds refused."""

from __future__ import annotations

import builtins
import datetime
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table import excel
from fl_liver.client.cohort.table.clinical import clinical_from
from fl_liver.client.cohort.table.source import read_clinical_table
from fl_liver.client.cohort.table.tables import read_table
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")
ROWS: list[list[Any]] = [["patient_id", "afp_ng_ml"], ["A", 3.5], ["B", None]]


def book(path: Path, rows: list[list[Any]], change: Callable[[Any], object] | None = None) -> Path:
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    if change:
        change(made)
    made.save(path)
    return path


def patched(path: Path, old: bytes, new: bytes) -> Path:
    """The first sheet's XML changed, as another program would have written it."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    first = "xl/worksheets/sheet1.xml"
    xml = entries[first].replace(b"<v />", b"<v></v>").replace(b"<v/>", b"<v></v>")
    assert old in xml, xml
    entries[first] = xml.replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("value", "form", "seen"),
    [
        ("0042", "@", "0042"),
        (42, "0000", "0042"),
        (42, "General", "42"),
        (62.0, "0.00", "62"),
        (3.456789, "0.0", "3.456789"),
        (0.1 + 0.2, "General", "0.3"),
        (-7, "General", "-7"),
        (1e-7, "General", "1e-07"),
        (123456789012345, "0", "123456789012345"),
        (0.45, "0%", "45%"),
        (True, "General", "True"),
        (datetime.datetime(2020, 1, 5), "dd.mm.yyyy", "2020-01-05"),
        (datetime.datetime(2020, 1, 5, 13, 30), "dd.mm.yyyy hh:mm", "2020-01-05 13:30:00"),
        (datetime.date(2020, 1, 5), "mmm yy", "2020-01-05"),
        (datetime.time(13, 30), "hh:mm", "13:30:00"),
        (datetime.timedelta(hours=30), "[h]:mm", "1 day, 6:00:00"),
        ("#N/A", "General", ""),
        (" M ", "General", "M"),
    ],
)
def test_a_cell_is_read_as_a_person_sees_it(tmp_path: Path, value: Any, form: str, seen: str) -> None:
    def put(made: Any) -> None:
        made.active["B2"] = value
        made.active["B2"].number_format = form

    path = book(tmp_path / "t.xlsx", [["patient_id", "x"], ["A", None]], put)
    assert read_table(path)["x"].tolist() == [seen]


def test_dates_counted_from_1904_are_the_same_days(tmp_path: Path) -> None:
    """Workbooks made on a Mac."""

    def put(made: Any) -> None:
        made.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
        made.active["B2"] = datetime.datetime(2020, 1, 5)

    path = book(tmp_path / "t.xlsx", [["patient_id", "x"], ["A", None]], put)
    assert read_table(path)["x"].tolist() == ["2020-01-05"]


def test_a_workbook_gives_the_clinical_table_of_its_csv(tmp_path: Path, study: Study, names: Pseudonyms) -> None:
    header = ["patient_id", "malignant", "age_years", "sex", "afp_ng_ml", "background", "size_mm"]
    rows = [["P2", 1, "062Y", "M", 250.5, "fibrosis", 31.5], ["0017", 0, 59, "F", None, "normal", None]]
    (tmp_path / "csv").mkdir()
    pd.DataFrame(rows, columns=header).to_csv(tmp_path / "csv" / "clinical.csv", index=False)
    book(tmp_path / "clinical.xlsx", [header, *rows])
    paths = (tmp_path / "clinical.xlsx", tmp_path / "csv" / "clinical.csv")
    sheet, csv = (clinical_from(read_table(path), study, names, path) for path in paths)
    assert sheet.ids == csv.ids == ("0017", "P2")
    for field in ("label", "factors", "background", "size_mm"):
        np.testing.assert_array_equal(getattr(sheet, field), getattr(csv, field))
    assert read_clinical_table(tmp_path)["patient_id"].tolist() == ["P2", "0017"]


def test_the_sheet_called_clinical_is_read_else_the_first_visible_one(tmp_path: Path) -> None:
    def named(made: Any) -> None:
        made.create_sheet("Legende").append(["x"])
        for row in [["patient_id"], ["C"]]:
            made["Clinical"].append(row)

    def two(made: Any) -> None:
        made.create_sheet("Clinical")
        named(made)

    assert read_table(book(tmp_path / "a.xlsx", ROWS, two))["patient_id"].tolist() == ["C"]

    def hidden(made: Any) -> None:
        made.create_sheet("raw", 0).append(["other"])
        made["raw"].sheet_state = "hidden"

    assert read_table(book(tmp_path / "b.xlsx", ROWS, hidden))["patient_id"].tolist() == ["A", "B"]


def test_rows_are_numbered_as_in_excel(tmp_path: Path) -> None:
    table = read_table(book(tmp_path / "t.xlsx", [[], *ROWS[:2], [None, None], ["C", 1]]))
    assert table.index.tolist() == [3, 5]


def hide(made: Any) -> None:
    made.active.row_dimensions[3].hidden = True


def merge(made: Any) -> None:
    made.active.merge_cells("A2:A3")


def formula(made: Any) -> None:
    made.active["B3"] = "=B2*10"


def long_number(made: Any) -> None:
    made.active["A3"] = 4711081500004711


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (merge, r"t.xlsx \(sheet 1\): cells A2:A3 are merged; unmerge them"),
        (hide, r"1 row hidden \(the first is row 3\), perhaps by a filter; show them all"),
        (formula, r"the formula in B3 has no stored result; open the workbook in Excel and save it"),
        (long_number, r"A3 is a number of more than 15 digits, which Excel rounds; format the column as text"),
    ],
)
def test_a_sheet_that_holds_something_else_than_it_shows_is_refused(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_table(book(tmp_path / "t.xlsx", ROWS, change))


def test_a_hidden_row_without_content_is_nothing(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xlsx", [*ROWS, [None, None], ["C", 1]], lambda made: hide_row(made, 4))
    assert read_table(path)["patient_id"].tolist() == ["A", "B", "C"]


def hide_row(made: Any, row: int) -> None:
    made.active.row_dimensions[row].hidden = True


@pytest.mark.parametrize(("stored", "seen"), [(b"<v>35</v>", "35"), (b"<v>0.30000000000000004</v>", "0.3")])
def test_a_formula_that_excel_has_computed_is_its_result(tmp_path: Path, stored: bytes, seen: str) -> None:
    path = book(tmp_path / "t.xlsx", ROWS, formula)
    patched(path, b"<f>B2*10</f><v></v>", b"<f>B2*10</f>" + stored)
    assert read_table(path)["afp_ng_ml"].tolist() == ["3.5", seen]


def test_a_formula_whose_result_is_an_empty_text_is_an_empty_cell(tmp_path: Path) -> None:
    """=IF(A2="","",…) is how sheets leave cells open."""
    path = book(tmp_path / "t.xlsx", ROWS, formula)
    patched(path, b'<c r="B3">', b'<c r="B3" t="str">')
    assert read_table(path)["afp_ng_ml"].tolist() == ["3.5", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"cannot be read as an Excel workbook \(BadZipFile\); save it as .xlsx without a password"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512, "BadZipFile.; save it as .xlsx without a password"),
    ],
)
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The second is how an .xls and an .xlsx with a password begin."""
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.xlsx")


def test_a_zip_that_is_no_workbook_and_a_damaged_sheet_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        archive.writestr("a.txt", "Anna")
    with pytest.raises(DataError, match=r"cannot be read as an Excel workbook \(\w+\); open it in Excel"):
        read_table(tmp_path / "t.xlsx")
    path = patched(book(tmp_path / "u.xlsx", ROWS), b"<sheetData>", b"<sheetData><Anna")
    with pytest.raises(DataError, match=r"cannot be read as an Excel workbook \(\w+\); open it in Excel") as caught:
        read_table(path)
    assert "Anna" not in str(caught.value)


def test_a_workbook_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "_MOST_BYTES", 2**10)
    with pytest.raises(DataError, match="unpacks to 0 MiB, wanted at most 0"):
        read_table(book(tmp_path / "t.xlsx", ROWS))
    monkeypatch.undo()
    monkeypatch.setattr(excel, "MOST_ROWS", 1)
    with pytest.raises(DataError, match=r"ends in row 3; delete the rows below the table, also the empty ones"):
        read_table(book(tmp_path / "t.xlsx", ROWS))


def test_without_openpyxl_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = book(tmp_path / "t.xlsx", ROWS)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "openpyxl":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"wants openpyxl; install it, or save the table as CSV UTF-8"):
        read_table(path)
