"""Fleiss' kappa: agreement of several raters who all rated all patients.

Fleiss, Psychol Bull 76 (1971) 378-382; the standard error under no agreement is that of Fleiss, Nee and Landis, Psychol
Bull 86 (1979) 974-977, as in R irr::kappam.fleiss. From K category totals, Σ n_ij², patients, and unanimous ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.levels import learn_levels
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import level_index, rows_for


@dataclass(frozen=True, slots=True)
class FleissKappa:
    """`agree_percent` is the share of patients on whom all raters agree, in per cent."""

    kappa: float
    z: float
    p: float
    subjects: int
    raters: int
    agree_percent: float

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def fleiss_from_sums(category_totals: Sequence[int], squares: int, unanimous: int, raters: int) -> FleissKappa:
    """Fleiss' kappa from the sums over all patients.

    Args:
        category_totals: ratings in each category, over patients and raters.
        squares: Σ over patients and categories of n_ij².
        unanimous: patients on whom all raters agree.

    >>> sums = [137, 109], 51 * 9 + 31 * 5, 51                # Wang 2021, external: prints kappa 0.489, 51 of 82 agree
    >>> round(fleiss_from_sums(*sums, raters=3).kappa, 3)
    0.489
    """
    ratings = sum(category_totals)
    n, m = ratings // raters, raters
    agree = 100 * unanimous / n
    chance = sum(total * total for total in category_totals)
    if chance == ratings**2:
        return FleissKappa(math.nan, math.nan, math.nan, n, m, agree)
    observed = (squares - n * m) / (n * m * (m - 1))
    kappa = (observed - chance / ratings**2) / (1 - chance / ratings**2)
    q = [(total, ratings - total) for total in category_totals]
    spread = sum(a * b for a, b in q)
    skew = sum(a * b * (b - a) for a, b in q)
    variance = 2 * (spread**2 - ratings * skew) / (spread**2 * n * m * (m - 1))
    z = kappa / math.sqrt(variance)
    return FleissKappa(kappa, z, float(2 * stats.norm.sf(abs(z))), n, m, agree)


def fleiss_kappa(raters: Sequence[str], *, min_cell: int = 5) -> Conversation[FleissKappa]:
    """Agreement of three or more columns of ratings, over the levels that any rater uses.

    Raises:
        PrivacyError: a category was given fewer than `min_cell` times over all raters.
    """
    levels = yield from learn_levels(raters, min_cell=min_cell)
    arguments = {"raters": list(raters), "levels": levels}
    (total,) = yield [Question("rating_sums", arguments, len(levels) + 2)]
    *categories, squares, unanimous = total.tolist()
    require_somebody(sum(categories), f"Fleiss' kappa of {', '.join(raters)}")
    require_floor({f"category {level}": n for level, n in zip(levels, categories, strict=True)}, min_cell)
    return fleiss_from_sums(categories, squares, unanimous, len(raters))


@answers("rating_sums")
def _add_ratings(question: Question, table: Table) -> IntVector:
    raters, levels = question.arguments["raters"], question.arguments["levels"]
    chosen = rows_for(question, table, raters)
    codes = np.stack([level_index(chosen, rater, levels) for rater in raters])
    given = np.stack([(codes == level).sum(0) for level in range(len(levels))])
    unanimous = (given == len(raters)).any(0).sum()
    return np.array([*given.sum(1), (given**2).sum(), unanimous], dtype=np.int64)
