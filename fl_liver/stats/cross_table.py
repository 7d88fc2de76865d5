"""Counts of patients in every combination of levels of some columns: the first question of most analyses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fl_liver.stats.conversation import IntVector, Question, Table, answers
from fl_liver.stats.rows import level_index, rows_for


def cross_table(
    levels: Mapping[str, Sequence[str]], complete: Sequence[str] = (), *, margins: bool = False
) -> Question:
    """Ask for the counts over the levels of each column, in C order (the last column runs fastest).

    Args:
        levels: {column: its levels}; a row with another value, or none, is not counted.
        complete: further columns in which a counted row must have a value.
        margins: the floor is about the levels of each column, not about each cell (`patients`).
    """
    arguments = {
        "columns": list(levels),
        "levels": [list(one) for one in levels.values()],
        "complete": list(complete),
        **({"margins": True} if margins else {}),
    }
    return Question("cross_table", arguments, math.prod(len(one) for one in levels.values()))


def shaped(total: IntVector, levels: Mapping[str, Sequence[str]]) -> IntVector:
    """The answer as an array with one axis a column."""
    return total.reshape([len(one) for one in levels.values()])


@answers("cross_table")
def _count(question: Question, table: Table) -> IntVector:
    columns, levels = question.arguments["columns"], question.arguments["levels"]
    chosen = rows_for(question, table, columns)
    listed = np.ones(len(chosen), dtype=np.bool_)
    cell = np.zeros(len(chosen), dtype=np.int64)
    for name, column_levels in zip(columns, levels, strict=True):
        index = level_index(chosen, name, column_levels, others="drop")
        listed &= index >= 0
        cell = cell * len(column_levels) + index
    return np.bincount(cell[listed], minlength=question.length).astype(np.int64)
