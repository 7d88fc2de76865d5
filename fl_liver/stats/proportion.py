"""A proportion of patients with its interval; and the other intervals for counts that reports need.

Clopper and Pearson, Biometrika 26 (1934) 404-413; Wilson, JASA 22 (1927) 209-212; Newcombe, Stat Med 17 (1998) 873-890,
method 10, for a difference of two independent proportions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import binary, rows_for

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Proportion:
    """x of n patients, with the exact 95 % interval."""

    x: int
    n: int
    estimate: float
    ci95: Interval

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def clopper_pearson(x: int, n: int, level: float = 0.95) -> Interval:
    """The exact binomial interval of x out of n; x = 0 gives a lower limit of 0, x = n an upper one of 1.

    >>> tuple(round(limit, 4) for limit in clopper_pearson(171, 218))     # R binom.test: 0.7238215 0.8370771
    (0.7238, 0.8371)
    """
    if n == 0:
        return (math.nan, math.nan)
    tail = (1 - level) / 2
    low = 0.0 if x == 0 else float(special.betaincinv(x, n - x + 1, tail))
    high = 1.0 if x == n else float(special.betainccinv(x + 1, n - x, tail))
    return (low, high)


def wilson(x: int, n: int, level: float = 0.95) -> Interval:
    """The score interval of x out of n, without continuity correction.

    >>> tuple(round(limit, 4) for limit in wilson(9, 9))                  # R prop.test(9, 9, correct = FALSE): 0.7009 1
    (0.7009, 1.0)
    """
    if n == 0:
        return (math.nan, math.nan)
    z = float(special.ndtri(0.5 + level / 2))
    share = x / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (0.0 if x == 0 else centre - half, 1.0 if x == n else centre + half)


def newcombe(x1: int, n1: int, x2: int, n2: int, level: float = 0.95) -> Interval:
    """The hybrid score interval of x1/n1 - x2/n2, two independent groups.

    >>> tuple(round(limit, 4) for limit in newcombe(56, 70, 48, 80))      # Newcombe 1998, table II (a): 0.0524 0.3339
    (0.0524, 0.3339)
    """
    if n1 == 0 or n2 == 0:
        return (math.nan, math.nan)
    (low1, high1), (low2, high2) = wilson(x1, n1, level), wilson(x2, n2, level)
    p1, p2 = x1 / n1, x2 / n2
    return (p1 - p2 - math.hypot(p1 - low1, high2 - p2), p1 - p2 + math.hypot(high1 - p1, p2 - low2))


def as_proportion(x: int, n: int) -> Proportion:
    """x of n with its Clopper-Pearson interval; everything NaN where n is 0."""
    return Proportion(x=x, n=n, estimate=x / n if n else math.nan, ci95=clopper_pearson(x, n))


def with_limits(x: int, n: int) -> tuple[float, float, float]:
    """(estimate, low, high) of x out of n, Clopper-Pearson; NaN where n is 0."""
    return (x / n if n else math.nan, *clopper_pearson(x, n))


def proportion(column: str, *, min_cell: int = 5) -> Conversation[Proportion]:
    """How many of the patients with a value in `column` have a 1 there.

    Raises:
        PrivacyError: those with, or those without, are fewer than `min_cell` but somebody.
    """
    (total,) = yield [Question("zero_one_counts", {"column": column}, 2)]
    without, x = total.tolist()
    require_somebody(without + x, f"proportion of '{column}'")
    require_floor({f"{column} = 0": without, f"{column} = 1": x}, min_cell)
    return as_proportion(x, without + x)


@answers("zero_one_counts")
def _count(question: Question, table: Table) -> IntVector:
    column = question.arguments["column"]
    ones = binary(rows_for(question, table, [column]), column)
    return np.array([(~ones).sum(), ones.sum()], dtype=np.int64)
