"""From the class counts of ordered bins to the AUC, its variance, the ROC points and the cut-off. Integers throughout.

Notation: m positives, n negatives; h1, h0 (b,) their counts in b bins of ascending score. For a positive X =
2·(negatives below) + (negatives tied) = 2n·V10, for a negative Y = 2·(positives above) + (positives tied) = 2m·V01, the
structural components of DeLong, DeLong & Clarke-Pearson (Biometrics 44 (1988) 837–845) as integers. Then

    AUC = ΣX / 2mn     var = (m ΣX² − (ΣX)²) / (m²(m−1) 4n²) + (n ΣY² − (ΣY)²) / (n²(n−1) 4m²)

are ratios of integers, and X, Y depend on the bin only: one histogram gives both. Nothing is rounded before the
division.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Z95 = 1.959963984540054
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Components:
    """DeLong's structural components per bin: x (b,) of a positive, y (b,) of a negative there; m, n the totals."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    m: int
    n: int


def components(h0: NDArray[np.int64], h1: NDArray[np.int64]) -> Components:
    """Components of each bin from the counts of negatives h0 and positives h1, both (b,), ascending score."""
    below0, below1 = np.cumsum(h0), np.cumsum(h1)
    n, m = int(below0[-1]) if len(h0) else 0, int(below1[-1]) if len(h1) else 0
    return Components(2 * below0 - h0, 2 * m - (2 * below1 - h1), m, n)


def weighted_sums(counts: NDArray[np.int64], values: NDArray[np.int64], largest: int) -> tuple[int, int]:
    """(Σ c·v, Σ c·v²) as exact Python integers; 0 <= v <= largest."""
    total = int(counts.sum())
    if total * largest * largest < _INT64:
        weighted = counts * values
        return int(weighted.sum()), int(np.dot(weighted, values))
    c, v = counts.astype(object), values.astype(object)
    return int((c * v).sum()), int((c * v * v).sum())


def exact_dot(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """Σ a·b as a Python integer for non-negative entries whose products are each below 2⁶³."""
    if len(a) * int(a.max(initial=0)) * int(b.max(initial=0)) < _INT64:
        return int(np.dot(a, b))
    product = a * b  # halves add up without wrapping
    return (int((product >> 32).sum()) << 32) + int((product & 0xFFFFFFFF).sum())


def auc_and_variance(h0: NDArray[np.int64], h1: NDArray[np.int64]) -> tuple[Fraction, Fraction | None]:
    """Exact AUC and DeLong variance from the bins; the variance is None where a class has fewer than two patients.

    h0, h1: (b,) counts of negatives and positives in ascending score; both classes must be present.

    >>> auc, var = auc_and_variance(np.array([2, 1, 0]), np.array([0, 1, 2]))
    >>> (auc, var)
    (Fraction(17, 18), Fraction(1, 162))
    """
    part = components(h0, h1)
    m, n = part.m, part.n
    sx, sxx = weighted_sums(h1, part.x, 2 * n)
    sy, syy = weighted_sums(h0, part.y, 2 * m)
    auc = Fraction(sx, 2 * m * n)
    if m < 2 or n < 2:
        return auc, None
    return auc, covariance(m, n, sx, sx, sxx, sy, sy, syy)


def exact_auc(h0: NDArray[np.int64], h1: NDArray[np.int64]) -> Fraction:
    """AUC of the bins as a ratio of integers; both classes must be present."""
    part = components(h0, h1)
    return Fraction(weighted_sums(h1, part.x, 2 * part.n)[0], 2 * part.m * part.n)


def covariance(m: int, n: int, sx_r: int, sx_s: int, sxx_rs: int, sy_r: int, sy_s: int, syy_rs: int) -> Fraction:
    """Cov(AUC_r, AUC_s) of two scores of the same patients, from the sums of components and their products."""
    s10 = Fraction(m * sxx_rs - sx_r * sx_s, m * m * (m - 1) * 4 * n * n)
    s01 = Fraction(n * syy_rs - sy_r * sy_s, n * n * (n - 1) * 4 * m * m)
    return s10 + s01


def interval(estimate: float, variance: float | None) -> tuple[float, float] | None:
    """95 % normal interval clipped to [0, 1]; None without a variance."""
    if variance is None:
        return None
    half = Z95 * math.sqrt(max(variance, 0.0))  # a clustered variance may come out below 0
    return max(0.0, estimate - half), min(1.0, estimate + half)


def newcombe_variance(theta: float, m: int, n: int) -> float:
    """V(θ) = θ(1−θ) [1 + (N−1)(1−θ)/(2−θ) + (N−1)θ/(1+θ)] / mn with N = (m+n)/2."""
    spread = 1.0 + ((m + n) / 2.0 - 1.0) * ((1.0 - theta) / (2.0 - theta) + theta / (1.0 + theta))
    return theta * (1.0 - theta) * spread / (m * n)


def score_interval(auc: float, m: int, n: int) -> tuple[float, float]:
    """95 % score interval for an AUC, defined also at 0 and 1 and for m = n = 1.

    Newcombe, Stat Med 25 (2006) 559–573, method 5: solves |θ − AUC| = z √V(θ), with V the `newcombe_variance`.

    >>> [round(v, 3) for v in score_interval(1.0, 10, 10)]
    [0.8, 1.0]
    """

    def gap(theta: float) -> float:
        return (theta - auc) ** 2 - Z95**2 * newcombe_variance(theta, m, n)

    inside = min(max(auc, 1e-9), 1.0 - 1e-9)  # at 0 and 1 the gap itself is 0
    if gap(inside) >= 0.0:
        return auc, auc
    low = 0.0 if auc <= 0.0 else float(brentq(gap, 0.0, inside, xtol=1e-14))
    return low, 1.0 if auc >= 1.0 else float(brentq(gap, inside, 1.0, xtol=1e-14))


def certificate(h0: NDArray[np.int64], h1: NDArray[np.int64]) -> float:
    """Bound on |AUC of bins − AUC of unbinned scores|: ½ Σ h0·h1 / mn. True ties count too: it can exceed the error."""
    m, n = int(h1.sum()), int(h0.sum())
    tied = int((h0.astype(object) * h1.astype(object)).sum())
    return float(Fraction(tied, 2 * m * n))


def roc_counts(h0: NDArray[np.int64], h1: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(fp, tp), each (b + 1,): counts at or above each threshold, from the highest down; the first is (0, 0)."""
    fp = np.concatenate([[0], np.cumsum(h0[::-1])])
    tp = np.concatenate([[0], np.cumsum(h1[::-1])])
    return fp.astype(np.int64), tp.astype(np.int64)


def partial_area(fpr: NDArray[np.float64], tpr: NDArray[np.float64], on: str, start: float, stop: float) -> float:
    """Area under the ROC polygon between two specificities, or beside it between two sensitivities; not rescaled.

    on: "specificity" (∫ sensitivity over 1 − specificity) or "sensitivity" (∫ specificity over sensitivity).
    start, stop: the two ends in [0, 1], in either order.
    """
    low, high = min(start, stop), max(start, stop)
    if on == "specificity":
        along, height, low, high = fpr, tpr, 1.0 - high, 1.0 - low
    else:
        along, height = tpr, 1.0 - fpr
    a, b, p, q = along[:-1], along[1:], height[:-1], height[1:]
    left, right = np.clip(a, low, high), np.clip(b, low, high)
    run = np.where(b > a, b - a, 1.0)
    at_left, at_right = p + (q - p) * (left - a) / run, p + (q - p) * (right - a) / run
    return float(np.sum((right - left) * (at_left + at_right) / 2.0))
