"""Medians and quartiles of a column in groups, over hospitals: R's type 7 quantiles, by secure order search.

Hyndman and Fan, Am Stat 50 (1996) 361-365. With a floor and no declared resolution a quantile is released as the
narrowest interval that the search can name around it and that holds `min_cell` patients of the group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl_liver.stats.conversation import Conversation
from fl_liver.stats.order_search import Found, Grouping, search_ranks

Quantile = float | tuple[float, float]
"""A value, or (low, high) where the floor forbids the value; NaN for an empty group."""


def group_quantiles(
    of: Grouping, sizes: Sequence[int], shares: Sequence[float], *, min_cell: int
) -> Conversation[list[list[Quantile]]]:
    """Type 7 quantiles of each group: result[group][share].

    Args:
        of: the column and its groups.
        sizes: patients of each group with a value, each 0 or at least `min_cell`.
        shares: in [0, 1]; 0.5 is the median.
    """
    wanted = {group: _ranks(size, shares) for group, size in enumerate(sizes) if size}
    found = yield from search_ranks(of, wanted, min_cell=min_cell, bound=max(sizes, default=0))
    return [
        [_interpolated(found, group, size, share) if size else math.nan for share in shares]
        for group, size in enumerate(sizes)
    ]


def _ranks(size: int, shares: Sequence[float]) -> list[int]:
    return sorted({rank for share in shares for rank in _neighbours(size, share)[:2]})


def _neighbours(size: int, share: float) -> tuple[int, int, float]:
    place = (size - 1) * share
    low = math.floor(place)
    return low, math.ceil(place), place - low


def _interpolated(found: Mapping[tuple[int, int], Found], group: int, size: int, share: float) -> Quantile:
    low_rank, high_rank, weight = _neighbours(size, share)
    low, high = found[group, low_rank], found[group, high_rank]
    if low.low < low.high or high.low < high.high:
        return (low.low, high.high)
    return low.low if weight == 0 else (1 - weight) * low.low + weight * high.low
