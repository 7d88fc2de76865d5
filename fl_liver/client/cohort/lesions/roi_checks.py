"""What a region of interest is held against before it is used: labels, size, and whether it was drawn whole."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.lesions.masks import on_grid_of
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.series.grid import Grid, Mask

LEAST_MM = 5.0
MOST_MM = 200.0
_EDGES = ("slice", "row", "column")


def roi_faults(mask: Mask, grid: Grid, allowed: Collection[int] | None = None) -> list[Fault]:
    """What is wrong with a mask that was drawn on the image with `grid`; [] where nothing is.

    Args:
        allowed: the labels that the study knows; None where any may stand.
    Returns:
        E_ROI_GRID_MISMATCH or E_ROI_EMPTY alone; else, in label order, E_ROI_LABELS, W_ROI_TOUCHES_EDGE (drawn up to
        the first or last slice, row or column) and W_ROI_VOLUME (the sphere of the same volume measures less than 5 or
        more than 200 mm).
    """
    try:
        placed = on_grid_of(mask, grid)
        labels = present_labels(placed)
    except UnusableError as error:
        return [(error.code, error.cause)]
    if not labels:
        return [("E_ROI_EMPTY", f"{mask.labels.size} voxels, all 0")]
    faults: list[Fault] = []
    unknown = [label for label in labels if allowed is not None and label not in allowed]
    if unknown:
        faults.append(("E_ROI_LABELS", f"label {unknown[0]} among {len(labels)}, which the study does not know"))
    touched = [name for axis, name in enumerate(_EDGES) if _touches(placed.labels, axis)]
    if touched:
        faults.append(("W_ROI_TOUCHES_EDGE", f"drawn up to the first or last {' and '.join(touched)}"))
    for label in labels:
        diameter_mm = sphere_diameter_mm(placed, label)
        if not LEAST_MM <= diameter_mm <= MOST_MM:
            faults.append(("W_ROI_VOLUME", f"label {label} has the volume of a sphere of {diameter_mm:.3g} mm"))
    return faults


def present_labels(mask: Mask) -> list[int]:
    """The labels other than 0 that stand in a mask, ascending."""
    counts = np.bincount(mask.labels.ravel())
    return [int(label) for label in np.flatnonzero(counts) if label]


def volume_ml(mask: Mask, label: int | None = None) -> float:
    """Voxels drawn times the volume of one; of all labels, or of one."""
    return int(np.count_nonzero(_of(mask, label))) * mask.grid.voxel_mm3 / 1000


def sphere_diameter_mm(mask: Mask, label: int | None = None) -> float:
    """Diameter of the sphere with the volume of the region.

    >>> cube = np.ones((10, 10, 10), dtype=np.uint16)
    >>> grid = Grid((10, 10, 10), (0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
    >>> round(sphere_diameter_mm(Mask(cube, grid)), 2)      # 1 ml: (6000 / π)^(1/3) mm
    12.41
    """
    return float((6000 * volume_ml(mask, label) / math.pi) ** (1 / 3))


def largest_diameter_mm(mask: Mask, label: int | None = None) -> float:
    """The longest line within one slice from edge to edge of the region, as a radiologist measures it (RECIST 1.1).

    Pixels count with their full size: a single one has its diagonal. 0 for an empty mask.
    """
    region = _of(mask, label)
    slices = np.flatnonzero(region.any(axis=(1, 2)))
    return max((_longest_mm(region[number], mask.grid) for number in slices), default=0.0)


def _of(mask: Mask, label: int | None) -> NDArray[np.bool_]:
    return mask.labels > 0 if label is None else mask.labels == label


def _touches(labels: NDArray[np.uint16], axis: int) -> bool:
    return bool(labels.take([0, -1], axis=axis).any())


def _longest_mm(image: NDArray[np.bool_], grid: Grid) -> float:
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    pixels = np.argwhere(image)
    corners = np.unique(np.concatenate([pixels + offset for offset in ((0, 0), (0, 1), (1, 0), (1, 1))]), axis=0)
    hull = corners[ConvexHull(corners).vertices]
    return float(pdist(hull @ grid.steps_mm[1:]).max())
