"""Groups of equal size over all hospitals: the cuts at type-7 quantiles, without learning a quantile.

Group j ends at the patient of rank ⌊(N−1)·j/g⌋ (0 is the smallest): everybody up to that patient's value, ties
included, is in it or below. That is (a, b] of R's type-7 quantiles. The search stops as soon as a bin ends exactly at
that rank, so that the cut is a bin edge and not a patient's value wherever neighbours differ. Where a quantile is the
smallest value itself, tied, R's first interval [min, next quantile] goes on to the next cut, and so does the group.
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
    ranks = sorted({(count - 1) * j // groups for j in range(1, groups)})
    walks = dict.fromkeys(ranks, (0, 0))  # rank: (bin, rows below the bin)
    cuts: dict[int, int] = {}  # rows up to the cut: its last key; tied ranks share a cut
    depth, step = 0, FIRST_BITS
    while walks:
        active = np.array(sorted({place for place, _ in walks.values()}), np.uint64)
        question = bins_question(column, None, (), "float64", active, depth, step, complete, bound=count)
        (total,) = yield [question]
        depth += step
        shift = keys.KEY_BITS["float64"] - depth
        held = total.reshape(len(active), 1 << step)
        rows = {int(place): row for row, place in enumerate(active)}
        for rank, (place, below) in list(walks.items()):
            upto = below + np.cumsum(held[rows[place]])
            child = int(np.searchsorted(upto, rank, side="right"))
            found = (place << step) + child
            if int(upto[child]) == rank + 1 or shift == 0:
                del walks[rank]
                if upto[child] > held[rows[place]][child] or int(upto[child]) == rank + 1:
                    cuts.setdefault(int(upto[child]), ((found + 1) << shift) - 1)
            else:
                walks[rank] = found, int(upto[child] - held[rows[place]][child])
        step = min(STEP_BITS, shift)
    return np.array(sorted(cuts.values()), np.uint64)


def group_of(cuts: NDArray[np.uint64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) group of each value: how many cuts lie below it."""
    return np.searchsorted(cuts, keys.float64_key(values), side="left").astype(np.int64)
