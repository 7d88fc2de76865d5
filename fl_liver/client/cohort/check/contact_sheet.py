"""Small pictures of one patient, each with the lesion's outline, for a person who looks whether they are right.

Pixels of a tile are square on the patient, whatever the spacing was. A tile shows what a hospital's own people may see
and nobody else; it goes to the check page (`page`) and nowhere further.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.lesions.boxes import Box
from fl_liver.errors import DataError

TILE_PX = 160
STILL_PX = 240
"""Height of an ultrasound still: the whole frame is shown, so it gets more pixels than a crop."""
WIDEST = 1.6
"""Width over height beyond which a tile is made lower instead."""
CONTEXT = 3.0
"""Side of a crop over the longer side of the lesion."""
LEAST_CONTEXT_MM = 60.0
LEAST_CONTEXT_PX = 48


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One picture.

    title      "portal 23/88": names no patient
    image      (rows, columns) uint8, 0 black
    outline    same shape: inside the lesion; drawn as a line around it
    mm_per_px  of both axes; None where it is not known
    other      same shape: a second region, such as the background box of an ultrasound still; drawn dashed
    """

    title: str
    image: NDArray[np.uint8]
    outline: NDArray[np.bool_] | None
    mm_per_px: float | None
    other: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.dtype != np.uint8 or not self.image.size:
            raise DataError(f"a tile is (rows, columns) uint8; found {self.image.dtype} of shape {self.image.shape}")
        for region in (self.outline, self.other):
            if region is not None and (region.shape != self.image.shape or region.dtype != np.bool_):
                raise DataError(f"a region on a tile is bool of shape {self.image.shape}; found {region.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class CaseSheet:
    """What the page shows of one patient; `notes` are short facts such as "lesion 23 mm, 6.4 ml"."""

    case: str
    tiles: tuple[Tile, ...]
    findings: tuple[Finding, ...]
    usable: bool
    notes: tuple[str, ...] = ()


def tile_from_slice(
    title: str,
    values: NDArray[Any],
    mask: NDArray[Any] | None,
    spacing_mm: tuple[float, float] | None,
    window: tuple[float, float] | None = None,
    *,
    other: NDArray[Any] | None = None,
    height_px: int = TILE_PX,
) -> Tile:
    """One slice as a tile of `height_px` rows, or fewer where it is very wide.

    Args:
        values: (rows, columns), any real type; what is not finite is drawn black.
        mask, other: (rows, columns), nonzero inside; None or empty where nothing was drawn.
        spacing_mm: between rows, between columns; None where unknown: pixels then count as square.
        window: value that becomes black, value that becomes white, such as (−160, 240) HU; by default the 1st and the
            99th percentile.
    Raises:
        DataError: shapes do not agree, or there is no pixel.
    """
    if values.ndim != 2 or not values.size:
        raise DataError(f"a slice is (rows, columns); found shape {values.shape}")
    known = spacing_mm is not None and all(math.isfinite(step) and step > 0 for step in spacing_mm)
    row_mm, column_mm = spacing_mm if known and spacing_mm is not None else (1.0, 1.0)
    high_mm, wide_mm = values.shape[0] * row_mm, values.shape[1] * column_mm
    mm_per_px = max(high_mm, wide_mm / WIDEST) / height_px
    size = (max(1, round(wide_mm / mm_per_px)), max(1, round(high_mm / mm_per_px)))
    image = _resized(_windowed(values, window), size, Image.Resampling.BICUBIC)
    return Tile(
        title,
        (image * 255.0).round().clip(0, 255).astype(np.uint8),
        _region(mask, values.shape, size),
        mm_per_px if known else None,
        _region(other, values.shape, size),
    )


def volume_tiles(
    title: str,
    values: NDArray[Any],
    mask: NDArray[Any] | None,
    spacing_mm: tuple[float, float, float],
    count: int = 3,
    *,
    window: tuple[float, float] | None = None,
    whole: bool = True,
) -> tuple[Tile, ...]:
    """The slice where the lesion is largest, whole; then `count` crops through the lesion, that slice among them.

    Crops are squares about the lesion, three times its longer side and at least 60 mm, the same square in each, spread
    from one end of the lesion to the other. Without a lesion: `count` whole slices spread over the volume.

    Args:
        values: (slices, rows, columns).
        mask: same shape, nonzero inside.
        spacing_mm: slice, row, column, as `Grid.spacing_mm` (a `Series` has the slice last).
        whole: False leaves the whole slice out: several sequences of one patient need it once.
    Raises:
        DataError: shapes do not agree, or there is no voxel.
    """
    if values.ndim != 3 or not values.size or (mask is not None and mask.shape != values.shape):
        raise DataError(f"a volume is (slices, rows, columns), and its mask alike; found {values.shape}")
    in_plane = (spacing_mm[1], spacing_mm[2])
    n = len(values)
    if mask is None or not mask.any():
        shown = sorted({round(place) for place in np.linspace(0, n - 1, count + 2)[1:-1]})
        return tuple(tile_from_slice(f"{title} {k + 1}/{n}", values[k], None, in_plane, window) for k in shown)
    largest, chosen = _through_the_lesion(mask, count)
    rows, columns = _around((mask != 0).any(axis=0), in_plane)
    tiles = []
    if whole:
        label = f"{title} {largest + 1}/{n}, whole"
        tiles.append(tile_from_slice(label, values[largest], mask[largest], in_plane, window))
    for k in chosen:
        crop, drawn = values[k, rows, columns], mask[k, rows, columns]
        tiles.append(tile_from_slice(f"{title} {k + 1}/{n}", crop, drawn, in_plane, window))
    return tuple(tiles)


def box_tile(
    title: str,
    values: NDArray[Any],
    boxes: Sequence[Box],
    mm_per_px: float | None = None,
    *,
    window: tuple[float, float] | None = None,
) -> Tile:
    """An ultrasound still with the lesion's box outlined and the background box dashed.

    Args:
        values: (rows, columns), grey; `boxes` are in its pixels, and what lies outside is cut off.
        window: by default 0 to the 99.9th percentile, so that a dark image stays dark.
    """
    regions = {kind: np.zeros(values.shape, dtype=np.bool_) for kind in ("lesion", "background")}
    for box in boxes:
        rows = slice(max(0, round(box.y_min_px)), max(0, round(box.y_max_px)))
        columns = slice(max(0, round(box.x_min_px)), max(0, round(box.x_max_px)))
        regions[box.kind][rows, columns] = True
    window = window or (0.0, float(np.nanpercentile(values, 99.9)))
    spacing = None if mm_per_px is None else (mm_per_px, mm_per_px)
    lesion, background = regions["lesion"], regions["background"]
    return tile_from_slice(title, values, lesion, spacing, window, other=background, height_px=STILL_PX)


def _windowed(values: NDArray[Any], window: tuple[float, float] | None) -> NDArray[np.float32]:
    """0 at the window's lower end, 1 at its upper."""
    grey = values.astype(np.float32)
    finite = np.isfinite(grey)
    if not finite.any():
        return np.zeros(values.shape, dtype=np.float32)
    low, high = window or (float(v) for v in np.percentile(grey[finite], (1, 99)))
    scaled: NDArray[np.float32] = ((np.where(finite, grey, low) - low) / max(high - low, 1e-9)).clip(0, 1)
    return scaled.astype(np.float32)


def _resized(values: NDArray[np.float32], size: tuple[int, int], how: Image.Resampling) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values).resize(size, how), dtype=np.float32)


def _region(mask: NDArray[Any] | None, shape: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Tile pixels at least half inside; of a region too small for that, those that hold most of it."""
    if mask is None:
        return None
    if mask.shape != shape:
        raise DataError(f"a mask has the shape of its slice, {shape}; found {mask.shape}")
    if not mask.any():
        return None
    share = _resized((mask != 0).astype(np.float32), size, Image.Resampling.BOX)
    inside: NDArray[np.bool_] = share >= min(0.5, float(share.max()))
    return inside


def _through_the_lesion(mask: NDArray[Any], count: int) -> tuple[int, list[int]]:
    """Index of the slice with the largest area; up to `count` slices spread over the lesion, that one among them."""
    area = np.count_nonzero(mask, axis=(1, 2))
    there = np.flatnonzero(area)
    largest = int(area.argmax())
    # The middles of `count` equal parts of the lesion: all its slices where it has no more than that.
    chosen = sorted({int(there[int((part + 0.5) * len(there) / count)]) for part in range(count)})
    if largest not in chosen and chosen:
        nearest = min(chosen, key=lambda k: abs(k - largest))
        chosen[chosen.index(nearest)] = largest
    return largest, chosen


def _around(drawn: NDArray[Any], spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of a square about the lesion, moved inside the image where it would leave it."""
    edges = [np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0)]
    extents_mm = [(edge[-1] - edge[0] + 1) * step for edge, step in zip(edges, spacing_mm, strict=True)]
    side_mm = max(CONTEXT * max(extents_mm), LEAST_CONTEXT_MM, LEAST_CONTEXT_PX * min(spacing_mm))
    rows, columns = (
        _span((edge[0] + edge[-1] + 1) / 2, side_mm / step, length)
        for edge, step, length in zip(edges, spacing_mm, drawn.shape, strict=True)
    )
    return rows, columns


def _span(centre: float, side: float, length: int) -> slice:
    side = min(max(1, round(side)), length)
    first = min(max(0, round(centre - side / 2)), length - side)
    return slice(first, first + side)
