"""A region drawn on one sequence carried to the others, in physical space.

All images and the mask end on one grid, with the directions of the sequence that was drawn on. Nothing is registered:
the scanner's own frame of reference says what lies where, and what it cannot say (a breath between two sequences) a
person has to see on the contact sheet.

The mask is carried by linear interpolation of each label, the largest share winning. Gaussian interpolation of labels
(SimpleITK) blurs by 0.8 voxels of the source: at 7.7 mm slices it deletes an 8 mm lesion and takes 70 % of a 12 mm one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import unusable
from fl_liver.client.cohort.lesions.masks import on_grid_of
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.series.grid import Grid, Mask, Volume, to_sitk, triple
from fl_liver.study_cohort import SequenceKind

_SAME_PLACE_MM = 1e-4
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class CarryRules:
    """How a region is carried, and when not.

    spacing_mm          slice, row and column distance of the common grid; None keeps that of the sequence drawn on
    other_frames        carry also where FrameOfReferenceUID differs; no registration is made
    least_coverage      share of the region's voxels that every sequence must hold
    most_volume_change  share of its volume that each lesion may win or lose by resampling
    warn_deg, most_deg  angle between the slices of two sequences that is warned of, and refused
    """

    spacing_mm: tuple[float, float, float] | None = (7.0, 0.7, 0.7)
    other_frames: bool = False
    least_coverage: float = 0.95
    most_volume_change: float = 0.2
    warn_deg: float = 20.0
    most_deg: float = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """Images and mask on one grid.

    images  (slices, rows, columns) float32 of each sequence
    mask    (slices, rows, columns) uint16
    grid    of all of them: the region and a margin, or the whole extent of the sequence drawn on
    faults  warnings only
    """

    images: dict[SequenceKind, NDArray[np.float32]]
    mask: NDArray[np.uint16]
    grid: Grid
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """The common grid and what is drawn on it, before any image is brought there. As in `Carried`."""

    mask: NDArray[np.uint16]
    grid: Grid
    faults: tuple[Fault, ...]


def carry(
    mask: Mask,
    drawn_on: SequenceKind,
    volumes: Mapping[SequenceKind, Volume],
    rules: CarryRules,
    margin_mm: float | None = 50.0,
) -> Carried:
    """Resample all sequences and the mask to one grid around the region.

    Args:
        mask: on the lattice of the sequence `drawn_on`; axes may be reversed, exchanged or cut (`masks.on_grid_of`).
        margin_mm: kept around the region on all sides, as far as the sequence reaches; None keeps its whole extent.
    Raises:
        UnusableError: E_ROI_EMPTY, E_ROI_GRID_MISMATCH, E_ROI_FRAME, E_ROI_ANGLE, E_ROI_OUT_OF_FOV,
            E_ROI_VOLUME_CHANGED, or E_MISSING_SEQUENCE where `drawn_on` is none of `volumes`.
    """
    placed = place(mask, drawn_on, volumes, rules, margin_mm)
    images = {kind: carry_image(volume, placed.grid) for kind, volume in volumes.items()}
    return Carried(images, placed.mask, placed.grid, placed.faults)


def place(
    mask: Mask | None,
    drawn_on: SequenceKind,
    volumes: Mapping[SequenceKind, Volume],
    rules: CarryRules,
    margin_mm: float | None = None,
) -> Placed:
    """All of `carry` but the images; without a mask, for a patient without a lesion, nothing is drawn on the grid."""
    if drawn_on not in volumes:
        raise unusable("E_MISSING_SEQUENCE", f"the lesion was drawn on {drawn_on}, which is not here")
    reference = volumes[drawn_on]
    drawn_mm: NDArray[np.float64] = np.empty((0, 3))
    if mask is not None:
        mask = _fitting(mask, drawn_on, reference, rules)
        drawn_mm = mask.grid.position_mm(np.argwhere(mask.labels))
    faults: list[Fault] = []
    for kind, volume in volumes.items():
        if kind != drawn_on:
            faults += _gates(kind, volume, reference, drawn_mm, rules)
    whole = resampling_grid(reference.grid, rules.spacing_mm)
    if mask is None:
        return Placed(np.zeros(whole.shape, dtype=np.uint16), whole, tuple(faults))
    grid = whole if margin_mm is None else _around(whole, drawn_mm, mask.grid, margin_mm)
    labels, carried_mm3 = _carried(mask, grid)
    _gate_volume(mask, labels, carried_mm3, rules.most_volume_change)
    return Placed(labels, grid, tuple(faults))


def resampling_grid(grid: Grid, spacing_mm: tuple[float, float, float] | None) -> Grid:
    """The extent of `grid` in voxels of another size, from the same outer corner.

    Counts are rounded, a half down, so that every new centre lies within the old extent; the new origin lies half the
    difference of the voxels' sizes from the old one, along each axis.

    >>> t2 = Grid((25, 320, 320), (0, 0, 0), (0, 0, 7.7), (0, 1.2, 0), (1.2, 0, 0))
    >>> new = resampling_grid(t2, (7.0, 0.7, 0.7))
    >>> new.shape, [round(x, 3) for x in new.origin_mm]      # 25 × 7.7 / 7 = 27.5; (0.7 − 1.2) / 2; (7 − 7.7) / 2
    ((27, 549, 549), [-0.25, -0.25, -0.35])
    """
    if spacing_mm is None:
        return grid
    old, new = np.array(grid.spacing_mm), np.array(spacing_mm, dtype=np.float64)
    units = grid.steps_mm / old[:, None]
    counts = np.maximum(np.ceil(np.array(grid.shape) * old / new - 0.5 - _ROUNDING), 1)
    origin = np.array(grid.origin_mm) + (new - old) / 2 @ units
    return _grid(counts, origin, units * new[:, None])


def carry_labels(mask: Mask, grid: Grid) -> NDArray[np.uint16]:
    """A mask on another grid: each voxel gets the label with the largest share of it, background among them."""
    return _carried(mask, grid)[0]


def carry_image(volume: Volume, grid: Grid) -> NDArray[np.float32]:
    """An image on another grid by linear interpolation.

    Outside its field of view it has its own least value. That is what air has in CT and MR: a crop at the edge then
    looks like a body that ends there, and neither its contrast nor its mean depend on a made-up grey.
    """
    part = _part(volume, grid)
    if part is not None:
        return part.astype(np.float32)
    return _resampled(volume.values, volume.grid, grid, outside=float(volume.values.min()))


def carry_slices(volume: Volume, grid: Grid, numbers: Sequence[int]) -> NDArray[np.float32]:
    """Some slices of `carry_image`, (len(numbers), rows, columns), without making the others."""
    one = np.array((1, *grid.shape[1:]))
    targets = [_grid(one, grid.position_mm((number, 0, 0)), grid.steps_mm) for number in numbers]
    parts = [_part(volume, target) for target in targets]
    outside = float(volume.values.min()) if any(part is None for part in parts) else 0.0
    found = [
        _resampled(*_slab(volume, target), target, outside) if part is None else part.astype(np.float32)
        for part, target in zip(parts, targets, strict=True)
    ]
    return np.concatenate(found)


def _part(volume: Volume, grid: Grid) -> NDArray[np.int16] | NDArray[np.float32] | None:
    """The voxels themselves, where those of `grid` are some of the volume's; None where they must be interpolated."""
    first = np.rint(volume.grid.index_of(grid.origin_mm)).astype(np.int64)
    if (first < 0).any() or (first + grid.shape > volume.grid.shape).any():
        return None
    if not _grid(np.array(grid.shape), volume.grid.position_mm(first), volume.grid.steps_mm).agrees_with(
        grid, _SAME_PLACE_MM
    ):
        return None
    return volume.values[tuple(slice(start, start + n) for start, n in zip(first, grid.shape, strict=True))]


def _slab(volume: Volume, target: Grid) -> tuple[NDArray[Any], Grid]:
    """The slices that interpolation to `target` may look at."""
    corners = np.array(np.meshgrid(*([0, n - 1] for n in target.shape), indexing="ij")).reshape(3, -1).T
    reach = volume.grid.index_of(target.position_mm(corners))[:, 0]
    last_slice = volume.grid.shape[0] - 1
    first, last = (int(np.clip(at, 0, last_slice)) for at in (np.floor(reach.min()) - 1, np.ceil(reach.max()) + 1))
    values = volume.values[first : last + 1]
    return values, _grid(np.array(values.shape), volume.grid.position_mm((first, 0, 0)), volume.grid.steps_mm)


def _fitting(mask: Mask, drawn_on: SequenceKind, reference: Volume, rules: CarryRules) -> Mask:
    """The mask on the lattice of what it was drawn on."""
    mask = on_grid_of(mask, reference.grid)
    if not mask.labels.any():
        raise unusable("E_ROI_EMPTY", f"{mask.labels.size} voxels, all 0")
    if mask.frame_uid and not rules.other_frames and mask.frame_uid != reference.frame_uid:
        raise unusable("E_ROI_FRAME", f"the region has another frame of reference than the {drawn_on} series")
    return mask


def _gates(
    kind: SequenceKind, volume: Volume, reference: Volume, drawn_mm: NDArray[np.float64], rules: CarryRules
) -> list[Fault]:
    """Refuse a sequence that the region cannot be carried to; warn of one that is turned."""
    known = bool(volume.frame_uid and reference.frame_uid)
    if not rules.other_frames and not (known and volume.frame_uid == reference.frame_uid):
        raise unusable("E_ROI_FRAME", f"the {kind} series has another frame of reference, or none")
    cosine = abs(float(volume.grid.normal @ reference.grid.normal))
    angle = math.degrees(math.acos(min(1.0, cosine)))
    if angle > rules.most_deg:
        raise unusable("E_ROI_ANGLE", f"{kind} slices are turned by {angle:.0f}°, at most {rules.most_deg:g}° is taken")
    index = volume.grid.index_of(drawn_mm)
    inside = (index >= -0.5 - _ROUNDING) & (index <= np.array(volume.grid.shape) - 0.5 + _ROUNDING)
    coverage = float(inside.all(axis=1).mean()) if len(index) else 1.0
    if coverage < rules.least_coverage:
        raise unusable("E_ROI_OUT_OF_FOV", f"{coverage:.0%} of the lesion lies within the {kind} series")
    return [("W_ROI_ANGLE", f"{kind} slices are turned by {angle:.0f}°")] if angle > rules.warn_deg else []


def _carried(mask: Mask, grid: Grid) -> tuple[NDArray[np.uint16], dict[int, float]]:
    """The labels on `grid`, and the mm³ of each by its shares of voxels."""
    if mask.grid.agrees_with(grid, _SAME_PLACE_MM):
        counts = np.bincount(mask.labels.ravel())
        return mask.labels.copy(), {int(one): counts[one] * grid.voxel_mm3 for one in np.flatnonzero(counts) if one}
    cut = _cut_to_drawn(mask)
    most = np.zeros(grid.shape, dtype=np.float32)
    total = np.zeros(grid.shape, dtype=np.float32)
    labels = np.zeros(grid.shape, dtype=np.uint16)
    carried_mm3: dict[int, float] = {}
    for label in (int(one) for one in np.unique(cut.labels) if one):
        share = _resampled((cut.labels == label).astype(np.float32), cut.grid, grid, outside=0.0)
        labels[share > most] = label
        np.maximum(most, share, out=most)
        total += share
        carried_mm3[label] = float(share.sum(dtype=np.float64)) * grid.voxel_mm3
    labels[1 - total > most] = 0
    return labels, carried_mm3


def _gate_volume(mask: Mask, labels: NDArray[np.uint16], carried_mm3: dict[int, float], most_change: float) -> None:
    """Refuse a region that was not carried whole; each label counts by itself, so that no small lesion gets lost.

    A voxel that is half lesion counts half. Counted whole or not at all, a lesion of 20 mm on 7.7 mm slices would
    always change by more than 20 % on 7 mm slices, only because both are whole numbers of slices.
    """
    drawn, left = np.bincount(mask.labels.ravel()), set(np.unique(labels).tolist())
    for label, new_mm3 in carried_mm3.items():
        old_mm3 = drawn[label] * mask.grid.voxel_mm3
        if label not in left or abs(new_mm3 - old_mm3) > most_change * old_mm3:
            found = f"{old_mm3 / 1000:.3g} ml drawn, {new_mm3 / 1000:.3g} ml carried"
            raise unusable("E_ROI_VOLUME_CHANGED", f"label {label}: {found}")


def _around(grid: Grid, drawn_mm: NDArray[np.float64], drawn: Grid, margin_mm: float) -> Grid:
    """The part of `grid` that holds the drawn voxels and a margin; its voxels stay where they are."""
    index = grid.index_of(drawn_mm)
    # Interpolation spreads a drawn voxel over one voxel on each side.
    reach = (margin_mm + np.array(drawn.spacing_mm)) / np.array(grid.spacing_mm)
    first = np.clip(np.floor(index.min(axis=0) - reach), 0, np.array(grid.shape) - 1)
    last = np.clip(np.ceil(index.max(axis=0) + reach), 0, np.array(grid.shape) - 1)
    return _grid(last - first + 1, grid.position_mm(first), grid.steps_mm)


def _cut_to_drawn(mask: Mask) -> Mask:
    """The block that holds everything drawn and one voxel around it, which is all that interpolation sees."""
    drawn = np.argwhere(mask.labels)
    first = np.maximum(drawn.min(axis=0) - 1, 0)
    last = np.minimum(drawn.max(axis=0) + 1, np.array(mask.grid.shape) - 1)
    labels = mask.labels[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
    return Mask(labels, _grid(last - first + 1, mask.grid.position_mm(first), mask.grid.steps_mm))


def _resampled(values: NDArray[Any], source: Grid, target: Grid, outside: float) -> NDArray[np.float32]:
    import SimpleITK

    frame = to_sitk(np.zeros((1, 1, 1), dtype=np.uint8), _grid(np.ones(3), np.array(target.origin_mm), target.steps_mm))
    image = SimpleITK.Resample(
        to_sitk(values, source),
        tuple(reversed(target.shape)),
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        frame.GetOrigin(),
        frame.GetSpacing(),
        frame.GetDirection(),
        outside,
        SimpleITK.sitkFloat32,
    )
    resampled: NDArray[np.float32] = SimpleITK.GetArrayFromImage(image)
    return resampled


def _grid(shape: NDArray[Any], origin_mm: NDArray[np.float64], steps_mm: NDArray[np.float64]) -> Grid:
    slices, rows, columns = (int(n) for n in shape)
    return Grid((slices, rows, columns), triple(origin_mm), *(triple(step) for step in steps_mm))
