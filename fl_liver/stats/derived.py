"""Columns that a plan makes from a hospital's own: row by row, at the hospital, before anything is asked.

    [[column]]
    name = "reader_1_scale"
    how = "scale10"
    of = ["reader_1_diagnosis", "reader_1_confidence"]

A row in which a source is missing has no value. A column may be made from one that stands before it in the plan. The
names are public, the values stay where they are: an analysis asks of a made column what it asks of any other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Table
from fl_liver.stats.plan_entry import Column, Level, NewLevel
from fl_liver.stats.readers import ordinal_from_call, ordinal_from_probability
from fl_liver.stats.rows import binary, is_level, level_names, missing, numbers
from fl_liver.toml_file import Section

Values = NDArray[Any]


class Derived(Section):
    """One column that the plan makes: `how` from the columns `of`."""

    name: Column
    how: str
    of: Annotated[tuple[Column, ...], Field(min_length=1, max_length=1)]

    @abstractmethod
    def made(self, rows: Table) -> Values:
        """(n,) values of rows in which every source has one."""

    @abstractmethod
    def said(self) -> str:
        """How it is made, for a reader of the page."""


class Scale10(Derived):
    """A reader's call (0/1) and confidence (1 low to 5 high) on one scale: 1 surely benign, 10 surely malignant."""

    how: Literal["scale10"]
    of: Annotated[tuple[Column, ...], Field(min_length=2, max_length=2)]

    def made(self, rows: Table) -> Values:
        return ordinal_from_call(binary(rows, self.of[0]), numbers(rows, self.of[1])).astype(np.float64)

    def said(self) -> str:
        return f"{self.of[0]} and {self.of[1]} on a ten-point scale (Khalili 2020): 5 + confidence, or 6 − confidence"


class Tenths(Derived):
    """A probability as 1 (up to .1) to 10, beside a reader's ten-point scale."""

    how: Literal["tenths"]

    def made(self, rows: Table) -> Values:
        return ordinal_from_probability(numbers(rows, self.of[0])).astype(np.float64)

    def said(self) -> str:
        return f"tenths of {self.of[0]}, 1 to 10"


class Times(Derived):
    """A number in another unit; with factor 10 a probability's odds ratio is per 10 %."""

    how: Literal["times"]
    factor: float

    def made(self, rows: Table) -> Values:
        return numbers(rows, self.of[0]) * self.factor

    def said(self) -> str:
        return f"{self.of[0]} × {self.factor:g}"


class AtLeast(Derived):
    """1 where a number reaches a threshold, else 0."""

    how: Literal["at_least"]
    threshold: float

    def made(self, rows: Table) -> Values:
        return (numbers(rows, self.of[0]) >= self.threshold).astype(np.float64)

    def said(self) -> str:
        return f"1 where {self.of[0]} ≥ {self.threshold:g}, else 0"


class Bands(Derived):
    """The band of a number: up to and with the first edge, up to and with the second, …, above the last."""

    how: Literal["bands"]
    edges: Annotated[tuple[float, ...], Field(min_length=1)]
    names: tuple[NewLevel, ...]

    @model_validator(mode="after")
    def _edges_part_the_names(self) -> Self:
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"edges {list(self.edges)} do not ascend")
        if len(set(self.names)) != len(self.edges) + 1 or len(self.names) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges want {len(self.edges) + 1} different names")
        return self

    def made(self, rows: Table) -> Values:
        band = np.searchsorted(np.array(self.edges), numbers(rows, self.of[0]), side="left")
        names: Values = np.array(self.names, dtype=object)
        return np.asarray(names[band])

    def said(self) -> str:
        parts = [f"≤ {edge:g} is ‘{name}’" for name, edge in zip(self.names, self.edges, strict=False)]
        return f"{self.of[0]}: {', '.join(parts)}, above is ‘{self.names[-1]}’"


class Merged(Derived):
    """Levels put together under new names; every level is listed, so that a plan leaves nobody out by this."""

    how: Literal["merged"]
    into: Annotated[dict[NewLevel, tuple[Level, ...]], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_level_twice(self) -> Self:
        levels = [level for named in self.into.values() for level in named]
        if twice := sorted({level for level in levels if levels.count(level) > 1}):
            raise ValueError(f"level {', '.join(twice)} is put into two groups")
        return self

    def made(self, rows: Table) -> Values:
        found = np.full(len(rows), "", dtype=object)
        for name, levels in self.into.items():
            for level in levels:
                found[is_level(rows[self.of[0]], level)] = name
        if unlisted := int(np.count_nonzero(found == "")):
            raise DataError(f"{unlisted} rows have a level of '{self.of[0]}' that 'into' does not list; list it")
        return found

    def said(self) -> str:
        parts = [f"{', '.join(levels)} is ‘{name}’" for name, levels in self.into.items()]
        return f"{self.of[0]}: {'; '.join(parts)}"


class OneOf(Derived):
    """1 where a column has one of some levels, else 0."""

    how: Literal["one_of"]
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]

    def made(self, rows: Table) -> Values:
        column = rows[self.of[0]]
        found: Values = np.any([is_level(column, level) for level in self.levels], axis=0)
        return found.astype(np.float64)

    def said(self) -> str:
        return f"1 where {self.of[0]} is {' or '.join(self.levels)}, else 0"


class Majority(Derived):
    """1 where most of an odd number of 0/1 columns are 1, else 0: readers' consensus by vote."""

    how: Literal["majority"]
    of: Annotated[tuple[Column, ...], Field(min_length=3)]

    @model_validator(mode="after")
    def _no_draw(self) -> Self:
        if len(self.of) % 2 == 0:
            raise ValueError(f"{len(self.of)} columns can draw; name an odd number")
        return self

    def made(self, rows: Table) -> Values:
        ones = np.sum([binary(rows, name) for name in self.of], axis=0)
        found: Values = np.greater(2 * ones, len(self.of))
        return found.astype(np.float64)

    def said(self) -> str:
        return f"1 where most of {', '.join(self.of)} are 1, else 0"


class Plurality(Derived):
    """The level that most of some columns hold: consensus of several classes by vote. Of levels with as many votes, the
    one that the earliest column holds; so the most experienced reader stands first."""

    how: Literal["plurality"]
    of: Annotated[tuple[Column, ...], Field(min_length=3)]

    def made(self, rows: Table) -> Values:
        held: Values = np.stack([level_names(rows[name]) for name in self.of])
        votes = np.array([np.sum(held == own, axis=0) for own in held])
        return np.asarray(np.take_along_axis(held, votes.argmax(axis=0)[None], axis=0)[0])

    def said(self) -> str:
        return f"what most of {', '.join(self.of)} hold; of as many, what the first of them holds"


class Same(Derived):
    """1 where two columns hold the same level, else 0: whether a call of several classes is right."""

    how: Literal["same"]
    of: Annotated[tuple[Column, ...], Field(min_length=2, max_length=2)]

    def made(self, rows: Table) -> Values:
        first, second = (level_names(rows[name]) for name in self.of)
        return np.equal(first, second).astype(np.float64)

    def said(self) -> str:
        return f"1 where {self.of[0]} and {self.of[1]} are the same, else 0"


class Highest(Derived):
    """The name of the largest of some scores: a model's class. Of equal ones, the first."""

    how: Literal["highest"]
    of: Annotated[tuple[Column, ...], Field(min_length=2)]
    names: tuple[NewLevel, ...]

    @model_validator(mode="after")
    def _a_name_each(self) -> Self:
        if len(set(self.names)) != len(self.of) or len(self.names) != len(self.of):
            raise ValueError(f"{len(self.of)} columns want as many different names")
        return self

    def made(self, rows: Table) -> Values:
        names: Values = np.array(self.names, dtype=object)
        return np.asarray(names[np.argmax([numbers(rows, name) for name in self.of], axis=0)])

    def said(self) -> str:
        return f"which of {', '.join(self.of)} is highest: {', '.join(self.names)}"


HOWS: Sequence[type[Derived]] = (
    Scale10, Tenths, Times, AtLeast, Bands, Merged, OneOf, Majority, Plurality, Same, Highest,
)  # fmt: skip


def derive(table: Table, derived: Sequence[Derived]) -> Table:
    """A hospital's table with the plan's columns beside its own.

    Raises:
        DataError: a value is none that the rule knows; names the column that was to be made.
    """
    columns = dict(table.columns)
    for one in derived:
        columns[one.name] = _made(Table(columns), one)
    return Table(columns)


def sources(wanted: Sequence[str], derived: Sequence[Derived]) -> tuple[list[str], list[Derived]]:
    """(the hospital's own columns that are needed, the columns that must be made), each in order of first use."""
    known = {one.name: one for one in derived}
    own: dict[str, None] = {}
    made: dict[str, None] = {}
    waiting = list(wanted)
    while waiting:
        name = waiting.pop(0)
        if name in known and name not in made:
            made[name] = None
            waiting += known[name].of
        elif name not in known:
            own[name] = None
    return list(own), [one for one in derived if one.name in made]


def _made(table: Table, one: Derived) -> Values:
    there = ~np.any([missing(table[name]) for name in one.of], axis=0)
    try:
        values = one.made(Table({name: table[name][there] for name in one.of}))
    except DataError as error:
        raise DataError(f"column '{one.name}' ({one.how}): {error}") from error
    text = values.dtype == object
    column = np.full(len(there), "" if text else np.nan, dtype=object if text else np.float64)
    column[there] = values
    return column
