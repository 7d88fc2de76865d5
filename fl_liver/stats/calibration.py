"""Calibration of predicted probabilities over all hospitals: Hosmer–Lemeshow, slope and intercept, Brier score, curves.

Groups come from an order search (`quantile_groups`), then each group's n, Σy and Σp. Slope and intercept are logistic
fits of the outcome on the log-odds of the prediction, calibration in the large the intercept with that log-odds as an
offset.

Hosmer–Lemeshow has little power in small samples and rejects trivial misfit in large ones: read it beside the curve. On
rows that were used for fitting everything here is "apparent" and flatters; pass `apparent=True` and results say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fl_liver.errors import ConfigError, DataError
from fl_liver.stats.calibration_curve import SmoothCurve, predictions, smooth_curve
from fl_liver.stats.compose import Withheld, or_withheld, together
from fl_liver.stats.conversation import Conversation, Question, Table
from fl_liver.stats.design import Term
from fl_liver.stats.floors import require_floor
from fl_liver.stats.logistic import LogisticResult, fit_terms
from fl_liver.stats.quantile_groups import group_cuts, group_of
from fl_liver.stats.real_sums import STEP_SCALE_BITS, answers_reals, real_sums
from fl_liver.stats.result import json_fields
from fl_liver.stats.roc_curve import merge_steps
from fl_liver.stats.rows import binary, cell_counts, numbers, rows_for

FIXED_BINS = 10


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Mean prediction, outcome rate and size of each group, in the order of prediction."""

    mean_pred: tuple[float, ...]
    obs_rate: tuple[float, ...]
    n: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows in groups of ascending prediction: n, Σy and Σp of each, and Σ(p − y)² over all."""

    n: NDArray[np.int64]
    events: NDArray[np.int64]
    predicted: NDArray[np.float64]
    squared_error: float

    def merged(self, min_cell: int) -> Groups:
        """Neighbours joined until every group holds `min_cell` rows; empty groups are left out."""
        ends = merge_steps(self.n, max(min_cell, 1))
        starts = np.concatenate([[0], ends[:-1]])
        n, events = np.add.reduceat(self.n, starts), np.add.reduceat(self.events, starts)
        predicted, kept = np.add.reduceat(self.predicted, starts), n > 0
        return Groups(n[kept], events[kept], predicted[kept], self.squared_error)

    def shown(self) -> GroupRates:
        """As a result holds them; no group may be empty."""
        rates = self.predicted / self.n, self.events / self.n
        return GroupRates(tuple(rates[0].tolist()), tuple(rates[1].tolist()), tuple(self.n.tolist()))


@dataclass(frozen=True, slots=True)
class HosmerLemeshow:
    """χ² over groups; observed and expected are (y = 0, y = 1) per group; df = groups − 2, p null below one."""

    chi2: float
    df: int
    p: float | None
    observed: tuple[tuple[int, int], ...]
    expected: tuple[tuple[float, float], ...]
    flags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them."""
        return json_fields(self)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of one column of predictions; slope and intercept are null where their fit has no finite maximum.

    slope, intercept   logit P(y) = intercept + slope · logit p
    citl               calibration in the large: logit P(y) = citl + logit p
    mean_pred, …       the groups of equal size (ten unless said otherwise), merged to the floor
    fixed_bins         the same for [0, 0.1), …, [0.9, 1], neighbours merged to the floor, empty ones left out
    flags              "apparent", or why a fit is missing
    """

    slope: float | None
    slope_se: float | None
    intercept: float | None
    citl: float | None
    citl_se: float | None
    brier: float
    mean_pred: tuple[float, ...]
    obs_rate: tuple[float, ...]
    n: tuple[int, ...]
    fixed_bins: GroupRates
    smooth: SmoothCurve
    flags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; undefined ones are null."""
        return json_fields(self)


def hosmer_lemeshow(
    y: str, p: str, *, groups: int = 10, log_odds: bool = False, min_cell: int = 5, apparent: bool = False
) -> Conversation[HosmerLemeshow]:
    """Hosmer and Lemeshow's test over (a, b] groups of type-7 quantiles (as ResourceSelection 0.3-6).

    Args:
        y, p: 0/1 outcome and predicted probability; with `log_odds` the column p holds log-odds instead.
        groups: 2 or more; ties can leave fewer. Groups are merged to `min_cell` patients before the test.
    Raises:
        ConfigError: fewer than two groups.
        PrivacyError: an outcome below the floor.
        DataError: no complete row.
    """
    if groups < 2:
        raise ConfigError(f"groups = {groups}: Hosmer–Lemeshow needs two or more")
    n0, n1 = yield from _outcomes(y, p, min_cell)
    cuts = yield from group_cuts(p, n0 + n1, groups, complete=[y])
    found = (yield from _group_sums(y, p, log_odds, cuts=cuts)).merged(min_cell)
    observed = np.column_stack([found.n - found.events, found.events])
    expected = np.column_stack([found.n - found.predicted, found.predicted])
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(observed == expected, 0.0, (observed - expected) ** 2 / expected)
    chi2, df = float(terms.sum()), len(found.n) - 2
    return HosmerLemeshow(
        chi2=chi2,
        df=df,
        p=float(stats.chi2.sf(chi2, df)) if df > 0 else None,
        observed=tuple((int(a), int(b)) for a, b in observed),
        expected=tuple((float(a), float(b)) for a, b in expected),
        flags=(*(["apparent"] if apparent else []), *(["fewer_groups"] if len(found.n) < groups else [])),
    )


def calibration(
    y: str, p: str, *, groups: int = 10, log_odds: bool = False, min_cell: int = 5, apparent: bool = False
) -> Conversation[Calibration]:
    """Slope, intercept, calibration in the large, Brier score, grouped, fixed-bin and smooth calibration curves.

    Args as in `hosmer_lemeshow`. Probabilities of exactly 0 or 1 have no log-odds and are refused by the site: store
    log-odds and pass `log_odds=True`.
    """
    if groups < 2:
        raise ConfigError(f"groups = {groups}: a calibration curve needs two or more")
    counts = yield from _outcomes(y, p, min_cell)
    term = Term(p, logit=not log_odds)
    fits: list[Any] = yield from together(
        [
            or_withheld(fit_terms(y, [term], {}, counts, complete=[p])),
            or_withheld(fit_terms(y, [], {}, counts, complete=[p], offset=term)),
            _grouped(y, p, log_odds, sum(counts), groups),
            _group_sums(y, p, log_odds, cuts=None),
            smooth_curve(y, p, log_odds=log_odds, min_cell=min_cell),
        ]
    )
    slope, large, grouped, fixed, smooth = fits
    tenths = grouped.merged(min_cell).shown()
    reasons = [fit.reason for fit in (slope, large) if isinstance(fit, Withheld)]
    return Calibration(
        slope=_coefficient(slope, 1),
        slope_se=_error(slope, 1),
        intercept=_coefficient(slope, 0),
        citl=_coefficient(large, 0),
        citl_se=_error(large, 0),
        brier=fixed.squared_error / sum(counts),
        mean_pred=tenths.mean_pred,
        obs_rate=tenths.obs_rate,
        n=tenths.n,
        fixed_bins=fixed.merged(min_cell).shown(),
        smooth=smooth,
        flags=(*(["apparent"] if apparent else []), *reasons),
    )


def _coefficient(fit: LogisticResult | Withheld, place: int) -> float | None:
    return None if isinstance(fit, Withheld) else fit.beta[place]


def _error(fit: LogisticResult | Withheld, place: int) -> float | None:
    return None if isinstance(fit, Withheld) else fit.se[place]


def _outcomes(y: str, p: str, min_cell: int) -> Conversation[tuple[int, int]]:
    counts = yield from cell_counts([(y, ("0", "1"))], complete=[p])
    require_floor({f"'{y}' {value}": int(count) for value, count in enumerate(counts)}, min_cell)
    if int(counts.sum()) == 0:
        raise DataError(f"no hospital has a row with '{y}' and '{p}' both present")
    return int(counts[0]), int(counts[1])


def _grouped(y: str, p: str, log_odds: bool, count: int, groups: int) -> Conversation[Groups]:
    cuts = yield from group_cuts(p, count, groups, complete=[y])
    return (yield from _group_sums(y, p, log_odds, cuts=cuts))


def _group_sums(y: str, p: str, log_odds: bool, *, cuts: NDArray[np.uint64] | None) -> Conversation[Groups]:
    """Sums over groups that end at the cuts; without cuts, over the ten fixed bins."""
    groups = FIXED_BINS if cuts is None else len(cuts) + 1
    arrays = {} if cuts is None else {"cuts": cuts}
    arguments = {"y": y, "p": p, "log_odds": log_odds, "groups": groups}
    sums = yield from real_sums(
        "calibration_groups", arguments, 3 * groups + 1, arrays=arrays, scale_bits=STEP_SCALE_BITS
    )
    n, events, predicted = sums[:-1].reshape(3, groups)
    return Groups(np.rint(n).astype(np.int64), np.rint(events).astype(np.int64), predicted, float(sums[-1]))


@answers_reals("calibration_groups")
def _calibration_groups(question: Question, table: Table) -> NDArray[np.float64]:
    named = question.arguments
    chosen = rows_for(question, table, [named["y"], named["p"]])
    y, p = binary(chosen, named["y"]).astype(np.float64), predictions(chosen, named["p"], log_odds=named["log_odds"])
    if "cuts" in question.arrays:
        group = group_of(question.arrays["cuts"], numbers(chosen, named["p"]))
    else:
        group = np.minimum((p * FIXED_BINS).astype(np.int64), FIXED_BINS - 1)
    sums = [np.bincount(group, weights, minlength=named["groups"]) for weights in (np.ones(len(p)), y, p)]
    return np.concatenate([*sums, [float(np.sum((p - y) ** 2))]])
