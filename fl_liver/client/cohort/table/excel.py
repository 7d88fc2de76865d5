"""An .xlsx workbook as text, cell by cell as a person sees it, numbers with all their digits.

Read is the sheet called "clinical", else the first that is not hidden. pandas' own reader is not used: it reads cells
of hidden rows and formulas that were never computed without a word, and drops the zeros of a cell shown as 0042.
"""

from __future__ import annotations

import datetime
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.table.rows import MOST_ROWS, Rows, cell_text
from fl_liver.errors import ConfigError, DataError

SHEET = "clinical"
_MOST_BYTES = 2**30
_ROUNDED = 10**15
_FORMULA = re.compile(rb"<f[ />]")
_ZEROS = re.compile(r"0{2,}")


def read_workbook(path: Path) -> Rows:
    """The rows of one sheet, numbered as in Excel; values of formulas as Excel last computed them.

    Raises:
        DataError: not an .xlsx, or a sheet with merged cells, hidden rows, formulas that no program has computed, or
            numbers of more than 15 digits, which Excel rounds.
        ConfigError: openpyxl is not installed.
    """
    formulas = _inspect(path)
    sheet, place = _sheet(_open(path, computed=True), path)
    where = f"{path} (sheet {place})"
    _require_flat(sheet, where)
    if formulas:
        _require_computed(sheet, _open(path, computed=False).worksheets[place - 1], where)
    return [(cells[0].row, [_shown(cell, where) for cell in cells]) for cells in sheet.iter_rows()]


def _inspect(path: Path) -> bool:
    """Whether the workbook has formulas; refuses what would fill the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _MOST_BYTES:
                raise DataError(f"{path}: unpacks to {size >> 20} MiB, wanted at most {_MOST_BYTES >> 20}")
            sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
            return any(_FORMULA.search(archive.read(name)) for name in sheets)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read as an Excel workbook ({type(error).__name__}); save it as .xlsx without a password"
        ) from None


def _open(path: Path, *, computed: bool) -> Any:
    try:
        import openpyxl  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError(f"{path}: reading it wants openpyxl; install it, or save the table as CSV UTF-8") from None
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of styles and extensions that it does not know
            return openpyxl.load_workbook(file, data_only=computed, keep_links=False)
    except Exception as error:
        # A damaged workbook raises whatever its first odd element leads to; its text may be a cell's.
        raise DataError(
            f"{path}: cannot be read as an Excel workbook ({type(error).__name__}); open it in Excel and save it again"
        ) from None


def _sheet(book: Any, path: Path) -> tuple[Any, int]:
    """The sheet, and its place from 1."""
    seen = [(sheet, place) for place, sheet in enumerate(book.worksheets, start=1) if sheet.sheet_state == "visible"]
    if not seen:
        raise DataError(f"{path}: has no visible sheet with cells; wanted the clinical table in the first one")
    return next((one for one in seen if one[0].title.strip().lower() == SHEET), seen[0])


def _require_flat(sheet: Any, where: str) -> None:
    """No cell and no row whose meaning depends on how the sheet is shown."""
    merged = sorted(str(one) for one in sheet.merged_cells.ranges)
    if merged:
        raise DataError(f"{where}: cells {', '.join(merged[:3])} are merged; unmerge them and fill each cell")
    if sheet.max_row > MOST_ROWS + 1:
        raise DataError(f"{where}: ends in row {sheet.max_row}; delete the rows below the table, also the empty ones")
    unseen = sorted(row for row, look in sheet.row_dimensions.items() if look.hidden and row <= sheet.max_row)
    hidden = [row for row in unseen if any(cell.value is not None for cell in sheet[row])]
    if hidden:
        rows = f"{counted(len(hidden), 'row')} hidden (the first is row {hidden[0]})"
        raise DataError(f"{where}: {rows}, perhaps by a filter; show them all, or delete what does not belong")


def _require_computed(sheet: Any, formulas: Any, where: str) -> None:
    """A formula that no program has computed yet would read as an empty cell."""
    for row in formulas.iter_rows():
        for cell in row:
            # An empty text as result is stored with its type, no result without one.
            result = sheet.cell(cell.row, cell.column)
            if cell.data_type == "f" and result.value is None and result.data_type == "n":
                raise DataError(
                    f"{where}: the formula in {cell.coordinate} has no stored result; open the workbook in Excel and"
                    " save it, or paste the values over the formulas"
                )


def _shown(cell: Any, where: str) -> str:
    value, form = cell.value, str(cell.number_format)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) if isinstance(value, datetime.timedelta) else cell_text(value)
    if abs(value) >= _ROUNDED:
        raise DataError(
            f"{where}: {cell.coordinate} is a number of more than 15 digits, which Excel rounds; format the column as"
            " text and enter it again"
        )
    if _ZEROS.fullmatch(form) and value == int(value):
        return f"{int(value):0{len(form)}d}"
    if form.endswith("%"):
        return f"{value * 100:.15g}%"
    return f"{value:.15g}"
