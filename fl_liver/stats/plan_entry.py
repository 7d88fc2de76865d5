"""What every entry of an analysis plan has in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from fl_liver.stats.allowed import Allowed, of_one
from fl_liver.stats.compose import among
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.left_out import left_out, other_levels
from fl_liver.stats.rows import MISSING_TEXT, level_name
from fl_liver.stats.stratified import stratified
from fl_liver.toml_file import Section


def _level(value: object) -> object:
    return level_name(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _has_a_value(name: str) -> str:
    if name in MISSING_TEXT:
        raise ValueError(f"a level '{name}' would be read as a missing value; give it another name")
    return name


Column = Annotated[str, Field(min_length=1)]
Level = Annotated[str, BeforeValidator(_level)]
"""A level of a grouping column; a number in the plan means the level of that number."""
NewLevel = Annotated[Level, AfterValidator(_has_a_value)]
"""The name of a level that a plan makes. Nobody may become a missing value by it: `among` would leave him out."""
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some levels of a column, among the patients who also have a value in the columns `complete`."""

    column: str
    levels: tuple[str, ...]
    complete: tuple[str, ...] = ()


class Analysis(Section):
    """One entry of a plan. `id` names its result; the columns that it names decide its complete cases.

    `by` asks for one result for each level of a column instead of one for all patients. `among` names further columns
    in which a patient must have a value. `patient` is a key of the plan (`parse_plan`): the column that says whose a
    row is; without it every row is a patient.
    """

    id: Annotated[str, Field(min_length=1)]
    kind: str
    by: Column | None = None
    among: tuple[Column, ...] = ()
    patient: Column | None = None

    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that the analysis reads at every site."""

    @abstractmethod
    def converse(self, min_cell: int) -> Conversation[Any]:
        """The conversation that answers it, with the floor `min_cell`."""

    @abstractmethod
    def allows(self) -> Allowed:
        """What that conversation may ask a hospital."""

    def chosen(self) -> tuple[Chosen, ...]:
        """The levels of a column that the entry names: who has another one is not in it."""
        return ()

    def answer(self, min_cell: int) -> Conversation[Any]:
        """`converse`, once for everybody or once for each level of `by`, in either case `among` some."""
        if self.by is None:
            talk = self._begun(min_cell)
        else:
            talk = stratified(self.by, self.columns(), lambda: self._begun(min_cell), min_cell=min_cell)
        return among(talk, self.among) if self.among else talk

    def _begun(self, min_cell: int) -> Conversation[Any]:
        """`converse`, after a look at whom it leaves out: beside the same of everybody, it tells of them."""
        if self.among:
            yield from left_out(self.columns(), self.among, min_cell=min_cell)
        for one in self.chosen():
            yield from other_levels(one.column, one.levels, one.complete, min_cell=min_cell)
        return (yield from self.converse(min_cell))

    def permitted(self) -> Allowed:
        """What `answer` may ask."""
        allowed = self.allows()
        others = [of_one("left_out", columns=self.columns())] if self.among else []
        others += [of_one("other_levels", one.complete, column=one.column) for one in self.chosen()]
        allowed = replace(allowed, questions=allowed.questions.union(*(one.questions for one in others)))
        if self.by is not None:
            allowed = allowed.stratified(self.by, self.columns())
        return allowed.among(self.among)

    def read(self) -> tuple[str, ...]:
        """Every column that `answer` reads."""
        return named(*self.columns(), self.by, *self.among)


def named(*columns: str | None) -> tuple[str, ...]:
    """The columns that are given."""
    return tuple(column for column in columns if column is not None)
