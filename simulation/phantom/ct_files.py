"""A CT study of four contrast phases as a scanner sends it: a series a phase, all in one frame of reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from fl_liver.client.cohort.series.grid import Grid, Triple
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.body import sections
from simulation.phantom.ct import CT_PHASES, ct_appearance, ct_volume, outside_circle
from simulation.phantom.ct_elements import SCAN_S, CtPhase, ct_equipment, ct_slice_elements
from simulation.phantom.ct_enhanced import enhanced_ct_elements, enhanced_ct_groups
from simulation.phantom.ct_makes import CtMake, ct_make
from simulation.phantom.dicom import study_start_s
from simulation.phantom.elements import merged
from simulation.phantom.volume_enhanced import write_multi_frame
from simulation.phantom.volume_files import SeriesPlan, Stack, Stored, frame_of, shuffled_names, write_slices
from simulation.phantom.volume_patient import PatientOptions, of_patient, write_patient
from simulation.phantom.volumes import Case, TrueSeries, Truth, body_grid, cut_at_lesion

DRAWN_ON: tuple[SequenceKind, ...] = ("portal", *CT_PHASES)
"""Lesions are drawn on the first of these that was scanned."""
_PLAIN_S, _BOLUS_S = 120.0, 300.0
"""After the study's start."""
_NAMES, _NOISE = 31, 32  # purposes of the patient's random streams


@dataclass(frozen=True, slots=True, kw_only=True)
class CtExam:
    """How one study is scanned.

    matrix       rows and columns; 512 in a hospital
    gap_mm       from one slice to the next, by default the thickness; less makes slices overlap
    height_mm    of the slab round the liver
    missing      phases that were not scanned
    partial      a phase that ends in the middle of the first lesion
    other_frame  a phase with a frame of reference of its own
    enhanced     one multi-frame file a phase
    described    whether SeriesDescription and ProtocolName are filled where the make fills them
    shift_mm     of the slab's middle against the body's
    delays_s     of the arterial, portal venous and delayed phase, after the bolus begins
    """

    matrix: int = 128
    fov_mm: float = 380.0
    thickness_mm: float = 5.0
    gap_mm: float | None = None
    height_mm: float = 190.0
    missing: frozenset[SequenceKind] = frozenset()
    partial: SequenceKind | None = None
    other_frame: SequenceKind | None = None
    enhanced: bool = False
    described: bool = True
    shift_mm: Triple = (0.0, 0.0, 0.0)
    delays_s: Triple = (35.0, 70.0, 180.0)

    def started_s(self, kind: SequenceKind) -> float:
        """After the study's start."""
        return _PLAIN_S if kind == "plain" else _BOLUS_S + self.delays_s[CT_PHASES.index(kind) - 1]


class CtOptions(TypedDict, total=False):
    """The fields of `CtExam`, as keywords."""

    matrix: int
    fov_mm: float
    thickness_mm: float
    gap_mm: float | None
    height_mm: float
    missing: frozenset[SequenceKind]
    partial: SequenceKind | None
    other_frame: SequenceKind | None
    enhanced: bool
    described: bool
    shift_mm: Triple
    delays_s: Triple


class CtPatientOptions(PatientOptions, CtOptions, total=False):
    """Who is imaged, and how: the keywords of `write_patient_ct`."""


Picture = Callable[[SequenceKind, Grid], NDArray[np.int16]]
"""Hounsfield units of one phase on a grid, (slices, rows, columns)."""


def write_patient_ct(
    patient_id: str, seed: int, maker: str, folder: Path, **options: Unpack[CtPatientOptions]
) -> Truth:
    """A patient in a hospital's data folder: `dicom/<patient_id>/` and the regions drawn on the portal venous phase.

    Args:
        seed: ≥ 0; the same arguments give the same bytes.
        maker: "siemens", "ge", "philips" or "canon".
    Raises:
        ConfigError: an unknown maker or kind, or a lesion that does not fit.
    """
    make = ct_make(maker)
    who, how = of_patient(options)
    exam = CtExam(**how)
    return write_patient(
        patient_id, seed, folder, lambda case, images: write_ct(case, make, images, exam), DRAWN_ON, **who
    )


def write_ct(
    case: Case, make: CtMake, folder: Path, exam: CtExam, picture: Picture | None = None
) -> tuple[TrueSeries, ...]:
    """Write the images of one study into an existing folder, in the order of CT_PHASES.

    Args:
        picture: what each phase shows; by default the body with the values of `ct`, and the make's noise.
    """
    study = _Study(case, make, exam, picture or _plain_picture(case, make, exam))
    plans = [study.plan(kind) for kind in CT_PHASES if kind not in exam.missing]
    random = case.patient.random(_NAMES)
    names = shuffled_names(random, len(plans) if exam.enhanced else sum(plan.files for plan in plans), make.suffix)
    if exam.enhanced:
        return tuple(write_multi_frame(case, plan, EnhancedCTImageStorage, folder / next(names)) for plan in plans)
    return tuple(
        write_slices(case, plan, CTImageStorage, [folder / next(names) for _ in range(plan.files)]) for plan in plans
    )


def _plain_picture(case: Case, make: CtMake, exam: CtExam) -> Picture:
    labels: dict[Grid, NDArray[np.uint8]] = {}  # most phases share theirs

    def picture(kind: SequenceKind, grid: Grid) -> NDArray[np.int16]:
        if grid not in labels:
            labels[grid] = sections(case.body, grid, exam.thickness_mm)
        random, look = case.patient.random(_NOISE, CT_PHASES.index(kind)), ct_appearance(case.body, kind)
        return ct_volume(labels[grid], grid, look, random, noise_hu=make.noise_hu, grain_mm=make.grain_mm)

    return picture


@dataclass(frozen=True, slots=True)
class _Study:
    case: Case
    make: CtMake
    exam: CtExam
    picture: Picture

    def plan(self, kind: SequenceKind) -> SeriesPlan:
        case, make, exam, start = self.case, self.make, self.exam, study_start_s(self.case.patient)
        phase = CtPhase(
            kind=kind,
            number=1 + CT_PHASES.index(kind),
            started_s=start + exam.started_s(kind),
            bolus_s=None if kind == "plain" else start + _BOLUS_S,
            frame_uid=frame_of(case, "CT", own=kind if exam.other_frame == kind else ""),
        )
        grid = _grid(case, exam, kind)
        form = enhanced_ct_elements(make, phase) if exam.enhanced else ct_slice_elements(make, phase, grid)
        stack = Stack(kind=kind, stored=self._stored(kind, grid), started_s=phase.started_s, duration_s=SCAN_S)
        return SeriesPlan(
            name=kind,
            number=1 + phase.number,
            modality="CT",
            grid=grid,
            thickness_mm=exam.thickness_mm,
            frame_uid=phase.frame_uid,
            bits_stored=16 if make.signed else 12,
            elements=merged(ct_equipment(make, case.hospital, phase, described=exam.described), form),
            stacks=(stack,),
            shared=enhanced_ct_groups(make, phase, grid) if exam.enhanced else Dataset(),
            head_first=make.head_first,
        )

    def _stored(self, kind: SequenceKind, grid: Grid) -> Stored:
        """One phase as stored values, the make's padding or air outside the circle."""
        make, hu = self.make, self.picture(kind, grid)
        stored: Stored = hu - np.int16(make.intercept)
        if not make.signed:
            stored = stored.astype(np.uint16)
        stored[:, outside_circle(grid)] = make.padding or 0
        return stored


def _grid(case: Case, exam: CtExam, kind: SequenceKind) -> Grid:
    gap_mm = exam.gap_mm or exam.thickness_mm
    grid = body_grid(
        case.body,
        pixel_mm=exam.fov_mm / exam.matrix,
        columns=exam.matrix,
        gap_mm=gap_mm,
        slices=max(3, round(exam.height_mm / gap_mm)),
        shift_mm=exam.shift_mm,
    )
    return cut_at_lesion(grid, case.body.lesions[0]) if exam.partial == kind else grid
