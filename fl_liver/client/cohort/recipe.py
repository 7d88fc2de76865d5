"""How images are made for one study, and what making them gives: the same for stills and for sections of volumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.layout import PatientFolder
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.series.mapping import NO_MAPPING, Mapping
from fl_liver.client.cohort.ultrasound.brightness import COLUMNS, ROWS
from fl_liver.study import Study
from fl_liver.study_cohort import SequenceKind


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a study asks of its images; part of the cache's key together with `VERSION`."""

    modality: str
    views: int
    image_px: int
    lesion_margin: float
    background: bool = False
    whole: bool = False
    sequences: tuple[SequenceKind, ...] = ()
    drawn_on: SequenceKind | None = None
    spacing_mm: tuple[float, float, float] | None = None
    window_hu: tuple[float, float] | None = None
    other_frames: bool = False

    VERSION = 2
    """Raise it whenever the same files would give other arrays."""

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of `Cohort.images`."""
        return ("lesion", "background") if self.background else ("lesion",)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W), or (C, H, W) where several sequences are the channels; a whole scan keeps its published shape."""
        if self.whole:
            return self.image_px, round(self.image_px * COLUMNS / ROWS)
        channels = (len(self.sequences),) if len(self.sequences) > 1 else ()
        return (*channels, self.image_px, self.image_px)


def recipe_of(study: Study) -> Recipe:
    """What `study` says about images; backgrounds are cropped where the study names their column."""
    rules = study.cohort
    return Recipe(
        modality=study.task.modality,
        views=rules.views,
        image_px=study.model.image_px,
        lesion_margin=rules.lesion_margin,
        background=study.task.background is not None and rules.crops == "lesion",
        whole=rules.crops == "whole",
        sequences=rules.sequences,
        drawn_on=rules.drawn_on or (rules.sequences[0] if rules.sequences else None),
        spacing_mm=rules.spacing_mm,
        window_hu=rules.window_hu,
        other_frames=rules.other_frames,
    )


@dataclass(frozen=True, slots=True)
class PatientItem:
    """One patient to be read, in a process of its own or here.

    root     the folder that holds the patients' folders; no link may lead out of it
    others   ids of the other patients of this hospital; a file that carries one lies in the wrong folder
    """

    root: Path = field(repr=False)
    folder: PatientFolder
    recipe: Recipe
    names: Pseudonyms
    others: frozenset[str] = field(repr=False)
    mapping: Mapping = NO_MAPPING

    @property
    def case(self) -> str:
        return self.names.patient(self.folder.patient_id)


class Told(NamedTuple):
    """What a header says of its patient, to be held against the clinical row inside the hospital."""

    age_years: float | None
    sex: str
    study_date: str


@dataclass(frozen=True, slots=True, eq=False)
class PatientImages:
    """What one patient gave.

    images      name → (k, H, W) or (k, C, H, W) float16, k ≥ 1
    sop_uids    of every file
    hashes      SHA-256 of the pixels of every image that is not blank
    told        what the headers say of the person
    findings    warnings
    """

    images: dict[str, NDArray[np.float16]]
    sop_uids: frozenset[str] = field(repr=False)
    hashes: frozenset[str] = field(repr=False)
    told: tuple[Told, ...] = field(repr=False)
    findings: tuple[Finding, ...]


def told_by(headers: Iterable[Header]) -> tuple[Told, ...]:
    """What some headers say of their patient, each once."""
    return tuple(sorted({Told(one.age_years, one.sex, one.study_date) for one in headers}, key=str))
