"""How a scanner shows a lesion: the signal of each tissue and zone in a sequence, and the grain inside the lesion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.anatomy import Tissue
from simulation.phantom.body import Appearance, Body, paint, planes
from simulation.phantom.lesion import SolidLesion, Zone
from simulation.phantom.mr import DYNAMIC, mr_appearance
from simulation.phantom.mr_lesions import MrLook, signals
from simulation.phantom.mr_scanners import MrScanner

_WAVES = 10


def scanned_appearance(look: MrLook, scanner: MrScanner, kind: SequenceKind, b_value: float) -> Appearance:
    """Signal of each tissue and of the lesion's zones; `b_value` in s/mm²."""
    found = _appearance(look, kind, b_value)
    later = _appearance(look, "portal", b_value) if kind == "arterial" else found
    power = scanner.t1_power if kind in DYNAMIC else scanner.t2_power

    def shown(early: float, late: float) -> float:
        return float(((1 - scanner.late) * early + scanner.late * late) ** power)

    tissues = {tissue: shown(value, later.tissues[tissue]) for tissue, value in found.tissues.items()}
    zones = {zone: shown(value, later.lesions[0][zone]) for zone, value in found.lesions[0].items()}
    return Appearance(tissues, (zones,))


def grain(
    lesion: SolidLesion, texture: float, labels: NDArray[np.uint8], grid: Grid, random: np.random.Generator
) -> NDArray[np.float32]:
    """A factor about 1 for each voxel, uneven inside the lesion; equal streams give the same grain on every grid.

    Args:
        texture: standard deviation inside the lesion.
        labels: `body.sections` of that grid.
    """
    share = paint(labels, Appearance({}, (dict.fromkeys(Zone, 1.0),)))
    rows, columns = (np.flatnonzero(share.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if rows.size:
        box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        x, y, z = (float(one) for one in grid.position_mm([0, rows[0], columns[0]]))
        part = replace(grid, shape=share[box].shape, origin_mm=(x, y, z))
        share[box] *= np.float32(texture) * _waves(lesion, part, random)
    return 1 + share


def _appearance(look: MrLook, kind: SequenceKind, b_value: float) -> Appearance:
    tissues = mr_appearance(Body(), kind, b_value).tissues
    liver = tissues[Tissue.LIVER] if kind in DYNAMIC else 1.0
    return Appearance(tissues, ({zone: value * liver for zone, value in signals(look, kind, b_value).items()},))


def _waves(lesion: SolidLesion, grid: Grid, random: np.random.Generator) -> NDArray[np.float32]:
    """Plane waves of a quarter to a half of the lesion's size, standard deviation 1."""
    at = [one[:, 0] for one in planes(grid, 0.0, number=1)]
    size_mm = 2 * float(np.mean(lesion.radii_mm))
    total = np.zeros(grid.shape, np.float32)
    for _ in range(_WAVES):
        step = random.standard_normal(3)
        step *= 2 * np.pi / (size_mm * random.uniform(0.25, 0.5)) / np.linalg.norm(step)
        total += np.cos(
            sum(
                ((one - np.float32(centre)) * np.float32(along))
                for one, centre, along in zip(at, lesion.centre_mm, step, strict=True)
            )
            + np.float32(random.uniform(0, 2 * np.pi))
        )
    return total * np.float32((2 / _WAVES) ** 0.5)
