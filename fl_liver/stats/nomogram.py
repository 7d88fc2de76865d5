"""Nomogram: a fitted model as points that a person adds up with a ruler.

points of a value = 100 · (β·value − lowest of the term) / (range of the widest term), as in R rms::nomogram. It asks
nothing of its own: the fit gives β, the plan gives the range of each numeric term (P5 and P95, never the extremes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fl_liver.errors import ConfigError, DataError
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.design import Factor
from fl_liver.stats.logistic import LogisticResult, logistic
from fl_liver.stats.result import json_fields

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Nomogram:
    """0 is the lowest point of a term, 100 the highest of the widest.

    terms, beta          as in the fit, "(Intercept)" first
    limits, points       numeric terms: the two ends of the ruler, and their points
    level_points         factors: {term: {level: points}}
    log_odds_at_zero     log-odds at 0 total points; each point adds 1 / points_per_log_odds
    """

    terms: tuple[str, ...]
    beta: tuple[float, ...]
    limits: Mapping[str, Range]
    points: Mapping[str, Range]
    level_points: Mapping[str, Mapping[str, float]]
    log_odds_at_zero: float
    points_per_log_odds: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """JSON values; terms, beta and points as the analysis contract names them."""
        return json_fields(self)


def nomogram(
    outcome: str,
    terms: Sequence[str],
    limits: Mapping[str, Range],
    *,
    factors: Mapping[str, Factor] | None = None,
    firth: bool = False,
    min_cell: int = 5,
) -> Conversation[Nomogram]:
    """Fit P(outcome = 1) and lay the terms out as rulers.

    Args:
        limits: {numeric term: (low, high)}, low < high; one for each numeric term and for no other.
    Raises:
        ConfigError: limits that do not fit the terms.
        PrivacyError, DataError: as `logistic`.
    """
    named = factors or {}
    check_limits(terms, limits, named)
    fit = yield from logistic(outcome, terms, factors=named, firth=firth, min_cell=min_cell)
    return nomogram_of(fit, limits, named)


def nomogram_of(fit: LogisticResult, limits: Mapping[str, Range], factors: Mapping[str, Factor]) -> Nomogram:
    """The rulers of a fitted model.

    Raises:
        DataError: every coefficient is 0, so that no term has a range.
    """
    beta = dict(zip(fit.terms, fit.beta, strict=True))
    ends = {name: (beta[name] * low, beta[name] * high) for name, (low, high) in limits.items()}
    levels = {
        name: {level: beta.get(name + level, 0.0) for level in (factor.reference, *factor.dummies())}
        for name, factor in factors.items()
    }
    effects = {**{name: list(pair) for name, pair in ends.items()}, **{n: list(e.values()) for n, e in levels.items()}}
    lowest = {name: min(values) for name, values in effects.items()}
    widest = max(max(values) - lowest[name] for name, values in effects.items())
    if widest == 0:
        raise DataError("nomogram: every coefficient is 0, there is nothing to draw")
    scale = 100 / widest
    return Nomogram(
        terms=fit.terms,
        beta=fit.beta,
        limits=dict(limits),
        points={n: (scale * (a - lowest[n]), scale * (b - lowest[n])) for n, (a, b) in ends.items()},
        level_points={n: {at: scale * (e - lowest[n]) for at, e in one.items()} for n, one in levels.items()},
        log_odds_at_zero=beta["(Intercept)"] + sum(lowest.values()),
        points_per_log_odds=scale,
        n=fit.n,
    )


def check_limits(terms: Sequence[str], limits: Mapping[str, Range], factors: Mapping[str, Factor]) -> None:
    """Refuse limits that do not fit the terms.

    Raises:
        ConfigError: a numeric term without limits, limits of something else, or low not below high.
    """
    numeric = [term for term in terms if term not in factors]
    without = [term for term in numeric if term not in limits]
    stray = [term for term in limits if term not in numeric]
    if without:
        raise ConfigError(f"nomogram: no limits for '{without[0]}'; give limits = {{{without[0]} = [low, high]}}")
    if stray:
        raise ConfigError(f"nomogram: limits name '{stray[0]}', which is not a numeric term; leave it out")
    for term, (low, high) in limits.items():
        if not low < high:
            raise ConfigError(f"nomogram: limits of '{term}' are [{low}, {high}]; wanted low below high")
