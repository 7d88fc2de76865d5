"""The mean ROC of several readers of the same patients, and how it differs from their mean under another condition.

Two intervals answer two questions. With the readers fixed (these readers, other patients) the variance is w'Sw with S
the DeLong covariance matrix of all AUCs. With random readers (other readers, other patients) it is Obuchowski and
Rockette's (Commun Stat Simul 24 (1995) 285–308) with Hillis' degrees of freedom (Stat Med 26 (2007) 596–619), here with
S as its error covariances: for r values v of one patient sample, M = var(v) and C = max(mean covariance of two, 0),

    se² = (M + r·C) / r      df = (M + r·C)² (r − 1) / M²      interval: mean ± t(df)·se.

For a difference of conditions v are the readers' own differences and C comes from their covariances, which is the same
as the two-condition analysis of variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fl_liver.errors import ConfigError
from fl_liver.stats import delong
from fl_liver.stats.compare import Comparison, Contrast, compare
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.refine import Leaves
from fl_liver.stats.result import json_fields
from fl_liver.stats.roc_curve import merge_steps


@dataclass(frozen=True, slots=True)
class ReaderAuc:
    """One reader's AUC with DeLong's variance and its 95 % interval clipped to [0, 1]."""

    auc: float
    var: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class RandomReaders:
    """A mean over readers that stand for all readers; `df` is infinite (null in JSON) where they agree exactly."""

    se: float
    df: float
    ci95: tuple[float, float]
    p: float


@dataclass(frozen=True, slots=True)
class MeanCurve:
    """The mean true-positive rate of the readers at each false-positive rate; jumps are two points at one rate."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ReaderMean:
    """The mean of the readers, each reader, and their mean under another condition (None without one).

    auc, var, ci95         mean AUC with the readers fixed; the interval is clipped to [0, 1]
    random_readers         the same mean, readers random; None with one reader; its p is against an AUC of one half
    difference             mean of `scores` − mean of `against`, readers fixed, p two-sided and normal
    difference_random      the same with random readers
    """

    auc: float
    var: float
    ci95: tuple[float, float] | None
    random_readers: RandomReaders | None
    readers: Mapping[str, ReaderAuc]
    curve: MeanCurve
    against: Mapping[str, ReaderAuc]
    against_curve: MeanCurve | None
    difference: Contrast | None
    difference_random: RandomReaders | None
    n_pos: int
    n_neg: int

    def to_json(self) -> dict[str, Any]:
        """JSON values; a number that is not finite is null."""
        return json_fields(self)


def reader_mean(
    scores: Sequence[str], label: str, against: Sequence[str] = (), *, min_cell: int = 5, cluster: str | None = None
) -> Conversation[ReaderMean]:
    """Mean AUC and mean ROC curve of readers' ratings on the patients that all of them rated.

    Args:
        scores: one column a reader, any scale; higher is more positive.
        against: the same readers in the same order under another condition (with AI), or one column: the model.
        min_cell: pooled floor of each class, and smallest step of each reader's curve before the mean; 1 is none.
        cluster: column that names the patient where a row is a lesion.
    Raises:
        ConfigError: fewer than two columns in all, or `against` fits neither the readers nor one model.
        PrivacyError, DataError: as `compare`.
    """
    if against and len(against) not in (1, len(scores)):
        raise ConfigError(
            f"against has {len(against)} columns for {len(scores)} readers; give each reader's other column, or one"
        )
    found = yield from compare([*scores, *against], label, min_cell=min_cell, cluster=cluster)
    count = len(scores)
    values, cov = _floats(found)
    each = {name: _reader(values[i], cov[i, i]) for i, name in enumerate(found.scores)}
    mean = found.contrast(_weights(count, len(against), minus=False))
    gaps = _differences(count, len(against))
    return ReaderMean(
        auc=mean.estimate,
        var=mean.var,
        ci95=delong.interval(mean.estimate, mean.var),
        random_readers=_random_readers(values[:count], cov[:count, :count], null=0.5),
        readers={name: each[name] for name in scores},
        curve=mean_curve(found.leaves[:count], min_cell),
        against={name: each[name] for name in against},
        against_curve=mean_curve(found.leaves[count:], min_cell) if against else None,
        difference=found.contrast(_weights(count, len(against), minus=True)) if against else None,
        difference_random=_random_readers(gaps @ values, gaps @ cov @ gaps.T) if against else None,
        n_pos=found.n_pos,
        n_neg=found.n_neg,
    )


def mean_curve(leaves: Sequence[Leaves], min_cell: int) -> MeanCurve:
    """Vertical mean of ROC polygons over the same patients; its area is the mean of their areas.

    Each curve is merged to steps of `min_cell` patients first, as a published curve is.
    """
    curves = [_points(found, min_cell) for found in leaves]
    at = np.unique(np.concatenate([fp for fp, _ in curves]))
    lower = np.mean([_at(fp, tp, at, "left") for fp, tp in curves], axis=0)
    upper = np.mean([_at(fp, tp, at, "right") for fp, tp in curves], axis=0)
    jumps = upper > lower
    x = np.repeat(at, 1 + jumps)
    y = np.insert(lower, np.flatnonzero(jumps) + 1, upper[jumps])
    n, m = (int(total) for total in leaves[0].counts.sum(axis=1))
    return MeanCurve(tuple((x / n).tolist()), tuple((y / m).tolist()))


def _points(leaves: Leaves, min_cell: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    h0, h1 = leaves.counts
    fp, tp = delong.roc_counts(h0, h1)
    kept = np.concatenate([[0], merge_steps((h0 + h1)[::-1], min_cell)])
    return fp[kept], tp[kept]


def _at(fp: NDArray[np.int64], tp: NDArray[np.int64], at: NDArray[np.int64], side: str) -> NDArray[np.float64]:
    """True positives at false-positive counts: the lower ("left") or upper ("right") end where the curve jumps."""
    place = np.searchsorted(fp, at, side="left") if side == "left" else np.searchsorted(fp, at, side="right") - 1
    place = np.minimum(place, len(fp) - 1)
    return np.where(fp[place] == at, tp[place].astype(np.float64), np.interp(at, fp, tp))


def _floats(found: Comparison) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.array([float(v) for v in found.auc])
    return values, np.array([[float(v) for v in row] for row in found.cov])


def _reader(auc: float, var: float) -> ReaderAuc:
    return ReaderAuc(float(auc), float(var), delong.interval(float(auc), float(var)))


def _weights(readers: int, against: int, *, minus: bool) -> list[float]:
    return [1.0 / readers] * readers + [-1.0 / against if minus else 0.0] * against


def _differences(readers: int, against: int) -> NDArray[np.float64]:
    """(readers, readers + against) matrix that takes all AUCs to each reader's own difference."""
    other = np.eye(readers) if against == readers else np.ones((readers, against))
    return np.hstack([np.eye(readers), -other]) if against else np.eye(readers)


def _random_readers(
    values: NDArray[np.float64], cov: NDArray[np.float64], *, null: float = 0.0
) -> RandomReaders | None:
    r = len(values)
    if r < 2:
        return None
    between = float(np.var(values, ddof=1))
    shared = max(float(cov[~np.eye(r, dtype=np.bool_)].mean()), 0.0)
    spread, estimate = between + r * shared, float(values.mean())
    se = math.sqrt(spread / r)
    df = spread**2 * (r - 1) / between**2 if between > 0.0 else math.inf
    half = float(stats.t.ppf(0.975, df)) * se
    t = (estimate - null) / se if se > 0.0 else math.copysign(math.inf, estimate - null) if estimate != null else 0.0
    return RandomReaders(se, df, (estimate - half, estimate + half), 2.0 * float(stats.t.sf(abs(t), df)))
