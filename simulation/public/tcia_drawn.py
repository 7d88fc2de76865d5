"""TCIA's collections of CT with lesions as DICOM SEG: whose drawing counts, and how it becomes a hospital's mask.

One drawing a patient: of the earliest study on whose CT a lesion is drawn. What a collection says of its patients, and
which of a study's files a hospital gets, each collection says itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fl_liver.client.cohort.layout import DICOM_FOLDER, MASK_FOLDER
from fl_liver.client.cohort.series.mapping import MappedKind
from fl_liver.client.cohort.series.phases import SplitBy
from fl_liver.errors import DataError
from fl_liver.study_cohort import SequenceKind
from simulation.public.cohort import PublicCohort
from simulation.public.images import PublicImages, Written
from simulation.public.nifti import write_mask
from simulation.public.question import Question
from simulation.public.series_files import link_files
from simulation.public.tables import band, find_table
from simulation.public.tcia import (
    Segmentation,
    TciaSeries,
    drawn_lesions,
    incomplete,
    require_seg_reader,
    scanner_columns,
    segmentation,
    tcia_series,
)


@dataclass(frozen=True, slots=True)
class DrawnCt:
    """The CT series that was drawn on, all CT series of its study, the drawing, and its segments that are lesions."""

    drawn_on: TciaSeries
    study: tuple[TciaSeries, ...]
    drawn: Segmentation = field(repr=False)
    lesions: tuple[int, ...]


Files = Callable[[DrawnCt], Mapping[str, Sequence[Path]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnCollection:
    """What tells one collection from another.

    belongs   which PatientIDs are its own; `wanted` says what such a folder looks like, for a message
    words     in the label of a segment that is a lesion; `lesion` says in a message what is drawn
    separate  a segment holds several lesions: parts that hang together get labels of their own
    files     folder below the patient's → files, of what a hospital gets
    columns   by which the clinical table is known
    clinical  (that table, patients) → a row each in their order, with `age_years` and the outcomes that there are
    sequences, drawn_on, series, split    of `PublicImages`
    """

    name: str
    belongs: Callable[[str], bool]
    wanted: str
    words: tuple[str, ...]
    lesion: str
    separate: bool
    files: Files
    columns: tuple[str, ...]
    clinical: Callable[[pd.DataFrame, Mapping[str, DrawnCt]], pd.DataFrame]
    outcomes: tuple[str, ...]
    refused: Mapping[str, str]
    question: Question
    sequences: tuple[SequenceKind, ...]
    drawn_on: tuple[SequenceKind, ...]
    series: tuple[tuple[str, MappedKind], ...] = ()
    split: tuple[SplitBy, ...] = ()
    notes: tuple[str, ...] = ()

    def read(self, folder: Path) -> PublicCohort:
        """Find every patient's study and lesions, and join the clinical table.

        Raises:
            ConfigError: highdicom is not installed.
            DataError: no series of this collection, no clinical table, or nobody with a CT and drawn lesions.
        """
        require_seg_reader()
        found = tcia_series(folder, self.belongs, self.wanted)
        imaged = {patient: one for patient, series in found.items() if (one := drawn_ct(series, self.words))}
        if not imaged:
            raise DataError(
                f"{folder}: {len(found)} patients, none with a CT on which {self.lesion} drawn;"
                " fetch the SEG series too"
            )
        clinical = self.clinical(find_table(folder, self.columns, "clinical table"), imaged)
        columns = scanner_columns([imaged[patient].drawn_on for patient in clinical["patient_id"]])
        columns["age_band"] = np.array(band(clinical["age_years"], (50, 60, 70), ""), dtype=np.str_)
        without = len(found) - len(imaged)
        left_out = f"{without} patients without a CT on which {self.lesion} drawn are left out"
        return PublicCohort(
            name=self.name,
            clinical=clinical,
            outcomes=tuple(name for name in self.outcomes if name in clinical),
            partition_columns=columns,
            refused=dict(self.refused),
            notes=(*((left_out,) if without else ()), *self.notes, *incomplete(folder, found)),
            images=PublicImages(
                modality="CT",
                patients=frozenset(imaged),
                lesions="masks",
                write=_Writer(imaged, self.files, self.separate),
                sequences=self.sequences,
                drawn_on=self.drawn_on,
                series=self.series,
                split=self.split,
            ),
            question=self.question,
        )


def drawn_ct(series: Sequence[TciaSeries], words: Sequence[str]) -> DrawnCt | None:
    """The earliest study of a patient on whose CT a segment with one of these words in its label is drawn."""
    images = {one.series_uid: one for one in series if one.modality == "CT"}
    for one in sorted(series, key=lambda one: (one.study_date, one.series_uid)):
        drawn = segmentation(one) if one.modality == "SEG" else None
        if drawn is None or drawn.series_uid not in images:
            continue
        lesions = tuple(
            number for number, label in sorted(drawn.segments.items()) if any(word in label.lower() for word in words)
        )
        if lesions:
            drawn_on = images[drawn.series_uid]
            study = tuple(ct for ct in images.values() if ct.study_uid == drawn_on.study_uid)
            return DrawnCt(drawn_on, study, drawn, lesions)
    return None


@dataclass(frozen=True, slots=True)
class _Writer:
    imaged: Mapping[str, DrawnCt] = field(repr=False)
    files: Files = field(repr=False)
    separate: bool

    def __call__(self, patient: str, folder: Path) -> Written:
        one = self.imaged[patient]
        files = self.files(one)
        if not all(files.values()):
            raise DataError(f"{one.drawn.path}: none of the images that it was drawn on is there; resume the download")
        labels, grid = drawn_lesions(one.drawn, one.lesions, separate=self.separate)
        write_mask(labels, grid, folder / MASK_FOLDER / f"{patient}.nii.gz")
        for name, paths in files.items():
            link_files(paths, folder / DICOM_FOLDER / patient / name)
        return Written(lesions=tuple(int(label) for label in np.unique(labels) if label))
