"""What every entry of an analysis plan has in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fl_liver.stats.allowed import Allowed
from fl_liver.stats.compose import among
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.rows import level_name
from fl_liver.stats.stratified import stratified
from fl_liver.toml_file import Section


def _level(value: object) -> object:
    return level_name(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Column = Annotated[str, Field(min_length=1)]
Level = Annotated[str, BeforeValidator(_level)]
"""A level of a grouping column; a number in the plan means the level of that number."""
Share = Annotated[float, Field(ge=0, le=1)]


class Analysis(Section):
    """One entry of a plan. `id` names its result; the columns that it names decide its complete cases.

    `by` asks for one result for each level of a column instead of one for all patients. `among` names further columns
    in which a patient must have a value.
    """

    id: Annotated[str, Field(min_length=1)]
    kind: str
    by: Column | None = None
    among: tuple[Column, ...] = ()

    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that the analysis reads at every site."""

    @abstractmethod
    def converse(self, min_cell: int) -> Conversation[Any]:
        """The conversation that answers it, with the floor `min_cell`."""

    @abstractmethod
    def allows(self) -> Allowed:
        """What that conversation may ask a hospital."""

    def answer(self, min_cell: int) -> Conversation[Any]:
        """`converse`, once for everybody or once for each level of `by`, in either case `among` some."""
        if self.by is None:
            talk = self.converse(min_cell)
        else:
            talk = stratified(self.by, self.columns(), lambda: self.converse(min_cell), min_cell=min_cell)
        return among(talk, self.among) if self.among else talk

    def permitted(self) -> Allowed:
        """What `answer` may ask."""
        allowed = self.allows() if self.by is None else self.allows().stratified(self.by, self.columns())
        return allowed.among(self.among)

    def read(self) -> tuple[str, ...]:
        """Every column that `answer` reads."""
        return named(*self.columns(), self.by, *self.among)


def named(*columns: str | None) -> tuple[str, ...]:
    """The columns that are given."""
    return tuple(column for column in columns if column is not None)
