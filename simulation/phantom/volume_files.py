"""Series of slices as DICOM files: what CT and MR write alike, one file a slice under names that are in no order.

Modality elements come with the plan's `elements` and each stack's own; multi-frame objects are `volume_enhanced`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.dicom import new_object, save_alike, set_pixels, uid
from simulation.phantom.volumes import Case, TrueSeries

Stored = NDArray[np.uint16] | NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Stack:
    """One volume of a series.

    stored      (slices, rows, columns) as stored, feet to head
    started_s   seconds after midnight at which it was acquired
    b_value     of a diffusion volume, s/mm²
    position    temporal position from 1, where the series is dynamic
    duration_s  how long that took
    elements    of its own: in each of its slices' files, or functional groups of its frames
    """

    kind: SequenceKind
    stored: Stored
    started_s: float
    duration_s: float = 15.0
    b_value: float | None = None
    position: int | None = None
    elements: Dataset = field(default_factory=Dataset)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SeriesPlan:
    """One series before it becomes files.

    name        tells it apart from others of its study
    elements    what every file of it says beside the common modules
    shared      functional groups of all frames, for a multi-frame file
    head_first  whether instances count from head to feet
    """

    name: str
    number: int
    modality: str
    grid: Grid
    thickness_mm: float
    frame_uid: str
    bits_stored: int
    elements: Dataset
    stacks: tuple[Stack, ...]
    shared: Dataset = field(default_factory=Dataset)
    head_first: bool = False

    def truth(self, series_uid: str, files: Sequence[Path]) -> TrueSeries:
        """What a test may know of it."""
        b_values = tuple(stack.b_value for stack in self.stacks if stack.b_value is not None)
        kinds = tuple(stack.kind for stack in self.stacks)
        return TrueSeries(kinds, series_uid, self.frame_uid, self.grid, tuple(files), b_values)

    @property
    def files(self) -> int:
        return len(self.stacks) * self.grid.shape[0]


def series_object(case: Case, plan: SeriesPlan, sop_class: UID) -> Dataset:
    """Common modules of a series, without pixels and place of a slice."""
    dataset = new_object(case.patient, case.hospital, plan.modality, sop_class, 1, series=plan.name)
    dataset.SeriesNumber = plan.number
    dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = time_text(plan.stacks[0].started_s)
    dataset.AcquisitionDate = case.patient.study_date
    dataset.OperatorsName = "Fenjun^Ortras"
    dataset.BodyPartExamined = "ABDOMEN"
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = plan.frame_uid
    dataset.PositionReferenceIndicator = ""
    dataset.update(plan.elements)
    return dataset


def write_slices(case: Case, plan: SeriesPlan, sop_class: UID, paths: list[Path]) -> TrueSeries:
    """One file a slice; `paths` holds `plan.files` names."""
    template = series_object(case, plan, sop_class)
    set_pixels(template, plan.stacks[0].stored[0], "MONOCHROME2", bits_stored=plan.bits_stored)
    template.PixelSpacing = pixel_spacing(plan.grid)
    template.SliceThickness = plan.thickness_mm
    template.ImageOrientationPatient = orientation(plan.grid)
    series_uid, each = template.SeriesInstanceUID, len(slice_order(plan))
    for number, stack in enumerate(plan.stacks):
        whole = Dataset()
        whole.file_meta = template.file_meta
        whole.update(template)
        whole.update(stack.elements)
        whole.AcquisitionTime = whole.ContentTime = time_text(stack.started_s)
        save_alike(whole, _slices(series_uid, plan, number), paths[number * each : (number + 1) * each])
    return plan.truth(str(series_uid), paths)


def shuffled_names(random: np.random.Generator, count: int, suffix: str) -> Iterator[str]:
    """Names of a study's files; they say nothing of series or slice, as an archive exports them."""
    for number in random.permutation(count):
        yield f"I{number:05d}{suffix}"


def frame_of(case: Case, modality: str, own: str = "") -> str:
    """FrameOfReferenceUID of a study, or of one series that has its `own`."""
    return str(uid(*case.patient.entropy, case.patient.patient_id, modality, "frame", *((own,) if own else ())))


def orientation(grid: Grid) -> list[float]:
    """Direction cosines of a row, then of a column."""
    steps = np.array([grid.column_step_mm, grid.row_step_mm])
    cosines: list[float] = np.round(steps / np.linalg.norm(steps, axis=1, keepdims=True), 10).ravel().tolist()
    return [value + 0.0 for value in cosines]  # no −0


def pixel_spacing(grid: Grid) -> list[float]:
    """Between rows, between columns, mm."""
    return [round(step, 6) for step in grid.spacing_mm[1:]]


def positions(grid: Grid) -> list[list[float]]:
    """Centre of the first pixel of each slice, to a nanometre as it is written."""
    first_pixels = np.arange(grid.shape[0])[:, None] * [1, 0, 0]
    found: list[list[float]] = np.round(grid.position_mm(first_pixels), 6).tolist()
    return found


def slice_order(plan: SeriesPlan) -> range:
    """Slices of the grid in the order of instance numbers."""
    slices = plan.grid.shape[0]
    return range(slices - 1, -1, -1) if plan.head_first else range(slices)


def time_text(seconds: float) -> str:
    """A TM value.

    >>> time_text(36061.25)
    '100101.250000'
    """
    whole, micro = divmod(round(seconds * 1e6), 10**6)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{micro:06d}"


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """One slice of a written series. `frame` counts from 1, None in a file of a single slice."""

    slice: int
    sop_uid: str
    frame: int | None = None


def image_places(grid: Grid, images: Sequence[Dataset]) -> list[ImagePlace]:
    """The slices of a series' files, or of its one file's frames, in their order."""
    found: list[ImagePlace] = []
    for image in images:
        sop_uid, frames = str(image.SOPInstanceUID), image.get("PerFrameFunctionalGroupsSequence")
        if frames is None:
            found.append(ImagePlace(_slice_of(grid, image), sop_uid))
            continue
        for number, frame in enumerate(frames, start=1):
            found.append(ImagePlace(_slice_of(grid, frame.PlanePositionSequence[0]), sop_uid, number))
    return found


def _slice_of(grid: Grid, holder: Dataset) -> int:
    return round(float(grid.index_of([float(v) for v in holder.ImagePositionPatient])[0]))


def _slices(series_uid: UID, plan: SeriesPlan, number: int) -> Iterator[dict[str, str | bytes]]:
    """The elements that each slice of stack `number` has for itself."""
    order, corners = slice_order(plan), positions(plan.grid)
    locations = np.round(np.array(corners) @ plan.grid.normal, 4).tolist()
    for instance, index in enumerate(order, start=1 + number * len(order)):
        yield {
            "SOPInstanceUID": uid(series_uid, "slice", instance),
            "InstanceNumber": str(instance),
            "ImagePositionPatient": "\\".join(map(str, corners[index])),
            "SliceLocation": str(locations[index]),
            "PixelData": plan.stacks[number].stored[index].tobytes(),
        }
