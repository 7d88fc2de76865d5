"""A rectangle of an image, resampled to a size: what crops, patches, whole slices and the masks beside are made by.

The same rectangle cut out of an image and of what was drawn on it gives two arrays whose pixels lie in the same places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Span = tuple[int, int]
"""First and last line of an image that may be looked at."""


@dataclass(frozen=True, slots=True)
class Cutout:
    """Edges in pixels of the image, where pixel 0 goes from 0 to 1; it may reach beyond the image."""

    top_px: float
    left_px: float
    height_px: float
    width_px: float

    @classmethod
    def about(cls, row_px: float, column_px: float, height_px: float, width_px: float) -> Cutout:
        """The rectangle with that middle."""
        return cls(row_px - height_px / 2, column_px - width_px / 2, height_px, width_px)


def resample(
    image: NDArray[np.generic],
    cutout: Cutout,
    size_px: tuple[int, int],
    *,
    within: tuple[Span, Span] | None = None,
    beyond: float | None = None,
) -> NDArray[np.float32]:
    """The cutout as an image of `size_px` (rows, columns), by a triangle filter over the source's area (antialiased).

    Args:
        image: (rows, columns), any real type.
        within: rows and columns that may be looked at, by default all.
        beyond: value of everything outside them; by default their edge is repeated.
    """
    spans = within or ((0, image.shape[0] - 1), (0, image.shape[1] - 1))
    y0, y = _lines(cutout.top_px, cutout.height_px, size_px[0])
    x0, x = _lines(cutout.left_px, cutout.width_px, size_px[1])
    around = image[np.ix_(y.clip(*spans[0]), x.clip(*spans[1]))].astype(np.float32)
    if beyond is not None:
        around[(y < spans[0][0]) | (y > spans[0][1])] = beyond
        around[:, (x < spans[1][0]) | (x > spans[1][1])] = beyond
    top, left = cutout.top_px - y0, cutout.left_px - x0
    where = (left, top, left + cutout.width_px, top + cutout.height_px)
    resampled = Image.fromarray(around).resize(size_px[::-1], Image.Resampling.BILINEAR, box=where)
    return np.asarray(resampled, dtype=np.float32)


def mask_of(labels: NDArray[np.integer], cutout: Cutout, size_px: tuple[int, int]) -> NDArray[np.float16]:
    """Share of each pixel of a cutout that lies inside what was drawn, all lesions together; nothing is, outside."""
    drawn = (labels > 0).astype(np.float32)
    return resample(drawn, cutout, size_px, beyond=0.0).clip(0, 1).astype(np.float16)


def share_inside(first_px: float, end_px: float, start_px: float, length_px: float, count: int) -> NDArray[np.float64]:
    """How much of each of `count` equal pixels from `start_px` on lies between `first_px` and `end_px`; (count,) 0..1.

    >>> share_inside(2.0, 5.0, 1.0, 8.0, 4).tolist()      # pixels 1–3, 3–5, 5–7 and 7–9
    [0.5, 1.0, 0.0, 0.0]
    """
    edges = start_px + np.arange(count + 1) * (length_px / count)
    covered = np.minimum(edges[1:], end_px) - np.maximum(edges[:-1], first_px)
    shares: NDArray[np.float64] = (covered * (count / length_px)).clip(0, 1)
    return shares


def _lines(first_px: float, length_px: float, count: int) -> tuple[int, NDArray[np.int64]]:
    """The lines that the filter sees: it reaches one target pixel, or one source pixel, beyond the cutout."""
    reach = math.ceil(max(1.0, length_px / count)) + 1
    start = math.floor(first_px) - reach
    return start, np.arange(start, math.ceil(first_px + length_px) + reach)
