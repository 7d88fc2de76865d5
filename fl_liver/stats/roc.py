"""ROC curve, AUC and DeLong interval of one score over all hospitals, from one refined histogram.

    results = converse({"internal": roc("score:fused", "label", key="logit32")}, summer)

The first round counts the classes; below the floor nothing finer is asked. AUC, variance and interval equal those of
the pooled scores exactly. What is published of the curve is merged to steps of at least `min_cell` patients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from fl_liver.errors import ConfigError
from fl_liver.stats import delong
from fl_liver.stats.clustered import clustered_covariance
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.floors import require_floor
from fl_liver.stats.keys import Key
from fl_liver.stats.refine import BINARY_LEVELS, Leaves, refine
from fl_liver.stats.roc_curve import Cutoff, RocCurve, balanced, curve_of, youden
from fl_liver.stats.rows import cell_counts


@dataclass(frozen=True, slots=True)
class RocResult:
    """One score's ROC over all hospitals.

    auc, var, se, ci95   None where undefined: one class only, or (var, se, ci95) fewer than two of a class or cluster
    balanced             where sensitivity and specificity are nearest to each other
    ci95_score           Newcombe's score interval, defined also where DeLong's has no width
    certificate          bound on |auc − AUC of the scores themselves|; true ties count, so 0 means exact
    flags                "one_class", "no_variance" (a class of one), "degenerate_variance" (var = 0)
    leaves               the refined histogram, for further statistics on the same score; not part of `to_json`
    """

    n_pos: int
    n_neg: int
    auc: float | None
    var: float | None
    se: float | None
    ci95: tuple[float, float] | None
    ci95_score: tuple[float, float] | None
    youden: Cutoff | None
    youden_maxima: int
    balanced: Cutoff | None
    partial_auc: float | None
    curve: RocCurve | None
    certificate: float | None
    flags: tuple[str, ...]
    leaves: Leaves | None = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; undefined values are null."""
        return {
            "n_pos": self.n_pos,
            "n_neg": self.n_neg,
            "auc": self.auc,
            "var": self.var,
            "se": self.se,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "ci95_score": None if self.ci95_score is None else list(self.ci95_score),
            "youden": None if self.youden is None else self.youden.to_json(),
            "youden_maxima": self.youden_maxima,
            "balanced": None if self.balanced is None else self.balanced.to_json(),
            "partial_auc": self.partial_auc,
            "roc": None if self.curve is None else self.curve.to_json(),
            "certificate": self.certificate,
            "flags": list(self.flags),
        }


def roc(
    score: str,
    label: str,
    *,
    key: Key = "float64",
    min_cell: int = 5,
    partial: Mapping[str, Any] | None = None,
    cluster: str | None = None,
    complete: Sequence[str] = (),
    levels: Sequence[str] = BINARY_LEVELS,
    band_seed: int = 0,
) -> Conversation[RocResult]:
    """ROC, AUC, DeLong interval and Youden's cut-off of one score.

    Args:
        score, label: columns; label is 0/1 (or two `levels`, the second positive), a higher score means more positive.
        key: "float64" for any real score, "logit32" for log-odds of a network (half the rounds).
        min_cell: pooled floor of each class, and the smallest published step; 1 publishes every step.
        partial: {"on": "specificity"|"sensitivity", "from": a, "to": b} for a partial area, uncorrected.
        cluster: column that names the patient, where a row is a lesion: variance by Obuchowski (1997); "": the
            tables say themselves whose their rows are.
        complete: further columns in which a row must not be missing.
    Raises:
        PrivacyError: a class has 1 to min_cell − 1 patients over all hospitals.
        ConfigError: `partial` is not as above.
    """
    partial_range = _partial_range(partial)
    needed = [*complete, *([cluster] if cluster else [])]
    counts = yield from cell_counts([(label, levels)], complete=[score, *needed])
    n_neg, n_pos = int(counts[0]), int(counts[1])
    require_floor({f"'{label}' {level}": int(v) for level, v in zip(levels, counts, strict=True)}, min_cell)
    if n_pos == 0 or n_neg == 0:
        return one_class(n_pos, n_neg)
    leaves = yield from refine(score, label, key=key, levels=levels, complete=needed, bound=max(n_pos, n_neg))
    if cluster is None:
        variance = delong.auc_and_variance(leaves.counts[0], leaves.counts[1])[1]
    else:
        matrix = yield from clustered_covariance([score], label, cluster, [leaves], levels=levels, complete=complete)
        variance = None if matrix is None else matrix[0][0]
    return finish_roc(leaves, variance, min_cell=min_cell, partial=partial_range, band_seed=band_seed)


def one_class(n_pos: int, n_neg: int) -> RocResult:
    """The answer where a class is absent: counts and the flag "one_class", everything else undefined."""
    return RocResult(
        n_pos, n_neg, None, None, None, None, None, None, 0, None, None, None, None, flags=("one_class",), leaves=None
    )


def finish_roc(
    leaves: Leaves,
    variance: Fraction | None,
    *,
    min_cell: int,
    partial: tuple[str, float, float] | None = None,
    band_seed: int = 0,
) -> RocResult:
    """What a refined two-class histogram (negatives first) with a known variance of the AUC means."""
    h0, h1 = leaves.counts
    auc, var = float(delong.exact_auc(h0, h1)), None if variance is None else float(variance)
    n_neg, n_pos = int(h0.sum()), int(h1.sum())
    cutoff, maxima = youden(leaves)
    fp, tp = delong.roc_counts(h0, h1)
    return RocResult(
        n_pos=n_pos,
        n_neg=n_neg,
        auc=auc,
        var=var,
        se=None if var is None else math.sqrt(max(var, 0.0)),
        ci95=delong.interval(auc, var),
        ci95_score=delong.score_interval(auc, n_pos, n_neg),
        youden=cutoff,
        youden_maxima=maxima,
        balanced=balanced(leaves),
        partial_auc=None if partial is None else delong.partial_area(fp / n_neg, tp / n_pos, *partial),
        curve=curve_of(leaves, min_cell, band_seed),
        certificate=delong.certificate(h0, h1),
        flags=("no_variance",) if var is None else ("degenerate_variance",) if var <= 0.0 else (),
        leaves=leaves,
    )


def _partial_range(partial: Mapping[str, Any] | None) -> tuple[str, float, float] | None:
    if partial is None:
        return None
    on, start, stop = partial.get("on"), partial.get("from"), partial.get("to")
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v <= 1 for v in (start, stop))
    if on not in ("specificity", "sensitivity") or not numeric or start == stop:
        raise ConfigError(
            f"partial = {dict(partial)}: wanted on = 'specificity' or 'sensitivity' and from ≠ to, both in [0, 1]"
        )
    return str(on), float(start), float(stop)  # type: ignore[arg-type]
