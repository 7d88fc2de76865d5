"""Every kind of analysis that a plan can ask for: its keys, checked, and the conversation that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fl_liver.stats.compare import compare, compare_unpaired
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.decision_curve import decision_curve
from fl_liver.stats.diagnostic import diagnostic
from fl_liver.stats.fleiss import fleiss_kappa
from fl_liver.stats.kappa import cohen_kappa
from fl_liver.stats.kruskal import kruskal_wallis
from fl_liver.stats.mcnemar import mcnemar
from fl_liver.stats.multiclass import multiclass
from fl_liver.stats.proportion import proportion
from fl_liver.stats.rank_sum import rank_sum
from fl_liver.stats.readers import Scale, low_confidence, readers_against_model
from fl_liver.stats.roc import roc
from fl_liver.stats.rows import level_name
from fl_liver.stats.table_one import table_one
from fl_liver.toml_file import Section


def _level(value: object) -> object:
    return level_name(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Column = Annotated[str, Field(min_length=1)]
Level = Annotated[str, BeforeValidator(_level)]
"""A level of a grouping column; a number in the plan means the level of that number."""
Columns = Annotated[tuple[Column, ...], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Analysis(Section):
    """One entry of a plan. `id` names its result; the columns that it names decide its complete cases."""

    id: Annotated[str, Field(min_length=1)]
    kind: str

    def columns(self) -> tuple[str, ...]:
        """The columns that the analysis reads at every site."""
        raise NotImplementedError

    def converse(self, min_cell: int) -> Conversation[Any]:
        """The conversation that answers it, with the floor `min_cell`."""
        raise NotImplementedError


class Partial(Section):
    """A part of the ROC curve: between two specificities, or two sensitivities."""

    on: Literal["specificity", "sensitivity"]
    from_: Annotated[Share, Field(alias="from")]
    to: Share


class Roc(Analysis):
    """One score against a 0/1 label."""

    kind: Literal["roc"]
    score: Column
    label: Column
    partial: Partial | None = None
    cluster: Column | None = None

    def columns(self) -> tuple[str, ...]:
        return _named(self.score, self.label, self.cluster)

    def converse(self, min_cell: int) -> Conversation[Any]:
        partial = None if self.partial is None else self.partial.model_dump(by_alias=True)
        return roc(self.score, self.label, min_cell=min_cell, partial=partial, cluster=self.cluster)


class _Compared(Analysis):
    scores: Annotated[tuple[Column, ...], Field(min_length=2)]
    label: Column
    cluster: Column | None = None

    def columns(self) -> tuple[str, ...]:
        return _named(*self.scores, self.label, self.cluster)


class ComparePaired(_Compared):
    """Two scores of the same patients."""

    kind: Literal["compare_paired"]
    scores: Annotated[tuple[Column, ...], Field(min_length=2, max_length=2)]

    def converse(self, min_cell: int) -> Conversation[Any]:
        found = yield from compare(self.scores, self.label, min_cell=min_cell, cluster=self.cluster)
        return found.paired()


class CompareJoint(_Compared):
    """Two scores or more of the same patients: are all AUCs equal?"""

    kind: Literal["compare_joint"]

    def converse(self, min_cell: int) -> Conversation[Any]:
        found = yield from compare(self.scores, self.label, min_cell=min_cell, cluster=self.cluster)
        return found.joint()


class CompareUnpaired(Analysis):
    """One score in two separate groups of patients."""

    kind: Literal["compare_unpaired"]
    score: Column
    label: Column
    strata: Column
    levels: Annotated[tuple[Level, ...], Field(min_length=2, max_length=2)]

    def columns(self) -> tuple[str, ...]:
        return self.score, self.label, self.strata

    def converse(self, min_cell: int) -> Conversation[Any]:
        return compare_unpaired(self.score, self.label, self.strata, self.levels, min_cell=min_cell)


class Diagnostic(Analysis):
    """A score cut at a threshold."""

    kind: Literal["diagnostic"]
    score: Column
    label: Column
    threshold: float

    def columns(self) -> tuple[str, ...]:
        return self.score, self.label

    def converse(self, min_cell: int) -> Conversation[Any]:
        return diagnostic(self.score, self.label, self.threshold, min_cell=min_cell)


class Proportion(Analysis):
    """The share of ones in a 0/1 column."""

    kind: Literal["proportion"]
    column: Column

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return proportion(self.column, min_cell=min_cell)


class McNemar(Analysis):
    """Two 0/1 columns of the same patients."""

    kind: Literal["mcnemar"]
    first: Column
    second: Column

    def columns(self) -> tuple[str, ...]:
        return self.first, self.second

    def converse(self, min_cell: int) -> Conversation[Any]:
        return mcnemar(self.first, self.second, min_cell=min_cell)


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


class FleissKappa(_Raters):
    """Agreement of several raters."""

    kind: Literal["fleiss_kappa"]

    def converse(self, min_cell: int) -> Conversation[Any]:
        return fleiss_kappa(self.raters, min_cell=min_cell)


class _Grouped(Analysis):
    x: Column
    group: Column

    def columns(self) -> tuple[str, ...]:
        return self.x, self.group


class RankSum(_Grouped):
    """A number in two groups."""

    kind: Literal["rank_sum"]
    levels: Annotated[tuple[Level, ...], Field(min_length=2, max_length=2)] | None = None
    resolution: Annotated[float, Field(gt=0)] | None = None

    def converse(self, min_cell: int) -> Conversation[Any]:
        unit = self.resolution or 0.0
        return rank_sum(self.x, self.group, self.levels or (), resolution=unit, min_cell=min_cell)


class KruskalWallis(_Grouped):
    """A number in several groups."""

    kind: Literal["kruskal_wallis"]
    levels: Annotated[tuple[Level, ...], Field(min_length=2)] | None = None

    def converse(self, min_cell: int) -> Conversation[Any]:
        return kruskal_wallis(self.x, self.group, self.levels or (), min_cell=min_cell)


class DecisionCurve(Analysis):
    """Net benefit of a predicted risk."""

    kind: Literal["decision_curve"]
    y: Column
    p: Column
    thresholds: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)]

    def columns(self) -> tuple[str, ...]:
        return self.y, self.p

    def converse(self, min_cell: int) -> Conversation[Any]:
        return decision_curve(self.y, self.p, self.thresholds, min_cell=min_cell)


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


class Multiclass(Analysis):
    """Several classes, a score column each."""

    kind: Literal["multiclass"]
    label: Column
    scores: Annotated[dict[Level, Column], Field(min_length=2)]

    def columns(self) -> tuple[str, ...]:
        return (self.label, *self.scores.values())

    def converse(self, min_cell: int) -> Conversation[Any]:
        return multiclass(self.label, self.scores, min_cell=min_cell)


class Readers(Analysis):
    """Readers' 0/1 calls against a model."""

    kind: Literal["readers"]
    label: Column
    readers: Columns
    model: Column
    threshold: float = 0.5

    def columns(self) -> tuple[str, ...]:
        return (self.label, *self.readers, self.model)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return readers_against_model(self.label, self.readers, self.model, self.threshold, min_cell=min_cell)


class LowConfidence(Analysis):
    """The share of patients in the low-confidence zone, for one rater or two."""

    kind: Literal["low_confidence"]
    scales: Annotated[dict[Column, Scale], Field(min_length=1, max_length=2)]

    def columns(self) -> tuple[str, ...]:
        return tuple(self.scales)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return low_confidence(self.scales, min_cell=min_cell)


def _named(*columns: str | None) -> tuple[str, ...]:
    return tuple(column for column in columns if column is not None)


KINDS: Sequence[type[Analysis]] = (
    Roc,
    ComparePaired,
    CompareJoint,
    CompareUnpaired,
    Diagnostic,
    Proportion,
    McNemar,
    CohenKappa,
    FleissKappa,
    RankSum,
    KruskalWallis,
    DecisionCurve,
    TableOne,
    Multiclass,
    Readers,
    LowConfidence,
)
