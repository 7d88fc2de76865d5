"""Firth's bias-reduced logistic regression on sums: finite estimates under separation.

Firth, Biometrika 80 (1993) 27–38; Heinze & Schemper, Stat Med 21 (2002) 2409–2419: the maximum of the log-likelihood
plus ½ log det H. Its score adds Σ h(½ − p)x with h = w·x'H⁻¹x, for which H⁻¹ is broadcast: two exchanges a step. The
curvature of the penalty would need third moments of the hospitals' rows; it is learned from successive scores instead
(symmetric rank-one updates), so that the last steps still converge faster than linearly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation, Question, Table
from fl_liver.stats.newton import (
    LONGEST_STEP,
    MAX_ITERATIONS,
    Fit,
    Problem,
    ask_step,
    require_full_rank,
    site_rows,
    went_down,
)
from fl_liver.stats.real_sums import STEP_SCALE_BITS, answers_reals, real_sums

_TOLERANCE = 1e-9
_LEAST_CURVATURE = 0.05


def firth(problem: Problem) -> Conversation[Fit]:
    """Fit with Firth's penalty, at most 25 steps of two exchanges. `Fit.loglik` is without the penalty.

    Raises:
        DataError: the columns are linearly dependent, or 25 steps did not suffice.
    """
    beta = np.zeros(len(problem.columns) + 1)
    learned = np.zeros((len(beta), len(beta)))
    kept: tuple[NDArray[np.float64], NDArray[np.float64], float] | None = None
    for iteration in range(1, MAX_ITERATIONS + 1):
        gradient, hessian, loglik = yield from ask_step(problem, beta)
        require_full_rank(problem, hessian, first=iteration == 1)
        score = gradient + (yield from _ask_penalty(problem, beta, hessian))
        objective = loglik + 0.5 * float(np.linalg.slogdet(hessian)[1])
        if kept is not None:
            learned = _rank_one(learned, hessian, beta - kept[0], kept[1] - score)
            if went_down(kept[2], objective):
                beta = (beta + kept[0]) / 2.0
                continue
        change = np.linalg.solve(_curvature(hessian, learned), score)
        longest = float(np.abs(change).max())
        if longest < _TOLERANCE:
            return Fit(beta + change, hessian, loglik, iteration)
        kept = beta, score, objective
        beta = beta + change * min(1.0, LONGEST_STEP / longest)
    raise DataError(
        f"logistic regression of '{problem.outcome}' with Firth: no maximum within {MAX_ITERATIONS} steps; "
        "fit fewer terms, or the logarithm of a skewed one"
    )


def _rank_one(
    learned: NDArray[np.float64],
    hessian: NDArray[np.float64],
    moved: NDArray[np.float64],
    fell: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The penalty's curvature, after a move by which the score fell: rank one, skipped where it would explode."""
    gap = fell - (hessian + learned) @ moved
    along = float(gap @ moved)
    if abs(along) <= 1e-8 * float(np.linalg.norm(gap) * np.linalg.norm(moved)):
        return learned
    return np.add(learned, np.outer(gap, gap) / along)


def _curvature(hessian: NDArray[np.float64], learned: NDArray[np.float64]) -> NDArray[np.float64]:
    root = np.linalg.cholesky(hessian)
    relative = np.linalg.solve(root, np.linalg.solve(root, learned).T)
    safe = bool(np.linalg.eigvalsh(relative)[0] > _LEAST_CURVATURE - 1.0)
    return np.add(hessian, learned) if safe else hessian


def _ask_penalty(
    problem: Problem, beta: NDArray[np.float64], hessian: NDArray[np.float64]
) -> Conversation[NDArray[np.float64]]:
    arrays = {"beta": beta, "inverse": np.linalg.inv(hessian)}
    sums = yield from real_sums(
        "firth_penalty", problem.arguments(), len(beta), arrays=arrays, scale_bits=STEP_SCALE_BITS
    )
    return sums


@answers_reals("firth_penalty")
def _penalty_sums(question: Question, table: Table) -> NDArray[np.float64]:
    """Σ h(½ − p)x over a site's rows."""
    x, _, eta = site_rows(question, table)
    p = expit(eta)
    h = p * expit(-eta) * np.einsum("ij,jk,ik->i", x, question.arrays["inverse"], x)
    return np.asarray(x.T @ (h * (0.5 - p)), np.float64)
