"""AUC with differential privacy: noised histograms of 32 log-odds bins, and nothing exact beside them. Off by default.

Adding or removing a patient changes one cell of each model's histogram by one; with M models in the plan each cell gets
discrete Laplace noise of ε/M, in shares (`discrete_laplace`), so that ε holds for all models of the plan together.
There is no round of exact counts: n_pos, n_neg, AUC and interval follow from the noised cells, and the interval is
widened by the noise. Once for a study: a second noised answer spends ε a second time.

The cost: with 1747 and 396 patients and ε = 2, the noise of one model has a standard deviation of .0045 beside a
sampling error of .0100 (.0054 where 9 of 13 hospitals must suffice), that of three models together .019. Below some
200 patients in a class it is larger than what is measured; merging small cells protects better. ε below 2 is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import ConfigError, DataError
from fl_liver.stats import delong
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.discrete_laplace import noise_share, noise_variance
from fl_liver.stats.result import json_fields
from fl_liver.stats.rows import binary, numbers, rows_for

LEAST_EPSILON = 2.0
EDGES = (np.arange(31) - 15) / 2.0
"""Lower edges of all bins but the first, in log-odds: half a unit each from −7.5 to 7.5, open at both ends."""
BINS = len(EDGES) + 1
FEW_PATIENTS = 200
_LEAST_CLASS = 10.0


@dataclass(frozen=True, slots=True)
class PrivateRoc:
    """AUC of one score on the grid of 32 bins; every number carries noise.

    n_pos, n_neg   noised
    var_sampling   DeLong's variance from the noised cells; `var_noise` what the noise adds; se is the root of the sum
    epsilon        for all models of the plan together; `models` of them share it
    noise_sd       standard deviation of the noise in one cell
    certificate    estimated bound on what the grid can change, ½ Σ m_b n_b / (mn)
    cost           in words, for the report
    flags          "few_patients": a class below 200
    """

    n_pos: int
    n_neg: int
    auc: float
    var_sampling: float
    var_noise: float
    se: float
    ci95: tuple[float, float]
    epsilon: float
    models: int
    noise_sd: float
    certificate: float
    cost: str
    flags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return json_fields(self)


def private_roc(
    scores: Sequence[str], label: str, *, epsilon: float, honest: int, sites: int
) -> Conversation[dict[str, PrivateRoc]]:
    """AUC and interval of every model of a plan from one exchange of noised histograms.

    Args:
        scores: columns of log-odds; rows in which the label or one of them is missing are left out of all.
        label: 0/1 column.
        epsilon: for all scores together, 2 or more.
        honest: hospitals whose noise alone must suffice; with more in the sum the noise is larger.
        sites: hospitals in the sum.
    Raises:
        ConfigError: ε below 2, no score, or honest not in 1 … sites.
        DataError: after the noise fewer than ten patients of a class are left.
    Source: Dwork et al., EUROCRYPT 2006 (shares of noise); Ghosh et al., STOC 2009 (discrete Laplace).
    """
    question = noised_histogram(scores, label, epsilon=epsilon, honest=honest)
    if honest > sites:
        raise ConfigError(f"private ROC: {honest} honest hospitals among {sites}")
    (total,) = yield [question]
    variance = noise_variance(epsilon / len(scores), honest, sites)
    cells = total.reshape(len(scores), 2, BINS)
    return {
        score: from_noised_cells(cells[place, 0], cells[place, 1], variance, epsilon=epsilon, models=len(scores))
        for place, score in enumerate(scores)
    }


def noised_histogram(scores: Sequence[str], label: str, *, epsilon: float, honest: int) -> Question:
    """Ask for the histograms of all scores by class, (scores, 2, 32) flattened, with each hospital's share of noise.

    Raises ConfigError as `private_roc`.
    """
    if not epsilon >= LEAST_EPSILON or not math.isfinite(epsilon):
        raise ConfigError(
            f"histogram_epsilon = {epsilon}: wanted {LEAST_EPSILON:g} or more for all models together;"
            " below it the noise is larger than the sampling error"
        )
    if not scores or len(set(scores)) < len(scores):
        raise ConfigError(f"private ROC of {list(scores)}: wanted one or more different scores")
    if honest < 1:
        raise ConfigError(f"private ROC: {honest} honest hospitals, wanted 1 or more")
    arguments = {"scores": list(scores), "label": label, "epsilon": float(epsilon), "honest": honest}
    return Question("noised_histogram", arguments, len(scores) * 2 * BINS)


def from_noised_cells(h0: IntVector, h1: IntVector, variance: float, *, epsilon: float, models: int = 1) -> PrivateRoc:
    """What (32,) noised negatives and positives mean, with noise of this variance in each cell.

    AUC = Σ h₁ₑ V₁₀ₑ / m is a ratio of unbiased sums. To second order the noise adds
    σ² [Σ (V₁₀ − A)²/m² + Σ (V₀₁ − A)²/n²] + σ⁴ Σ (ψ − V₁₀ − V₀₁ + A)²/(mn)², ψ the kernel 1, ½, 0 over pairs of bins.
    """
    m, n = float(h1.sum()), float(h0.sum())
    if min(m, n) < _LEAST_CLASS:
        raise DataError(f"private ROC: fewer than {_LEAST_CLASS:g} patients of a class are left after the noise")
    place = np.arange(BINS)
    kernel = (place[:, None] > place[None, :]) + 0.5 * (place[:, None] == place[None, :])
    v10, v01 = kernel @ h0 / n, h1 @ kernel / m
    auc = float(h1 @ v10 / m)
    sampling = max(float(h1 @ (v10 - auc) ** 2) / (m * (m - 1)), 0.0)
    sampling += max(float(h0 @ (v01 - auc) ** 2) / (n * (n - 1)), 0.0)
    first = float(((v10 - auc) ** 2).sum() / m**2 + ((v01 - auc) ** 2).sum() / n**2)
    second = float(((kernel - v10[:, None] - v01[None, :] + auc) ** 2).sum() / (m * n) ** 2)
    noise = variance * first + variance**2 * second
    auc, se = min(max(auc, 0.0), 1.0), math.sqrt(sampling + noise)
    half = delong.Z95 * se
    return PrivateRoc(
        n_pos=int(m),
        n_neg=int(n),
        auc=auc,
        var_sampling=sampling,
        var_noise=noise,
        se=se,
        ci95=(max(0.0, auc - half), min(1.0, auc + half)),
        epsilon=epsilon,
        models=models,
        noise_sd=math.sqrt(variance),
        certificate=max(float(h1 @ h0) / (2.0 * m * n), 0.0),
        cost=_cost(epsilon, models, sampling, se),
        flags=("few_patients",) if min(m, n) < FEW_PATIENTS else (),
    )


def _cost(epsilon: float, models: int, sampling: float, se: float) -> str:
    return (
        f"differential privacy, epsilon {epsilon:g} for {models} model{'s' if models > 1 else ''} together: the noise"
        f" widens the standard error from {math.sqrt(sampling):.4f} to {se:.4f}; no exact count was asked"
    )


@answers("noised_histogram")
def _noised_histogram(question: Question, table: Table) -> IntVector:
    named: Mapping[str, Any] = question.arguments
    scores: list[str] = named["scores"]
    # The hospital checks what it is asked: a larger ε or t would mean less noise than was agreed.
    noised_histogram(scores, named["label"], epsilon=named["epsilon"], honest=named["honest"])
    exact = _histograms(rows_for(question, table, [*scores, named["label"]]), scores, named["label"])
    share = noise_share(exact.size, named["epsilon"] / len(scores), named["honest"])
    return exact.ravel() + share


def _histograms(chosen: Table, scores: Sequence[str], label: str) -> NDArray[np.int64]:
    positive = binary(chosen, label).astype(np.int64)
    cells = np.zeros((len(scores), 2 * BINS), np.int64)
    for place, score in enumerate(scores):
        bins = np.searchsorted(EDGES, numbers(chosen, score), side="right")
        cells[place] = np.bincount(positive * BINS + bins, minlength=2 * BINS)
    return cells
