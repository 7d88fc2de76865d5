"""Groups of equal size over all hospitals: the cuts at type-7 quantiles, without learning a quantile.

Group j ends at the patient of rank ⌊(N−1)·j/g⌋ (0 is the smallest): everybody up to that patient's value, ties
included, is in it or below. That is (a, b] of R's type-7 quantiles. The search stops as soon as a bin ends exactly at
that rank, so that the cut is a bin edge and not a patient's value wherever neighbours differ. Where a quantile is the
smallest value itself, tied, R's first interval [min, next quantile] goes on to the next cut, and so does the group: a
quantile that is one patient's value exactly ((N−1)·j/g is whole) is searched on as long as all up to it share a bin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl_liver.stats import keys
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.refine import FIRST_BITS, STEP_BITS, bins_question


def group_cuts(
    column: str, count: int, groups: int, *, complete: Sequence[str] = ()
) -> Conversation[NDArray[np.uint64]]:
    """Ascending last keys (`float64` keys) of all groups but the last; ties can leave fewer than `groups` − 1.

    count: complete rows of `column` and `complete` over all hospitals.
    """
    walks, whole = _ranks(count, groups)
    cuts: dict[int, int] = {}  # rows up to the cut: its last key; tied ranks share a cut
    depth, step = 0, FIRST_BITS
    while walks:
        active = np.array(sorted({place for place, _ in walks.values()}), np.uint64)
        question = bins_question(column, None, (), "float64", active, depth, step, complete, bound=count)
        (total,) = yield [question]
        depth += step
        shift = keys.KEY_BITS["float64"] - depth
        held = dict(zip(active.tolist(), total.reshape(len(active), 1 << step), strict=True))
        for rank, (place, below) in list(walks.items()):
            upto = below + np.cumsum(held[place])
            child = int(np.searchsorted(upto, rank, side="right"))
            found, rows, inside = (place << step) + child, int(upto[child]), int(held[place][child])
            ends, lowest = rows == rank + 1, rows == inside
            perhaps_minimum = ends and lowest and rank in whole
            if ends or (shift == 0 and not lowest):
                cuts.setdefault(rows, ((found + 1) << shift) - 1)
            if shift == 0 and perhaps_minimum:
                del cuts[rows]
            if shift == 0 or (ends and not perhaps_minimum):
                del walks[rank]
            else:
                walks[rank] = found, rows - inside
        step = min(STEP_BITS, shift)
    return np.array(sorted(cuts.values()), np.uint64)


def _ranks(count: int, groups: int) -> tuple[dict[int, tuple[int, int]], set[int]]:
    """{rank: (bin, rows below the bin)} to begin with, and the ranks whose quantiles are all a patient's very value."""
    places = [divmod((count - 1) * j, groups) for j in range(1, groups)]
    between = {rank for rank, rest in places if rest}
    return dict.fromkeys(sorted({rank for rank, _ in places}), (0, 0)), {rank for rank, _ in places} - between


def group_of(cuts: NDArray[np.uint64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) group of each value: how many cuts lie below it."""
    return np.searchsorted(cuts, keys.float64_key(values), side="left").astype(np.int64)
