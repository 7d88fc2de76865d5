"""Whether the slices of one series make a volume, from their headers alone.

Libraries that stack volumes built one from 12 of 13 damaged series, some without a word; here each defect has a code.
Distances are measured along the normal of the majority's orientation, in mm, in patient coordinates (LPS).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.series.grid import Grid, triple

MIN_SLICES = 3
TILT_DEG = 0.5
OBLIQUE_DEG = 20.0
_THIN, _THICK = 0.75, 2.5
_SAME_PLACE_MM = 1e-3
_SAME_COSINE = 2e-3
_AXES = ("sagittal", "coronal", "axial")

Fault = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the headers of one series say.

    order        indices of the given headers, along the normal, feet to head where axial; those without a place last
    spacing_mm   row, column and slice distance; None where the headers do not give it
    orientation  "axial", "coronal" or "sagittal", with "oblique " before it beyond 20°; None without geometry
    faults       (code, cause), in the order found
    grid         where the voxels lie; None where a fault keeps the slices from making a volume
    """

    order: tuple[int, ...]
    spacing_mm: tuple[float | None, float | None, float | None] | None
    orientation: str | None
    faults: tuple[Fault, ...]
    grid: Grid | None = None


def volume_geometry(headers: Sequence[Header]) -> Geometry:
    """Sort the slices of one series and name what keeps them from being a volume."""
    faults: list[Fault] = []
    localizers = {i for i, header in enumerate(headers) if "LOCALIZER" in header.image_type}
    kept = [i for i in range(len(headers)) if i not in localizers] or list(range(len(headers)))
    if localizers:
        faults.append(("E_LOCALIZER", f"{len(localizers)} of {len(headers)} slices are localizer images"))
    placed = [i for i in kept if _has_place(headers[i])]
    if len(placed) < len(kept):
        faults.append(("E_NO_GEOMETRY", f"{len(kept) - len(placed)} of {len(kept)} slices without place or spacing"))
    faults += _uniform(headers, kept)
    if not placed:
        return Geometry(_by_instance(headers, range(len(headers))), None, None, tuple(faults))
    axes, stack = _majority(headers, placed)
    if len(stack) < len(placed):
        turned = len(placed) - len(stack)
        faults.append(("E_MIXED_ORIENTATION", f"{turned} of {len(placed)} slices are turned against the others"))
    normal = np.cross(axes[:3], axes[3:])
    position = np.array([headers[i].position_mm for i in stack], dtype=np.float64)
    depth = position @ normal
    rank = np.lexsort((np.array([headers[i].instance_number for i in stack]), np.round(depth, 3)))
    if not localizers:
        faults += _spacing_faults(depth[rank], len(kept) - len(stack))
        faults += _tilt(position[rank], normal)
    orientation = orientation_name(normal)
    faults += [("W_NON_AXIAL", f"the slices are {orientation}")] if orientation != "axial" else []
    order = (*(stack[i] for i in rank), *_by_instance(headers, sorted(set(range(len(headers))) - set(stack))))
    row, column = headers[order[0]].spacing_mm or (math.nan, math.nan)
    spacing = (round(row, 4), round(column, 4), slice_gap_mm(depth[rank]))
    faults += _thickness(headers[order[0]], spacing[2])
    broken = any(code.startswith("E") for code, _ in faults)
    grid = None if broken else _grid([headers[i] for i in order], axes, position[rank])
    return Geometry(order, spacing, orientation, tuple(faults), grid)


def slice_gap_mm(depth_mm: NDArray[np.float64]) -> float | None:
    """The usual distance between neighbours, (n,) ascending; slices at one place count once. None for a single place.

    >>> slice_gap_mm(np.array([0.0, 5.0, 5.0, 10.0, 20.0]))
    5.0
    """
    gaps = _gaps(depth_mm)
    # The lower median is a distance that occurs, also where every second slice is missing.
    return round(float(np.sort(gaps)[(len(gaps) - 1) // 2]), 4) if len(gaps) else None


def orientation_name(normal: NDArray[np.float64]) -> str:
    """Plane whose normal is nearest, (3,) unit vector in LPS.

    >>> orientation_name(np.array([0.0, 0.0, 1.0])), orientation_name(np.array([0.0, 0.6, 0.8]))
    ('axial', 'oblique axial')
    """
    axis = int(np.argmax(np.abs(normal)))
    angle = math.degrees(math.acos(min(1.0, abs(float(normal[axis])) / float(np.linalg.norm(normal)))))
    return ("oblique " if angle > OBLIQUE_DEG else "") + _AXES[axis]


def _has_place(header: Header) -> bool:
    return None not in (header.position_mm, header.orientation, header.spacing_mm)


def _by_instance(headers: Sequence[Header], which: Sequence[int] | range) -> tuple[int, ...]:
    return tuple(sorted(which, key=lambda i: (headers[i].instance_number, i)))


def _majority(headers: Sequence[Header], placed: list[int]) -> tuple[NDArray[np.float64], list[int]]:
    """The most common direction cosines (6,), and the slices that share them."""
    axes = np.array([headers[i].orientation for i in placed], dtype=np.float64)
    common = np.array(Counter(map(tuple, np.round(axes, 3))).most_common(1)[0][0])
    same = np.abs(axes - common).max(axis=1) <= _SAME_COSINE
    return axes[same].mean(axis=0), [i for i, yes in zip(placed, same, strict=True) if yes]


def _uniform(headers: Sequence[Header], kept: list[int]) -> list[Fault]:
    """What must be one and the same in all slices."""
    slices = [headers[i] for i in kept]
    faults: list[Fault] = []
    sizes = {(header.rows, header.columns) for header in slices}
    if len(sizes) > 1:
        faults.append(("E_MATRIX_VARIES", "found " + ", ".join(f"{r} × {c}" for r, c in sorted(sizes)) + " pixels"))
    spacings = np.array([header.spacing_mm for header in slices if header.spacing_mm])
    if len(spacings) and np.ptp(spacings, axis=0).max() > _SAME_PLACE_MM:
        faults.append(("E_SPACING_VARIES", f"found {spacings.min():.3f} to {spacings.max():.3f} mm"))
    frames = Counter(header.frame_uid for header in slices)
    if len(frames) > 1:
        faults.append(("E_MIXED_FRAME", f"{len(frames)} frames of reference in one series"))
    inverted = sum(header.photometric == "MONOCHROME1" for header in slices)
    if inverted:
        faults.append(("E_MONOCHROME1", f"{inverted} of {len(slices)} slices are stored inverted"))
    elif len({header.photometric for header in slices}) > 1:
        faults.append(("E_MIXED_PHOTOMETRIC", "grey and colour, or two colour models, in one series"))
    rescales = {(header.slope, header.intercept) for header in slices}
    if len(rescales) > 1:
        faults.append(("W_RESCALE_VARIES", f"{len(rescales)} pairs of slope and intercept"))
    return faults


def _spacing_faults(depth_mm: NDArray[np.float64], unplaced: int) -> list[Fault]:
    """Duplicates and gaps; `unplaced` slices without a usable place may explain as many holes."""
    places = np.concatenate(([0], np.cumsum(np.diff(depth_mm) > _SAME_PLACE_MM)))
    at_place = np.bincount(places)
    faults: list[Fault] = []
    if len(depth_mm) < MIN_SLICES:
        faults.append(("E_TOO_FEW_SLICES", f"{counted(len(depth_mm), 'slice')}, at least {MIN_SLICES} make a volume"))
    if len(at_place) > 1 and at_place.min() == at_place.max() > 1:
        faults.append(("E_MULTI_PHASE", f"each of {len(at_place)} places holds {at_place[0]} slices"))
    elif at_place.max() > 1:
        faults.append(
            ("E_DUPLICATE_POSITION", f"{counted(int((at_place - 1).sum()), 'slice')} at the place of another")
        )
    gaps, usual = _gaps(depth_mm), slice_gap_mm(depth_mm)
    if usual is None or (np.abs(gaps - usual) <= max(0.01 * usual, 0.05)).all():
        return faults
    ratio = gaps / usual
    if np.allclose(ratio, np.round(ratio), atol=0.05) and ratio.min() > 0.5:
        missing = int((np.round(ratio) - 1).sum())
        if missing > unplaced:
            found = f"{counted(missing, 'slice')} missing: gaps to {gaps.max():.2f} mm, usually {usual:.2f}"
            faults.append(("E_MISSING_SLICES", found))
    else:
        found = f"gaps of {gaps.min():.2f} to {gaps.max():.2f} mm, wanted {usual:.2f} within 1 %"
        faults.append(("E_NONUNIFORM_SPACING", found))
    return faults


def _gaps(depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    gaps = np.diff(depth_mm)
    return gaps[gaps > _SAME_PLACE_MM]


def _thickness(header: Header, gap_mm: float | None) -> list[Fault]:
    """Slices overlap in CT and leave small gaps in MR; much more than that is worth a look."""
    if gap_mm is None or not header.thickness_mm or _THIN <= header.thickness_mm / gap_mm <= _THICK:
        return []
    return [("W_THICKNESS_NE_SPACING", f"slices of {header.thickness_mm:g} mm every {gap_mm:g} mm")]


def _grid(slices: list[Header], axes: NDArray[np.float64], position_mm: NDArray[np.float64]) -> Grid:
    """The lattice of slices in order; the step between them is the mean one."""
    first = slices[0]
    row_mm, column_mm = first.spacing_mm or (math.nan, math.nan)
    step = (position_mm[-1] - position_mm[0]) / (len(slices) - 1)
    return Grid(
        shape=(len(slices), first.rows, first.columns),
        origin_mm=triple(position_mm[0]),
        slice_step_mm=triple(step),
        row_step_mm=triple(axes[3:] * row_mm),
        column_step_mm=triple(axes[:3] * column_mm),
    )


def _tilt(position_mm: NDArray[np.float64], normal: NDArray[np.float64]) -> list[Fault]:
    """The angle between the stack's own direction, first to last slice, and the normal of its slices."""
    along = position_mm[-1] - position_mm[0]
    length = float(np.linalg.norm(along))
    if length <= _SAME_PLACE_MM:
        return []
    cosine = abs(float(along @ normal)) / (length * float(np.linalg.norm(normal)))
    angle = math.degrees(math.acos(min(1.0, cosine)))
    return [("E_GANTRY_TILT", f"{angle:.1f}° between stack and slice normal")] if angle > TILT_DEG else []
