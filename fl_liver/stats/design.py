"""The columns of a regression: numbers, dummies of factors, log-odds of probabilities; how a row becomes a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import ConfigError, DataError
from fl_liver.stats.conversation import Table
from fl_liver.stats.rows import is_level, level_index, level_order, missing, numbers


@dataclass(frozen=True, slots=True)
class Factor:
    """A column of levels: all its levels, and the reference whose dummy is left out.

    Raises:
        ConfigError: the reference is not a level.
    """

    levels: tuple[str, ...]
    reference: str

    def __post_init__(self) -> None:
        if self.reference not in self.levels:
            raise ConfigError(f"reference level '{self.reference}' is not among the levels {', '.join(self.levels)}")

    def dummies(self) -> list[str]:
        """The levels that get a coefficient, in level order."""
        return [level for level in level_order(self.levels) if level != self.reference]


@dataclass(frozen=True, slots=True)
class Term:
    """One coefficient: a column as a number, its log-odds (`logit`), or 1 where the column has the level `level`."""

    column: str
    level: str | None = None
    logit: bool = False

    @property
    def name(self) -> str:
        """As results name it: the column, or column and level written together ("race2")."""
        return f"logit({self.column})" if self.logit else self.column + (self.level or "")

    def values(self, table: Table) -> NDArray[np.float64]:
        """(n,) float64.

        Raises:
            DataError: a value is not a finite number, or (logit) not strictly between 0 and 1.
        """
        if self.level is not None:
            return is_level(table[self.column], self.level).astype(np.float64)
        values = numbers(table, self.column)
        return log_odds_of(values, self.column) if self.logit else values

    def to_json(self) -> dict[str, Any]:
        """As it stands in a question's arguments."""
        return {"column": self.column, "level": self.level, "logit": self.logit}


def log_odds_of(p: NDArray[np.float64], column: str) -> NDArray[np.float64]:
    """(n,) probabilities → log-odds.

    Raises:
        DataError: a value is not strictly between 0 and 1.
    """
    bad = int(np.count_nonzero(~((p > 0.0) & (p < 1.0))))
    if bad:
        raise DataError(
            f"column '{column}': {bad} of {len(p)} probabilities are not strictly between 0 and 1: no log-odds; "
            "store log-odds, or clip the probabilities before the study"
        )
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def design_terms(terms: Sequence[str], factors: Mapping[str, Factor]) -> list[Term]:
    """The coefficients of named terms, in order; a factor gives one for each level but its reference.

    Raises:
        ConfigError: no term, a term named twice, or a factor that is not a term.
    """
    if not terms or len(set(terms)) != len(terms):
        raise ConfigError(f"terms {list(terms)}: wanted one or more different columns")
    stray = sorted(set(factors) - set(terms))
    if stray:
        raise ConfigError(f"factors {', '.join(stray)} are not among the terms {', '.join(terms)}")
    built: list[Term] = []
    for name in terms:
        built += [Term(name, level) for level in factors[name].dummies()] if name in factors else [Term(name)]
    return built


def design_matrix(
    columns: Sequence[Mapping[str, Any]], factors: Mapping[str, Sequence[str]], table: Table
) -> NDArray[np.float64]:
    """(n, 1 + k): ones, then each column as (value − centre) / scale.

    columns: `Term.to_json` with "centre" and "scale"; factors: {column: all levels}, to refuse a level not listed.
    """
    for name, levels in factors.items():
        level_index(table, name, levels)
    parts = [np.ones(len(table))]
    for column in columns:
        term = Term(column["column"], column["level"], column["logit"])
        parts.append((term.values(table) - column["centre"]) / column["scale"])
    return np.column_stack(parts)


def log_odds(terms: Sequence[Term], beta: Sequence[float], table: Table) -> NDArray[np.float64]:
    """(n,) fitted log-odds β₀ + Σ β·x of a hospital's own rows, NaN where a term's column is missing.

    terms, beta: as a `LogisticResult` has them; beta starts with the intercept. For the fused score, at the site.
    """
    if len(beta) != len(terms) + 1:
        raise ConfigError(f"{len(beta)} coefficients for an intercept and {len(terms)} terms")
    absent = np.zeros(len(table), np.bool_)
    for term in terms:
        absent |= missing(table[term.column])
    total = np.full(len(table), float(beta[0]))
    whole = Table({term.column: table[term.column][~absent] for term in terms})
    for term, coefficient in zip(terms, beta[1:], strict=True):
        total[~absent] += coefficient * term.values(whole)
    total[absent] = np.nan
    return total
