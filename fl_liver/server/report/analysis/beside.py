"""Questions that the page asks beside the plan, in the same batch: curves of comparisons, hospitals, raters' tables.

A plan's results hold what the contract names; a figure needs more. Each question here has the floors of its analysis,
is answered through the same sums, and goes into the result under a key of its own:

    centres   roc without clusters: AUC within hospitals, spread between them
    curves    comparisons, readers, readers_with_ai with a model: {name: ROC result}
    boxes     rank_sum and kruskal_wallis: quartiles and whiskers of each group
    table     cohen_kappa: {levels, counts}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from fl_liver.stats.allowed import Allowed, of_centres, of_ranks, of_raters, of_scores
from fl_liver.stats.boxes import boxes
from fl_liver.stats.centres import centre_auc
from fl_liver.stats.compose import or_withheld, within
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.cross_table import cross_table, shaped
from fl_liver.stats.floors import require_floor
from fl_liver.stats.levels import learn_levels
from fl_liver.stats.plan_description import CohenKappa, KruskalWallis, RankSum
from fl_liver.stats.plan_entry import Analysis, Chosen
from fl_liver.stats.plan_performance import CompareJoint, ComparePaired, CompareUnpaired, Readers, ReadersWithAi, Roc
from fl_liver.stats.result import json_fields
from fl_liver.stats.roc import roc


@dataclass(frozen=True, slots=True)
class RaterTable:
    """Patients by the first rater's level (rows) and the second's."""

    levels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return json_fields(self)


class Beside(Analysis):
    """A question for the analysis `of`; its result goes to `key`, under `name` where the key holds several.

    A hospital's permit covers it like an entry of the plan.
    """

    of: str
    key: str
    name: str | None = None

    def answer(self, min_cell: int) -> Conversation[Any]:
        """As an analysis, but a refusal is a result: it must not refuse the plan's own answers."""
        return or_withheld(super().answer(min_cell))

    def put(self, results: Mapping[str, dict[str, Any]], answer: Mapping[str, Any]) -> None:
        """Put the answer, as JSON, into the result of its analysis, in place; nothing where that was refused."""
        found = results[self.of]
        levels = found.get("strata", {}) if self.by is not None else {None: found}
        for level, result in levels.items():
            if "not_released" in result:
                continue
            mine = answer["strata"].get(level) if "strata" in answer else answer
            if self.name is None:
                result[self.key] = mine
            else:
                result.setdefault(self.key, {})[self.name] = mine


class Centres(Beside):
    """AUC within hospitals and its spread between them."""

    kind: Literal["centre_auc"] = "centre_auc"
    score: str
    label: str

    def columns(self) -> tuple[str, ...]:
        return self.score, self.label

    def converse(self, min_cell: int) -> Conversation[Any]:
        return centre_auc(self.score, self.label, min_cell=min_cell)

    def allows(self) -> Allowed:
        return of_centres(self.score, self.label)


class ComparedCurve(Beside):
    """The curve of one score among the patients of its comparison."""

    kind: Literal["roc"] = "roc"
    score: str
    label: str
    others: tuple[str, ...] = ()
    cluster: str | None = None
    where: dict[str, str] = Field(default_factory=dict)

    def columns(self) -> tuple[str, ...]:
        return (self.score, self.label, *self.others, *([] if self.cluster is None else [self.cluster]), *self.where)

    def converse(self, min_cell: int) -> Conversation[Any]:
        talk = roc(self.score, self.label, min_cell=min_cell, cluster=self.cluster, complete=self.others)
        return within(talk, where=self.where) if self.where else talk

    def allows(self) -> Allowed:
        allowed = of_scores([self.score], self.label, self.cluster, self.others)
        for column in self.where:
            allowed = allowed.within(column)
        return allowed


class GroupBoxes(Beside):
    """The quartiles of a number in groups, for a box plot."""

    kind: Literal["boxes"] = "boxes"
    x: str
    group: str
    levels: tuple[str, ...] = ()
    resolution: float = 0.0

    def columns(self) -> tuple[str, ...]:
        return self.x, self.group

    def chosen(self) -> tuple[Chosen, ...]:
        return (Chosen(self.group, self.levels, (self.x,)),) if self.levels else ()

    def converse(self, min_cell: int) -> Conversation[Any]:
        every_row_a_patient = self.patient is None
        return boxes(
            self.x,
            self.group,
            self.levels,
            resolution=self.resolution,
            min_cell=min_cell,
            whiskers=every_row_a_patient or min_cell == 1,
        )

    def allows(self) -> Allowed:
        return of_ranks(self.x, self.group, self.levels, quantiles=True, unit=self.resolution)


class RaterCounts(Beside):
    """The table of two raters."""

    kind: Literal["cohen_kappa"] = "cohen_kappa"
    raters: tuple[str, str]

    def columns(self) -> tuple[str, ...]:
        return self.raters

    def converse(self, min_cell: int) -> Conversation[RaterTable]:
        levels = yield from learn_levels(self.raters, min_cell=min_cell)
        both: dict[str, Sequence[str]] = dict.fromkeys(self.raters, levels)
        (total,) = yield [cross_table(both, margins=True)]
        counts = shaped(total, both)
        for rater, margin in zip(self.raters, (counts.sum(1), counts.sum(0)), strict=True):
            require_floor({f"{rater} = {level}": int(m) for level, m in zip(levels, margin, strict=True)}, min_cell)
        return RaterTable(tuple(levels), tuple(tuple(row) for row in counts.tolist()))

    def allows(self) -> Allowed:
        return of_raters("cross_table", self.raters, "columns")


def questions_beside(analyses: Iterable[Analysis]) -> list[Beside]:
    """What the page asks beside these analyses; ids start with a NUL, which no person writes."""
    return [one for analysis in analyses for one in _beside(analysis)]


def _beside(entry: Analysis) -> list[Beside]:
    def base(key: str, name: str | None = None) -> dict[str, Any]:
        return {
            "id": f"\0{key} {name} {entry.id}",
            "by": entry.by,
            "among": entry.among,
            "patient": entry.patient,
            "of": entry.id,
            "key": key,
            "name": name,
        }

    if isinstance(entry, Roc):
        return [] if entry.cluster else [Centres(**base("centres"), score=entry.score, label=entry.label)]
    if isinstance(entry, (ComparePaired, CompareJoint)):
        shared = {"label": entry.label, "cluster": entry.cluster, "others": entry.scores}
        return [ComparedCurve(**base("curves", score), score=score, **shared) for score in entry.scores]
    if isinstance(entry, CompareUnpaired):
        names = {f"{entry.strata} = {level}": {entry.strata: level} for level in entry.levels}
        shared = {"score": entry.score, "label": entry.label}
        return [ComparedCurve(**base("curves", name), where=where, **shared) for name, where in names.items()]
    if isinstance(entry, Readers):
        shared = {"score": entry.model, "label": entry.label, "others": entry.readers}
        return [ComparedCurve(**base("curves", entry.model), **shared)]
    if isinstance(entry, ReadersWithAi) and entry.model is not None:
        shared = {"score": entry.model, "label": entry.label, "others": (*entry.alone, *entry.with_ai)}
        return [ComparedCurve(**base("curves", entry.model), **shared)]
    if isinstance(entry, (RankSum, KruskalWallis)):
        asked = {"levels": entry.levels or (), "resolution": entry.resolution or 0.0}
        return [GroupBoxes(**base("boxes"), x=entry.x, group=entry.group, **asked)]
    if isinstance(entry, CohenKappa):
        return [RaterCounts(**base("table"), raters=(entry.raters[0], entry.raters[1]))]
    return []
