"""One uploaded study read by the cohort's guarded readers, scored and explained by the study's final model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.cohort import PARTS, Cohort
from fl_liver.client.cohort.layout import PatientFolder
from fl_liver.client.cohort.load import read_patient
from fl_liver.client.cohort.pseudonym import random_pseudonyms
from fl_liver.client.cohort.read.decoders import decoders_for
from fl_liver.client.cohort.recipe import PatientImages, PatientItem, recipe_of
from fl_liver.client.explain.explained import Explained, explain_cohort
from fl_liver.client.explain.page import Picture
from fl_liver.client.scores import disease_log_odds
from fl_liver.client.site import SiteConfig
from fl_liver.client.train import pick_device, score
from fl_liver.client.viewer.upload import Upload
from fl_liver.errors import ConfigError, DataError
from fl_liver.parameters import Layout, Vector
from fl_liver.study import Study

READ_S = 300.0
Draw = Callable[[Study, Cohort, Explained], list[Picture]]
"""From explanations to figures; drawing belongs to another room."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page shows: of a patient, or of each lesion where that is the study's unit.

    rows   heading, probability of disease, and where there are several classes each one's (name, probability)
    """

    rows: tuple[tuple[str, float, tuple[tuple[str, float], ...]], ...]
    notes: tuple[str, ...]
    pictures: tuple[Picture, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Viewer:
    """A study with its final model at one hospital.

    Raises:
        ConfigError: `require_viewable`.
    """

    site: SiteConfig
    study: Study
    vector: Vector = field(repr=False)
    layout: Layout = field(repr=False)
    draw: Draw

    def __post_init__(self) -> None:
        require_viewable(self.study)

    @property
    def lesion_needed(self) -> bool:
        """Crops are made round the lesion; whole pictures need none."""
        return self.study.cohort.crops == "lesion"

    def answer(self, upload: Upload) -> Answer:
        """Read, score and explain; the uploaded files are gone afterwards, whatever happens.

        Raises:
            DataError: the images cannot be used; says why and what to do.
        """
        try:
            folder = upload.patient()
            self._require_lesion(upload, folder)
            found = self._read(upload, folder)
        finally:
            upload.close()
        cohort = _cohort_of(self.study, found)
        everybody = np.arange(len(cohort.patients))
        scores = score(self.study, cohort, self.vector, rows=everybody, device=pick_device("cpu"))
        explained = explain_cohort(self.study, cohort, self.vector, self.layout, patients=everybody, shown=None)
        return Answer(
            _rows(self.study, cohort, scores), _notes(self.study, found), tuple(self._drawn(cohort, explained))
        )

    def _drawn(self, cohort: Cohort, explained: Explained) -> list[Picture]:
        return self.draw(self.study, cohort, explained)

    def _require_lesion(self, upload: Upload, folder: PatientFolder) -> None:
        """Ultrasound says at once; of CT and MR a DICOM SEG or RTSTRUCT may lie among the files."""
        if self.lesion_needed and self.study.task.modality == "US" and not folder.boxes:
            raise DataError(
                "this study looks at a square round the lesion, and no box came with the images: add lesions.csv with"
                " the box of each lesion (patient_id, sop_instance_uid, kind, x_min_px, y_min_px, x_max_px, y_max_px,"
                " frame)" + ("" if self.study.task.background is None else ", and one of liver background beside it")
            )
        if upload.has_lesions and self.study.task.modality != "US" and folder.boxes:
            raise DataError("boxes in lesions.csv are for ultrasound; give the drawn lesion as NIfTI, SEG or RTSTRUCT")

    def _read(self, upload: Upload, folder: PatientFolder) -> PatientImages:
        free = not (folder.boxes or folder.masks or self.lesion_needed)
        item = PatientItem(upload.folder, folder, recipe_of(self.study), random_pseudonyms(), lesion_free=free)
        # In a process of its own, whatever site.toml says: these files were not made here.
        with decoders_for(1, seconds=READ_S) as decoders:
            found = next(decoders.map(read_patient, [item]))
            if isinstance(found, UnusableError) and found.code == "E_LESION_UNEXPECTED":  # a SEG among the images
                found = next(decoders.map(read_patient, [replace(item, lesion_free=False)]))
        if isinstance(found, UnusableError):
            told = found.finding(item.case)
            hint = "; add the drawn lesion (NIfTI, DICOM SEG or RTSTRUCT)" if told.code == "E_ROI_MISSING" else ""
            raise DataError(f"{told.code}: {told.cause}; {told.remedy}{hint}")
        if not found.images:
            raise DataError("E_MIXED_PATIENT: the files name several people; upload the study of one patient")
        return found


def require_viewable(study: Study) -> None:
    """Raises ConfigError for a study of tables, or one whose whole slices all hold a lesion."""
    if study.task.modality == "table":
        raise ConfigError(f"study {study.name} reads a table; there is no image to look at")


def _cohort_of(study: Study, found: PatientImages) -> Cohort:
    """A cohort of one patient, or of his lesions; nobody knows the diagnosis, so every label is the first class."""
    count = len(found.images["lesion"])
    labels = np.array(found.lesions, dtype=np.int64)
    each = study.cohort.unit == "lesion" and len(labels) == count
    names, owner = np.unique(labels, return_inverse=True) if each else (np.array([0]), np.zeros(count, np.int64))
    rows = len(names)
    return Cohort(
        patients=tuple(f"Lesion {name}" for name in names) if each else ("This study",),
        label=np.zeros(rows, dtype=np.int64),
        part=np.full(rows, PARTS.index("external"), dtype=np.int8),
        fold=np.full(rows, -1, dtype=np.int8),
        factors=np.full((rows, len(study.factor)), np.nan),
        background=np.full(rows, -1, dtype=np.int64),
        size_mm=np.full(rows, np.nan),
        images=found.images,
        owner=owner.astype(np.int64),
        findings=found.findings,
        group=np.zeros(rows, dtype=np.int64),
    )


def _rows(
    study: Study, cohort: Cohort, scores: NDArray[np.float64]
) -> tuple[tuple[str, float, tuple[tuple[str, float], ...]], ...]:
    classes = list(study.task.classes)
    disease = _probability(disease_log_odds(scores, [classes.index(name) for name in study.task.positive]))
    each = _probability(scores) if scores.shape[1] > 1 else np.empty((len(scores), 0))
    return tuple(
        (name, float(disease[i]), tuple(zip(classes, map(float, each[i]), strict=False)))
        for i, name in enumerate(cohort.patients)
    )


def _probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inside 0 … 1 also for log-odds of ±10³."""
    return np.exp(-np.logaddexp(0, -log_odds))


def _notes(study: Study, found: PatientImages) -> tuple[str, ...]:
    """Warnings of the readers, and what the network would have liked to know."""
    notes = [f"{one.code}: {one.cause}" for one in found.findings]
    if study.model.clinical:
        notes.append("No clinical values are entered here; the network was told that all are missing.")
    if study.model.patient != "mean":
        notes.append("The score weighs images by their own probability (risk score); it is given as a probability.")
    return tuple(notes)
