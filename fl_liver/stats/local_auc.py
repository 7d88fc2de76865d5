"""AUC with DeLong's variance of scores held in one place: for one hospital's own figures and as the pooled oracle.

The label is packed below the score's order-preserving integer, and one integer sort orders both; integers follow
(`delong`). O(n log n) time, O(n) memory; exact, ties count one half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from fl_liver.errors import DataError
from fl_liver.stats import delong
from fl_liver.stats.result import json_fields

_MAGNITUDE = np.int64(2**63 - 1)
_PACKABLE = 2**62 - 1


@dataclass(frozen=True, slots=True)
class LocalAuc:
    """AUC, DeLong variance (None with a class of one), its root, 95 % interval clipped to [0, 1], class counts."""

    auc: float
    var: float | None
    se: float | None
    ci95: tuple[float, float] | None
    n_pos: int
    n_neg: int

    def to_json(self) -> dict[str, Any]:
        """JSON values; undefined ones are null."""
        return json_fields(self)


@dataclass(frozen=True, slots=True)
class LocalPair:
    """Two scores of the same patients: AUCs, variances, covariance, z of a − b, two-sided normal p."""

    auc: tuple[float, float]
    var: tuple[float, float]
    cov: float
    z: float
    p: float


def auc_delong(y: ArrayLike, score: ArrayLike) -> LocalAuc:
    """AUC of one score and its DeLong interval.

    Args:
        y: (n,) of {0, 1}; 1 is positive.
        score: (n,) finite numbers, higher is more positive.
    Raises:
        DataError: sizes differ, another label than 0 and 1, a class is absent, a score is not finite.
    Source: DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837–845; Sun & Xu, IEEE Sig Proc Lett 21 (2014)
    1389–1393.

    >>> r = auc_delong([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.7, 0.6, 0.8, 0.9])
    >>> round(r.auc, 6), round(r.var, 8)      # by hand: V10 = (2/3, 1, 1), V01 = (1, 1, 2/3)
    (0.888889, 0.02469136)
    """
    label, values = _checked(y, score)
    auc, variance = exact_auc_delong(label, values)
    var = None if variance is None else float(variance)
    m = int(np.count_nonzero(label))
    se = None if var is None else math.sqrt(var)
    return LocalAuc(float(auc), var, se, delong.interval(float(auc), var), m, len(label) - m)


def exact_auc_delong(label: NDArray[np.bool_], values: NDArray[np.float64]) -> tuple[Fraction, Fraction | None]:
    """AUC and variance as ratios of integers, for labels (n,) bool and finite scores (n,); both classes present."""
    ordered = np.sort(_packed(label, values))
    if _tied_across_classes(ordered):
        return delong.auc_and_variance(*_tie_groups(ordered)[:2])
    positive = ordered & 1 == 1
    at_pos, at_neg = np.flatnonzero(positive), np.flatnonzero(~positive)
    m, n = len(at_pos), len(at_neg)
    x, y = at_pos - np.arange(m), m - at_neg + np.arange(n)  # half the components: no ties across classes
    sx, sy = int(x.sum()), int(y.sum())
    auc = Fraction(sx, m * n)
    if m < 2 or n < 2:
        return auc, None
    sxx, syy = delong.exact_dot(x, x), delong.exact_dot(y, y)
    return auc, delong.covariance(m, n, 2 * sx, 2 * sx, 4 * sxx, 2 * sy, 2 * sy, 4 * syy)


def paired_delong(y: ArrayLike, score_a: ArrayLike, score_b: ArrayLike) -> LocalPair:
    """DeLong's paired test of two scores of the same patients; z has the sign of AUC a − AUC b.

    Args as in `auc_delong`. Raises DataError also with a class below two patients.
    """
    label, a = _checked(y, score_a)
    _, b = _checked(y, score_b)
    m = int(np.count_nonzero(label))
    n = len(label) - m
    if min(m, n) < 2:
        raise DataError(f"{m} positives and {n} negatives: a paired comparison needs two of each")
    parts = [_components(label, values) for values in (a, b)]
    x, v = [part[label] for part in parts], [part[~label] for part in parts]
    sx, sy = [int(part.sum()) for part in x], [int(part.sum()) for part in v]

    def cov(r: int, s: int) -> Fraction:
        products = delong.exact_dot(x[r], x[s]), delong.exact_dot(v[r], v[s])
        return delong.covariance(m, n, sx[r], sx[s], products[0], sy[r], sy[s], products[1])

    auc = [Fraction(total, 2 * m * n) for total in sx]
    var_a, var_b, both = cov(0, 0), cov(1, 1), cov(0, 1)
    gap, spread = float(auc[0] - auc[1]), float(var_a + var_b - 2 * both)
    z = gap / math.sqrt(spread) if spread > 0.0 else 0.0 if gap == 0.0 else math.copysign(math.inf, gap)
    p = 2.0 * float(stats.norm.sf(abs(z)))
    return LocalPair((float(auc[0]), float(auc[1])), (float(var_a), float(var_b)), float(both), z, p)


def _checked(y: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels, values = np.asarray(y), np.ascontiguousarray(score, np.float64)
    if labels.shape != values.shape or values.ndim != 1:
        raise DataError(f"labels {labels.shape} and scores {values.shape}: wanted two vectors of one length")
    positive = labels.astype(np.bool_)
    if labels.dtype != np.bool_ and not np.array_equal(labels, positive):
        raise DataError("labels hold another value than 0 and 1; recode them")
    count = int(np.count_nonzero(positive))
    if count in (0, len(values)):
        raise DataError(f"{count} of {len(values)} labels are 1: an AUC needs both classes")
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are not finite numbers")
    return positive, values


def _packed(label: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) int64 that sort as (score, label); equal scores of one label are equal."""
    bits = values.view(np.int64)
    magnitude = bits & _MAGNITUDE
    if int(magnitude.max()) > _PACKABLE:  # |score| >= 2: close the gap of unused numbers around zero
        least = int(magnitude[magnitude > 0].min())
        magnitude = np.maximum(magnitude - (least - 1), 0)
        if int(magnitude.max()) > _PACKABLE:  # scores that span 1e308: ranks instead of bits
            return 2 * np.unique(values + 0.0, return_inverse=True)[1].astype(np.int64) + label
    sign = bits >> 63
    return (((magnitude ^ sign) - sign) << 1) | label


def _tied_across_classes(ordered: NDArray[np.int64]) -> bool:
    # a negative and a positive of one score are neighbours that differ in the last bit only
    return bool(np.any((ordered[1:] ^ ordered[:-1]) == 1))


def _tie_groups(ordered: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(negatives, positives, all) in each group of equal scores, ascending."""
    score = ordered >> 1
    starts = np.concatenate([[0], np.flatnonzero(score[1:] != score[:-1]) + 1])
    size = np.diff(starts, append=len(ordered))
    h1 = np.add.reduceat(ordered & 1, starts)
    return size - h1, h1, size


def _components(label: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) DeLong's components in the order of the patients: X for positives, Y for negatives."""
    packed = _packed(label, values)
    order = np.argsort(packed)
    ordered = packed[order]
    positive = ordered & 1
    if _tied_across_classes(ordered):
        h0, h1, size = _tie_groups(ordered)
        part = delong.components(h0, h1)
        sorted_parts = np.where(positive == 1, np.repeat(part.x, size), np.repeat(part.y, size))
    else:
        upto = np.cumsum(positive)
        below = np.arange(1, len(ordered) + 1) - upto
        sorted_parts = 2 * np.where(positive == 1, below, upto[-1] - upto)
    parts = np.empty(len(ordered), np.int64)
    parts[order] = sorted_parts
    return parts
