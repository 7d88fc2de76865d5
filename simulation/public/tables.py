"""Tables of public data sets: found by the columns that they have, whatever the publisher called the file this year."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from fl_liver.client.cohort.table.tables import read_table
from fl_liver.errors import DataError

_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".xlsx")


def listing(folder: Path) -> str:
    """The first names in a folder, for people who gave the wrong one.

    >>> listing(Path("/nowhere"))
    'nothing'
    """
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return ", ".join(found[:5]) + (", …" if len(found) > 5 else "") if found else "nothing"


def find_table(folder: Path, columns: Collection[str], what: str) -> pd.DataFrame:
    """The first table with these columns in a folder or in one right below it, in name order; all cells are text.

    Raises:
        DataError: there is none; the message names the tables that were looked at.
    """
    looked: list[str] = []
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))):
        if path.suffix.lower() in _SUFFIXES and path.is_file() and not path.name.startswith((".", "~")):
            looked.append(path.name)
            for table in _tables(path):
                if set(columns) <= set(table.columns):
                    return table
    seen = f"looked at {', '.join(looked)}" if looked else f"found {listing(folder)}, none of it a table"
    raise DataError(
        f"{folder}: no {what} ({seen}; wanted columns {', '.join(columns)}); fetch it from where the images are"
    )


def number(text: str, missing: Collection[str] = ()) -> float:
    """A number; NaN for an empty cell, one of `missing`, and what is none.

    >>> number("3.5"), number("-999", {"-999"}), number("n.d.")
    (3.5, nan, nan)
    """
    try:
        return float("nan") if text in missing else float(text)
    except ValueError:
        return float("nan")


def numbers(column: pd.Series[Any], missing: Collection[str] = ()) -> pd.Series[float]:
    """Each cell by `number`."""
    return column.map(lambda text: number(str(text), missing)).astype("float64")


def flags(column: pd.Series[Any]) -> pd.Series[int]:
    """1 and 0 as written ("1", "0.0"); anything else is missing."""
    values = numbers(column)
    return values.where(values.isin([0.0, 1.0])).astype("Int64")


def band(values: pd.Series[float], edges: tuple[float, ...], unit: str) -> list[str]:
    """A text for each number: below the first edge, between two, from the last on; "unknown" where missing.

    >>> band(pd.Series([0.7, 5.0, float("nan")]), (1, 5), "mm")
    ['under-1mm', '5mm-up', 'unknown']
    """
    names = [f"under-{edges[0]:g}{unit}"]
    names += [f"{low:g}-{high:g}{unit}" for low, high in pairwise(edges)]
    names.append(f"{edges[-1]:g}{unit}-up")
    return ["unknown" if value != value else names[sum(value >= edge for edge in edges)] for value in values]


def _tables(path: Path) -> Iterator[pd.DataFrame]:
    """Each sheet of a workbook, or the one table of a text file; a file that is no table gives none."""
    try:
        if path.suffix.lower() == ".xlsx":
            for sheet in pd.read_excel(path, sheet_name=None, dtype=str, keep_default_na=False).values():
                yield sheet.rename(columns=lambda name: str(name).strip()).map(lambda cell: str(cell).strip())
        else:
            yield read_table(path)
    except Exception:  # the one broad catch of tables: openpyxl raises a dozen types on damaged workbooks
        return  # a licence text, a manifest or half a download; `find_table` names what it looked at
