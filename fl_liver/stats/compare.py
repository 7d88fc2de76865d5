"""Comparing AUCs over all hospitals: several scores of the same patients, or one score in two groups of patients.

Paired: every score's histogram is refined over the same complete cases, then one round of products (`cross`, or
`clustered` where a row is a lesion) gives the whole covariance matrix; every pair, the joint test and any weighted mean
follow from it.
Unpaired: two single curves, no second round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import stats

from fl_liver.errors import ConfigError, DataError
from fl_liver.stats import delong
from fl_liver.stats.clustered import clustered_covariance
from fl_liver.stats.compose import together, within
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.cross import Matrix, covariance_of
from fl_liver.stats.floors import require_floor
from fl_liver.stats.keys import Key
from fl_liver.stats.refine import BINARY_LEVELS, Leaves, refine
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import cell_counts


@dataclass(frozen=True, slots=True)
class Contrast:
    """A weighted sum of AUCs: estimate, variance, 95 % interval (not clipped), z and two-sided normal p against 0."""

    estimate: float
    var: float
    ci95: tuple[float, float]
    z: float
    p: float

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return json_fields(self)


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """DeLong's test of two scores a, b of the same patients; difference = a − b, p two-sided and normal."""

    auc: tuple[float, float]
    var: tuple[float, float]
    cov: float
    difference: float
    ci95: tuple[float, float]
    z: float
    p: float
    n_pos: int
    n_neg: int

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them."""
        return json_fields(self)


@dataclass(frozen=True, slots=True)
class JointComparison:
    """Wald test that all AUCs are equal, chi² on df degrees of freedom (the rank of the contrasts' covariance)."""

    auc: tuple[float, ...]
    cov: tuple[tuple[float, ...], ...]
    chi2: float
    df: int
    p: float
    n_pos: int
    n_neg: int

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them."""
        return json_fields(self)


@dataclass(frozen=True, slots=True)
class UnpairedComparison:
    """One score in two separate groups of patients: Welch–Satterthwaite t (as pROC does) and the normal z."""

    auc: tuple[float, float]
    var: tuple[float, float]
    t: float
    df: float
    p: float
    z: float
    p_normal: float

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them."""
        return json_fields(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    """AUCs of several scores of the same patients with their exact covariance matrix, both as ratios of integers.

    leaves   the refined histogram of each score, for curves; never published as they are
    """

    scores: tuple[str, ...]
    auc: tuple[Fraction, ...]
    cov: tuple[tuple[Fraction, ...], ...]
    n_pos: int
    n_neg: int
    leaves: tuple[Leaves, ...] = field(repr=False, compare=False)

    def contrast(self, weights: Sequence[float]) -> Contrast:
        """Σ w·AUC with its variance w'Sw. Equal weights 1/M give the mean AUC of M models or readers."""
        w = [Fraction(weight) for weight in weights]
        if len(w) != len(self.auc):
            raise ConfigError(
                f"{len(w)} weights for {len(self.auc)} AUCs; give one for each of {', '.join(self.scores)}"
            )
        exact = sum((a * b for a, b in zip(w, self.auc, strict=True)), Fraction(0))
        spread = sum((w[i] * w[j] * self.cov[i][j] for i in range(len(w)) for j in range(len(w))), Fraction(0))
        estimate, var = float(exact), max(float(spread), 0.0)
        half = delong.Z95 * math.sqrt(var)
        z = ratio(estimate, var)
        return Contrast(estimate, var, (estimate - half, estimate + half), z, 2.0 * float(stats.norm.sf(abs(z))))

    def mean(self) -> Contrast:
        """The mean AUC of all scores."""
        return self.contrast([1.0 / len(self.auc)] * len(self.auc))

    def paired(self, a: int = 0, b: int = 1) -> PairedComparison:
        """The test of score `a` against score `b` (places in `scores`); z has the sign of AUC a − AUC b."""
        weights = [0.0] * len(self.auc)
        weights[a], weights[b] = 1.0, -1.0
        found = self.contrast(weights)
        return PairedComparison(
            auc=(float(self.auc[a]), float(self.auc[b])),
            var=(float(self.cov[a][a]), float(self.cov[b][b])),
            cov=float(self.cov[a][b]),
            difference=found.estimate,
            ci95=found.ci95,
            z=found.z,
            p=found.p,
            n_pos=self.n_pos,
            n_neg=self.n_neg,
        )

    def joint(self) -> JointComparison:
        """The test that all AUCs are equal: (La)'(LSL')⁺(La) with L = [1 −I]."""
        size = len(self.auc)
        gaps = [self.auc[0] - self.auc[i] for i in range(1, size)]
        spread = [
            [self.cov[0][0] - self.cov[0][j] - self.cov[i][0] + self.cov[i][j] for j in range(1, size)]
            for i in range(1, size)
        ]
        d, s = np.array([float(v) for v in gaps]), np.array([[float(v) for v in row] for row in spread])
        df = int(np.linalg.matrix_rank(s, hermitian=True))
        full = df == size - 1
        chi2 = float(d @ (np.linalg.solve(s, d) if full else np.linalg.pinv(s, hermitian=True) @ d))
        cov = tuple(tuple(float(v) for v in row) for row in self.cov)
        p = float(stats.chi2.sf(chi2, df)) if df else 1.0
        return JointComparison(tuple(float(v) for v in self.auc), cov, chi2, df, p, self.n_pos, self.n_neg)


def ratio(estimate: float, var: float) -> float:
    """estimate / √var; 0 for 0/0 (a score compared with itself), ±inf where a difference has no variance."""
    if var > 0.0:
        return estimate / math.sqrt(var)
    return 0.0 if estimate == 0.0 else math.copysign(math.inf, estimate)


def compare(
    scores: Sequence[str],
    label: str,
    *,
    key: Key = "float64",
    min_cell: int = 5,
    cluster: str | None = None,
    complete: Sequence[str] = (),
    levels: Sequence[str] = BINARY_LEVELS,
) -> Conversation[Comparison]:
    """AUCs of two or more scores of the same patients, with their covariance.

    Args:
        scores, label: columns; rows in which one is missing are left out of all.
        key: how the scores are refined; see `keys`.
        min_cell: pooled floor of each class; 1 switches it off.
        cluster: column that names the patient where a row is a lesion (Obuchowski's covariance); "" as in `roc`.
    Raises:
        ConfigError: fewer than two scores.
        PrivacyError: a class below the floor.
        DataError: a class (or, clustered, its patients) below two: no variance.
    """
    if len(scores) < 2:
        raise ConfigError(f"a comparison needs two scores or more, got {list(scores)}")
    needed = [*complete, *scores, *([cluster] if cluster else [])]
    counts = yield from cell_counts([(label, levels)], complete=needed)
    require_floor({f"'{label}' {level}": int(v) for level, v in zip(levels, counts, strict=True)}, min_cell)
    if int(counts.min()) < 2:
        raise DataError(f"'{label}': a class has fewer than two patients over all sites; AUCs cannot be compared")
    most = int(counts.max())
    leaves = yield from together(
        [refine(one, label, key=key, levels=levels, complete=needed, bound=most) for one in scores]
    )
    matrix: Matrix | None
    if cluster is None:
        matrix = yield from covariance_of(scores, label, leaves, levels=levels, complete=needed)
    else:
        matrix = yield from clustered_covariance(scores, label, cluster, leaves, levels=levels, complete=needed)
    if matrix is None:
        raise DataError(f"'{label}': fewer than two patients have a row of each class; AUCs cannot be compared")
    exact = tuple(delong.exact_auc(found.counts[0], found.counts[1]) for found in leaves)
    rows = tuple(tuple(row) for row in matrix)
    return Comparison(tuple(scores), exact, rows, int(counts[1]), int(counts[0]), tuple(leaves))


def compare_unpaired(
    score: str,
    label: str,
    strata: str,
    strata_levels: Sequence[str],
    *,
    key: Key = "float64",
    min_cell: int = 5,
    cluster: str | None = None,
    levels: Sequence[str] = BINARY_LEVELS,
) -> Conversation[UnpairedComparison]:
    """One score in two groups of patients: those with the first and those with the second level of `strata`.

    Raises:
        ConfigError: not two levels.
        PrivacyError: a class of a group below the floor.
        DataError: a class of a group below two patients.
    """
    if len(strata_levels) != 2:
        raise ConfigError(f"an unpaired comparison has two levels of '{strata}', got {list(strata_levels)}")
    needed = [score, strata, *([cluster] if cluster else [])]
    groups = yield from together(
        [
            within(_single(score, label, key, min_cell, cluster, levels, needed), where={strata: level})
            for level in strata_levels
        ]
    )
    (a1, v1, n1), (a2, v2, n2) = groups
    return unpaired(a1, v1, n1, a2, v2, n2)


def _single(
    score: str, label: str, key: Key, min_cell: int, cluster: str | None, levels: Sequence[str], needed: Sequence[str]
) -> Conversation[tuple[Fraction, Fraction, int]]:
    counts = yield from cell_counts([(label, levels)], complete=needed)
    require_floor({f"'{label}' {level}": int(v) for level, v in zip(levels, counts, strict=True)}, min_cell)
    variance: Fraction | None = None
    auc = Fraction(0)
    if int(counts.min()) >= 2:
        most = int(counts.max())
        leaves = yield from refine(score, label, key=key, levels=levels, complete=needed, bound=most)
        auc, variance = delong.auc_and_variance(leaves.counts[0], leaves.counts[1])
        if cluster is not None:
            matrix = yield from clustered_covariance([score], label, cluster, [leaves], levels=levels, complete=needed)
            variance = None if matrix is None else matrix[0][0]
    if variance is None:
        raise DataError(f"'{label}': a class of one group has fewer than two patients; its AUC has no variance")
    return auc, variance, int(counts.sum())


def unpaired(auc1: Fraction, var1: Fraction, n1: int, auc2: Fraction, var2: Fraction, n2: int) -> UnpairedComparison:
    """Welch's test of two AUCs from separate patients; n1, n2 patients each.

    df = (v1 + v2)² / (v1²/(n1−1) + v2²/(n2−1)), as pROC 1.18.0.
    """
    v1, v2 = float(var1), float(var2)
    z = ratio(float(auc1 - auc2), float(var1 + var2))
    weight = v1 * v1 / (n1 - 1) + v2 * v2 / (n2 - 1)
    df = (v1 + v2) ** 2 / weight if weight > 0.0 else math.inf
    p_normal = 2.0 * float(stats.norm.sf(abs(z)))
    p = 2.0 * float(stats.t.sf(abs(z), df)) if math.isfinite(df) else p_normal
    return UnpairedComparison((float(auc1), float(auc2)), (v1, v2), z, df, p, z, p_normal)
