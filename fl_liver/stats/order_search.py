"""Order statistics over hospitals: by sums of how many patients fall into the 16 children of a beginning of a key.

Every float64 has an order-preserving 64-bit key (`fl_liver.stats.keys`). `search_ranks` walks from the whole key range
towards the patients of given ranks, twelve bits in the first exchange and four in each that follows, and so finds
medians and quartiles exactly; with a floor it stops at the narrowest range that still holds `min_cell` patients.
`refine_groups` splits key ranges until every range that matters holds one value: from its counts follow rank tests
(Mann-Whitney, Kruskal-Wallis, any AUC), ties included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.keys import float64_from_key, float64_key
from fl_liver.stats.rows import level_index, numbers, rows_for

KEY_BITS = 64
FIRST_BITS = 12
STEP_BITS = 4

KeyVector = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which values are ordered, in which groups.

    columns        the values; several are stacked one under the other
    levels         the groups: levels of `group`; with no `group`, everybody is the one group
    one_hot        two groups instead: of the values in column i, those of the rows with level i (1) and the rest (0)
    complete       further columns in which a row must have a value
    resolution     the unit to which values are rounded first; 0 takes them as they are
    """

    columns: tuple[str, ...]
    group: str = ""
    levels: tuple[str, ...] = ()
    one_hot: bool = False
    complete: tuple[str, ...] = ()
    resolution: float = 0.0

    @property
    def groups(self) -> int:
        """How many groups there are."""
        if self.one_hot:
            return 2
        return len(self.levels) if self.group else 1


@dataclass(frozen=True, slots=True)
class Leaves:
    """Key ranges in increasing order and how many patients of each group they hold.

    counts   (groups, ranges)
    single   (ranges,) True where all patients of the range have the very same value
    """

    counts: IntVector
    single: NDArray[np.bool_]

    def ties(self) -> int:
        """Σ (t³ − t) over the tied values; exact only where the refinement split every occupied range."""
        tied = self.counts.sum(0)[self.single].tolist()
        return sum(t**3 - t for t in tied)


Split = Literal["mixed", "occupied"]
"""Which ranges are split further: those with two groups in them (enough for ranks), or with two patients (for ties)."""


def refine_groups(of: Grouping, split: Split, *, bound: int | None = None) -> Conversation[Leaves]:
    """Count the groups in ever finer key ranges until none is left to split, or the key is used up (true ties).

    bound: values in the largest group, where an earlier count of the same rows told; else the first histogram tells.
    """
    starts: list[KeyVector] = []
    counts: list[IntVector] = []
    single: list[NDArray[np.bool_]] = []
    active, depth, bits = np.zeros(1, np.uint64), 0, FIRST_BITS
    while active.size:
        (total,) = yield [_children(of, active, depth, bits, bound)]
        depth += bits
        held = total.reshape(of.groups, -1)
        bound = int(held.max()) if bound is None else bound
        ranges = _child_ranges(active, bits)
        go_on = _to_split(held, split) if depth < KEY_BITS else np.zeros(ranges.size, np.bool_)
        done = ~go_on & (held.sum(0) > 0)
        starts.append(ranges[done] << np.uint64(KEY_BITS - depth))
        counts.append(held[:, done])
        single.append(np.full(int(done.sum()), depth == KEY_BITS))
        active, bits = ranges[go_on], STEP_BITS
    order = np.argsort(np.concatenate(starts), kind="stable")
    return Leaves(counts=np.concatenate(counts, axis=1)[:, order], single=np.concatenate(single)[order])


@dataclass(frozen=True, slots=True)
class Found:
    """The value of one rank: exact (`low` = `high`), or low <= value < high with at least `min_cell` patients there."""

    low: float
    high: float


def search_ranks(
    of: Grouping, ranks: Mapping[int, Sequence[int]], *, min_cell: int, bound: int | None = None
) -> Conversation[dict[tuple[int, int], Found]]:
    """The values of given ranks (0 is the smallest) of given groups, all in the same 14 exchanges or fewer.

    Args:
        ranks: {group: ranks}; a rank must be below the number of patients of its group.
        min_cell: with 1, or where the column has a resolution, values are exact.
        bound: values in the largest group, where an earlier count of the same rows told.
    Returns:
        {(group, rank): where it lies}
    """
    exact = min_cell <= 1 or of.resolution > 0
    floor = 1 if exact else min_cell
    walks = {(group, rank): (0, rank) for group, wanted in ranks.items() for rank in wanted}
    found: dict[tuple[int, int], Found] = {}
    depth, bits = 0, FIRST_BITS
    while walks and depth < KEY_BITS:
        active = np.array(sorted({beginning for beginning, _ in walks.values()}), dtype=np.uint64)
        (total,) = yield [_children(of, active, depth, bits, bound)]
        held = total.reshape(of.groups, active.size, -1)
        rows = {int(beginning): row for row, beginning in enumerate(active)}
        depth += bits
        for which, (beginning, within) in list(walks.items()):
            first, last, inside = _narrowed(held[which[0], rows[beginning]], within, floor)
            start = beginning << bits
            walks[which] = (start + first, inside)
            if inside < 0:
                found[which] = _range(start + first, start + last, depth)
                del walks[which]
        bits = STEP_BITS
    return found | {which: _range(key, key, KEY_BITS) for which, (key, _) in walks.items()}


def _children(of: Grouping, active: KeyVector, depth: int, bits: int, bound: int | None) -> Question:
    arguments = {
        "columns": list(of.columns),
        "group": of.group,
        "levels": list(of.levels),
        "one_hot": of.one_hot,
        "complete": list(of.complete),
        "resolution": of.resolution,
        "depth": depth,
        "bits": bits,
    }
    return Question("key_children", arguments, (of.groups * active.size) << bits, {"active": active}, bound)


def _child_ranges(active: KeyVector, bits: int) -> KeyVector:
    below = np.arange(1 << bits, dtype=np.uint64)
    return ((active[:, None] << np.uint64(bits)) | below[None, :]).ravel()


def _to_split(held: IntVector, split: Split) -> NDArray[np.bool_]:
    several: NDArray[np.bool_] = ((held > 0) if split == "mixed" else held).sum(0) > 1
    return several


def _narrowed(children: IntVector, within: int, floor: int) -> tuple[int, int, int]:
    """(child, child, rank within it), or (first, last, −1) where the child holds too few patients to go on."""
    upto = np.cumsum(children)
    child = int(np.searchsorted(upto, within, side="right"))
    if children[child] >= floor:
        return child, child, within - int(upto[child] - children[child])
    return (*narrowest_run(upto, child, floor), -1)


def narrowest_run(upto: IntVector, child: int, floor: int) -> tuple[int, int]:
    """The shortest run of neighbouring children around `child` that holds `floor` patients; their parent does.

    upto: (children,) patients in each child and those before it.
    """
    before = np.concatenate([[0], upto])[: child + 1]  # patients before each possible first child
    first = np.arange(child + 1)[before + floor <= upto[-1]]
    last = np.maximum(np.searchsorted(upto, before[first] + floor, side="left"), child)
    best = int(np.argmin(last - first))
    return int(first[best]), int(last[best])


def _range(first: int, last: int, depth: int) -> Found:
    shift = KEY_BITS - depth
    end = (last + 1) << shift if shift else last  # the value that the range stays below, or its only value
    low, high = float64_from_key(np.array([first << shift, min(end, 2**KEY_BITS - 1)], dtype=np.uint64)).tolist()
    return Found(low=low, high=high)


@answers("key_children")
def _count_children(question: Question, table: Table) -> IntVector:
    asked, active = question.arguments, question.arrays["active"]
    depth, bits = asked["depth"], asked["bits"]
    values, codes, groups = _values_and_groups(question, table)
    prefix = float64_key(values) >> np.uint64(KEY_BITS - depth - bits)
    parent = prefix >> np.uint64(bits) if depth else np.zeros_like(prefix)
    row = np.searchsorted(active, parent)
    row[row == active.size] = 0
    inside = active[row] == parent
    child = (prefix[inside] & np.uint64((1 << bits) - 1)).astype(np.int64)
    cell = ((codes[inside] * active.size + row[inside]) << bits) + child
    return np.bincount(cell, minlength=(groups * active.size) << bits).astype(np.int64)


def _values_and_groups(question: Question, table: Table) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    asked = question.arguments
    columns, group, levels = asked["columns"], asked["group"], asked["levels"]
    chosen = rows_for(question, table, [*columns, group] if group else columns)
    index = np.zeros(len(chosen), np.int64)
    if group:
        index = level_index(chosen, group, levels, others="drop")
    listed = index >= 0
    values = np.concatenate([numbers(chosen, name)[listed] for name in columns])
    if asked["resolution"] > 0:
        values = np.rint(values / asked["resolution"]) * asked["resolution"]
    if asked["one_hot"]:
        own = [(index[listed] == place).astype(np.int64) for place in range(len(columns))]
        return values, np.concatenate(own), 2
    return values, np.tile(index[listed], len(columns)), len(levels) if group else 1
