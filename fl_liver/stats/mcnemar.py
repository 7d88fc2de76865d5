"""Exact McNemar test: do two readers (or a reader and a model) call different shares of the same patients positive?

McNemar, Psychometrika 12 (1947) 153-157; the exact form is the binomial test of the discordant pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import binary, rows_for


@dataclass(frozen=True, slots=True)
class McNemar:
    """b patients have only the first, c only the second; `odds_ratio` is b/c (not a number where c is 0)."""

    b: int
    c: int
    p_exact: float
    odds_ratio: float

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def exact_mcnemar(b: int, c: int) -> McNemar:
    """The two-sided exact test from the two discordant counts; no discordant pair gives p = 1.

    >>> exact_mcnemar(5, 1).p_exact                        # R mcnemar.exact: 0.21875
    0.21875
    """
    tail = float(stats.binom.cdf(min(b, c), b + c, 0.5))
    return McNemar(b=b, c=c, p_exact=min(1.0, 2 * tail), odds_ratio=b / c if c else math.nan)


def mcnemar(first: str, second: str, *, min_cell: int = 5) -> Conversation[McNemar]:
    """Compare two 0/1 columns of the same patients.

    Raises:
        PrivacyError: a margin (first = 1, second = 0, …) is below the floor. b and c have no floor of their own.
    """
    (total,) = yield [Question("paired_zero_one", {"first": first, "second": second}, 4)]
    neither, c, b, both = total.tolist()
    require_somebody(neither + b + c + both, f"McNemar test of '{first}' and '{second}'")
    margins = {f"{first} = 1": b + both, f"{first} = 0": c + neither}
    margins |= {f"{second} = 1": c + both, f"{second} = 0": b + neither}
    require_floor(margins, min_cell)
    return exact_mcnemar(b, c)


@answers("paired_zero_one")
def _count(question: Question, table: Table) -> IntVector:
    names = [question.arguments["first"], question.arguments["second"]]
    first, second = (binary(rows_for(question, table, names), name) for name in names)
    return np.bincount(2 * first + second, minlength=4).astype(np.int64)
