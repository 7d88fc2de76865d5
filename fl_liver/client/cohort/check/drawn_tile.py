"""A tile as the page holds it: the picture as JPEG, its outlines and its scale bar as lines over it.

Lines lie over the picture and not in it, so that a reader can take them away to see what is below, and so that they
stay sharp when the picture is made larger.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fl_liver.client.cohort.check.contact_sheet import Tile

JPEG_QUALITY = 90
"""Half of PNG's bytes on liver CT, without visible loss at this size: 7,000 tiles must fit into a browser."""
_BARS_MM = (100, 50, 20, 10, 5, 2, 1)
_LONGEST_BAR = 0.4


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """`label` is "20 mm"; `length_px` in pixels of the tile."""

    label: str
    length_px: float


@dataclass(frozen=True, slots=True)
class DrawnTile:
    """What the template prints; paths are SVG path data in pixels of the tile."""

    title: str
    uri: str
    width_px: int
    height_px: int
    outline: str
    other: str
    bar: ScaleBar | None

    @property
    def alt(self) -> str:
        """Words for who cannot see it."""
        return self.title + (", lesion outlined" if self.outline else ", nothing drawn")


def draw_tile(tile: Tile) -> DrawnTile:
    """The same tile gives the same text."""
    height, width = tile.image.shape
    return DrawnTile(
        title=tile.title,
        uri=jpeg_uri(tile.image),
        width_px=width,
        height_px=height,
        outline="" if tile.outline is None else outline_path(tile.outline),
        other="" if tile.other is None else outline_path(tile.other),
        bar=scale_bar(width, tile.mm_per_px),
    )


def jpeg_uri(image: NDArray[np.uint8]) -> str:
    """(rows, columns) uint8 as a data URI."""
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, format="JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def outline_path(mask: NDArray[np.bool_]) -> str:
    """The line between inside and outside, along the edges of pixels, the border of the image included.

    Pixel (row i, column j) is the square from (j, i) to (j + 1, i + 1).

    >>> outline_path(np.array([[False, True]]))
    'M1 0h1M1 1h1M1 0v1M2 0v1'
    """
    padded = np.pad(mask, 1)
    level = padded[1:, 1:-1] != padded[:-1, 1:-1]
    upright = padded[1:-1, 1:] != padded[1:-1, :-1]
    across = [f"M{start} {line}h{length}" for line, start, length in _runs(level)]
    down = [f"M{line} {start}v{length}" for line, start, length in _runs(upright.T)]
    return "".join(across + down)


def scale_bar(width_px: int, mm_per_px: float | None) -> ScaleBar | None:
    """The longest round length that takes up to 40 % of the width.

    >>> scale_bar(160, 0.4)
    ScaleBar(label='20 mm', length_px=50.0)
    """
    if mm_per_px is None:
        return None
    fitting = (mm for mm in _BARS_MM if mm / mm_per_px <= _LONGEST_BAR * width_px)
    return next((ScaleBar(f"{mm} mm", round(mm / mm_per_px, 1)) for mm in fitting), None)


def _runs(lines: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """(line, start, length) of each run of True along the second axis."""
    steps = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    line, start = np.nonzero(steps == 1)
    end = np.nonzero(steps == -1)[1]
    return [(int(a), int(b), int(c - b)) for a, b, c in zip(line, start, end, strict=True)]
