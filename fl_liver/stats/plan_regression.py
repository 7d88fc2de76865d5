"""Plan entries that fit a logistic model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fl_liver.stats.allowed import Allowed, of_fit
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.design import Factor
from fl_liver.stats.levels import learn_levels, require_shared_levels
from fl_liver.stats.logistic import logistic
from fl_liver.stats.nomogram import nomogram
from fl_liver.stats.plan_entry import Analysis, Column, Level


class _Fitted(Analysis):
    outcome: Column
    terms: Annotated[tuple[Column, ...], Field(min_length=1)]
    factors: dict[Column, Level] = Field(default_factory=dict)
    firth: bool = False

    @model_validator(mode="after")
    def _terms_fit(self) -> Self:
        if len({*self.terms, self.outcome}) <= len(self.terms):
            raise ValueError("a term is named twice, or is the outcome")
        stray = set(self.factors) - set(self.terms)
        if stray:
            raise ValueError(f"factors name {', '.join(sorted(stray))}, which is not a term")
        return self

    def columns(self) -> tuple[str, ...]:
        return (self.outcome, *self.terms)

    def learn_factors(self, min_cell: int) -> Conversation[dict[str, Factor]]:
        """The levels of every factor among the complete rows, each with its reference."""
        factors: dict[str, Factor] = {}
        for column, reference in self.factors.items():
            levels = yield from learn_levels([column], self.columns(), min_cell=min_cell)
            yield from require_shared_levels(column, levels, self.columns(), min_cell=min_cell)
            factors[column] = Factor(tuple(levels), reference)
        return factors

    def allows(self) -> Allowed:
        return of_fit(self.outcome, self.terms, self.factors, firth=self.firth)


class Logistic(_Fitted):
    """Odds ratios of an outcome."""

    kind: Literal["logistic"]

    def converse(self, min_cell: int) -> Conversation[Any]:
        factors = yield from self.learn_factors(min_cell)
        fit = yield from logistic(self.outcome, self.terms, factors=factors, firth=self.firth, min_cell=min_cell)
        return fit


class Nomogram(_Fitted):
    """A fitted model as points."""

    kind: Literal["nomogram"]
    limits: dict[Column, tuple[float, float]] = Field(default_factory=dict)

    def converse(self, min_cell: int) -> Conversation[Any]:
        factors = yield from self.learn_factors(min_cell)
        drawn = yield from nomogram(
            self.outcome, self.terms, self.limits, factors=factors, firth=self.firth, min_cell=min_cell
        )
        return drawn
