"""Which rows of a hospital's table a question is about, their levels and labels, and the counts that come first.

Arguments that every question here understands: `where` {column: level} keeps the rows with these levels; `complete`
[columns] and `among` [columns] drop the rows in which one of them is missing (NaN, empty or NA). `complete` belongs to
the question, `where` and `among` to the part of the rows that a whole conversation is about. The columns that a
question itself names are always complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers

MISSING_TEXT = frozenset({"", "NA"})


def missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) True where a value is missing: NaN in a number column, empty or NA in a text column."""
    if column.dtype == object:
        return np.array([str(value) in MISSING_TEXT for value in column], np.bool_)
    absent: NDArray[np.bool_] = np.isnan(np.asarray(column, np.float64))
    return absent


def level_name(value: object) -> str:
    """The name of a level: text as it is, a number without a trailing .0 (2.0 → "2", 0.5 → "0.5")."""
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    return str(int(number)) if number.is_integer() else repr(number)


def level_names(column: NDArray[Any]) -> NDArray[np.object_]:
    """(n,) object array of level names; missing values are ""."""
    if column.dtype == object:
        return np.array([("" if str(v) in MISSING_TEXT else str(v)) for v in column], object)
    values, index = np.unique(np.asarray(column, np.float64), return_inverse=True)
    names = np.array([("" if np.isnan(v) else level_name(float(v))) for v in values], object)
    return names[index] if len(values) else np.array([], object)


def is_level(column: NDArray[Any], level: str | float) -> NDArray[np.bool_]:
    """(n,) True where a value is this level; a number column is compared as numbers ("1" is 1.0)."""
    if column.dtype == object:
        return np.array([str(value) == level_name(level) for value in column], np.bool_)
    try:
        wanted = float(level)
    except ValueError:
        return np.zeros(len(column), np.bool_)
    same: NDArray[np.bool_] = np.asarray(column, np.float64) == wanted
    return same


def level_order(names: Iterable[str]) -> list[str]:
    """Levels in the agreed order: numbers by value, then text by code point."""

    def place(name: str) -> tuple[int, float, str]:
        try:
            return 0, float(name), ""
        except ValueError:
            return 1, 0.0, name

    return sorted(set(names), key=place)


def union_levels(tables: Sequence[Table], column: str) -> list[str]:
    """All levels of a column over tables in this process (`analyse`): a deployment's plan lists its levels instead."""
    return level_order(name for table in tables for name in set(level_names(table[column])) if name)


def rows_for(question: Question, table: Table, columns: Sequence[str]) -> Table:
    """The named columns over the rows that a question is about: `where`, `complete`, `among`, complete in `columns`.

    Raises:
        ProtocolError: a column is not there.
    """
    keep = complete_rows(question.arguments, table, columns)
    patients = None if table.patients is None else table.patients[keep]
    return Table({column: table[column][keep] for column in columns}, patients)


def complete_rows(arguments: Mapping[str, Any], table: Table, columns: Iterable[str]) -> NDArray[np.bool_]:
    """(n,) True for the rows of a question with these arguments: `where`, `complete`, `among`, complete in `columns`.

    Raises:
        ProtocolError: a column is not there.
    """
    keep = np.ones(len(table), np.bool_)
    for column, level in arguments.get("where", {}).items():
        keep &= is_level(table[column], level)
    for column in {*columns, *arguments.get("complete", ()), *arguments.get("among", ())}:
        keep &= ~missing(table[column])
    return keep


def numbers(table: Table, column: str) -> NDArray[np.float64]:
    """A column as (n,) float64.

    Raises:
        DataError: the column is text, or a value is infinite.
    """
    values = table[column]
    if values.dtype == object:
        raise DataError(f"column '{column}' is text; a column of numbers is needed")
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise DataError(
            f"column '{column}': {int((~np.isfinite(values)).sum())} values are not finite; repair those rows"
        )
    return values


def binary(table: Table, column: str) -> NDArray[np.bool_]:
    """A 0/1 column as (n,) bool.

    Raises:
        DataError: another value than 0 or 1.
    """
    values = numbers(table, column)
    others = int(np.count_nonzero((values != 0.0) & (values != 1.0)))
    if others:
        raise DataError(f"column '{column}': {others} of {values.size} values are neither 0 nor 1; recode it as 0/1")
    return np.equal(values, 1.0)


def level_index(table: Table, column: str, levels: Sequence[str], *, others: str = "refuse") -> NDArray[np.int64]:
    """(n,) place of each row's level in `levels`; −1 for another level where `others` is "drop".

    Raises:
        DataError: a row has a level that `levels` lacks, and `others` is "refuse".
    """
    index = np.full(len(table[column]), -1, np.int64)
    for place, level in enumerate(levels):
        index[is_level(table[column], level)] = place
    unknown = int(np.count_nonzero(index < 0))
    if unknown and others == "refuse":
        raise DataError(
            f"column '{column}': {unknown} of {index.size} rows have a level other than {', '.join(levels)}; "
            "add the level to the plan or recode those rows"
        )
    return index


# --- counts of a cross-table, which come before every finer question ------------------------------------------------


def cell_counts(
    columns: Sequence[tuple[str, Sequence[str]]], *, complete: Sequence[str] = ()
) -> Conversation[NDArray[np.int64]]:
    """Ask for the cross-table of some columns: [(column, levels), …] → int64 array of shape (len(levels), …).

    Rows with a level that is not listed are refused at the site. `complete` names columns whose missing rows are
    dropped.
    """
    shape = tuple(len(levels) for _, levels in columns)
    arguments = {"columns": [[name, list(levels)] for name, levels in columns], "complete": list(complete)}
    (total,) = yield [Question("cell_counts", arguments, int(np.prod(shape)))]
    return total.reshape(shape)


@answers("cell_counts")
def _cell_counts(question: Question, table: Table) -> IntVector:
    columns: list[tuple[str, list[str]]] = question.arguments["columns"]
    chosen = rows_for(question, table, [name for name, _ in columns])
    flat = np.zeros(len(chosen), np.int64)
    for name, levels in columns:
        flat = flat * len(levels) + level_index(chosen, name, levels)
    return np.bincount(flat, minlength=question.length).astype(np.int64)
