"""Size, mean and standard deviation of a column in groups, over hospitals.

Two exchanges of real sums: Σx, then Σ(x − mean)² around the public mean of each group, so that nothing cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_liver.stats.conversation import Conversation, Question, Table
from fl_liver.stats.cross_table import cross_table
from fl_liver.stats.real_sums import answers_reals, real_sums
from fl_liver.stats.rows import level_index, numbers, rows_for

FloatVector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """n patients with this mean; `squares` is Σ(x − mean)². NaN where n is 0."""

    n: int
    mean: float
    squares: float

    @property
    def sd(self) -> float:
        """Standard deviation with n − 1; NaN below two patients."""
        return math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else math.nan


def group_moments(
    x: str, group: str, levels: Sequence[str], complete: Sequence[str] = ()
) -> Conversation[list[Moments]]:
    """Moments of `x` at each level of `group`, among rows with both. Floors are the caller's, before it asks.

    Raises:
        DataError: at a site, `x` is not a column of finite numbers.
    """
    (sizes,) = yield [cross_table({group: levels}, [x, *complete])]
    asked = {"x": x, "group": group, "levels": list(levels), "complete": list(complete)}
    sums = yield from real_sums("group_sums", asked, len(levels))
    means = [s / n if n else math.nan for s, n in zip(sums.tolist(), sizes.tolist(), strict=True)]
    centres = np.array([0.0 if math.isnan(mean) else mean for mean in means])
    squares = yield from real_sums("group_squares", asked, len(levels), arrays={"centres": centres})
    return [Moments(n, mean, ss) for n, mean, ss in zip(sizes.tolist(), means, squares.tolist(), strict=True)]


def _by_group(question: Question, table: Table) -> list[FloatVector]:
    x, group, levels = (question.arguments[key] for key in ("x", "group", "levels"))
    chosen = rows_for(question, table, [x, group])
    index, values = level_index(chosen, group, levels, others="drop"), numbers(chosen, x)
    return [values[index == place] for place in range(len(levels))]


@answers_reals("group_sums")
def _sums(question: Question, table: Table) -> FloatVector:
    return np.array([math.fsum(values) for values in _by_group(question, table)])


@answers_reals("group_squares")
def _squares(question: Question, table: Table) -> FloatVector:
    centres = question.arrays["centres"].tolist()
    groups = _by_group(question, table)
    return np.array([math.fsum((values - centre) ** 2) for values, centre in zip(groups, centres, strict=True)])
