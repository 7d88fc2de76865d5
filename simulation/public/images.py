"""The images of a public data set: which there are, what is drawn on them, and how one patient's are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fl_liver.client.cohort.series.mapping import MappedKind
from fl_liver.client.cohort.series.phases import SplitBy
from fl_liver.errors import ConfigError
from fl_liver.study import Study
from fl_liver.study_cohort import SequenceKind

LesionForm = Literal["masks", "boxes", "none"]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of one patient.

    boxes    rows of lesions.csv, in the order of `lesions.boxes.COLUMNS`; ultrasound only
    lesions  labels in his mask, ascending
    """

    boxes: tuple[tuple[str, ...], ...] = ()
    lesions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PublicImages:
    """Images of many patients, none of them in memory.

    modality         of all of them
    patients         ids of those who have images, and a lesion drawn or none to draw
    lesions          how lesions are drawn; on CT and MR, boxes become cuboid masks
    write            (patient id, a hospital's folder) → writes `dicom/<id>/` and `masks/<id>…`
    sequences        series that a patient may have; () in ultrasound
    drawn_on         those on which a lesion is drawn
    lesion_outcomes  outcomes that hold for every lesion of a patient, so that each may count by itself
    lesion_free      outcome → codes of patients without a lesion
    series           (folder below dicom/ as a glob, kind): what series.toml of each hospital says
    split            what parts phases that are stored as one series
    """

    modality: Literal["CT", "MR", "US"]
    patients: frozenset[str] = field(repr=False)
    lesions: LesionForm
    write: Callable[[str, Path], Written] = field(repr=False)
    sequences: tuple[SequenceKind, ...] = ()
    drawn_on: tuple[SequenceKind, ...] = ()
    lesion_outcomes: tuple[str, ...] = ()
    lesion_free: dict[str, tuple[str, ...]] = field(default_factory=dict)
    series: tuple[tuple[str, MappedKind], ...] = ()
    split: tuple[SplitBy, ...] = ()

    def check(self, study: Study, name: str) -> None:
        """Raises ConfigError where a study wants other images, or other drawings on them, than set `name` has."""
        for fault in (self._other_series(study, name), self._other_lesions(study, name)):
            if fault:
                raise ConfigError(f"study {study.name} {fault}")

    def _other_series(self, study: Study, name: str) -> str:
        rules, modality = study.cohort, study.task.modality
        if modality != self.modality:
            return (
                f"reads {modality} images, {name} has {self.modality}; choose a study with modality '{self.modality}'"
            )
        lacking = [kind for kind in rules.sequences if kind not in self.sequences]
        if lacking:
            return f"wants {', '.join(lacking)} series, {name} has {', '.join(self.sequences)}; change cohort.sequences"
        return ""

    def _other_lesions(self, study: Study, name: str) -> str:
        rules, task = study.cohort, study.task
        if self.lesions == "none":
            return f"wants lesions, in {name} nobody has drawn any; choose a study with modality 'table'"
        drawn_on = rules.drawn_on or next(iter(rules.sequences), None)
        if drawn_on is not None and drawn_on not in self.drawn_on:
            here = ", ".join(self.drawn_on)
            return f"has lesions drawn on {drawn_on}, in {name} they are drawn on {here}; set cohort.drawn_on"
        if rules.unit == "lesion" and task.outcome not in self.lesion_outcomes:
            return f"has a diagnosis for each lesion, in {name} {task.outcome} is the patient's; set cohort.unit"
        free = {task.classes[one] for one in task.lesion_free}
        undrawn = set(self.lesion_free.get(task.outcome, ())) & set(task.classes.values()) - free
        if undrawn:
            classes = ", ".join(one for one, code in task.classes.items() if code in undrawn)
            return f"wants lesions of everybody, in {name} class {classes} has none; name it in task.lesion_free"
        return ""
