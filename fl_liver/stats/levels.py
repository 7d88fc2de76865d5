"""The levels of a grouping column over all hospitals, learned from sums alone.

A value is spelled byte by byte: for every beginning that some patient has, the hospitals add up how many patients go on
with each byte or end there. No hospital names its values; the coordinator learns each value with its pooled count, and
stops at the first beginning that fewer than `min_cell` patients share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fl_liver.errors import DataError, PrivacyError
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.floors import require_floor
from fl_liver.stats.rows import level_index, level_name, level_order, rows_for

MAX_LEVELS = 64
"""A column with more values than this is not a grouping."""
MAX_LEVEL_BYTES = 120

_END = 256
_BRANCHES = 257


def learn_levels(columns: Sequence[str], complete: Sequence[str] = (), *, min_cell: int = 5) -> Conversation[list[str]]:
    """The values that occur in any of `columns` (rows complete over both lists), in level order.

    Raises:
        PrivacyError: a value is held by fewer than `min_cell` patients over all sites.
        DataError: more than 64 values, or one longer than 120 bytes: not a grouping column.
    """
    name = "' and '".join(columns)
    found: list[str] = []
    beginnings = [b""]
    for _ in range(MAX_LEVEL_BYTES + 1):
        (total,) = yield [_question(columns, complete, beginnings)]
        counts = total.reshape(len(beginnings), _BRANCHES)
        require_floor({f"a value of column '{name}'": _smallest(counts)}, min_cell)
        found += [one.decode() for one, row in zip(beginnings, counts, strict=True) if row[_END]]
        beginnings = [beginnings[i] + bytes([byte]) for i, byte in np.argwhere(counts[:, :_END] > 0).tolist()]
        if len(found) + len(beginnings) > MAX_LEVELS:
            raise DataError(f"column '{name}' has more than {MAX_LEVELS} values; name a grouping column, or its levels")
        if not beginnings:
            return level_order(found)
    raise DataError(f"column '{name}' has a value longer than {MAX_LEVEL_BYTES} bytes; name a grouping column")


def require_shared_levels(
    column: str, levels: Sequence[str], complete: Sequence[str] = (), *, min_cell: int = 5
) -> Conversation[None]:
    """Refuse a factor level that one site alone has: its coefficient would be that hospital's own figure.

    Raises:
        PrivacyError: names the level; with `min_cell` 1 (public data) nothing is asked.
    """
    if min_cell > 1:
        arguments = {"column": column, "levels": list(levels), "complete": list(complete)}
        (holders,) = yield [Question("level_holders", arguments, len(levels))]
        alone = [level for level, sites in zip(levels, holders.tolist(), strict=True) if sites == 1]
        if alone:
            raise PrivacyError(
                f"one site alone has level {', '.join(alone)} of column '{column}', unseen elsewhere; merge the level"
            )


def _question(columns: Sequence[str], complete: Sequence[str], beginnings: Sequence[bytes]) -> Question:
    arguments = {
        "columns": list(columns),
        "complete": list(complete),
        "beginnings": [one.hex() for one in beginnings],
    }
    return Question("level_bytes", arguments, len(beginnings) * _BRANCHES)


def _smallest(counts: IntVector) -> int:
    return int(counts[counts > 0].min(initial=np.iinfo(np.int64).max))


@answers("level_bytes")
def _count_next_bytes(question: Question, table: Table) -> IntVector:
    beginnings = {bytes.fromhex(one): row for row, one in enumerate(question.arguments["beginnings"])}
    depth = len(next(iter(beginnings)))
    columns = question.arguments["columns"]
    chosen = rows_for(question, table, columns)
    counts = np.zeros((len(beginnings), _BRANCHES), dtype=np.int64)
    for name in columns:
        values, times = np.unique(chosen[name], return_counts=True)
        for value, count in zip(values.tolist(), times.tolist(), strict=True):
            spelled = level_name(value).encode()
            row = beginnings.get(spelled[:depth])
            if row is not None and len(spelled) >= depth:
                counts[row, spelled[depth] if len(spelled) > depth else _END] += count
    return counts.ravel()


@answers("level_holders")
def _hold_levels(question: Question, table: Table) -> IntVector:
    name, levels = question.arguments["column"], question.arguments["levels"]
    index = level_index(rows_for(question, table, [name]), name, levels, others="drop")
    return (np.bincount(index[index >= 0], minlength=len(levels)) > 0).astype(np.int64)
