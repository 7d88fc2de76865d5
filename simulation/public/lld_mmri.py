"""LLD-MMRI (challenge of 2023): liver MR of 498 patients in eight series each, seven kinds of lesion, each in a box.

    images/MR-<n>/<study>/<series>.nii.gz      eight a patient
    labels/Annotation.json                     Annotation_info: patient → one entry a series, with phase and boxes

Lou et al., "SDR-Former", arXiv 2402.17246; Ningbo Medical Center Lihuili Hospital. A box is drawn on each series:
voxels from x_min and y_min up to, not including, x_max and y_max, slices z_min to z_max both included. There is no
outline, so a mask is a cuboid, larger than its lesion. In- and opposed-phase images have no place in a study here and
are left out. Class −1 is the challenge's test part, whose classes were not published; patients with lesions of two
classes are left out, too. Series of one study were acquired in one session, so they share a frame of reference; those
of two studies do not. The cropped lesions of `classification_dataset/` have lost their geometry and are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_liver.client.cohort.layout import DICOM_FOLDER, MASK_FOLDER
from fl_liver.client.cohort.series.grid import Grid
from fl_liver.errors import DataError
from fl_liver.study_cohort import SequenceKind
from simulation.public.cohort import PublicCohort
from simulation.public.images import PublicImages, Written
from simulation.public.nifti import nifti_stem, painted_like, read_nifti, write_mask
from simulation.public.question import Question
from simulation.public.series_files import SeriesName, write_series
from simulation.public.tables import listing

ANNOTATION = "labels/Annotation.json"
PHASES: dict[str, SequenceKind | None] = {
    "T2WI": "t2",
    "DWI": "dwi",
    "C-pre": "t1_pre",
    "C+A": "arterial",
    "C+V": "portal",
    "C+Delay": "equilibrium",
    "In Phase": None,
    "Out Phase": None,
}
CLASSES = ("haemangioma", "icc", "abscess", "metastasis", "cyst", "fnh", "hcc")
"""In the order of the set's numbers 0 to 6; icc is intrahepatic cholangiocarcinoma, fnh focal nodular hyperplasia."""
_NAMES = {
    "hepatic_hemangioma": 0,
    "intrahepatic_cholangiocarcinoma": 1,
    "hepatic_abscess": 2,
    "hepatic_metastasis": 3,
    "hepatic_cyst": 4,
    "focal_nodular_hyperplasia": 5,
    "hepatocellular_carcinoma": 6,
    "inaccessible": -1,
}
DIAGNOSES = {
    "haemangioma": "hemangioma",
    "icc": "other_malignant",
    "abscess": "other_benign",
    "metastasis": "metastasis",
    "cyst": "cyst",
    "fnh": "fnh",
    "hcc": "hcc",
}
"""The codes of `mri_clinical` (Zhen 2020), whose seven classes are almost these."""
MALIGNANT = ("icc", "metastasis", "hcc")
_MOST_LESIONS = 1000
_EDGES = ("z_min", "y_min", "x_min", "z_max", "y_max", "x_max")
QUESTION = Question(
    title="Which of seven focal liver lesions in MR?",
    outcome="kind",
    classes={name: name for name in CLASSES},
    positive=MALIGNANT,
)


Box = tuple[int, tuple[int, ...]]
"""A lesion's label in the mask, and its six voxel edges in the order of `_EDGES`, upper ones excluded."""


@dataclass(frozen=True, slots=True)
class _Series:
    """One series: its study and file, and the box of each lesion."""

    kind: SequenceKind
    study: str
    path: Path
    boxes: tuple[Box, ...]


def read(folder: Path) -> PublicCohort:
    """Read the annotation and find the volumes.

    Returns:
        Columns patient_id, kind (`CLASSES`), diagnosis (the codes of `DIAGNOSES`), malignant (0/1).
    Raises:
        DataError: another folder, an annotation of another form or with a class or phase that the set does not know, or
            no patient with a class and images.
    """
    kinds, imaged, unreadable = _annotated(folder)
    known = {patient: kind for patient, kind in kinds.items() if kind is not None and patient in imaged}
    patients = sorted(patient for patient, series in imaged.items() if any(one.boxes for one in series))
    if not patients:
        raise DataError(
            f"{folder}: {len(known)} patients with a class, none with volumes below images/; fetch those too"
            + (f"; the annotation of {len(unreadable)} others cannot be read" if unreadable else "")
        )
    clinical = pd.DataFrame({"patient_id": patients, "kind": [known[patient] for patient in patients]})
    clinical["diagnosis"] = clinical["kind"].map(DIAGNOSES)
    clinical["malignant"] = clinical["kind"].isin(MALIGNANT).astype(np.int64)
    counts = {
        "whose class is not published, or who have lesions of two": sum(kind is None for kind in kinds.values()),
        "without volumes or boxes": len(known) - len(patients),
        f"whose annotation cannot be read (first {next(iter(unreadable), '')})": len(unreadable),
    }
    present = {one.kind for patient in patients for one in imaged[patient]}
    sequences = tuple(kind for kind in PHASES.values() if kind is not None and kind in present)
    return PublicCohort(
        name="lld_mmri",
        clinical=clinical,
        outcomes=("kind", "diagnosis", "malignant"),
        partition_columns={"kind": clinical["kind"].to_numpy(dtype=np.str_)},
        refused={"patient_id": "an id is no finding"},
        notes=tuple(f"{count} patients {why} are left out" for why, count in counts.items() if count),
        images=PublicImages(
            modality="MR",
            patients=frozenset(patients),
            lesions="boxes",
            write=_Writer({patient: imaged[patient] for patient in patients}),
            sequences=sequences,
            drawn_on=sequences,
            lesion_outcomes=("kind", "diagnosis", "malignant"),
            series=tuple((f"*/{kind}", kind) for kind in sequences),
        ),
        question=QUESTION,
    )


def _annotated(folder: Path) -> tuple[dict[str, str | None], dict[str, tuple[_Series, ...]], list[str]]:
    """The class of each patient, series of those who have one, and whose annotation cannot be read."""
    kinds: dict[str, str | None] = {}
    imaged: dict[str, tuple[_Series, ...]] = {}
    unreadable: list[str] = []
    for patient, items in _annotation(folder).items():
        try:
            kinds[patient] = _class_of(patient, items)
            if kinds[patient] is not None:
                imaged[patient] = _series(folder / "images" / patient, items)
        except (KeyError, TypeError, ValueError, AttributeError):
            unreadable.append(patient)
    return kinds, imaged, unreadable


@dataclass(frozen=True, slots=True)
class _Writer:
    series: dict[str, tuple[_Series, ...]] = field(repr=False)

    def __call__(self, patient: str, folder: Path) -> Written:
        masks: list[_Mask] = []
        for number, one in enumerate(self.series[patient], start=1):
            values, grid = read_nifti(one.path)
            name = SeriesName("lld_mmri", patient, "MR", one.kind, number, frame=one.study)
            write_series(values, grid, name, folder / DICOM_FOLDER / patient / one.kind)
            if one.boxes:
                mask = next((mask for mask in masks if grid.agrees_with(mask.grid)), None)
                if mask is None:
                    mask = _Mask(one.kind, grid, np.zeros(grid.shape, dtype=np.uint16))
                    masks.append(mask)
                mask.draw(one)
        labels: set[int] = set()
        for mask in masks:
            write_mask(mask.labels, mask.grid, folder / MASK_FOLDER / patient / f"{mask.kind}.nii.gz")
            labels |= mask.drawn
        return Written(lesions=tuple(sorted(labels)))


@dataclass(frozen=True, slots=True, eq=False)
class _Mask:
    """What is drawn on one lattice, called after its first series; a cohort takes it for all series on that lattice."""

    kind: SequenceKind
    grid: Grid
    labels: NDArray[np.uint16]

    @property
    def drawn(self) -> set[int]:
        return set(np.flatnonzero(np.bincount(self.labels.ravel())).tolist()) - {0}

    def draw(self, one: _Series) -> None:
        """Add lesions that are not here yet: one that has a box on several series would get the union of its boxes."""
        there = self.drawn
        lacking = [box for box in one.boxes if box[0] not in there]
        if lacking:
            own = _cuboids(one.path, lacking)
            self.labels[self.labels == 0] = own[self.labels == 0]


def _cuboids(path: Path, boxes: Sequence[Box]) -> NDArray[np.uint16]:
    """The boxes as labels, turned as the volume was; of two that overlap the smaller is whole, so that none hides."""

    def paint(labels: NDArray[np.uint16]) -> None:
        for label, (z0, y0, x0, z1, y1, x1) in sorted(boxes, key=_voxels):
            here = labels[max(z0, 0) : max(z1, 0), max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
            here[here == 0] = label
        if not labels.any():
            size = " × ".join(map(str, labels.shape[::-1]))
            raise DataError(f"{path}: the boxes lie outside the volume of {size} voxels; is it another version?")

    return painted_like(path, paint)


def _voxels(box: Box) -> int:
    z0, y0, x0, z1, y1, x1 = box[1]
    return (z1 - z0) * (y1 - y0) * (x1 - x0)


def _annotation(folder: Path) -> dict[str, list[dict[str, Any]]]:
    path = folder / ANNOTATION
    try:
        return dict(sorted(json.loads(path.read_text(encoding="utf-8"))["Annotation_info"].items()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no annotation ({type(error).__name__}; found {listing(folder)}; wanted images/ and {ANNOTATION});"
            " give the folder that holds both"
        ) from error


def _lesions(item: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(label in the mask, lesion) of one series; the set counts lesions from "0"."""
    for key, lesion in sorted(item["annotation"]["lesion"].items(), key=lambda pair: int(pair[0])):
        if not 0 <= int(key) < _MOST_LESIONS:
            raise ValueError(key)
        yield int(key) + 1, lesion


def _class_of(patient: str, items: list[dict[str, Any]]) -> str | None:
    """The one class of all lesions of a patient; None where there are two, or it was not published."""
    found: set[int] = set()
    for item in items:
        for _, lesion in _lesions(item):
            given = lesion["category"]
            number = _NAMES.get(str(given).strip().lower(), given)
            if not str(number).lstrip("-").isdigit() or not -1 <= int(number) < len(CLASSES):
                raise DataError(
                    f"lld_mmri: patient {patient} has class '{given}', wanted -1 to 6; is it another version?"
                )
            found.add(int(number))
    return CLASSES[found.pop()] if len(found) == 1 and found != {-1} else None


def _series(folder: Path, items: list[dict[str, Any]]) -> tuple[_Series, ...]:
    """Those of a patient's series that are on the disk and have a place in a study, in the order of `PHASES`."""
    files = {(path.parent.name, nifti_stem(path)): path for path in folder.glob("*/*.nii*")}
    found: dict[SequenceKind, _Series] = {}
    for item in items:
        if item["phase"] not in PHASES:
            raise DataError(f"lld_mmri: {folder.name} has a phase '{item['phase']}', wanted one of {', '.join(PHASES)}")
        kind, path = PHASES[item["phase"]], files.get((str(item["studyUID"]), str(item["seriesUID"])))
        if kind is not None and path is not None:
            boxes = tuple((label, _edges(lesion["bbox"]["3D_box"])) for label, lesion in _lesions(item))
            found[kind] = _Series(kind, str(item["studyUID"]), path, boxes)
    return tuple(found[kind] for kind in PHASES.values() if kind in found and kind is not None)


def _edges(box: dict[str, Any]) -> tuple[int, ...]:
    edges = [int(float(box[name])) for name in _EDGES]
    edges[3] += 1
    return tuple(edges)
