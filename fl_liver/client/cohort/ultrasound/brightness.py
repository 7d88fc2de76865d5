"""Whole ultrasound images made alike, after Schmauch et al., Diagn Interv Imaging 100 (2019) 227–233.

Black borders off, brightness rescaled, one shape and size: what lesion_us_attention takes. The crops of
lesion_us_fusion are standardised by themselves and need none of this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fl_liver.client.cohort.codes import unusable
from fl_liver.client.cohort.lesions.boxes import Box
from fl_liver.client.cohort.ultrasound.scan_area import BLACK

ROWS, COLUMNS = 240, 345
PEAK = 70.0
_UPPER = 0.20
_BORDER = 0.01
"""A row or column at the border is black where at most this share of it is brighter than black: letters, stray dots."""
_MAY_LOSE = 0.10
"""Of the pixels that are not black, so many may be cut off for the shape's sake; the rest is made up by black."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows and columns of an image that become the whole of the standard one; upper edges excluded.

    It may reach beyond the image, where black is added.
    """

    row_min_px: int
    row_max_px: int
    column_min_px: int
    column_max_px: int

    @property
    def rows(self) -> int:
        return self.row_max_px - self.row_min_px

    @property
    def columns(self) -> int:
        return self.column_max_px - self.column_min_px

    def place(self, box: Box, rows: int = ROWS, columns: int = COLUMNS) -> Box:
        """Where a box of the image lies on the standard image of `rows` × `columns`; it may stand out of it."""
        across, down = columns / self.columns, rows / self.rows
        return replace(
            box,
            x_min_px=(box.x_min_px - self.column_min_px) * across,
            x_max_px=(box.x_max_px - self.column_min_px) * across,
            y_min_px=(box.y_min_px - self.row_min_px) * down,
            y_max_px=(box.y_max_px - self.row_min_px) * down,
        )


def standard_image(
    scan: NDArray[np.generic], rows: int = ROWS, columns: int = COLUMNS
) -> tuple[NDArray[np.float32], Cut]:
    """Borders, brightness, shape and size.

    The brightness is read before lines are cut for the shape's sake, which often are those at the skin.

    Args:
        scan: (h, w) grey levels 0..255, of the window alone.
    Returns:
        (rows, columns) in 0..255; and the cut, by which boxes follow.
    Raises:
        UnusableError: E_US_NO_CROP where the image, or its upper fifth, is black.
    """
    down, across = _borders(scan)
    bright = _rescaled(scan, _peak(scan[slice(*down), slice(*across)]))
    cut = standard_cut(scan, rows, columns)
    return _resized(bright, cut, rows, columns), cut


def rescale_to_70(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Multiply by 70 / m, with m the median of the pixels of the upper fifth of the rows that are not black.

    The paper: "the upper part of the considered images consisted mostly of abdominal tissues, which share a common
    pattern. [...] We selected the top 20% of pixels from the image, excluding those that were black, and estimated the
    peak intensity by taking the median value (m) of this selection", for peaks "ranging from 30 to 110 units". Top is
    the place here, not the brightness: its Figure 1 outlines "the region used for computing the scaling factor", a
    region and not a set of pixels; and the real scans at hand give 26 to 49 by place, 70 to 130 by brightness. Black is
    8 and below, where the paper gives no number.

    Args:
        image: (rows, columns) grey levels 0..255 without black borders.
    Returns:
        (rows, columns) in 0..255; what gets brighter than that is cut.
    Raises:
        UnusableError: E_US_NO_CROP where the upper fifth is black.

    >>> rescale_to_70(np.array([[0, 20, 35, 50]] + 4 * [[0, 10, 100, 200]])).tolist()[:2]
    [[0.0, 40.0, 70.0, 100.0], [0.0, 20.0, 200.0, 255.0]]
    """
    return _rescaled(image, _peak(image))


def standard_cut(image: NDArray[np.generic], rows: int = ROWS, columns: int = COLUMNS) -> Cut:
    """The part of (h, w) grey levels 0..255 that has the shape of rows × columns.

    The paper: "cropped to maximally remove the black borders and standardize the aspect ratio"; how is not said. Here
    black borders go first, then lines from the ends of the longer side, the emptier end first, until the shape is
    right or a tenth of the pixels that are not black is gone: a lesion at the rim is worth more than a shape. What is
    still missing on the shorter side is black.

    Raises:
        UnusableError: E_US_NO_CROP where the image is black.
    """
    down, across = _borders(image)
    inside = image[slice(*down), slice(*across)].astype(np.float32) > BLACK
    height, width = inside.shape
    if height * columns > width * rows:
        down = _shortened(down, inside.sum(axis=1), round(width * rows / columns))
        across = _widened(across, round((down[1] - down[0]) * columns / rows))
    else:
        across = _shortened(across, inside.sum(axis=0), round(height * columns / rows))
        down = _widened(down, round((across[1] - across[0]) * rows / columns))
    return Cut(*down, *across)


def _peak(image: NDArray[np.generic]) -> float:
    """The paper's m."""
    upper = image[: math.ceil(_UPPER * len(image))].astype(np.float32)
    lit = upper[upper > BLACK]
    if not lit.size:
        raise unusable("E_US_NO_CROP", "the upper fifth of the image is black")
    return float(np.median(lit))


def _rescaled(image: NDArray[np.generic], peak: float) -> NDArray[np.float32]:
    rescaled: NDArray[np.float32] = np.clip(image.astype(np.float32) * np.float32(PEAK / peak), 0, 255)
    return rescaled


def _borders(image: NDArray[np.generic]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First row and column that are not black, each with the one behind the last."""
    lit = image.astype(np.float32) > BLACK
    down, across = (np.flatnonzero(lit.mean(axis=axis) > _BORDER) for axis in (1, 0))
    if not (down.size and across.size):
        raise unusable("E_US_NO_CROP", "the image is black")
    return (int(down[0]), int(down[-1]) + 1), (int(across[0]), int(across[-1]) + 1)


def _shortened(ends: tuple[int, int], lit: NDArray[np.integer], wanted: int) -> tuple[int, int]:
    """Take lines off either end; `lit` counts the pixels of each line that are not black."""
    first, last = 0, len(lit)
    left = _MAY_LOSE * float(lit.sum())
    while last - first > max(wanted, 1):
        at_start = lit[first] <= lit[last - 1]
        left -= float(lit[first] if at_start else lit[last - 1])
        if left < 0:
            break
        first, last = (first + 1, last) if at_start else (first, last - 1)
    return ends[0] + first, ends[0] + last


def _widened(ends: tuple[int, int], wanted: int) -> tuple[int, int]:
    more = max(0, wanted - (ends[1] - ends[0]))
    return ends[0] - more // 2, ends[1] + more - more // 2


def _resized(image: NDArray[np.float32], cut: Cut, rows: int, columns: int) -> NDArray[np.float32]:
    height, width = image.shape
    inside = image[max(0, cut.row_min_px) : cut.row_max_px, max(0, cut.column_min_px) : cut.column_max_px]
    above, below = max(0, -cut.row_min_px), max(0, cut.row_max_px - height)
    left, right = max(0, -cut.column_min_px), max(0, cut.column_max_px - width)
    whole = Image.fromarray(np.pad(inside, [(above, below), (left, right)]))
    return np.asarray(whole.resize((columns, rows), Image.Resampling.BILINEAR), dtype=np.float32)
