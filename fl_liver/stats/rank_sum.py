"""Two groups compared on a number: Mann-Whitney U with its p-values, and Welch's t test beside it.

Mann and Whitney, Ann Math Stat 18 (1947) 50-60; p-values as in R wilcox.test (normal with tie correction, with and
without continuity correction; exact where both groups have fewer than 50 patients and no two values are equal).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from fl_liver.errors import ConfigError
from fl_liver.stats.compose import together
from fl_liver.stats.conversation import Conversation, IntVector
from fl_liver.stats.group_moments import Moments, group_moments
from fl_liver.stats.groups import groups_of
from fl_liver.stats.order_search import Grouping, Leaves, refine_groups
from fl_liver.stats.quantile import Quantile, group_quantiles
from fl_liver.stats.result import json_fields

EXACT_BELOW = 50
"""Groups smaller than this get an exact p-value, as in R."""


@dataclass(frozen=True, slots=True)
class RankSum:
    """U counts the pairs in which the first group's value is the larger, ties one half.

    p_exact is None where a group has 50 patients or more, or values are tied. A median is an interval (low, high) where
    the floor forbids the value itself.
    """

    groups: tuple[str, str]
    n: tuple[int, int]
    U: float
    p_cc: float
    p_nocc: float
    p_exact: float | None
    welch_t: float
    welch_df: float
    welch_p: float
    mean: tuple[float, float]
    sd: tuple[float, float]
    median: tuple[Quantile, Quantile]

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def rank_sum(
    x: str, group: str, levels: Sequence[str] = (), *, resolution: float = 0.0, min_cell: int = 5
) -> Conversation[RankSum]:
    """Compare `x` between two levels of `group`; without `levels`, the two that occur, in level order.

    Args:
        resolution: the unit to which medians are released; 0 releases the value (min_cell 1) or an interval.
    Raises:
        ConfigError: not two levels.
        PrivacyError: a group is below the floor.
        DataError: a group is empty, or `x` is not a column of finite numbers.
    """
    levels, sizes = yield from groups_of(x, group, levels, min_cell=min_cell)
    if len(levels) != 2:
        raise ConfigError(f"rank sum of '{x}': '{group}' has {len(levels)} levels, name two with levels = [a, b]")
    of = Grouping(columns=(x,), group=group, levels=tuple(levels))
    rounded = Grouping(columns=(x,), group=group, levels=tuple(levels), resolution=resolution)
    asked: list[Conversation[Any]] = [
        refine_groups(of, "occupied", bound=max(sizes)),
        group_moments(x, group, levels),
        group_quantiles(rounded, sizes, [0.5], min_cell=min_cell),
    ]
    leaves, moments, quantiles = yield from together(asked)
    return _finish(levels, leaves, moments, [one[0] for one in quantiles])


def _finish(levels: Sequence[str], leaves: Leaves, moments: Sequence[Moments], medians: Sequence[Quantile]) -> RankSum:
    first, second = moments
    n = (first.n, second.n)
    u, ties = mann_whitney_u(leaves.counts), leaves.ties()
    p_cc, p_nocc = normal_p(u, *n, ties)
    t, df, p = welch(first, second)
    return RankSum(
        groups=(levels[0], levels[1]),
        n=n,
        U=u,
        p_cc=p_cc,
        p_nocc=p_nocc,
        p_exact=exact_p(int(u), *n) if ties == 0 and max(n) < EXACT_BELOW else None,
        welch_t=t,
        welch_df=df,
        welch_p=p,
        mean=(first.mean, second.mean),
        sd=(first.sd, second.sd),
        median=(medians[0], medians[1]),
    )


def mann_whitney_u(counts: IntVector) -> float:
    """U of the first group from (2, ranges) counts in increasing order of the value.

    >>> mann_whitney_u(np.array([[0, 1, 1], [1, 1, 0]]))
    3.5
    """
    first, second = (row.astype(object) for row in counts)
    twice_below = 2 * np.cumsum(second) - second
    return int((first * twice_below).sum()) / 2


def normal_p(u: float, n1: int, n2: int, ties: int) -> tuple[float, float]:
    """Two-sided p with and without continuity correction; 1 where all values are equal.

    Args:
        ties: Σ (t³ − t) over tied values.
    """
    n = n1 + n2
    variance = n1 * n2 * (n * (n * n - 1) - ties) / (12 * n * (n - 1)) if n > 1 else 0.0
    if variance <= 0:
        return 1.0, 1.0
    away = abs(u - n1 * n2 / 2)
    sd = math.sqrt(variance)
    with_correction = min(1.0, 2 * float(stats.norm.sf((away - 0.5) / sd))) if away else 1.0
    return with_correction, min(1.0, 2 * float(stats.norm.sf(away / sd)))


def exact_p(u: int, n1: int, n2: int) -> float:
    """Two-sided exact p of U without ties: twice the smaller tail, at most 1.

    >>> round(exact_p(9, 6, 5), 6)                         # R wilcox.test(..., exact = TRUE): 0.329004
    0.329004
    """
    ways = _arrangements(n1, n2)
    tail = sum(ways[: min(u, n1 * n2 - u) + 1])
    return min(1.0, 2 * tail / sum(ways))


def welch(first: Moments, second: Moments) -> tuple[float, float, float]:
    """Welch's t, its degrees of freedom and two-sided p; NaN where a group has one patient or nothing varies."""
    if first.n < 2 or second.n < 2:
        return math.nan, math.nan, math.nan
    a, b = first.sd**2 / first.n, second.sd**2 / second.n
    if a + b == 0:
        return math.nan, math.nan, math.nan
    t = (first.mean - second.mean) / math.sqrt(a + b)
    df = (a + b) ** 2 / (a * a / (first.n - 1) + b * b / (second.n - 1))
    return t, df, 2 * float(stats.t.sf(abs(t), df))


def _arrangements(n1: int, n2: int) -> list[int]:
    """How many of the orders of n1 + n2 patients give each U: the coefficients of the Gaussian binomial."""
    ways = [1] + [0] * (n1 * n2)
    for i in range(1, n1 + 1):
        for u in range(n1 * n2, n2 + i - 1, -1):
            ways[u] -= ways[u - n2 - i]
        for u in range(i, n1 * n2 + 1):
            ways[u] += ways[u - i]
    return ways
