"""How an MR study of the liver is scanned: which series, when, and on which grids (three, one of them oblique)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from fl_liver.client.cohort.series.grid import Grid, Triple
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.dicom import study_start_s
from simulation.phantom.mr import DYNAMIC
from simulation.phantom.mr_elements import MrVolume
from simulation.phantom.mr_makes import MrMake
from simulation.phantom.volumes import Case, body_grid, cut_at_lesion

_STARTED_S: dict[SequenceKind, float] = {
    "t2": 180, "dwi": 360, "t1_pre": 700, "arterial": 802, "portal": 840, "equilibrium": 960,
}  # fmt: skip
"""After the study's start; the bolus begins at 780 s."""
_BOLUS_S = 780.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """What one contrast is acquired on, at the full matrix of 320.

    matrix_share  its columns against those of T2
    shift_mm      of its middle against the body's
    duration_s    of one volume
    """

    fov_mm: float
    matrix_share: float
    thickness_mm: float
    gap_mm: float
    duration_s: float
    shift_mm: Triple = (0.0, 0.0, 0.0)


_T2 = Slab(fov_mm=384.0, matrix_share=1.0, thickness_mm=7.0, gap_mm=7.7, duration_s=40)
_DWI = Slab(fov_mm=384.0, matrix_share=0.6, thickness_mm=6.0, gap_mm=7.5, duration_s=90, shift_mm=(0.0, 3.0, -2.2))
_T1 = Slab(fov_mm=387.2, matrix_share=1.1, thickness_mm=2.75, gap_mm=2.75, duration_s=15, shift_mm=(7.3, -4.1, 3.9))


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


def slab_of(kind: SequenceKind) -> Slab:
    return _T2 if kind == "t2" else _DWI if kind == "dwi" else _T1


def grid_of(case: Case, exam: MrExam, kind: SequenceKind) -> Grid:
    """The grid of one sequence."""
    slab = slab_of(kind)
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


def planned_series(case: Case, make: MrMake, exam: MrExam) -> list[tuple[MrVolume, ...]]:
    """The volumes of each series, in the order in which they were acquired."""
    found: list[tuple[MrVolume, ...]] = []
    start = study_start_s(case.patient)
    if "t2" not in exam.missing:
        found.append((MrVolume(kind="t2", started_s=start + _STARTED_S["t2"]),))
    if "dwi" not in exam.missing:
        volumes = tuple(
            MrVolume(kind="dwi", started_s=start + _STARTED_S["dwi"] + _DWI.duration_s * number, b_value=b_value)
            for number, b_value in enumerate(make.b_values)
        )
        together = make.dwi_together if exam.dwi_together is None else exam.dwi_together
        found += [volumes] if together else [(one,) for one in volumes]
    dynamic = tuple(_phase(kind, start) for kind in DYNAMIC if kind not in exam.missing)
    return found + ([dynamic] if exam.dynamic_together and dynamic else [(one,) for one in dynamic])


def _phase(kind: SequenceKind, start_s: float) -> MrVolume:
    return MrVolume(
        kind=kind,
        started_s=start_s + _STARTED_S[kind],
        position=1 + DYNAMIC.index(kind),
        bolus_s=None if kind == "t1_pre" else start_s + _BOLUS_S,
        dynamic_s=start_s + _STARTED_S["t1_pre"],
    )
