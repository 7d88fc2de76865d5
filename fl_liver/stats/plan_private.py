"""The plan entry for AUCs with differential privacy, and what a plan with one may not hold beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fl_liver.errors import ConfigError
from fl_liver.stats import private_roc
from fl_liver.stats.allowed import Allowed, of_one
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.derived import Derived, sources
from fl_liver.stats.plan_entry import Analysis, Column

_RESERVED = ("not_released", "strata", "centres")
"""Keys that mean something else in a result."""


@dataclass(frozen=True, slots=True)
class PrivateRocs:
    """One noised AUC for each score of an entry."""

    scores: Mapping[str, private_roc.PrivateRoc]

    def to_json(self) -> dict[str, Any]:
        """{score: result}."""
        return {score: found.to_json() for score, found in self.scores.items()}


class PrivateRoc(Analysis):
    """Scores in log-odds against a 0/1 label, from histograms with noise.

    epsilon   for all scores together, 2 or more
    sites     hospitals in the sum, 3 or more
    honest    hospitals whose noise alone must suffice; without it all of them, which is the least noise
    """

    kind: Literal["private_roc"]
    scores: Annotated[tuple[Column, ...], Field(min_length=1)]
    label: Column
    epsilon: Annotated[float, Field(ge=private_roc.LEAST_EPSILON)]
    sites: Annotated[int, Field(ge=3)]
    honest: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        if len(set(self.scores)) < len(self.scores):
            raise ValueError("a score is named twice")
        if set(self.scores) & set(_RESERVED):
            raise ValueError(f"a score cannot be named {', '.join(_RESERVED)}: the result uses these names")
        if self.noise[1] > self.sites:
            raise ValueError(f"{self.honest} honest hospitals among {self.sites} sites")
        if self.by is not None:
            raise ValueError("'by' asks for exact counts of its levels; a private_roc is of all patients")
        if self.among:
            raise ValueError(
                "'among' chooses patients, and a private_roc spends its epsilon once: it is of all of them"
            )
        return self

    @property
    def noise(self) -> tuple[float, int]:
        """(ε for all scores together, honest hospitals), as a `Permit` holds it."""
        return float(self.epsilon), self.sites if self.honest is None else self.honest

    def columns(self) -> tuple[str, ...]:
        return (*self.scores, self.label)

    def converse(self, min_cell: int) -> Conversation[Any]:  # noqa: ARG002
        """Floors do not apply: every count carries noise, and one exchange has no exact count to hold against them."""
        epsilon, honest = self.noise
        found = yield from private_roc.private_roc(
            self.scores, self.label, epsilon=epsilon, honest=honest, sites=self.sites
        )
        return PrivateRocs(found)

    def allows(self) -> Allowed:
        return of_one("noised_histogram", scores=self.scores, label=self.label)


def check_private(analyses: Sequence[Analysis], derived: Sequence[Derived], where: str) -> None:
    """Hold a plan against the rules of noised answers; `where` names it in errors.

    Columns are compared as the hospitals' tables have them: one that the plan makes is as good as what it is made of.

    Raises:
        ConfigError: two private_roc entries; one beside an analysis that reads its label or one of its scores, or what
            they are made of; or one of rows of which a patient has several.
    """
    noised = _private(analyses)
    if len(noised) > 1:
        raise ConfigError(
            f"{where}: '{noised[0].id}' and '{noised[1].id}' are both private_roc; a plan holds one, as a second noised"
            " answer spends epsilon again: name all scores in one entry"
        )
    for entry in noised:
        if entry.patient is not None:
            raise ConfigError(
                f"{where}: '{entry.id}' is a private_roc, and the plan says patient = '{entry.patient}'; epsilon is of"
                " a row, and a patient of several rows would have less privacy than it says: bring tables of one row a"
                " patient"
            )
        own = sources(entry.columns(), derived)[0]
        for other in analyses:
            shared = [name for name in sources(other.read(), derived)[0] if name in own]
            if other is not entry and shared:
                raise ConfigError(
                    f"{where}: '{other.id}' ({other.kind}) asks for exact counts of '{shared[0]}', of which"
                    f" '{entry.id}' (private_roc) gives noised ones; a plan may not mix them: the exact counts would"
                    " spend the privacy for nothing. Drop one of the two"
                )


def check_sites(analyses: Iterable[Analysis], sites: int) -> None:
    """Refuse a private_roc entry for another number of hospitals than answer: the noise follows from it.

    Raises:
        ConfigError: the numbers differ.
    """
    for entry in _private(analyses):
        if entry.sites != sites:
            raise ConfigError(
                f"analysis '{entry.id}': sites = {entry.sites}, but {sites} tables are given; the noise of a"
                " private_roc is made for an agreed number of hospitals: correct the plan or the --site options"
            )


def noise_of(analyses: Iterable[Analysis]) -> tuple[float, int] | None:
    """(ε, honest hospitals) that a checked plan asks for; None where it asks for no noised histogram."""
    return next((entry.noise for entry in _private(analyses)), None)


def _private(analyses: Iterable[Analysis]) -> list[PrivateRoc]:
    return [entry for entry in analyses if isinstance(entry, PrivateRoc)]
