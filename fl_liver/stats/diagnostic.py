"""A score cut at a threshold: the four counts and everything that follows from them.

`score >= threshold` is positive. Intervals are Clopper-Pearson. F1 is printed without an interval: it is not a binomial
share, and papers that print one for it treat it as if it were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.kappa import kappa_of_table
from fl_liver.stats.proportion import with_limits
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import binary, numbers, rows_for

WithLimits = tuple[float, float, float]
"""(estimate, low, high)"""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Counts and accuracy at one threshold; kappa is between score and label, its z under no agreement."""

    tp: int
    fp: int
    fn: int
    tn: int
    sensitivity: WithLimits
    specificity: WithLimits
    ppv: WithLimits
    npv: WithLimits
    accuracy: WithLimits
    f1: float
    kappa: float
    kappa_z: float
    kappa_p: float

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def diagnostic_from_counts(tp: int, fp: int, fn: int, tn: int) -> Diagnostic:
    """All figures of a 2 × 2 table of call and truth.

    >>> round(diagnostic_from_counts(tp=236, fp=76, fn=28, tn=216).f1, 4)      # Wang 2021, external, prints 0.819
    0.8194
    """
    agreement = kappa_of_table(np.array([[tp, fn], [fp, tn]]))
    return Diagnostic(
        tp=tp,
        fp=fp,
        fn=fn,
        tn=tn,
        sensitivity=with_limits(tp, tp + fn),
        specificity=with_limits(tn, tn + fp),
        ppv=with_limits(tp, tp + fp),
        npv=with_limits(tn, tn + fn),
        accuracy=with_limits(tp + tn, tp + fp + fn + tn),
        f1=2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan,
        kappa=agreement.kappa,
        kappa_z=agreement.z,
        kappa_p=agreement.p,
    )


def diagnostic(score: str, label: str, threshold: float, *, min_cell: int = 5) -> Conversation[Diagnostic]:
    """The accuracy of `score >= threshold` for `label` (0/1).

    Raises:
        PrivacyError: a class is below the floor. The four counts have no floor of their own.
    """
    n_neg, n_pos = yield from class_counts(score, label, min_cell=min_cell)
    (fp,), (tp,) = yield from counts_at(score, label, [threshold])
    return diagnostic_from_counts(tp=tp, fp=fp, fn=n_pos - tp, tn=n_neg - fp)


def class_counts(score: str, label: str, *, min_cell: int) -> Conversation[tuple[int, int]]:
    """(negatives, positives) among the rows that have both columns, each 0 or at least `min_cell`."""
    (total,) = yield [Question("class_counts", {"score": score, "label": label}, 2)]
    n_neg, n_pos = total.tolist()
    require_somebody(n_neg + n_pos, f"'{score}' against '{label}'")
    require_floor({f"{label} = 0": n_neg, f"{label} = 1": n_pos}, min_cell)
    return n_neg, n_pos


def counts_at(score: str, label: str, thresholds: Sequence[float]) -> Conversation[tuple[list[int], list[int]]]:
    """(false positives, true positives) at each threshold of the plan."""
    if not np.isfinite(thresholds).all():
        raise DataError(f"'{score}': a threshold is not finite")
    arguments = {"score": score, "label": label, "thresholds": [float(one) for one in thresholds]}
    (total,) = yield [Question("counts_at_thresholds", arguments, 2 * len(thresholds))]
    fp, tp = total.reshape(2, -1).tolist()
    return fp, tp


@answers("class_counts")
def _count_classes(question: Question, table: Table) -> IntVector:
    _, labels = _score_and_label(question, table)
    return np.array([(~labels).sum(), labels.sum()], dtype=np.int64)


@answers("counts_at_thresholds")
def _count_positive_calls(question: Question, table: Table) -> IntVector:
    scores, labels = _score_and_label(question, table)
    thresholds = np.asarray(question.arguments["thresholds"], dtype=np.float64)
    of_class = (np.sort(scores[one]) for one in (~labels, labels))
    above = [one.size - np.searchsorted(one, thresholds, side="left") for one in of_class]
    return np.concatenate(above).astype(np.int64)


def _score_and_label(question: Question, table: Table) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    score, label = question.arguments["score"], question.arguments["label"]
    chosen = rows_for(question, table, [score, label])
    return numbers(chosen, score), binary(chosen, label)
