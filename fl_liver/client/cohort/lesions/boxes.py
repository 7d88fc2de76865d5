"""Boxes drawn by the hospital, and the crops that a network sees.

A lesion crop is a square of `margin` times the longer side of its box, centred on the box, resampled with antialiasing;
outside the frame the edge is repeated. A background crop is a square of the shorter side of its box, so that nothing
outside the box, least of all lesion, gets in.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import unusable
from fl_liver.client.cohort.lesions.cutout import Cutout, resample, share_inside

BoxKind = Literal["lesion", "background"]
_EDGES = ("x_min_px", "y_min_px", "x_max_px", "y_max_px")
COLUMNS = ("patient_id", "sop_instance_uid", "kind", *_EDGES, "frame")


@dataclass(frozen=True, slots=True)
class Box:
    """One row of lesions.csv: pixel indices in the stored frame, from 0, upper edges excluded; frame from 0."""

    sop_uid: str = field(repr=False)
    frame: int
    kind: BoxKind
    x_min_px: float
    y_min_px: float
    x_max_px: float
    y_max_px: float

    @property
    def width_px(self) -> float:
        """Along x, the columns."""
        return self.x_max_px - self.x_min_px

    @property
    def height_px(self) -> float:
        """Along y, the rows."""
        return self.y_max_px - self.y_min_px


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes by the site's own patient id, and how many rows of a patient could not be read."""

    of_patient: dict[str, tuple[Box, ...]] = field(repr=False)
    unreadable: dict[str, int] = field(repr=False)


def read_boxes(path: Path) -> Boxes:
    """Read lesions.csv.

    Raises:
        DataError: no such file, not a table, or a column is missing.
    """
    import pandas as pd  # half a second that a decoder, which uses boxes and reads no table, would pay too

    from fl_liver.client.cohort.table.tables import read_table, require_columns

    table = read_table(path)
    require_columns(table, COLUMNS, path)
    numbers = table[[*_EDGES, "frame"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    frame = numbers[:, 4]
    known_kind = table["kind"].isin(["lesion", "background"]).to_numpy()
    positive = (numbers[:, 2] > numbers[:, 0]) & (numbers[:, 3] > numbers[:, 1])
    good = np.isfinite(numbers).all(axis=1) & known_kind & positive & (frame >= 0) & (frame == np.floor(frame))
    boxes: dict[str, list[Box]] = defaultdict(list)
    unreadable: dict[str, int] = defaultdict(int)
    columns = (table["patient_id"], table["sop_instance_uid"], table["kind"], numbers, good)
    for patient, sop_uid, kind, row, ok in zip(*columns, strict=True):
        if ok:
            boxes[patient].append(Box(sop_uid, int(row[4]), kind, *(float(edge) for edge in row[:4])))
        else:
            unreadable[patient] += 1
    return Boxes({patient: tuple(many) for patient, many in boxes.items()}, dict(unreadable))


def require_inside(box: Box, rows: int, columns: int) -> None:
    """Raises UnusableError E_BOX_OUTSIDE where a box leaves its frame of `rows` × `columns` pixels."""
    if box.x_min_px < 0 or box.y_min_px < 0 or box.x_max_px > columns or box.y_max_px > rows:
        found = f"x {box.x_min_px:g} to {box.x_max_px:g}, y {box.y_min_px:g} to {box.y_max_px:g}"
        raise unusable("E_BOX_OUTSIDE", f"a {box.kind} box at {found} in a frame of {columns} × {rows} pixels")


def square_round(box: Box, margin: float) -> Cutout:
    """What a crop shows: `margin` times the longer side of a lesion box; of a background box its shorter side."""
    side = margin * max(box.width_px, box.height_px)
    if box.kind == "background":
        side = min(box.width_px, box.height_px)
    return Cutout.about((box.y_min_px + box.y_max_px) / 2, (box.x_min_px + box.x_max_px) / 2, side, side)


def crop(image: NDArray[np.generic], box: Box, size_px: int, margin: float) -> NDArray[np.float32]:
    """The square around `box`, resampled to `size_px` × `size_px` by a triangle filter over the source's area.

    Args:
        image: (rows, columns), any real type.
        margin: side over the longer side of a lesion box; ignored for a background box.
    """
    within = None
    if box.kind == "background":
        # The filter would otherwise look one pixel beyond the box.
        first = (math.ceil(box.y_min_px), math.ceil(box.x_min_px))
        last = (max(first[0], math.floor(box.y_max_px) - 1), max(first[1], math.floor(box.x_max_px) - 1))
        within = ((first[0], last[0]), (first[1], last[1]))
    return resample(image, square_round(box, margin), (size_px, size_px), within=within)


def box_mask(boxes: Iterable[Box], cutout: Cutout, size_px: tuple[int, int]) -> NDArray[np.float16]:
    """How much of each pixel of a cutout lies inside a box; of several boxes, the one with most of it. 0..1."""
    rows, columns = size_px
    mask = np.zeros(size_px)
    for box in boxes:
        down = share_inside(box.y_min_px, box.y_max_px, cutout.top_px, cutout.height_px, rows)
        across = share_inside(box.x_min_px, box.x_max_px, cutout.left_px, cutout.width_px, columns)
        np.maximum(mask, np.outer(down, across), out=mask)
    return mask.astype(np.float16)


def scaled(image: NDArray[np.float32], window_hu: tuple[float, float] | None) -> NDArray[np.float16]:
    """`standardise`, or 0 to 1 between the ends of a window, as float16."""
    if window_hu is None:
        return standardise(image)
    low, high = window_hu
    windowed: NDArray[np.float16] = ((image - low) / (high - low)).clip(0, 1).astype(np.float16)
    return windowed


def standardise(image: NDArray[np.float32]) -> NDArray[np.float16]:
    """(x − mean) / standard deviation over the image, as float16.

    Raises:
        UnusableError: E_FLAT_IMAGE where the standard deviation is 0 or not finite.
    """
    values = image.astype(np.float64)
    deviation = float(values.std())
    if not deviation > 1e-6 * max(1.0, float(np.abs(values).max())):
        raise unusable("E_FLAT_IMAGE", f"a crop of {image.shape[1]} × {image.shape[0]} pixels without contrast")
    standard: NDArray[np.float16] = ((values - values.mean()) / deviation).astype(np.float16)
    return standard
