"""Adaptive refinement: as fine as two classes need to be told apart, and no finer.

A histogram of 2¹² bins on the score's key comes first; then only bins that hold more than one class are split into 2⁴
children, until no bin is mixed or the key has no more bits (true ties). The leaves order every positive against every
negative exactly, so AUC, DeLong's variance and the ROC curve from them are those of the pooled scores, while two
patients of one class are never told apart. Several scores refine in the same rounds (`together`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_liver.stats import keys
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.rows import level_index, numbers, rows_for

FIRST_BITS = 12
STEP_BITS = 4
BINARY_LEVELS = ("0", "1")


@dataclass(frozen=True, slots=True)
class Leaves:
    """Bins in ascending key order that together hold every row.

    low     (b,) uint64, smallest key of each bin
    counts  (classes, b) int64, pooled rows of each class in each bin; no bin is empty
    key     the map from scores to keys
    """

    low: NDArray[np.uint64]
    counts: NDArray[np.int64]
    key: keys.Key

    def thresholds(self) -> NDArray[np.float64]:
        """(b,) lower edge of each bin on the score scale: score >= edge for this bin and all above it."""
        return keys.lower_edge(self.key, self.low)


def bins_question(
    column: str,
    label: str | None,
    levels: Sequence[str],
    key: keys.Key,
    active: NDArray[np.uint64],
    depth: int,
    step: int,
    complete: Sequence[str] = (),
    others: str = "refuse",
    bound: int | None = None,
) -> Question:
    """Ask for the class counts in the 2^step children of the active bins.

    active: (a,) ascending prefixes of `depth` bits. The answer is (classes, a · 2^step), flattened; without a `label`
    there is one class. `others`: what a site does with rows whose label is not in `levels` ("refuse" or "drop").
    `bound`: rows of the largest class over all hospitals, where that is known.
    """
    classes = len(levels) if label is not None else 1
    arguments = {
        "column": column,
        "label": label,
        "levels": list(levels),
        "key": key,
        "depth": depth,
        "step": step,
        "complete": list(complete),
        "others": others,
    }
    return Question("bins", arguments, classes * len(active) << step, {"active": active}, bound)


@answers("bins")
def _bins(question: Question, table: Table) -> IntVector:
    named = question.arguments
    column, label, key = named["column"], named["label"], named["key"]
    depth, step, active = int(named["depth"]), int(named["step"]), question.arrays["active"]
    chosen = rows_for(question, table, [column] if label is None else [column, label])
    if len(chosen) == 0:
        return np.zeros(question.length, np.int64)
    image = keys.encode(key, numbers(chosen, column)) >> np.uint64(keys.KEY_BITS[key] - depth - step)
    kind = (
        np.zeros(len(chosen), np.int64)
        if label is None
        else level_index(chosen, label, named["levels"], others=named["others"])
    )
    parent = image >> np.uint64(step)
    place = np.minimum(np.searchsorted(active, parent), len(active) - 1)
    asked = (active[place] == parent) & (kind >= 0)
    child = (place << step) + (image & np.uint64((1 << step) - 1)).astype(np.int64)
    flat = kind * (len(active) << step) + child
    return np.bincount(flat[asked], minlength=question.length).astype(np.int64)


def children(active: NDArray[np.uint64], step: int) -> NDArray[np.uint64]:
    """(a,) prefixes → (a · 2^step,) prefixes that are `step` bits longer, in order."""
    longer = (active[:, None] << np.uint64(step)) | np.arange(1 << step, dtype=np.uint64)[None, :]
    return longer.ravel()


def allowed_children(question: Question, total: IntVector) -> NDArray[np.uint64]:
    """The prefixes that may be split after this question: those in which at least two classes fell.

    A site that has seen the pooled total refuses a next question whose `active` is not a subset of these. Empty once
    the key has no more bits.
    """
    named = question.arguments
    depth = int(named["depth"]) + int(named["step"])
    if depth >= keys.KEY_BITS[named["key"]]:
        return np.array([], np.uint64)
    counts = total.reshape(-1, len(question.arrays["active"]) << int(named["step"]))
    mixed = (counts > 0).sum(axis=0) > 1
    return np.compress(mixed, children(question.arrays["active"], int(named["step"])))


def refine(
    column: str,
    label: str,
    *,
    key: keys.Key = "float64",
    levels: Sequence[str] = BINARY_LEVELS,
    complete: Sequence[str] = (),
    others: str = "refuse",
    bound: int | None = None,
) -> Conversation[Leaves]:
    """Refine the bins of one score until no bin holds two classes, or the key ends.

    Args:
        column, label: the score, any finite number, and the class; rows in which one is missing are left out.
        key: "float64" (14 rounds at most) or "logit32" (6 at most; for log-odds).
        levels: level names of `label`, one class each.
        complete: further columns in which a row must not be missing (the other scores of a paired comparison).
        others: "refuse" (a site refuses rows of a level that is not listed) or "drop".
        bound: rows of the largest class, where an earlier count of the same rows told; else the first histogram tells.
    Returns:
        Leaves whose counts have one row per level, in the order of `levels`.
    """
    bits = keys.KEY_BITS[key]
    active, depth, step = np.zeros(1, np.uint64), 0, FIRST_BITS
    lows: list[NDArray[np.uint64]] = []
    parts: list[NDArray[np.int64]] = []
    while True:
        question = bins_question(column, label, levels, key, active, depth, step, complete, others, bound)
        (total,) = yield [question]
        counts = total.reshape(len(levels), -1)
        bound = int(counts.sum(axis=1).max()) if bound is None else bound
        split_next = allowed_children(question, total)
        prefixes = children(active, step)
        leaf = (counts.sum(axis=0) > 0) & ~np.isin(prefixes, split_next)
        lows.append(prefixes[leaf] << np.uint64(bits - depth - step))
        parts.append(counts[:, leaf])
        active, depth = split_next, depth + step
        if len(active) == 0:
            break
        step = min(STEP_BITS, bits - depth)
    low = np.concatenate(lows)
    order = np.argsort(low)
    return Leaves(low[order], np.concatenate(parts, axis=1)[:, order], key)


def leaf_of(leaves_low: NDArray[np.uint64], key: keys.Key, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) scores → the place of each one's bin among the bins that start at `leaves_low` (ascending)."""
    return (np.searchsorted(leaves_low, keys.encode(key, values), side="right") - 1).astype(np.int64)
