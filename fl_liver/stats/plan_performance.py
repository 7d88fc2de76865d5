"""Plan entries about how well a score or a reader does."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from fl_liver.stats.allowed import Allowed, of_calibration, of_classes, of_cut, of_groups, of_one, of_scores
from fl_liver.stats.calibration import calibration, hosmer_lemeshow
from fl_liver.stats.compare import compare, compare_unpaired
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.decision_curve import decision_curve
from fl_liver.stats.diagnostic import diagnostic
from fl_liver.stats.multiclass import multiclass
from fl_liver.stats.plan_entry import Analysis, Chosen, Column, Level, Share, named
from fl_liver.stats.reader_mean import reader_mean
from fl_liver.stats.readers import Scale, low_confidence, readers_against_model
from fl_liver.stats.readers_with_ai import readers_with_ai
from fl_liver.stats.roc import roc
from fl_liver.toml_file import Section


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
        return named(self.score, self.label, self.cluster)

    def converse(self, min_cell: int) -> Conversation[Any]:
        partial = None if self.partial is None else self.partial.model_dump(by_alias=True)
        return roc(self.score, self.label, min_cell=min_cell, partial=partial, cluster=self.cluster)

    def allows(self) -> Allowed:
        return of_scores([self.score], self.label, self.cluster)


class _Compared(Analysis):
    scores: Annotated[tuple[Column, ...], Field(min_length=2)]
    label: Column
    cluster: Column | None = None

    def columns(self) -> tuple[str, ...]:
        return named(*self.scores, self.label, self.cluster)

    def allows(self) -> Allowed:
        return of_scores(self.scores, self.label, self.cluster)


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

    def chosen(self) -> tuple[Chosen, ...]:
        return (Chosen(self.strata, self.levels, (self.score, self.label)),)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return compare_unpaired(self.score, self.label, self.strata, self.levels, min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_scores([self.score], self.label).within(self.strata)


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

    def allows(self) -> Allowed:
        return of_cut(self.score, self.label, [self.threshold])


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

    def allows(self) -> Allowed:
        return of_cut(self.p, self.y, self.thresholds)


class _Predicted(Analysis):
    y: Column
    p: Column
    groups: Annotated[int, Field(ge=2, le=100)] = 10
    apparent: bool = False
    """True where p was fitted on these very rows; the result says so."""

    def columns(self) -> tuple[str, ...]:
        return self.y, self.p


class HosmerLemeshow(_Predicted):
    """Observed against predicted events in groups of equal size."""

    kind: Literal["hosmer_lemeshow"]

    def converse(self, min_cell: int) -> Conversation[Any]:
        return hosmer_lemeshow(self.y, self.p, groups=self.groups, min_cell=min_cell, apparent=self.apparent)

    def allows(self) -> Allowed:
        return of_groups(self.y, self.p, self.groups)


class Calibration(_Predicted):
    """Slope, intercept, Brier score and curves of a predicted risk."""

    kind: Literal["calibration"]

    def converse(self, min_cell: int) -> Conversation[Any]:
        return calibration(self.y, self.p, groups=self.groups, min_cell=min_cell, apparent=self.apparent)

    def allows(self) -> Allowed:
        return of_calibration(self.y, self.p, self.groups)


class Multiclass(Analysis):
    """Several classes, a score column each."""

    kind: Literal["multiclass"]
    label: Column
    scores: Annotated[dict[Level, Column], Field(min_length=2)]

    def columns(self) -> tuple[str, ...]:
        return (self.label, *self.scores.values())

    def converse(self, min_cell: int) -> Conversation[Any]:
        return multiclass(self.label, self.scores, min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_classes(self.label, list(self.scores.values()))


class Readers(Analysis):
    """Readers' 0/1 calls against a model."""

    kind: Literal["readers"]
    label: Column
    readers: Annotated[tuple[Column, ...], Field(min_length=1)]
    model: Column
    threshold: float = 0.5
    experience: tuple[Level, ...] = ()
    """A word a reader, in their order: readers of one word are a group."""

    def columns(self) -> tuple[str, ...]:
        return (self.label, *self.readers, self.model)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return readers_against_model(
            self.label, self.readers, self.model, self.threshold, self.experience, min_cell=min_cell
        )

    def allows(self) -> Allowed:
        one = of_one("reader_model_calls", label=self.label, readers=self.readers, model=self.model)
        return replace(one, thresholds=frozenset({self.threshold}))


class ReadersWithAi(Analysis):
    """Readers' 0/1 calls without and with AI; with `model`, among the patients whom the model scored too."""

    kind: Literal["readers_with_ai"]
    label: Column
    alone: Annotated[tuple[Column, ...], Field(min_length=1)]
    with_ai: Annotated[tuple[Column, ...], Field(min_length=1)]
    experience: tuple[Level, ...] = ()
    model: Column | None = None

    def columns(self) -> tuple[str, ...]:
        return named(self.label, *self.alone, *self.with_ai, self.model)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return readers_with_ai(
            self.label, self.alone, self.with_ai, self.experience, min_cell=min_cell, complete=named(self.model)
        )

    def allows(self) -> Allowed:
        places = {"label": self.label, "alone": self.alone, "with_ai": self.with_ai}
        return of_one("reader_pair_calls", named(self.model), **places)


class ReaderMean(Analysis):
    """The mean ROC of several readers' ratings, and against their mean under another condition or a model."""

    kind: Literal["reader_mean"]
    scores: Annotated[tuple[Column, ...], Field(min_length=2)]
    label: Column
    against: tuple[Column, ...] = ()
    cluster: Column | None = None

    def columns(self) -> tuple[str, ...]:
        return named(*self.scores, *self.against, self.label, self.cluster)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return reader_mean(self.scores, self.label, self.against, min_cell=min_cell, cluster=self.cluster)

    def allows(self) -> Allowed:
        return of_scores([*self.scores, *self.against], self.label, self.cluster)


class LowConfidence(Analysis):
    """The share of patients in the low-confidence zone, for one rater or two."""

    kind: Literal["low_confidence"]
    scales: Annotated[dict[Column, Scale], Field(min_length=1, max_length=2)]

    def columns(self) -> tuple[str, ...]:
        return tuple(self.scales)

    def converse(self, min_cell: int) -> Conversation[Any]:
        return low_confidence(self.scales, min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_one("low_confidence_zone", columns=list(self.scales))
