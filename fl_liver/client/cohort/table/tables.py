"""CSV tables as text: every cell a stripped string, "" where it is missing, nothing converted behind one's back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fl_liver.errors import DataError

MISSING = frozenset({"", "na", "n/a", "nan", "?", "[not available]", "[not applicable]", "[unknown]"})


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV separated by commas, semicolons or tabs, UTF-8 with or without byte-order mark.

    Returns: one string column per column of the file; missing markers (`MISSING`, any case) become "".

    Raises:
        DataError: no such file, not UTF-8, ragged rows, or no rows at all.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
        separator = max(",;\t", key=first.count)
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=separator)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        # pandas quotes the line it stumbled over; only the type of its error is told.
        raise DataError(f"{path}: cannot be read as a CSV table ({type(error).__name__}); save it as UTF-8") from None
    if table.empty:
        raise DataError(f"{path}: has no rows; wanted one row per patient or box")
    # Lists, not `DataFrame.apply`: that copies the index once a column and took most of a warm load.
    cells = {str(name).strip(): [_clean(text) for text in table[name].tolist()] for name in table.columns}
    return pd.DataFrame(cells, dtype=str)


def require_columns(table: pd.DataFrame, wanted: Iterable[str], path: Path) -> None:
    """Raises DataError that names the columns that `table` lacks, each with the nearest one that is there."""
    there = [str(name) for name in table.columns]
    lacking = [name for name in dict.fromkeys(wanted) if name not in there]
    if lacking:
        near = {name: difflib.get_close_matches(name, there, n=1) for name in lacking}
        said = ", ".join(f"'{name}'" + (f" (there is '{near[name][0]}')" if near[name] else "") for name in lacking)
        raise DataError(f"{path}: column {said} is missing; add it or correct its name")


def _clean(text: str) -> str:
    stripped = text.strip()
    return "" if stripped.lower() in MISSING else stripped
