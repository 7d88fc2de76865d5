"""The AUC inside hospitals, and how much it differs between them, beside the pooled AUC. From masked sums only.

The pooled AUC compares patients of different hospitals too; the within-centre AUC compares only pairs of one hospital:
Σ concordant pairs / Σ pairs, ties one half. Between-centre spread is DerSimonian and Laird's τ² (Control Clin Trials 7
(1986) 177–188) from Σw, Σw·auc, Σw·auc² and Σw² with w = 1/variance, and the prediction interval for a further hospital
is μ ± t(k−2)·√(τ² + se²) (Higgins et al., J R Stat Soc A 172 (2009) 137–159), clipped to [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fl_liver.errors import DataError, PrivacyError
from fl_liver.stats import delong
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.local_auc import exact_auc_delong
from fl_liver.stats.real_sums import answers_reals, real_sums
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import binary, numbers, rows_for

MIN_CENTRES = 3


@dataclass(frozen=True, slots=True)
class CentreAuc:
    """AUC within hospitals and its spread between them.

    auc, var, se, ci95   within-centre AUC over all pairs of one hospital, with Σ pairs²·var / (Σ pairs)²
    centres              hospitals with both classes; `centres_with_variance` of them have two patients of each
    mean, mean_se        random-effects mean of the hospitals' AUCs
    tau2, i2             between-hospital variance, and its share of the spread seen
    prediction95         where a further hospital's AUC would lie; null with fewer than three hospitals
    flags                "variance_incomplete": a hospital with one patient of a class adds pairs but no variance
    """

    auc: float
    var: float
    se: float
    ci95: tuple[float, float]
    centres: int
    centres_with_variance: int
    mean: float
    mean_se: float
    tau2: float
    i2: float
    prediction95: tuple[float, float] | None
    flags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values; undefined ones are null."""
        return json_fields(self)


def centre_auc(score: str, label: str, *, min_cell: int = 5) -> Conversation[CentreAuc]:
    """Within-centre AUC, between-centre τ² and prediction interval of one score.

    A hospital whose AUC has no variance (all pairs alike) is weighed by Newcombe's variance at
    (concordant + ½)/(pairs + 1).

    Raises:
        PrivacyError: fewer than three hospitals have both classes (`min_cell` 1 lifts this).
        DataError: no hospital has two patients of each class.
    """
    arguments = {"score": score, "label": label}
    centres, with_variance = yield from _centre_counts_above_floor(arguments, min_cell)
    concordant, pairs, spread, w, wa, waa, ww = yield from _sums(arguments, 0.0)
    auc, var = concordant / pairs, spread / pairs**2
    q = max(waa - wa * wa / w, 0.0)
    scale = w - ww / w
    tau2 = max(0.0, (q - (with_variance - 1)) / scale) if with_variance > 1 and scale > 0 else 0.0
    _, _, _, v, va, _, _ = yield from _sums(arguments, tau2)
    mean, mean_se = va / v, math.sqrt(1.0 / v)
    return CentreAuc(
        auc=auc,
        var=var,
        se=math.sqrt(var),
        ci95=delong.interval(auc, var) or (0.0, 1.0),
        centres=centres,
        centres_with_variance=with_variance,
        mean=mean,
        mean_se=mean_se,
        tau2=tau2,
        i2=max(0.0, 1.0 - (with_variance - 1) / q) if q > 0 else 0.0,
        prediction95=_prediction(mean, tau2 + mean_se**2, with_variance),
        flags=("variance_incomplete",) if with_variance < centres else (),
    )


def _centre_counts_above_floor(arguments: dict[str, Any], min_cell: int) -> Conversation[tuple[int, int]]:
    (total,) = yield [Question("centre_counts", arguments, 2)]
    centres, with_variance = int(total[0]), int(total[1])
    score = arguments["score"]
    if min_cell > 1 and min(centres, with_variance) < MIN_CENTRES:
        raise PrivacyError(
            f"'{score}': fewer than {MIN_CENTRES} hospitals have two patients of each class; their sum would be theirs"
        )
    if with_variance == 0:
        raise DataError(f"'{score}': no hospital has two patients of each class; there is no within-centre AUC")
    return centres, with_variance


def _prediction(mean: float, variance: float, centres: int) -> tuple[float, float] | None:
    if centres < MIN_CENTRES:
        return None
    half = float(stats.t.ppf(0.975, centres - 2)) * math.sqrt(variance)
    return max(0.0, mean - half), min(1.0, mean + half)


def _sums(arguments: dict[str, Any], tau2: float) -> Conversation[tuple[float, ...]]:
    sums = yield from real_sums("centre_sums", arguments, 7, arrays={"tau2": np.array([tau2])})
    return tuple(float(value) for value in sums)


def _site_rows(question: Question, table: Table) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    named = question.arguments
    chosen = rows_for(question, table, [named["score"], named["label"]])
    return binary(chosen, named["label"]), numbers(chosen, named["score"])


@answers("centre_counts")
def _centre_counts(question: Question, table: Table) -> IntVector:
    label, _ = _site_rows(question, table)
    smaller = min(int(label.sum()), int((~label).sum()))
    return np.array([smaller >= 1, smaller >= 2], np.int64)


@answers_reals("centre_sums")
def _centre_sums(question: Question, table: Table) -> NDArray[np.float64]:
    """Σ concordant pairs, pairs, pairs²·var, and w, w·auc, w·auc², w² with w = 1/(var + τ²)."""
    label, score = _site_rows(question, table)
    m, n = int(label.sum()), int((~label).sum())
    if m == 0 or n == 0:
        return np.zeros(7)
    exact, variance = exact_auc_delong(label, score)
    auc, pairs = float(exact), float(m * n)
    if variance is None:
        return np.array([auc * pairs, pairs, 0.0, 0.0, 0.0, 0.0, 0.0])
    var = float(variance)
    weighed = var if var > 0.0 else delong.newcombe_variance((auc * pairs + 0.5) / (pairs + 1.0), m, n)
    w = 1.0 / (weighed + float(question.arrays["tau2"][0]))
    return np.array([auc * pairs, pairs, pairs**2 * var, w, w * auc, w * auc * auc, w * w])
