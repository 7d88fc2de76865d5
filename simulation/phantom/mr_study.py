"""A short MR study round one lesion: six sequences in a few thick slices, each in a breath-hold of its own.

What a study of hundreds of patients can afford; whole livers in thin slices are `mr_files`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from fl_liver.client.cohort.series.grid import Grid, Triple
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.body import Body, paint, sections
from simulation.phantom.elements import merged
from simulation.phantom.mr import DYNAMIC, MR_SEQUENCES, received, stored_signal
from simulation.phantom.mr_contrast import grain, scanned_appearance
from simulation.phantom.mr_elements import MrVolume, mr_equipment, mr_image_elements, mr_volume_elements
from simulation.phantom.mr_enhanced import enhanced_mr_elements, enhanced_mr_groups, enhanced_volume_groups
from simulation.phantom.mr_exam import MrExam, planned_series, slab_of
from simulation.phantom.mr_lesions import MrLook
from simulation.phantom.mr_scanners import MrScanner
from simulation.phantom.volume_enhanced import write_multi_frame
from simulation.phantom.volume_files import SeriesPlan, Stack, frame_of, shuffled_names, write_slices
from simulation.phantom.volumes import Case, TrueSeries, body_grid

THICKNESS_MM = 6.0
_BEYOND_MM = 9.0
"""Of the slab above and below the lesion."""
_FEWEST_SLICES = 6
_CENTRED = 0.65
"""Where the middle of the field of view lies, from the body's middle to the lesion's."""
_DWI_COLUMNS = 0.7
_DWI_NOISE = 0.5
"""Diffusion averages over several excitations."""
_NAMES, _NOISE, _BREATH, _GRAIN = 43, 44, 45, 46  # purposes of the patient's random streams


@dataclass(frozen=True, slots=True)
class ShortStudy:
    """One patient's study. `case.body` is the body during T2, on which lesions are drawn; it holds one lesion."""

    case: Case
    scanner: MrScanner
    look: MrLook
    _cuts: dict[Grid, tuple[NDArray[np.uint8], NDArray[np.float32]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def write(self, folder: Path) -> tuple[TrueSeries, ...]:
        """The images into an existing folder, in the order of MR_SEQUENCES."""
        make, enhanced = self.scanner.make, self.scanner.enhanced
        planned = planned_series(self.case, make, MrExam())
        plans = [self._plan(number, volumes) for number, volumes in enumerate(planned, start=2)]
        counts = [1 if enhanced else plan.files for plan in plans]
        names = shuffled_names(self.case.patient.random(_NAMES), sum(counts), make.suffix)
        files = [[folder / next(names) for _ in range(count)] for count in counts]
        return tuple(
            write_multi_frame(self.case, plan, EnhancedMRImageStorage, paths[0])
            if enhanced
            else write_slices(self.case, plan, MRImageStorage, paths)
            for plan, paths in zip(plans, files, strict=True)
        )

    def grid(self, kind: SequenceKind) -> Grid:
        """Of one sequence: as many slices as the lesion needs, diffusion in larger pixels, T1 moved by half a pixel."""
        scanner, body = self.scanner, self.case.body
        columns = 2 * round(_DWI_COLUMNS * scanner.columns / 2) if kind == "dwi" else scanner.columns
        pixel_mm = scanner.fov_mm / columns
        x, y, z = (float(one) for one in np.subtract(body.lesions[0].centre_mm, body.centre_mm))
        moved = pixel_mm / 2 if kind in DYNAMIC else 0.0
        shift: Triple = (round(_CENTRED * x + moved, 3), round(_CENTRED * y, 3), round(z + moved, 3))
        return body_grid(
            body,
            pixel_mm=pixel_mm,
            columns=columns,
            gap_mm=scanner.gap_mm,
            slices=max(_FEWEST_SLICES, math.ceil(2 * (body.lesions[0].reach_mm[2] + _BEYOND_MM) / scanner.gap_mm)),
            shift_mm=shift,
        )

    def body_during(self, kind: SequenceKind) -> Body:
        """The body in the breath-hold of one sequence: T2's is that of `case`, the T1 phases share theirs."""
        body = self.case.body
        if kind == "t2":
            return body
        back, down = self.case.patient.random(_BREATH, int(kind in DYNAMIC)).standard_normal(2)
        breath_mm = (0.0, 0.4 * self.scanner.breathing_mm * back, self.scanner.breathing_mm * down)
        lesions = tuple(replace(one, centre_mm=_moved(one.centre_mm, breath_mm)) for one in body.lesions)
        return replace(body, centre_mm=_moved(body.centre_mm, breath_mm), lesions=lesions)

    def _plan(self, number: int, volumes: tuple[MrVolume, ...]) -> SeriesPlan:
        make, enhanced, first, last = self.scanner.make, self.scanner.enhanced, volumes[0], volumes[-1]
        slab, grid = slab_of(first.kind), self.grid(first.kind)
        if enhanced:
            form = enhanced_mr_elements(make, last, last.started_s - first.started_s + slab.duration_s)
        else:
            form = mr_image_elements(make, first, grid)
        return SeriesPlan(
            name="-".join([first.kind, *(f"b{one.b_value:.0f}" for one in volumes if one.b_value is not None)]),
            number=number,
            modality="MR",
            grid=grid,
            thickness_mm=THICKNESS_MM,
            frame_uid=frame_of(self.case, "MR"),
            bits_stored=12,
            elements=merged(mr_equipment(make, self.case.hospital, first, described=True), form),
            stacks=tuple(self._stack(volume, grid, slab.duration_s) for volume in volumes),
            shared=enhanced_mr_groups(make, first, grid) if enhanced else Dataset(),
            head_first=make.head_first,
        )

    def _stack(self, volume: MrVolume, grid: Grid, duration_s: float) -> Stack:
        scanner, make = self.scanner, self.scanner.make
        return Stack(
            kind=volume.kind,
            stored=stored_signal(self.signal(volume, grid), scanner.gain / (make.slope or 1.0)),
            started_s=volume.started_s,
            duration_s=duration_s,
            b_value=volume.b_value,
            position=volume.position,
            elements=enhanced_volume_groups(volume) if scanner.enhanced else mr_volume_elements(make, volume),
        )

    def signal(self, volume: MrVolume, grid: Grid) -> NDArray[np.float32]:
        """(slices, rows, columns); the liver before contrast is about 1."""
        scanner, b_value = self.scanner, volume.b_value or 0.0
        labels, uneven = self._cut(volume.kind, grid)
        return received(
            paint(labels, scanned_appearance(self.look, scanner, volume.kind, b_value)) * uneven,
            grid,
            self.case.patient.random(_NOISE, MR_SEQUENCES.index(volume.kind), round(b_value)),
            noise=scanner.noise * (_DWI_NOISE if volume.kind == "dwi" else 1.0),
            shading=scanner.shading,
            softening=scanner.softening,
        )

    def _cut(self, kind: SequenceKind, grid: Grid) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What lies in each plane of a grid, and the lesion's grain there; b-values and phases share theirs."""
        if grid not in self._cuts:
            body = self.body_during(kind)
            labels = sections(body, grid, THICKNESS_MM)
            random = self.case.patient.random(_GRAIN)
            self._cuts[grid] = labels, grain(body.lesions[0], self.look.texture, labels, grid, random)
        return self._cuts[grid]


def _moved(at_mm: Triple, by_mm: Triple) -> Triple:
    x, y, z = (round(float(one + other), 3) for one, other in zip(at_mm, by_mm, strict=True))
    return x, y, z
