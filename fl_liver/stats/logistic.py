"""Logistic regression over all hospitals, equal to the fit of the pooled table.

Cross-tables of outcome and attributes come first (floor), then means and standard deviations (so that every column is
about 1; where all columns are 0/1 attributes they stand in the cross-tables), then Newton steps on summed gradients and
Hessians (`newton`). Rows with a missing value are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fl_liver.errors import DataError
from fl_liver.stats.compose import Withheld, or_withheld, together
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.delong import Z95
from fl_liver.stats.design import Factor, Term, design_terms
from fl_liver.stats.firth import firth as penalised
from fl_liver.stats.floors import require_floor
from fl_liver.stats.moments import moments
from fl_liver.stats.newton import Fit, Problem, newton
from fl_liver.stats.result import json_value
from fl_liver.stats.rows import binary, cell_counts, numbers, rows_for

EVENTS_PER_COEFFICIENT = 10
Placed = tuple[float, float]
"""Mean and standard deviation (divisor n − 1) of a column."""


@dataclass(frozen=True, slots=True)
class LogisticResult:
    """A fitted model; lists run over "(Intercept)" and the terms.

    se           from the Hessian at `beta`; p two-sided normal; or_ci95 Wald
    loglik       log-likelihood at `beta` (with Firth, without the penalty); deviance = −2·loglik, aic = deviance + 2·k
    cov          covariance matrix of `beta`
    flags        "few_events" (fewer than 10 of the rarer outcome a coefficient), "firth"
    design       the terms, for `design.log_odds` at a site; not part of `to_json`
    """

    terms: tuple[str, ...]
    n: int
    n_events: int
    beta: tuple[float, ...]
    se: tuple[float, ...]
    z: tuple[float, ...]
    p: tuple[float, ...]
    odds_ratio: tuple[float, ...]
    or_ci95: tuple[tuple[float, float], ...]
    deviance: float
    null_deviance: float | None
    loglik: float
    aic: float
    cov: tuple[tuple[float, ...], ...]
    iterations: int
    flags: tuple[str, ...]
    design: tuple[Term, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        names = [name for name in self.__dataclass_fields__ if name != "design"]
        return {name: json_value(getattr(self, name)) for name in names}


def logistic(
    outcome: str,
    terms: Sequence[str],
    *,
    factors: Mapping[str, Factor] | None = None,
    firth: bool = False,
    min_cell: int = 5,
    complete: Sequence[str] = (),
) -> Conversation[LogisticResult]:
    """Fit P(outcome = 1) = expit(β₀ + Σ β·x).

    Args:
        outcome: 0/1 column.
        terms: columns of numbers, or of levels where `factors` names them; coefficients keep this order.
        factors: {column: Factor(levels, reference)}; dummies are named column + level, in level order.
        firth: Firth's correction; finite estimates under separation.
        min_cell: floor of each outcome, and of each cell of outcome by factor level or 0/1 column; 1 switches it off.
        complete: further columns in which a row must have a value (to fit several models to the same rows).
    Raises:
        PrivacyError: a cell below the floor.
        DataError: one outcome only, a constant or linearly dependent term, or separation without `firth`.
    """
    named = factors or {}
    columns = design_terms(terms, named)
    complete = list(dict.fromkeys([*complete, *terms]))
    counts, known = yield from _attribute_counts(outcome, terms, named, complete, min_cell)
    return (yield from fit_terms(outcome, columns, named, counts, firth=firth, complete=complete, known=known))


def fittable(outcome: str, terms: Sequence[str], *, min_cell: int = 5) -> Conversation[dict[str, Withheld | None]]:
    """Which terms have the patients for a model of their own: what forbids one (a cell below the floor, a constant
    column), and None where nothing does. Nothing is fitted.
    """

    def placed(term: str) -> Conversation[None]:
        counts, known = yield from _attribute_counts(outcome, [term], {}, [term], min_cell)
        _require_both(outcome, counts)
        yield from _centres_and_scales(outcome, design_terms([term], {}), [term], known)

    found = yield from together([or_withheld(placed(term)) for term in terms])
    return dict(zip(terms, found, strict=True))


def univariate(
    outcome: str,
    terms: Sequence[str],
    *,
    factors: Mapping[str, Factor] | None = None,
    firth: bool = False,
    min_cell: int = 5,
    complete: Sequence[str] = (),
) -> Conversation[dict[str, LogisticResult | Withheld]]:
    """Screening: one model for each term, in the same rounds; one that cannot be fitted or shown is `Withheld`."""
    named = factors or {}
    models = [
        or_withheld(
            logistic(
                outcome,
                [term],
                factors={term: named[term]} if term in named else {},
                firth=firth,
                min_cell=min_cell,
                complete=complete,
            )
        )
        for term in terms
    ]
    return dict(zip(terms, (yield from together(models)), strict=True))


def fit_terms(
    outcome: str,
    columns: Sequence[Term],
    factors: Mapping[str, Factor],
    counts: tuple[int, int],
    *,
    firth: bool = False,
    complete: Sequence[str] = (),
    offset: Term | None = None,
    known: Mapping[str, Placed] | None = None,
) -> Conversation[LogisticResult]:
    """Fit columns that are already built (for other statistics); `counts` are the rows with outcome 0 and 1.

    known: (mean, sd) of columns of numbers over the complete rows, where they were counted before.
    """
    _require_both(outcome, counts)
    placed = yield from _centres_and_scales(outcome, columns, complete, known or {})
    problem = Problem(
        outcome=outcome,
        columns=tuple({**t.to_json(), "centre": c, "scale": s} for t, (c, s) in zip(columns, placed, strict=True)),
        names=tuple(term.name for term in columns),
        factors={name: factor.levels for name, factor in factors.items()},
        complete=tuple(complete),
        offset=offset,
    )
    fit = yield from (penalised(problem) if firth else newton(problem))
    return _finish(columns, placed, fit, counts, firth=firth, with_offset=offset is not None)


def _require_both(outcome: str, counts: tuple[int, int]) -> None:
    if 0 in counts:
        raise DataError(f"'{outcome}': all complete rows have the same outcome; there is nothing to fit")


def _centres_and_scales(
    outcome: str, columns: Sequence[Term], complete: Sequence[str], known: Mapping[str, Placed]
) -> Conversation[list[Placed]]:
    """(mean, sd) over all hospitals of each column of numbers; (0, 1) for a dummy."""
    numeric = [term for term in columns if term.level is None]
    if all(term.column in known and not term.logit for term in numeric):
        shift = {term: known[term.column] for term in numeric}
    else:  # of all together, as a hospital's permit has it: which columns are attributes is not known beforehand
        found = yield from moments(numeric, complete=[*complete, outcome])
        shift = dict(zip(numeric, zip(found.mean, found.sd, strict=True), strict=True))
    flat = [term.name for term in numeric if not shift[term][1] > 1e-12 * abs(shift[term][0])]
    if flat:
        raise DataError(
            f"logistic regression of '{outcome}': {', '.join(flat)} is constant over all sites; leave it out"
        )
    return [shift.get(term, (0.0, 1.0)) for term in columns]


def _original_scale(fit: Fit, placed: Sequence[Placed]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients of the columns themselves and their covariance, from those of the standardised columns."""
    back = np.eye(len(placed) + 1)
    for place, (centre, scale) in enumerate(placed, start=1):
        back[place, place] = 1.0 / scale
        back[0, place] = -centre / scale
    return back @ fit.beta, back @ np.linalg.inv(fit.hessian) @ back.T


def _finish(
    columns: Sequence[Term],
    placed: Sequence[Placed],
    fit: Fit,
    counts: tuple[int, int],
    *,
    firth: bool,
    with_offset: bool,
) -> LogisticResult:
    beta, cov = _original_scale(fit, placed)
    se = np.sqrt(np.diag(cov))
    z = beta / se
    n0, n1 = counts
    n = n0 + n1
    with np.errstate(over="ignore"):
        odds, low, high = np.exp(beta), np.exp(beta - Z95 * se), np.exp(beta + Z95 * se)
    return LogisticResult(
        terms=("(Intercept)", *(term.name for term in columns)),
        n=n,
        n_events=n1,
        beta=_floats(beta),
        se=_floats(se),
        z=_floats(z),
        p=_floats(2.0 * stats.norm.sf(np.abs(z))),
        odds_ratio=_floats(odds),
        or_ci95=tuple(zip(_floats(low), _floats(high), strict=True)),
        deviance=-2.0 * fit.loglik,
        null_deviance=None if with_offset else -2.0 * (n1 * math.log(n1 / n) + n0 * math.log(n0 / n)),
        loglik=fit.loglik,
        aic=-2.0 * fit.loglik + 2.0 * len(beta),
        cov=tuple(_floats(row) for row in cov),
        iterations=fit.iterations,
        flags=_flags(columns, counts, firth=firth),
        design=tuple(columns),
    )


def _flags(columns: Sequence[Term], counts: tuple[int, int], *, firth: bool) -> tuple[str, ...]:
    few = min(counts) < EVENTS_PER_COEFFICIENT * len(columns)
    return (*(["few_events"] if few else []), *(["firth"] if firth else []))


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _attribute_counts(
    outcome: str, terms: Sequence[str], factors: Mapping[str, Factor], complete: Sequence[str], min_cell: int
) -> Conversation[tuple[tuple[int, int], dict[str, Placed]]]:
    """Rows with outcome 0 and 1, and mean and sd of the 0/1 columns.

    Refuses cells of outcome by level, and of outcome by 0/1 column, below the floor.
    """
    numeric = [term for term in terms if term not in factors]
    tables = [
        cell_counts([(name, factors[name].levels), (outcome, ("0", "1"))], complete=complete)
        for name in terms
        if name in factors
    ]
    outcomes, *crossed, cells = yield from together(
        [cell_counts([(outcome, ("0", "1"))], complete=complete), *tables, _binary_cells(outcome, numeric, complete)]
    )
    found = {f"'{outcome}' {value}": int(count) for value, count in enumerate(outcomes)}
    for name, table in zip([name for name in terms if name in factors], crossed, strict=True):
        for level, row in zip(factors[name].levels, table, strict=True):
            _whole_level(name, level, row)
            found |= {f"'{name}' {level} with '{outcome}' {value}": int(count) for value, count in enumerate(row)}
    known: dict[str, Placed] = {}
    for name, row in zip(numeric, cells, strict=True):
        if row[0] == 0:  # no value beside 0 and 1 anywhere: an attribute, not a measurement
            found |= {f"'{name}' with '{outcome}', cell {place}": int(v) for place, v in enumerate(row[1:])}
            known[name] = _binary_moments(int(row[1] + row[2]), int(row[3] + row[4]))
    require_floor(found, min_cell)
    return (int(outcomes[0]), int(outcomes[1])), known


def _binary_moments(zeros: int, ones: int) -> Placed:
    """Mean and sd of so many zeros and ones, as `moments` would find them; nothing counted is (0, 0).

    >>> _binary_moments(2, 2)
    (0.5, 0.5773502691896257)
    """
    n = zeros + ones
    return ones / max(n, 1), math.sqrt(zeros * ones / (n * (n - 1))) if n > 1 else 0.0


def _whole_level(name: str, level: str, row: IntVector) -> None:
    if int(row.sum()) == 0:
        raise DataError(f"factor '{name}': no complete row has level '{level}'; leave the level out of the plan")


def _binary_cells(outcome: str, columns: Sequence[str], complete: Sequence[str]) -> Conversation[IntVector]:
    """(len(columns), 5): rows whose value is neither 0 nor 1, then the four cells of value by outcome."""
    if not columns:
        return np.zeros((0, 5), np.int64)
    arguments = {"outcome": outcome, "columns": list(columns), "complete": list(complete)}
    (total,) = yield [Question("binary_cells", arguments, 5 * len(columns))]
    return total.reshape(len(columns), 5)


@answers("binary_cells")
def _count_binary_cells(question: Question, table: Table) -> IntVector:
    outcome, columns = question.arguments["outcome"], question.arguments["columns"]
    chosen = rows_for(question, table, list(dict.fromkeys([outcome, *columns])))
    y = binary(chosen, outcome).astype(np.int64)
    rows = []
    for name in columns:
        values = numbers(chosen, name)
        cell = np.where((values == 0.0) | (values == 1.0), 1 + 2 * (values == 1.0) + y, 0)
        rows.append(np.bincount(cell, minlength=5))
    return np.concatenate(rows).astype(np.int64)
