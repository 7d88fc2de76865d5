"""Whom a subset leaves out: with the same figure of everybody beside it, theirs follows by subtraction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.floors import require_floor
from fl_liver.stats.rows import complete_rows, level_index, missing, rows_for


def left_out(columns: Sequence[str], among: Sequence[str], *, min_cell: int) -> Conversation[None]:
    """Refuse a subset that leaves out somebody, but fewer than `min_cell` patients.

    For use within `compose.among`, which tells the sites the columns that choose the subset.

    Args:
        columns: of the analysis; who lacks one of them is not in it with or without the subset.
    Raises:
        PrivacyError: names the columns `among`.
    """
    (total,) = yield [Question("left_out", {"columns": list(columns)}, 1)]
    require_floor({f"those whom among = {', '.join(among)} leaves out": int(total[0])}, min_cell)


def other_levels(column: str, levels: Sequence[str], complete: Sequence[str], *, min_cell: int) -> Conversation[None]:
    """Refuse an analysis of some levels of a column where the others hold somebody, but fewer than `min_cell` patients.

    Args:
        complete: further columns of the analysis, in which they have a value too.
    Raises:
        PrivacyError: names the column and the levels.
    """
    arguments = {"column": column, "levels": list(levels), "complete": list(complete)}
    (total,) = yield [Question("other_levels", arguments, 1)]
    require_floor({f"those with another {column} than {', '.join(levels)}": int(total[0])}, min_cell)


@answers("left_out")
def _count(question: Question, table: Table) -> IntVector:
    whole = {name: value for name, value in question.arguments.items() if name != "among"}
    there = complete_rows(whole, table, question.arguments["columns"])
    lacking = np.zeros(len(table), np.bool_)
    for column in question.arguments.get("among", ()):
        lacking |= missing(table[column])
    return np.array([np.count_nonzero(there & lacking)], np.int64)


@answers("other_levels")
def _count_others(question: Question, table: Table) -> IntVector:
    column = question.arguments["column"]
    place = level_index(rows_for(question, table, [column]), column, question.arguments["levels"], others="drop")
    return np.array([np.count_nonzero(place < 0)], np.int64)
