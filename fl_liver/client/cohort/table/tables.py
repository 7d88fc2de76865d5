"""Tables as text: every cell a stripped string, "" where it is missing, nothing converted behind one's back."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.table.excel import read_workbook
from fl_liver.client.cohort.table.rows import MOST_ROWS, Rows
from fl_liver.errors import DataError

MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "?"}
    | {"[not available]", "[not applicable]", "[not evaluated]", "[unknown]"}
)
_MOST_MEBIBYTES = 256
_SHOWN = 3
_VALUE = re.compile(r"[\d.,+-]*\d[\d.,]*", re.ASCII)


def read_table(path: Path, *, or_empty: bool = False) -> pd.DataFrame:
    """Read a CSV separated by commas, semicolons or tabs, UTF-8 with or without byte-order mark, or an .xlsx workbook.

    Header rows below the first (TCGA's tables have three) and empty rows are left out, and so are columns without a
    name; missing markers (`MISSING`, any case) become "".

    Args:
        or_empty: a table without a row is one, too.
    Returns: one string column per named column of the file; the index is the row's number in the file, from 1.

    Raises:
        DataError: no such file, not UTF-8, rows of different length, a column name that stands twice, values in place
            of names, or no rows at all. For workbooks also see `excel`.
    """
    rows = read_workbook(path) if path.suffix.lower() == ".xlsx" else _csv_rows(path)
    return table_from(rows, path, or_empty=or_empty)


def table_from(rows: Rows, where: Path, *, or_empty: bool = False) -> pd.DataFrame:
    """As `read_table`, from rows that are numbered as their reader sees them; the first with content is the header."""
    filled = [(number, stripped) for number, cells in rows if any(stripped := [cell.strip() for cell in cells])]
    header = filled[0][1] if filled else []
    _require_names(header, where)
    body = [(number, cells) for number, cells in filled[1:] if not _repeats(header, cells)]
    _require_width(body, len(header), where)
    if not body and not (or_empty and header):
        raise DataError(f"{where}: has no rows; wanted one row per patient or box")
    if len(body) > MOST_ROWS:
        raise DataError(f"{where}: has {len(body)} rows, wanted at most {MOST_ROWS}; is it the table that was meant?")
    # Lists, not `DataFrame.apply`: that copies the index once a column and took most of a warm load.
    named = [place for place, name in enumerate(header) if name]
    columns = {header[place]: [_clean(cells[place]) for _, cells in body] for place in named}
    return pd.DataFrame(columns, index=pd.Index([number for number, _ in body], dtype="int64"), dtype=str)


def require_columns(table: pd.DataFrame, wanted: Iterable[str], where: Path) -> None:
    """Raises DataError that names the columns that `table` lacks, each with the nearest one that is there."""
    there = [str(name) for name in table.columns]
    lacking = [name for name in dict.fromkeys(wanted) if name not in there]
    if lacking:
        near = {name: difflib.get_close_matches(name, there, n=1) for name in lacking}
        said = ", ".join(f"'{name}'" + (f" (there is '{near[name][0]}')" if near[name] else "") for name in lacking)
        raise DataError(f"{where}: column {said} is missing; add it or correct its name")


def _csv_rows(path: Path) -> Rows:
    """Every row of the file as it stands, numbered as a spreadsheet would."""
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    rows: list[tuple[int, list[str]]] = []
    try:
        # The separator that parts the header into most names; one inside a quoted name does not count.
        separator = max(",;\t", key=lambda one: max(map(len, csv.reader([first], delimiter=one)), default=0))
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows.extend(enumerate(reader, start=1))
    except csv.Error:
        # Python quotes no cell here, but says nothing of use to a hospital either.
        raise DataError(
            f"{path}: cannot be read as a CSV table beyond row {len(rows)}: a quotation mark is not closed, or stands"
            f" inside a quoted cell, or a cell has more than {csv.field_size_limit()} characters; export it again"
        ) from None
    return rows


def _text(path: Path) -> str:
    try:
        mebibytes = path.stat().st_size >> 20
        if mebibytes > _MOST_MEBIBYTES:
            raise DataError(
                f"{path}: {mebibytes} MiB, wanted at most {_MOST_MEBIBYTES}; is it the table that was meant?"
            )
        text = path.read_text(encoding="utf-8-sig", errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        # The error would quote bytes of the file; only its type is told.
        raise DataError(
            f"{path}: cannot be read as a CSV table ({type(error).__name__}); save it as UTF-8 (in Excel 'CSV UTF-8')"
        ) from None
    if "\0" in text:
        raise DataError(f"{path}: cannot be read as a CSV table (it holds NUL bytes); save it as UTF-8, not UTF-16")
    return text


def _repeats(header: list[str], cells: list[str]) -> bool:
    """A second or third header row: the first column's own name again with others, or CDE ids in all cells."""
    if all(cell.startswith("CDE_ID:") for cell in cells if cell):
        return True
    same = sum(cell.casefold() == name.casefold() for cell, name in zip(cells, header, strict=False) if name)
    return cells[0].casefold() == header[0].casefold() and 4 * same >= len(header)


def _require_names(header: list[str], where: Path) -> None:
    names = [name for name in header if name]
    values = [name for name in names if _VALUE.fullmatch(name) or name.lower() in MISSING]
    if 2 * len(values) > len(names):
        raise DataError(f"{where}: the first row holds values, not names of columns; put a row of names above it")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        said = ", ".join(f"'{name:.40}'" for name in twice[:_SHOWN]) + (", …" if len(twice) > _SHOWN else "")
        raise DataError(f"{where}: more than one column is called {said}; rename or remove all but one")


def _require_width(body: Rows, width: int, where: Path) -> None:
    """Every row as long as the header; empty cells beyond it do not count."""
    odd = [(number, len(cells)) for number, cells in body if len(cells) < width or any(cells[width:])]
    if odd:
        said = ", ".join(f"row {number} has {counted(cells, 'cell')}" for number, cells in odd[:_SHOWN])
        more = f" (and {len(odd) - _SHOWN} more)" if len(odd) > _SHOWN else ""
        raise DataError(
            f"{where}: {said}{more}, the first row {width}; is a separator inside a cell, or the file cut short?"
        )


def _clean(text: str) -> str:
    return "" if text.lower() in MISSING else text
