"""CT and MR: whole slices of a patient, some through the lesions and some without any (Wang 2021).

The slices without a lesion are evenly spaced over the middle three fifths of the volume. Where the liver begins and
ends is not known; a scan of the upper abdomen has lung at one end and kidneys or bowel at the other. The rule is the
same for every patient, whether a lesion was drawn or not, so that where a slice lies does not tell its class. Slices
that another sequence does not reach are not among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import unusable
from fl_liver.client.cohort.lesions.boxes import scaled
from fl_liver.client.cohort.lesions.carry import CarryRules, carry_slices, place
from fl_liver.client.cohort.lesions.cutout import Cutout, resample
from fl_liver.client.cohort.recipe import Recipe
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.series.grid import Grid, Mask, Volume
from fl_liver.study_cohort import SequenceKind

_MIDDLE = (0.2, 0.8)


def whole_slices(
    mask: Mask | None, drawn_on: SequenceKind, volumes: Mapping[SequenceKind, Volume], recipe: Recipe, rules: CarryRules
) -> tuple[dict[str, NDArray[np.float16]], tuple[Fault, ...]]:
    """Images by name, from the lowest slice up, and warnings.

    Args:
        mask: what was drawn; None for a patient without a lesion.
    Raises:
        UnusableError: as `lesions.carry`, or no slice is in every sequence.
    """
    placed = place(mask, drawn_on, volumes, rules)
    area = np.count_nonzero(placed.mask, axis=(1, 2))
    shown = chosen_slices(area, reached(placed.grid, volumes.values()), recipe.views, recipe.free_views)
    channels = []
    for kind in recipe.sequences:
        beyond = float(volumes[kind].values.min())
        slices = carry_slices(volumes[kind], placed.grid, shown)
        channels.append([scaled(_squared(one, placed.grid, recipe, beyond), recipe.window_hu) for one in slices])
    images = {"lesion": np.stack([np.stack(one) for one in channels], axis=1)}
    if len(channels) == 1:
        images["lesion"] = images["lesion"][:, 0]
    if recipe.masks:
        drawn = [(placed.mask[number] > 0).astype(np.float32) for number in shown]
        images["mask"] = np.stack([_squared(one, placed.grid, recipe, 0.0) for one in drawn]).astype(np.float16)
    return images, placed.faults


def chosen_slices(area: NDArray[np.integer], reached: NDArray[np.bool_], views: int, free_views: int) -> list[int]:
    """`views` slices with the most lesion and `free_views` without any, ascending; without a lesion, all of the latter.

    Args:
        area: (n,) voxels of lesion in each slice.
        reached: (n,) whether every sequence has the slice; slices through a lesion need not be.
    Raises:
        UnusableError: E_TOO_FEW_SLICES where there is no slice to take.

    >>> area = np.array([0, 0, 0, 2, 5, 0, 0, 0, 0, 0])
    >>> chosen_slices(area, np.ones(10, dtype=bool), 1, 2)
    [4, 5, 7]
    """
    lesion = np.argsort(-area, kind="stable")[: min(views, np.count_nonzero(area))]
    wanted = free_views if len(lesion) else views + free_views
    first, end = math.floor(_MIDDLE[0] * len(area)), math.ceil(_MIDDLE[1] * len(area))
    free = np.flatnonzero((area == 0) & reached)
    middle = free[(free >= first) & (free < end)]
    if len(middle) < wanted:
        nearest = np.argsort(np.abs(free - (len(area) - 1) / 2), kind="stable")
        middle = np.sort(free[nearest[:wanted]])
    count = min(wanted, len(middle))
    if not len(lesion) and not count:
        raise unusable("E_TOO_FEW_SLICES", "no slice lies in every series that the study wants")
    even = middle[((np.arange(count) + 0.5) * len(middle) / max(count, 1)).astype(np.int64)]
    return [int(number) for number in np.sort(np.concatenate([lesion, even]))]


def reached(grid: Grid, volumes: Iterable[Volume]) -> NDArray[np.bool_]:
    """(slices,) whether the middle of a slice lies between the first and the last slice of every volume."""
    slices, rows, columns = grid.shape
    index = np.stack([np.arange(slices), np.full(slices, (rows - 1) / 2), np.full(slices, (columns - 1) / 2)], axis=1)
    inside = np.ones(slices, dtype=np.bool_)
    for volume in volumes:
        place_in = volume.grid.index_of(grid.position_mm(index))[:, 0]
        inside &= (place_in >= -0.5) & (place_in <= volume.grid.shape[0] - 0.5)
    return inside


def _squared(image: NDArray[np.float32], grid: Grid, recipe: Recipe, beyond: float) -> NDArray[np.float32]:
    """A whole slice at the study's size, a square on the patient: its shorter side is made up, not stretched."""
    _, row_mm, column_mm = grid.spacing_mm
    rows, columns = image.shape
    side_mm = max(rows * row_mm, columns * column_mm)
    height, width = side_mm / row_mm, side_mm / column_mm
    down, across = (max(0, math.ceil(round((side - n) / 2, 6))) for side, n in ((height, rows), (width, columns)))
    padded = np.pad(image, ((down, down), (across, across)), constant_values=beyond)
    middle = (rows / 2 + down, columns / 2 + across)
    return resample(padded, Cutout.about(*middle, height, width), recipe.size_px)
