"""A short MR study round one lesion: six sequences in a few thick slices, each in a breath-hold of its own.

What a study of hundreds of patients can afford; whole livers in thin slices are `mr_files`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from fl_liver.client.cohort.series.grid import Grid, Triple
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.anatomy import Tissue
from simulation.phantom.body import Appearance, Body, paint, planes, sections
from simulation.phantom.elements import merged
from simulation.phantom.lesion import SolidLesion, Zone
from simulation.phantom.mr import DYNAMIC, MR_SEQUENCES, mr_appearance, received, stored_signal
from simulation.phantom.mr_elements import MrVolume, mr_equipment, mr_image_elements, mr_volume_elements
from simulation.phantom.mr_enhanced import enhanced_mr_elements, enhanced_mr_groups, enhanced_volume_groups
from simulation.phantom.mr_exam import MrExam, planned_series, slab_of
from simulation.phantom.mr_lesions import MrLook, signals
from simulation.phantom.mr_scanners import MrScanner
from simulation.phantom.volume_enhanced import write_multi_frame
from simulation.phantom.volume_files import SeriesPlan, Stack, frame_of, shuffled_names, write_slices
from simulation.phantom.volumes import Case, TrueSeries, body_grid

THICKNESS_MM = 6.0
_BEYOND_MM = 14.0
"""Of the slab above and below the lesion."""
_OFF_CENTRE = 0.35
"""How far the lesion lies from the middle of the field of view, on the way to the body's."""
_NAMES, _NOISE, _BREATH, _GRAIN = 43, 44, 45, 46  # purposes of the patient's random streams
_WAVES = 10


@dataclass(frozen=True, slots=True)
class ShortStudy:
    """One patient's study. `case.body` is the body during T2, on which lesions are drawn; it holds one lesion."""

    case: Case
    scanner: MrScanner
    look: MrLook

    def write(self, folder: Path) -> tuple[TrueSeries, ...]:
        """The images into an existing folder, in the order of MR_SEQUENCES."""
        make = self.scanner.make
        planned = planned_series(self.case, make, MrExam(dwi_together=make.dwi_together))
        plans = [self._plan(number, volumes) for number, volumes in enumerate(planned, start=2)]
        files = [1 if self.scanner.enhanced else plan.files for plan in plans]
        names = shuffled_names(self.case.patient.random(_NAMES), sum(files), make.suffix)
        paths = [[folder / next(names) for _ in range(count)] for count in files]
        if self.scanner.enhanced:
            both = zip(plans, paths, strict=True)
            return tuple(write_multi_frame(self.case, plan, EnhancedMRImageStorage, path) for plan, (path,) in both)
        return tuple(
            write_slices(self.case, plan, MRImageStorage, some) for plan, some in zip(plans, paths, strict=True)
        )

    def grid(self, kind: SequenceKind) -> Grid:
        """Of one sequence: as many slices as the lesion needs; diffusion in larger pixels, T1 moved by half a pixel."""
        scanner, lesion = self.scanner, self.case.body.lesions[0]
        columns = 2 * round(0.35 * scanner.columns) if kind == "dwi" else scanner.columns
        pixel_mm = scanner.fov_mm / columns
        offset = np.subtract(lesion.centre_mm, self.case.body.centre_mm)
        moved = pixel_mm / 2 if kind in DYNAMIC else 0.0
        shift: Triple = (
            round((1 - _OFF_CENTRE) * float(offset[0]) + moved, 3),
            round((1 - _OFF_CENTRE) * float(offset[1]), 3),
            round(float(offset[2]) + moved, 3),
        )
        return body_grid(
            self.case.body,
            pixel_mm=pixel_mm,
            columns=columns,
            gap_mm=scanner.gap_mm,
            slices=math.ceil(2 * (lesion.reach_mm[2] + _BEYOND_MM) / scanner.gap_mm),
            shift_mm=shift,
        )

    def _plan(self, number: int, volumes: tuple[MrVolume, ...]) -> SeriesPlan:
        make, first, last = self.scanner.make, volumes[0], volumes[-1]
        slab, grid = slab_of(first.kind), self.grid(first.kind)
        if self.scanner.enhanced:
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
            shared=enhanced_mr_groups(make, first, grid) if self.scanner.enhanced else Dataset(),
            head_first=make.head_first,
        )

    def _stack(self, volume: MrVolume, grid: Grid, duration_s: float) -> Stack:
        scanner, make, b_value = self.scanner, self.scanner.make, volume.b_value or 0.0
        body = self.body_during(volume.kind)
        labels = sections(body, grid, THICKNESS_MM)
        signal = received(
            paint(labels, self.appearance(volume.kind, b_value)) * self._grain(body.lesions[0], labels, grid),
            grid,
            self.case.patient.random(_NOISE, MR_SEQUENCES.index(volume.kind), round(b_value)),
            noise=scanner.noise,
            shading=scanner.shading,
            softening=scanner.softening,
        )
        return Stack(
            kind=volume.kind,
            stored=stored_signal(signal, scanner.gain / (make.slope or 1.0)),
            started_s=volume.started_s,
            duration_s=duration_s,
            b_value=volume.b_value,
            position=volume.position,
            elements=enhanced_volume_groups(volume) if scanner.enhanced else mr_volume_elements(make, volume),
        )

    def body_during(self, kind: SequenceKind) -> Body:
        """The body where the breath-hold of one sequence left it: T2's is that of `case`."""
        body = self.case.body
        if kind == "t2":
            return body
        random = self.case.patient.random(_BREATH, MR_SEQUENCES.index(kind))
        breath_mm = self.scanner.breathing_mm * random.standard_normal(2) * (0.4, 1.0)
        moved = [_moved(one, breath_mm) for one in (body.centre_mm, *(lesion.centre_mm for lesion in body.lesions))]
        lesions = tuple(replace(lesion, centre_mm=at) for lesion, at in zip(body.lesions, moved[1:], strict=True))
        return replace(body, centre_mm=moved[0], lesions=lesions)

    def appearance(self, kind: SequenceKind, b_value: float) -> Appearance:
        """Signal of each tissue and of the lesion's zones, as this scanner parts them."""
        plain = mr_appearance(Body(), kind, b_value).tissues
        shown, power = signals(self.look, kind, b_value), self.scanner.t2_power
        tissues = dict(plain)
        if kind in DYNAMIC:
            power = self.scanner.t1_power
            shown = {zone: value * plain[Tissue.LIVER] for zone, value in shown.items()}
        if kind == "arterial":
            later, late = self.appearance_of_portal(), self.scanner.late
            tissues = {one: (1 - late) * value + late * later.tissues[one] for one, value in tissues.items()}
            shown = {zone: (1 - late) * value + late * later.lesions[0][zone] for zone, value in shown.items()}
        return Appearance(_powered(tissues, power), (_powered(shown, power),))

    def appearance_of_portal(self) -> Appearance:
        """Before the scanner's exponent: what a late "arterial" phase already shows a share of."""
        tissues = mr_appearance(Body(), "portal").tissues
        liver = tissues[Tissue.LIVER]
        return Appearance(tissues, ({zone: value * liver for zone, value in signals(self.look, "portal").items()},))

    def _grain(self, lesion: SolidLesion, labels: NDArray[np.uint8], grid: Grid) -> NDArray[np.float32]:
        """A factor about 1, uneven inside the lesion: the same grain in every sequence."""
        share = paint(labels, Appearance({}, (dict.fromkeys(Zone, 1.0),)))
        rows, columns = (np.flatnonzero(share.any(axis=axis)) for axis in ((0, 2), (0, 1)))
        if not rows.size:
            return np.ones(1, np.float32)
        box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        positions = [at[:, 0] for at in planes(grid, 0.0, number=1)]
        cut = [
            at[tuple(part if n > 1 else slice(None) for part, n in zip(box, at.shape, strict=True))] for at in positions
        ]
        share[box] *= np.float32(self.look.texture) * self._waves(lesion, cut)
        return 1 + share

    def _waves(self, lesion: SolidLesion, at: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Plane waves of a quarter to a half of the lesion's size, standard deviation 1."""
        random = self.case.patient.random(_GRAIN)
        size_mm = 2 * float(np.mean(lesion.radii_mm))
        total = np.zeros(np.broadcast_shapes(*(one.shape for one in at)), np.float32)
        for _ in range(_WAVES):
            direction = random.standard_normal(3)
            direction *= 2 * np.pi / (size_mm * random.uniform(0.25, 0.5)) / np.linalg.norm(direction)
            phase = sum(
                (one - np.float32(centre)) * np.float32(step)
                for one, centre, step in zip(at, lesion.centre_mm, direction, strict=True)
            )
            total += np.cos(phase + np.float32(random.uniform(0, 2 * np.pi)))
        return total * np.float32((2 / _WAVES) ** 0.5)


def _moved(centre_mm: Triple, breath_mm: NDArray[np.float64]) -> Triple:
    """Towards the back and the feet; the chest wall that stays is left out."""
    x, y, z = centre_mm
    return x, round(y + float(breath_mm[0]), 3), round(z + float(breath_mm[1]), 3)


def _powered[K](values: dict[K, float], power: float) -> dict[K, float]:
    return {key: value**power for key, value in values.items()}
