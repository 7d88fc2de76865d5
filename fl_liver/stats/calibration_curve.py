"""A smooth calibration curve from sums: local-linear regression of the outcome on the prediction, at 50 public points.

At point t with Gaussian weights w = exp(−½((p − t)/b)²) and u = p − t, the sums Σw, Σwu, Σwu², Σwy, Σwuy give the
estimate (Σwu²·Σwy − Σwu·Σwuy) / (Σwu²·Σw − (Σwu)²). The bandwidth b = 1.06·sd(p)·n^(−1/5) is public.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation, Question, Table
from fl_liver.stats.real_sums import STEP_SCALE_BITS, answers_reals, real_sums
from fl_liver.stats.rows import binary, numbers, rows_for

POINTS = 50
_LEAST_BANDWIDTH = 0.01
_LEAST_WEIGHT = 5.0


@dataclass(frozen=True, slots=True)
class SmoothCurve:
    """Estimated outcome rate at `predicted`, only where the weights add up to the floor (and to 5) or more."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    bandwidth: float


def smooth_curve(y: str, p: str, *, log_odds: bool = False, min_cell: int = 5) -> Conversation[SmoothCurve]:
    """Local-linear curve of outcome `y` (0/1) over predictions `p` (probabilities, or log-odds where said so).

    Raises:
        DataError: no complete row.
    """
    arguments = {"y": y, "p": p, "log_odds": log_odds}
    zero = {"centre": np.zeros(1)}
    n, total, _ = yield from real_sums("prediction_spread", arguments, 3, arrays=zero, scale_bits=STEP_SCALE_BITS)
    if n < 1:
        raise DataError(f"no hospital has a row with '{y}' and '{p}' both present")
    about = {"centre": np.array([total / n])}
    _, _, squares = yield from real_sums("prediction_spread", arguments, 3, arrays=about, scale_bits=STEP_SCALE_BITS)
    sd = float(np.sqrt(squares / max(n - 1.0, 1.0)))
    bandwidth = max(1.06 * sd * float(n) ** -0.2, _LEAST_BANDWIDTH)
    grid = np.linspace(0.01, 0.99, POINTS)
    sums = yield from real_sums(
        "local_linear",
        arguments,
        5 * POINTS,
        arrays={"grid": grid, "bandwidth": np.array([bandwidth])},
        scale_bits=STEP_SCALE_BITS,
    )
    w, wu, wuu, wy, wuy = sums.reshape(5, POINTS)
    spread = wuu * w - wu * wu
    shown = (w >= max(min_cell, _LEAST_WEIGHT)) & (spread > 1e-12 * w * w)
    fitted = (wuu[shown] * wy[shown] - wu[shown] * wuy[shown]) / spread[shown]
    return SmoothCurve(tuple(grid[shown].tolist()), tuple(np.clip(fitted, 0.0, 1.0).tolist()), bandwidth)


def predictions(table: Table, column: str, *, log_odds: bool) -> NDArray[np.float64]:
    """(n,) probabilities of a column of probabilities or log-odds.

    Raises:
        DataError: a probability outside [0, 1].
    """
    values = numbers(table, column)
    if log_odds:
        return np.asarray(expit(values), np.float64)
    outside = int(np.count_nonzero((values < 0.0) | (values > 1.0)))
    if outside:
        raise DataError(f"column '{column}': {outside} of {len(values)} values are outside [0, 1]; give probabilities")
    return values


def _site_rows(question: Question, table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    named = question.arguments
    chosen = rows_for(question, table, [named["y"], named["p"]])
    p = predictions(chosen, named["p"], log_odds=named["log_odds"])
    return binary(chosen, named["y"]).astype(np.float64), p


@answers_reals("prediction_spread")
def _prediction_spread(question: Question, table: Table) -> NDArray[np.float64]:
    _, p = _site_rows(question, table)
    return np.array([float(len(p)), p.sum(), ((p - question.arrays["centre"][0]) ** 2).sum()])


@answers_reals("local_linear")
def _local_linear(question: Question, table: Table) -> NDArray[np.float64]:
    y, p = _site_rows(question, table)
    sums = np.empty((5, POINTS))
    for place, point in enumerate(question.arrays["grid"].tolist()):
        u = p - point
        w = np.exp(-0.5 * (u / question.arrays["bandwidth"][0]) ** 2)
        sums[:, place] = w.sum(), w @ u, w @ (u * u), w @ y, (w * u) @ y
    return sums.ravel()
