"""Points, band and cut-off of a ROC curve from the refined histogram of a score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.stats import delong
from fl_liver.stats.refine import Leaves

BAND_GROUPS = 128
BAND_REPLICATES = 1000
BAND_METHOD = "stratified bootstrap of the pooled histogram, 1000 replicates, pointwise 95 % percentiles"


@dataclass(frozen=True, slots=True)
class Cutoff:
    """A threshold (score >= threshold is positive), a bin edge and not a patient's score, and what it does."""

    threshold: float
    sensitivity: float
    specificity: float
    tp: int
    fp: int
    fn: int
    tn: int

    def to_json(self) -> dict[str, Any]:
        """JSON values; a threshold above every score is null."""
        names = ("sensitivity", "specificity", "tp", "fp", "fn", "tn")
        shown = self.threshold if math.isfinite(self.threshold) else None
        return {"threshold": shown, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Published points from (0, 0) to (1, 1), with a pointwise 95 % band of the tpr at each point's fpr."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    tpr_low: tuple[float, ...]
    tpr_high: tuple[float, ...]
    threshold: tuple[float, ...]
    band_method: str

    def to_json(self) -> dict[str, Any]:
        """JSON values; an infinite threshold is null."""
        shown = [t if math.isfinite(t) else None for t in self.threshold]
        lists = {name: list(getattr(self, name)) for name in ("fpr", "tpr", "tpr_low", "tpr_high")}
        return {**lists, "threshold": shown, "band_method": self.band_method}


def youden(leaves: Leaves) -> tuple[Cutoff, int]:
    """The threshold with the largest sensitivity + specificity − 1, and how many thresholds share it.

    Of several the highest (most specific) is returned. Integers: no rounding decides.
    """
    h0, h1 = leaves.counts
    fp, tp = delong.roc_counts(h0, h1)
    n, m = int(fp[-1]), int(tp[-1])
    gain = tp.astype(object) * n - fp.astype(object) * m
    best = int(np.argmax(gain))
    return _cutoff(leaves, fp, tp, best), int(np.count_nonzero(gain == gain[best]))


def balanced(leaves: Leaves) -> Cutoff:
    """The threshold where sensitivity and specificity are nearest to each other ("balanced performance", Wang 2021).

    Of several the one with the larger sum, then the highest. Among the edges of the refined ranges: inside a range of
    one class only, every step of which the curve has, no threshold is known.
    """
    h0, h1 = leaves.counts
    fp, tp = delong.roc_counts(h0, h1)
    n, m = int(fp[-1]), int(tp[-1])
    sensitivity, specificity = tp.astype(object) * n, (n - fp.astype(object)) * m  # both × mn
    apart, best = np.abs(sensitivity - specificity), sensitivity + specificity
    order = sorted(range(len(fp)), key=lambda place: (apart[place], -best[place], place))
    return _cutoff(leaves, fp, tp, order[0])


def _cutoff(leaves: Leaves, fp: NDArray[np.int64], tp: NDArray[np.int64], place: int) -> Cutoff:
    """The cut-off at a place of the curve, 0 being above every score."""
    n, m = int(fp[-1]), int(tp[-1])
    return Cutoff(
        math.inf if place == 0 else float(leaves.thresholds()[len(leaves.counts[0]) - place]),
        sensitivity=int(tp[place]) / m,
        specificity=(n - int(fp[place])) / n,
        tp=int(tp[place]),
        fp=int(fp[place]),
        fn=m - int(tp[place]),
        tn=n - int(fp[place]),
    )


def merge_steps(counts: NDArray[np.int64], min_cell: int) -> NDArray[np.int64]:
    """Where to cut a run of bins so that every step holds at least `min_cell` rows.

    counts: (b,) rows of each bin, in the order of publication. Returns the ascending ends (exclusive) of the steps; a
    remainder that is too small joins the step before it.

    >>> merge_steps(np.array([2, 2, 2, 9, 1]), 5).tolist()
    [3, 5]
    """
    if min_cell <= 1:
        return np.arange(1, len(counts) + 1)
    ends: list[int] = []
    running = 0
    for place, count in enumerate(counts.tolist(), start=1):
        running += count
        if running >= min_cell:
            ends.append(place)
            running = 0
    if running:
        ends[-1:] = [len(counts)]
    return np.array(ends, np.int64)


def curve_of(leaves: Leaves, min_cell: int, band_seed: int = 0) -> RocCurve:
    """Points merged to steps of at least `min_cell` patients, from the highest threshold down, with their band."""
    h0, h1 = leaves.counts
    ends = merge_steps((h0 + h1)[::-1], min_cell)
    fp, tp = delong.roc_counts(h0, h1)
    kept = np.concatenate([[0], ends])
    fpr, tpr = fp[kept] / fp[-1], tp[kept] / tp[-1]
    edges = np.concatenate([[math.inf], leaves.thresholds()[::-1][ends - 1]])
    low, high = band(h0, h1, fpr, seed=band_seed)
    x, y, lower, upper, cut = (tuple(float(v) for v in values) for values in (fpr, tpr, low, high, edges))
    return RocCurve(x, y, lower, upper, cut, BAND_METHOD)


def band(
    h0: NDArray[np.int64], h1: NDArray[np.int64], fpr: NDArray[np.float64], *, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pointwise 95 % limits of the true-positive rate at given false-positive rates.

    Stratified bootstrap: positives and negatives are drawn anew over the bins (merged to at most 128), the curve of
    each draw is interpolated at `fpr`, and the 2.5th and 97.5th percentiles are returned. Deterministic in `seed`.
    """
    groups = merge_steps(h0 + h1, max(1, math.ceil(int((h0 + h1).sum()) / BAND_GROUPS)))
    starts = np.concatenate([[0], groups[:-1]])
    c0, c1 = np.add.reduceat(h0, starts), np.add.reduceat(h1, starts)
    rng = np.random.default_rng(seed)
    n, m = int(c0.sum()), int(c1.sum())
    drawn0 = rng.multinomial(n, c0 / n, size=BAND_REPLICATES)[:, ::-1]
    drawn1 = rng.multinomial(m, c1 / m, size=BAND_REPLICATES)[:, ::-1]
    origin = np.zeros((BAND_REPLICATES, 1))
    x = np.hstack([origin, np.cumsum(drawn0, axis=1) / n])
    y = np.hstack([origin, np.cumsum(drawn1, axis=1) / m])
    drawn = np.stack([np.interp(fpr, x[i], y[i]) for i in range(BAND_REPLICATES)])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high
