"""Several groups compared on a number: Kruskal-Wallis H, and the one-way analysis of variance beside it.

Kruskal and Wallis, JASA 47 (1952) 583-621, with the tie correction, as in R kruskal.test; F as in R aov.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import stats

from fl_liver.errors import ConfigError
from fl_liver.stats.compose import together
from fl_liver.stats.conversation import Conversation, IntVector
from fl_liver.stats.group_moments import Moments, group_moments
from fl_liver.stats.groups import groups_of
from fl_liver.stats.order_search import Grouping, refine_groups
from fl_liver.stats.result import json_fields


@dataclass(frozen=True, slots=True)
class KruskalWallis:
    """H with df degrees of freedom, and the F, means and SDs of the same groups. NaN where all values are equal."""

    groups: tuple[str, ...]
    n: tuple[int, ...]
    H: float
    df: int
    p: float
    F: float
    F_p: float
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def kruskal_wallis(x: str, group: str, levels: Sequence[str] = (), *, min_cell: int = 5) -> Conversation[KruskalWallis]:
    """Compare `x` between the levels of `group`; without `levels`, those that occur.

    Raises:
        ConfigError: fewer than two levels.
        PrivacyError: a group is below the floor.
        DataError: a named group is empty, or `x` is not a column of finite numbers.
    """
    levels, sizes = yield from groups_of(x, group, levels, min_cell=min_cell)
    if len(levels) < 2:
        raise ConfigError(f"Kruskal-Wallis of '{x}': '{group}' has {len(levels)} level, two or more are compared")
    of = Grouping(columns=(x,), group=group, levels=tuple(levels))
    asked: list[Conversation[Any]] = [
        refine_groups(of, "occupied", bound=max(sizes)),
        group_moments(x, group, levels),
    ]
    leaves, moments = yield from together(asked)
    h = kruskal_h(leaves.counts, leaves.ties())
    df = len(levels) - 1
    f, f_p = one_way_f(moments)
    return KruskalWallis(
        groups=tuple(levels),
        n=tuple(sizes),
        H=h,
        df=df,
        p=float(stats.chi2.sf(h, df)),
        F=f,
        F_p=f_p,
        mean=tuple(one.mean for one in moments),
        sd=tuple(one.sd for one in moments),
    )


def kruskal_h(counts: IntVector, ties: int) -> float:
    """H from (groups, ranges) counts in increasing order of the value; NaN where all values are equal.

    Args:
        ties: Σ (t³ − t) over tied values.
    """
    held = counts.sum(0).astype(object)
    n = int(held.sum())
    twice_midrank = 2 * np.cumsum(held) - held + 1
    if n**3 - n == ties:
        return math.nan
    ranks = [(int((row.astype(object) * twice_midrank).sum()), int(row.sum())) for row in counts]
    between = sum(Fraction(total * total, 4 * size) for total, size in ranks if size)
    h = 12 * between / (n * (n + 1)) - 3 * (n + 1)
    return float(h / (1 - Fraction(ties, n**3 - n)))


def one_way_f(moments: Sequence[Moments]) -> tuple[float, float]:
    """F and its p of a one-way analysis of variance; NaN where nothing varies within the groups."""
    n = sum(one.n for one in moments)
    mean = math.fsum(one.n * one.mean for one in moments) / n
    between = math.fsum(one.n * (one.mean - mean) ** 2 for one in moments)
    within = math.fsum(one.squares for one in moments)
    df_between, df_within = len(moments) - 1, n - len(moments)
    if df_within <= 0 or within == 0:
        return math.nan, math.nan
    f = (between / df_between) / (within / df_within)
    return f, float(stats.f.sf(f, df_between, df_within))
