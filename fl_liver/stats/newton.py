"""Newton's method for logistic regression on sums: each step asks for the gradient, the Hessian and the log-likelihood.

With standardised columns x (ones first), p = expit(xβ + offset) and w = p(1−p): gradient Σ(y − p)x, Hessian Σ w·xx'.
Only β goes out to the hospitals. Firth's correction is `firth`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation, Question, Table
from fl_liver.stats.design import Term, design_matrix, log_odds_of
from fl_liver.stats.real_sums import STEP_SCALE_BITS, answers_reals, real_sums
from fl_liver.stats.rows import binary, numbers, rows_for

MAX_ITERATIONS = 25
LONGEST_STEP = 5.0
_TOLERANCE = 1e-11
_SINGULAR = 1e-11


@dataclass(frozen=True, slots=True)
class Problem:
    """What is fitted: outcome, standardised columns (`Term.to_json` with centre and scale), factor levels, offset."""

    outcome: str
    columns: tuple[Mapping[str, Any], ...]
    names: tuple[str, ...]
    factors: Mapping[str, Sequence[str]]
    complete: tuple[str, ...]
    offset: Term | None = None

    def arguments(self) -> dict[str, Any]:
        """As a question carries it."""
        return {
            "outcome": self.outcome,
            "columns": [dict(column) for column in self.columns],
            "factors": {name: list(levels) for name, levels in self.factors.items()},
            "complete": list(self.complete),
            "offset": None if self.offset is None else self.offset.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Fit:
    """A converged fit on the standardised scale; `hessian` and `loglik` (not penalised) belong to `beta`."""

    beta: NDArray[np.float64]
    hessian: NDArray[np.float64]
    loglik: float
    iterations: int


def newton(problem: Problem) -> Conversation[Fit]:
    """Fit by Newton steps with halving, at most 25 exchanges.

    Raises:
        DataError: the columns are linearly dependent, or the fit does not converge (separation); names the terms.
    """
    beta = np.zeros(len(problem.columns) + 1)
    kept: tuple[NDArray[np.float64], float] | None = None
    for iteration in range(1, MAX_ITERATIONS + 1):
        gradient, hessian, loglik = yield from ask_step(problem, beta)
        require_full_rank(problem, hessian, first=iteration == 1)
        if kept is not None and went_down(kept[1], loglik):
            beta = (beta + kept[0]) / 2.0
            continue
        change = np.linalg.solve(hessian, gradient)
        longest = float(np.abs(change).max())
        if longest < _TOLERANCE:
            return Fit(beta + change, hessian, loglik, iteration)
        kept = beta, loglik
        beta = beta + change * min(1.0, LONGEST_STEP / longest)
    raise _separation(problem, np.abs(change) > 1e-3)


def went_down(before: float, after: float) -> bool:
    """Whether an objective fell by more than its own rounding: the step was too long."""
    return after < before - 1e-9 * (1.0 + abs(before))


def _separation(problem: Problem, diverging: NDArray[np.bool_]) -> DataError:
    names = ["(Intercept)", *problem.names]
    worst = [name for name, bad in zip(names, diverging.tolist(), strict=True) if bad and name != "(Intercept)"]
    return DataError(
        f"logistic regression of '{problem.outcome}': no finite maximum within {MAX_ITERATIONS} steps; separation in "
        f"{', '.join(worst) or 'the intercept'}: a level holds one outcome only; fit with firth = true, or merge"
    )


def require_full_rank(problem: Problem, hessian: NDArray[np.float64], *, first: bool) -> None:
    """Refuse a Hessian without an inverse: at β = 0 the columns are dependent, later the outcomes are separated.

    Raises:
        DataError: names the terms.
    """
    scale = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    if values[0] > _SINGULAR:
        return
    involved = np.abs(vectors[:, 0]) > 1e-3
    if not first:
        raise _separation(problem, involved)
    names = [name for name, bad in zip(["(Intercept)", *problem.names], involved.tolist(), strict=True) if bad]
    raise DataError(
        f"logistic regression of '{problem.outcome}': {', '.join(names)} are linearly dependent; leave one of them out"
    )


def ask_step(
    problem: Problem, beta: NDArray[np.float64]
) -> Conversation[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Gradient (k,), Hessian (k, k) and log-likelihood at `beta`."""
    size = len(beta)
    count = size + size * (size + 1) // 2 + 1
    sums = yield from real_sums(
        "newton_step", problem.arguments(), count, arrays={"beta": beta}, scale_bits=STEP_SCALE_BITS
    )
    hessian = np.zeros((size, size))
    hessian[np.triu_indices(size)] = sums[size:-1]
    return sums[:size], hessian + np.triu(hessian, 1).T, float(sums[-1])


def site_rows(question: Question, table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """((n, k) design, (n,) outcome 0/1, (n,) linear predictor) of a site's complete rows."""
    named = question.arguments
    offset = named["offset"]
    used = dict.fromkeys([named["outcome"], *(column["column"] for column in named["columns"])])
    chosen = rows_for(
        question, table, [*used, *([offset["column"]] if offset and offset["column"] not in used else [])]
    )
    x = design_matrix(named["columns"], named["factors"], chosen)
    eta = x @ question.arrays["beta"]
    if offset:
        values = numbers(chosen, offset["column"])
        eta = eta + (log_odds_of(values, offset["column"]) if offset["logit"] else values)
    return x, binary(chosen, named["outcome"]).astype(np.float64), eta


@answers_reals("newton_step")
def _newton_sums(question: Question, table: Table) -> NDArray[np.float64]:
    x, y, eta = site_rows(question, table)
    p = expit(eta)
    hessian = x.T @ (x * (p * expit(-eta))[:, None])
    loglik = float(np.sum(np.where(y == 1.0, log_expit(eta), log_expit(-eta))))
    return np.concatenate([x.T @ (y - p), hessian[np.triu_indices(x.shape[1])], [loglik]])
