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
from fl_liver.errors import ConfigError
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
    patch_mm: float | None = None
    free_views: int = 0
    masks: bool = False

    VERSION = 3
    """Raise it whenever the same files would give other arrays."""

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of `Cohort.images`."""
        optional = {"background": self.background, "mask": self.masks}
        return ("lesion", *(name for name, wanted in optional.items() if wanted))

    @property
    def size_px(self) -> tuple[int, int]:
        """Rows and columns of every image; a whole ultrasound scan keeps its published shape."""
        if self.whole and self.modality == "US":
            return self.image_px, round(self.image_px * COLUMNS / ROWS)
        return self.image_px, self.image_px

    def shape_of(self, name: str) -> tuple[int, ...]:
        """(H, W), or (C, H, W) where several sequences are the channels; a mask has none."""
        channels = (len(self.sequences),) if len(self.sequences) > 1 and name != "mask" else ()
        return (*channels, *self.size_px)


def recipe_of(study: Study) -> Recipe:
    """What `study` says about images; backgrounds are cropped where the study names their column.

    Raises:
        ConfigError: the study asks for images that are not made.
    """
    rules = study.cohort
    wrong = _not_made(study)
    if wrong:
        raise ConfigError(f"study {study.name}: {wrong[0]}")
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
        patch_mm=rules.patch_mm,
        free_views=rules.free_views,
        masks=rules.masks,
    )


def _not_made(study: Study) -> list[str]:
    """What an image study asks for that there is not; empty where nothing."""
    rules, modality = study.cohort, study.task.modality
    volumes = modality in ("CT", "MR")
    free = ", ".join(study.task.lesion_free)
    reasons = {
        f"a {modality} study names its series in [cohort] sequences": volumes and not rules.sequences,
        f'task.lesion_free ({free}) wants cohort.crops = "whole": where no lesion is, there is nothing to crop': (
            bool(free) and rules.crops != "whole"
        ),
        'cohort.unit = "lesion" wants CT or MR and crops = "lesion": lesions are told apart by the labels of their'
        " mask, and an image must show one": rules.unit == "lesion" and not (volumes and rules.crops == "lesion"),
        f"cohort.patch_mm and free_views go with CT and MR, the study's modality is {modality}": (
            not volumes and (rules.patch_mm is not None or rules.free_views > 0)
        ),
    }
    return [reason for reason, applies in reasons.items() if applies]


@dataclass(frozen=True, slots=True)
class PatientItem:
    """One patient to be read, in a process of its own or here.

    root         the folder that holds the patients' folders; no link may lead out of it
    lesion_free  the diagnosis says that there is no lesion: none is looked for, and none may be drawn
    """

    root: Path = field(repr=False)
    folder: PatientFolder
    recipe: Recipe
    names: Pseudonyms
    mapping: Mapping = NO_MAPPING
    lesion_free: bool = False

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

    images      name → (k, H, W) or (k, C, H, W) float16, k ≥ 1; {} where the files name several people
    people      pseudonyms of those whom the headers name
    sop_uids    of every file
    hashes      SHA-256 of the pixels of every image that is not blank
    told        what the headers say of the person
    findings    warnings
    lesions     label of the lesion that each of the k images is about; () where they are not about one
    """

    images: dict[str, NDArray[np.float16]]
    people: frozenset[str] = frozenset()
    sop_uids: frozenset[str] = field(default=frozenset(), repr=False)
    hashes: frozenset[str] = field(default=frozenset(), repr=False)
    told: tuple[Told, ...] = field(default=(), repr=False)
    findings: tuple[Finding, ...] = ()
    lesions: tuple[int, ...] = ()


def told_by(headers: Iterable[Header]) -> tuple[Told, ...]:
    """What some headers say of their patient, each once."""
    return tuple(sorted({Told(one.age_years, one.sex, one.study_date) for one in headers}, key=str))


def people_in(headers: Iterable[Header], names: Pseudonyms) -> frozenset[str]:
    """Pseudonyms of those whom some headers name; whether they may be here is decided where everybody is known."""
    return frozenset(names.patient(one) for one in {header.patient_id for header in headers})
