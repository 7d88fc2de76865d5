"""Plan entries that describe patients, compare groups, and measure agreement."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fl_liver.stats.allowed import Allowed, of_one, of_ranks, of_raters, of_table
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.fleiss import fleiss_kappa
from fl_liver.stats.kappa import cohen_kappa
from fl_liver.stats.kruskal import kruskal_wallis
from fl_liver.stats.mcnemar import mcnemar
from fl_liver.stats.plan_entry import Analysis, Chosen, Column, Level
from fl_liver.stats.proportion import proportion
from fl_liver.stats.rank_sum import rank_sum
from fl_liver.stats.table_one import table_one


class Proportion(Analysis):
    """The share of ones in a 0/1 column."""

    kind: Literal["proportion"]
    column: Column

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return proportion(self.column, min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_one("zero_one_counts", column=self.column)


class McNemar(Analysis):
    """Two 0/1 columns of the same patients."""

    kind: Literal["mcnemar"]
    first: Column
    second: Column

    def columns(self) -> tuple[str, ...]:
        return self.first, self.second

    def converse(self, min_cell: int) -> Conversation[Any]:
        return mcnemar(self.first, self.second, min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_one("paired_zero_one", first=self.first, second=self.second)


class _Raters(Analysis):
    raters: Annotated[tuple[Column, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _raters_differ(self) -> Self:
        if len(set(self.raters)) < len(self.raters):
            raise ValueError("a rater is named twice")
        return self

    def columns(self) -> tuple[str, ...]:
        return self.raters


class CohenKappa(_Raters):
    """Agreement of two raters."""

    kind: Literal["cohen_kappa"]
    raters: Annotated[tuple[Column, ...], Field(min_length=2, max_length=2)]

    def converse(self, min_cell: int) -> Conversation[Any]:
        return cohen_kappa((self.raters[0], self.raters[1]), min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_raters("cross_table", self.raters, "columns")


class FleissKappa(_Raters):
    """Agreement of several raters."""

    kind: Literal["fleiss_kappa"]

    def converse(self, min_cell: int) -> Conversation[Any]:
        return fleiss_kappa(self.raters, min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_raters("rating_sums", self.raters, "raters")


class _Grouped(Analysis):
    x: Column
    group: Column
    levels: tuple[Level, ...] | None = None

    def columns(self) -> tuple[str, ...]:
        return self.x, self.group

    def chosen(self) -> tuple[Chosen, ...]:
        return (Chosen(self.group, self.levels, (self.x,)),) if self.levels else ()


class RankSum(_Grouped):
    """A number in two groups."""

    kind: Literal["rank_sum"]
    levels: Annotated[tuple[Level, ...], Field(min_length=2, max_length=2)] | None = None
    resolution: Annotated[float, Field(gt=0)] | None = None

    def converse(self, min_cell: int) -> Conversation[Any]:
        unit = self.resolution or 0.0
        return rank_sum(self.x, self.group, self.levels or (), resolution=unit, min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_ranks(self.x, self.group, self.levels or (), quantiles=True, unit=self.resolution or 0.0)


class KruskalWallis(_Grouped):
    """A number in several groups."""

    kind: Literal["kruskal_wallis"]
    levels: Annotated[tuple[Level, ...], Field(min_length=2)] | None = None
    resolution: Annotated[float, Field(gt=0)] | None = None
    """To which the page's box plots round; the tests take values as they are."""

    def converse(self, min_cell: int) -> Conversation[Any]:
        return kruskal_wallis(self.x, self.group, self.levels or (), min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_ranks(self.x, self.group, self.levels or (), quantiles=False)


class TableOne(Analysis):
    """Patients of each group, described."""

    kind: Literal["table_one"]
    group: Column
    numeric: tuple[Column, ...] = ()
    categorical: tuple[Column, ...] = ()
    levels: tuple[Level, ...] = ()
    resolution: dict[Column, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        described = [*self.numeric, *self.categorical]
        if not described:
            raise ValueError("no column to describe; name some in numeric or categorical")
        if len(set(described)) < len(described):
            raise ValueError("a column is described twice")
        if {"groups", "n"} & set(described):
            raise ValueError("a column named 'groups' or 'n' cannot be described: the result uses these names")
        if set(self.resolution) - set(self.numeric):
            raise ValueError("resolution names a column that is not in numeric")
        return self

    def columns(self) -> tuple[str, ...]:
        return (self.group, *self.numeric, *self.categorical)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return table_one(
            self.group,
            self.numeric,
            self.categorical,
            self.levels,
            resolution=self.resolution,
            min_cell=min_cell,
        )

    def chosen(self) -> tuple[Chosen, ...]:
        if not self.levels:
            return ()
        alone = Chosen(self.group, self.levels)
        return (alone, *(replace(alone, complete=(name,)) for name in (*self.numeric, *self.categorical)))

    def allows(self) -> Allowed:
        return of_table(self.group, self.numeric, self.categorical, self.levels, self.resolution)
