"""A study's `[[column]]` sections held against the clinical table: kinds, ranges, codes, missing markers.

Units are checked by the range alone: a table does not say its units, and nothing is converted. An albumin in g/dL is
found because 4.1 lies below a range of 10 to 70 g/L; a range that both units fit finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fl_liver.client.cohort.codes import finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.tables import require_columns
from fl_liver.client.cohort.table.values import Bounds, plain, read_bounds, read_dates, same_code, shown, years
from fl_liver.study_cohort import Column

OLDEST_YEARS = 130.0
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class _Read:
    """One column, read. `cells`: "" where missing; `faults`: row → (code, cause)."""

    cells: list[str]
    faults: dict[int, tuple[str, str]]


def apply_schema(
    table: pd.DataFrame, columns: Sequence[Column], names: Pseudonyms, where: Path = Path("clinical table")
) -> tuple[pd.DataFrame, list[Finding]]:
    """The table with every cell of `columns` readable or "", less the patients who lack a required value.

    Cells become plain: numbers and ages in years with a decimal point and without groups, bounds with ≤ or ≥, codes
    as the schema spells them, dates as YYYY-MM-DD.

    Args:
        table: (n rows) text, as `read_table` gives it, with a column patient_id.
        where: names the table in the error.
    Returns: the table, and W_VALUE_UNREADABLE, W_VALUE_OUT_OF_RANGE and E_VALUE_MISSING, in the order of `columns`.

    Raises:
        DataError: the table has no column of that name.
    """
    require_columns(table, ("patient_id", *(column.name for column in columns)), where)
    cases = [names.patient(patient) for patient in table["patient_id"]]
    table = without_markers(table, columns)
    findings: list[Finding] = []
    whole = np.ones(len(table), dtype=np.bool_)
    new: dict[str, list[str]] = {}
    for column in columns:
        read = _read(table[column.name].tolist(), column)
        new[column.name] = read.cells
        findings += [finding(code, cases[row], cause) for row, (code, cause) in read.faults.items()]
        if column.required:
            lacking = [row for row, cell in enumerate(read.cells) if not cell]
            whole[lacking] = False
            findings += [finding("E_VALUE_MISSING", cases[row], f"no usable '{column.name}'") for row in lacking]
    read_columns = {name: pd.Series(cells, index=table.index, dtype=str) for name, cells in new.items()}
    return table.assign(**read_columns)[whole], findings


def without_markers(table: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The table with "" in place of the schema's own markers of a missing value; the marker "-9" is also "-9.0"."""
    emptied = {}
    for column in columns:
        markers = {same_code(marker) for marker in column.missing}
        texts = ["" if same_code(text) in markers else text for text in table[column.name]]
        emptied[column.name] = pd.Series(texts, index=table.index, dtype=str)
    return table.assign(**emptied)


def _read(texts: list[str], column: Column) -> _Read:
    if column.kind == "code":
        return _read_codes(texts, column)
    if column.kind == "date":
        dates = read_dates(texts)
        cause = f"'{column.name}' is no date that can be read in one way; wanted YYYY-MM-DD"
        return _Read(dates, {i: ("W_VALUE_UNREADABLE", cause) for i, text in enumerate(texts) if text and not dates[i]})
    return _read_numbers(texts, column)


def _read_codes(texts: list[str], column: Column) -> _Read:
    known = {same_code(code): code for code in column.codes}
    cells = [known.get(same_code(text), "") for text in texts]
    wanted = ", ".join(f"'{code}'" for code in column.codes[:_SHOWN]) + (", …" if len(column.codes) > _SHOWN else "")
    return _Read(
        cells,
        {
            row: ("W_VALUE_UNREADABLE", f"'{column.name}' is {shown(text)}; wanted {wanted}")
            for row, text in enumerate(texts)
            if text and not cells[row]
        },
    )


def _read_numbers(texts: list[str], column: Column) -> _Read:
    found, low, high = read_bounds(texts), column.at_least, column.at_most
    if column.kind == "age":
        # As DICOM writes them, too; unlike in a factor's column, Y and N are no numbers here.
        found = read_bounds([text if (age := years(text)) is None else plain(age) for text in texts])
        low, high = max(0.0, low or 0.0), min(OLDEST_YEARS, high or OLDEST_YEARS)
    # Of "<0.5" and ">1000" the end that is stated.
    stated = np.where(np.isfinite(found.low), found.low, found.high)
    inside = (stated >= (-np.inf if low is None else low)) & (stated <= (np.inf if high is None else high))
    wanted = f"wanted {_range(low, high)} {column.unit}".rstrip()
    faults: dict[int, tuple[str, str]] = {}
    for row in (row for row, text in enumerate(texts) if text and not inside[row]):
        if np.isnan(stated[row]):
            cause = f"'{column.name}' is no number that can be read in one way; {wanted}"
            faults[row] = ("W_VALUE_UNREADABLE", cause)
        else:
            cause = f"'{column.name}' is {shown(f'{stated[row]:.6g}')}; {wanted}"
            faults[row] = ("W_VALUE_OUT_OF_RANGE", cause)
    return _Read([_written(found, row) if inside[row] else "" for row in range(len(texts))], faults)


def _written(found: Bounds, row: int) -> str:
    low, high = float(found.low[row]), float(found.high[row])
    return plain(low) if low == high else f"≤{plain(high)}" if np.isinf(low) else f"≥{plain(low)}"


def _range(low: float | None, high: float | None) -> str:
    """In words; a range whose ends are both open is any number."""
    if low is None and high is None:
        return "a number such as 3.5"
    if low is None or high is None:
        return f"{plain(low)} or more" if low is not None else f"{plain(high or 0.0)} or less"
    return f"{plain(low)} to {plain(high)}"
