"""An MR study of the liver in six sequences as a scanner sends it: three grids, one of them oblique."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from fl_liver.client.cohort.series.grid import Grid, Triple
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.body import sections
from simulation.phantom.dicom import study_start_s
from simulation.phantom.lesion import LesionKind
from simulation.phantom.mr import DYNAMIC, MR_SEQUENCES, mr_appearance, mr_volume
from simulation.phantom.mr_elements import (
    MrVolume,
    enhanced_mr_elements,
    enhanced_mr_groups,
    enhanced_volume_groups,
    mr_equipment,
    mr_image_elements,
    mr_volume_elements,
    stored_signal,
)
from simulation.phantom.mr_makes import MrMake, mr_make
from simulation.phantom.volume_enhanced import merged, write_multi_frame
from simulation.phantom.volume_files import SeriesPlan, Stack, frame_of, shuffled_names, write_slices
from simulation.phantom.volume_regions import RegionForm, write_regions
from simulation.phantom.volumes import Case, TrueSeries, Truth, body_grid, cut_at_lesion, draw_body, imaged_patient

_STARTED_S: dict[SequenceKind, float] = {
    "t2": 180, "dwi": 360, "t1_pre": 700, "arterial": 802, "portal": 840, "equilibrium": 960,
}  # fmt: skip
"""After the study's start; the bolus begins at 780 s."""
_BOLUS_S, _DWI_S = 780.0, 90.0
_NAMES, _NOISE = 41, 42  # purposes of the patient's random streams


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slab:
    """Grid of one contrast at the full matrix of 320: field of view, share of the matrix, slices, place."""

    fov_mm: float
    matrix_share: float
    thickness_mm: float
    gap_mm: float
    shift_mm: Triple = (0.0, 0.0, 0.0)


_T2 = _Slab(fov_mm=384.0, matrix_share=1.0, thickness_mm=7.0, gap_mm=7.7)
_DWI = _Slab(fov_mm=384.0, matrix_share=0.6, thickness_mm=6.0, gap_mm=7.5, shift_mm=(0.0, 3.0, -2.2))
_T1 = _Slab(fov_mm=387.2, matrix_share=1.1, thickness_mm=2.75, gap_mm=2.75, shift_mm=(7.3, -4.1, 3.9))


@dataclass(frozen=True, slots=True, kw_only=True)
class MrExam:
    """How one study is scanned.

    matrix            rows and columns of T2; 320 gives T2 of 1.2 × 1.2 × 7.7 mm, diffusion of 2 × 2 × 7.5 mm and T1 of
                      1.1 × 1.1 × 2.75 mm, less gives larger pixels
    height_mm         of the slab round the liver
    oblique_deg       of the diffusion series against the others
    missing           sequences that were not scanned
    partial           one that ends in the middle of the first lesion
    other_frame       one with a frame of reference of its own
    enhanced          one multi-frame file a series
    dwi_together      all b-values in one series; by default as the make does
    dynamic_together  all T1 phases in one series
    described         whether SeriesDescription is filled where the make fills it
    """

    matrix: int = 128
    height_mm: float = 190.0
    oblique_deg: float = 8.0
    missing: frozenset[SequenceKind] = frozenset()
    partial: SequenceKind | None = None
    other_frame: SequenceKind | None = None
    enhanced: bool = False
    dwi_together: bool | None = None
    dynamic_together: bool = False
    described: bool = True


class MrOptions(TypedDict, total=False):
    """The fields of `MrExam`, as keywords."""

    matrix: int
    height_mm: float
    oblique_deg: float
    missing: frozenset[SequenceKind]
    partial: SequenceKind | None
    other_frame: SequenceKind | None
    enhanced: bool
    dwi_together: bool | None
    dynamic_together: bool
    described: bool


def write_patient_mr(
    patient_id: str,
    seed: int,
    maker: str,
    folder: Path,
    *,
    kind: LesionKind = "hcc",
    lesions: int = 1,
    size_mm: float | None = None,
    regions: tuple[RegionForm, ...] = ("nifti",),
    **exam: Unpack[MrOptions],
) -> Truth:
    """A patient in a hospital's data folder: `dicom/<patient_id>/` and the regions drawn on T2.

    Args:
        seed: ≥ 0; the same arguments give the same bytes.
        maker: "siemens", "ge", "philips" or "canon".
        regions: written forms of the truth, see `volume_regions`.
        exam: fields of `MrExam`.
    Raises:
        ConfigError: an unknown maker or kind, or a lesion that does not fit.
    """
    make = mr_make(maker)
    patient = imaged_patient(patient_id, seed, kind)
    case = Case(patient, "H01", draw_body(patient, kind, lesions, size_mm))
    images = folder / "dicom" / patient_id
    images.mkdir(parents=True)
    series = write_mr(case, make, images, MrExam(**exam))
    drawn_on = next(one for one in MR_SEQUENCES if one not in exam.get("missing", frozenset()))
    return write_regions(case, Truth(patient, case.body, series, drawn_on), folder, regions)


def write_mr(case: Case, make: MrMake, folder: Path, exam: MrExam) -> tuple[TrueSeries, ...]:
    """Write the images of one study into an existing folder, in the order of MR_SEQUENCES."""
    labels: dict[tuple[Grid, float], NDArray[np.uint8]] = {}
    groups = _series(case, make, exam)
    plans = [_plan(case, make, exam, group, number, labels) for number, group in enumerate(groups, start=2)]
    random = case.patient.random(_NAMES)
    names = shuffled_names(random, len(plans) if exam.enhanced else sum(plan.files for plan in plans), make.suffix)
    if exam.enhanced:
        return tuple(write_multi_frame(case, plan, EnhancedMRImageStorage, folder / next(names)) for plan in plans)
    return tuple(
        write_slices(case, plan, MRImageStorage, [folder / next(names) for _ in range(plan.files)]) for plan in plans
    )


def _series(case: Case, make: MrMake, exam: MrExam) -> list[tuple[MrVolume, ...]]:
    """The volumes of each series, in the order in which they were acquired."""
    start = study_start_s(case.patient)
    wanted = [kind for kind in MR_SEQUENCES if kind not in exam.missing]
    diffusion = tuple(
        MrVolume(kind="dwi", started_s=start + _STARTED_S["dwi"] + _DWI_S * number, b_value=b_value)
        for number, b_value in enumerate(make.b_values)
    )
    dynamic = tuple(
        MrVolume(
            kind=kind, started_s=start + _STARTED_S[kind], position=position,
            bolus_s=None if kind == "t1_pre" else start + _BOLUS_S,
        )
        for position, kind in enumerate(DYNAMIC, start=1) if kind in wanted
    )  # fmt: skip
    found = [(MrVolume(kind="t2", started_s=start + _STARTED_S["t2"]),)] if "t2" in wanted else []
    together = make.dwi_together if exam.dwi_together is None else exam.dwi_together
    if "dwi" in wanted:
        found += [diffusion] if together else [(one,) for one in diffusion]
    return found + ([dynamic] if exam.dynamic_together and dynamic else [(one,) for one in dynamic])


def _plan(
    case: Case,
    make: MrMake,
    exam: MrExam,
    volumes: tuple[MrVolume, ...],
    number: int,
    labels: dict[tuple[Grid, float], NDArray[np.uint8]],
) -> SeriesPlan:
    """One series. `labels` keeps what each grid cuts: the phases of the dynamic share theirs."""
    first, last = volumes[0], volumes[-1]
    slab = _slab(first.kind)
    grid = _grid(case, exam, first.kind)
    if (grid, slab.thickness_mm) not in labels:
        labels[grid, slab.thickness_mm] = sections(case.body, grid, slab.thickness_mm)
    cut = labels[grid, slab.thickness_mm]
    if exam.enhanced:
        form = enhanced_mr_elements(make, last, last.started_s - first.started_s + _duration_s(first.kind))
    else:
        form = mr_image_elements(make, first, grid)
    return SeriesPlan(
        name="-".join([first.kind, *(f"b{one.b_value:.0f}" for one in volumes if one.b_value is not None)]),
        number=number,
        modality="MR",
        grid=grid,
        thickness_mm=slab.thickness_mm,
        frame_uid=frame_of(case, "MR", own=first.kind if exam.other_frame == first.kind else ""),
        bits_stored=12,
        elements=merged(mr_equipment(make, case.hospital, first, described=exam.described), form),
        stacks=tuple(_stack(case, make, exam, volume, grid, cut) for volume in volumes),
        shared=enhanced_mr_groups(make, first, grid),
        head_first=make.head_first,
    )


def _stack(case: Case, make: MrMake, exam: MrExam, volume: MrVolume, grid: Grid, labels: NDArray[np.uint8]) -> Stack:
    stream = (_NOISE, MR_SEQUENCES.index(volume.kind), round(volume.b_value or 0))
    signal = mr_volume(
        labels, grid, mr_appearance(case.body, volume.kind, volume.b_value or 0.0), case.patient.random(*stream),
        noise=make.noise, shading=make.shading,
    )  # fmt: skip
    began_s = study_start_s(case.patient) + _STARTED_S["t1_pre"]
    own = mr_volume_elements(make, volume, (volume.position or 1), began_s)
    return Stack(
        kind=volume.kind,
        stored=stored_signal(signal, make),
        started_s=volume.started_s,
        duration_s=_duration_s(volume.kind),
        b_value=volume.b_value,
        position=volume.position,
        elements=enhanced_volume_groups(volume) if exam.enhanced else own,
    )


def _slab(kind: SequenceKind) -> _Slab:
    return _T2 if kind == "t2" else _DWI if kind == "dwi" else _T1


def _duration_s(kind: SequenceKind) -> float:
    return {"t2": 40.0, "dwi": _DWI_S}.get(kind, 15.0)


def _grid(case: Case, exam: MrExam, kind: SequenceKind) -> Grid:
    slab = _slab(kind)
    columns = 2 * round(exam.matrix * slab.matrix_share / 2)
    grid = body_grid(
        case.body,
        pixel_mm=slab.fov_mm / columns,
        columns=columns,
        gap_mm=slab.gap_mm,
        slices=max(3, round(exam.height_mm / slab.gap_mm)),
        shift_mm=slab.shift_mm,
        oblique_deg=exam.oblique_deg if kind == "dwi" else 0.0,
    )
    return cut_at_lesion(grid, case.body.lesions[0]) if exam.partial == kind else grid
