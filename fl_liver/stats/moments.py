"""Number of rows, mean and standard deviation of columns over all hospitals.

Σx first, then Σ(x − mean)² about the public mean: nothing cancels. Real sums travel in two limbs at any scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation, Question, Table
from fl_liver.stats.design import Term
from fl_liver.stats.real_sums import answers_reals, real_sums
from fl_liver.stats.rows import rows_for


@dataclass(frozen=True, slots=True)
class Moments:
    """n complete rows; mean and sd (n,) per term; sd has the divisor n − 1 and is NaN for n < 2."""

    n: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]


def moments(terms: Sequence[Term], *, complete: Sequence[str] = ()) -> Conversation[Moments]:
    """Means and standard deviations over the rows in which every term's column (and `complete`) has a value.

    Raises:
        DataError: no such row.
    """
    arguments = {"terms": [term.to_json() for term in terms], "complete": list(complete)}
    zero = {"centre": np.zeros(len(terms)), "power": np.ones(len(terms), np.int64)}
    sums = yield from real_sums("moments", arguments, len(terms) + 1, arrays=zero)
    n = round(float(sums[-1]))
    if n == 0:
        raise DataError(f"no hospital has a row with {', '.join(t.column for t in terms)} all present")
    centre = sums[:-1] / n
    about = {"centre": centre, "power": np.full(len(terms), 2, np.int64)}
    squares = yield from real_sums("moments", arguments, len(terms) + 1, arrays=about)
    spread = tuple(math.sqrt(float(s) / (n - 1)) if n > 1 else math.nan for s in squares[:-1])
    return Moments(n, tuple(float(c) for c in centre), spread)


@answers_reals("moments")
def _moments(question: Question, table: Table) -> NDArray[np.float64]:
    terms = [Term(t["column"], t["level"], t["logit"]) for t in question.arguments["terms"]]
    chosen = rows_for(question, table, list(dict.fromkeys(t.column for t in terms)))
    centre, power = question.arrays["centre"], question.arrays["power"]
    sums = [
        math.fsum(((term.values(chosen) - centre[place]) ** int(power[place])).tolist())
        for place, term in enumerate(terms)
    ]
    return np.array([*sums, float(len(chosen))])
