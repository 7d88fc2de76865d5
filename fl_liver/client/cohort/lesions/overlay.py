"""Lesion contours that a radiologist drew on a viewer, kept by the archive as an overlay of one image (60xx,3000).

An overlay also holds text, arrows and the cube that shows the orientation. Which of its lines are contours is decided
by rule, in `closed_contours`; a person sees the result on the check page.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.read.dicom import read_header

_GROUPS = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _ORIGIN, _DATA = 0x0010, 0x0011, 0x0015, 0x0050, 0x3000
_WANTED = (_ROWS, _COLUMNS, _FRAMES, 0x0040, _ORIGIN, 0x0100, 0x0102, _DATA)
_MOST_PIXELS = 1 << 26

Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class ContourRules:
    """What makes connected pixels of an overlay a lesion's contour.

    least_px            pixels enclosed; a letter encloses fewer
    most_share          enclosed pixels over those of the image; a frame around the picture encloses more
    most_upright        enclosed pixels over their bounding box; a rectangle along the axes (a side of the orientation
                        cube, a frame of text) has 1, an ellipse 0.79
    least_open          pixels of the largest hole over those of line and holes; letters have thick strokes
    most_letter_px      rows of a letter: lower rings are dropped where another drawing of about the same height stands
                        beside them, as the next letter of a word does
    """

    least_px: int = 30
    most_share: float = 0.25
    most_upright: float = 0.95
    least_open: float = 0.5
    most_letter_px: int = 40


def read_overlays(path: Path) -> list[NDArray[np.bool_]]:
    """The overlay planes of an image, on its pixels.

    Returns:
        One (rows, columns) array for each of the up to 16 planes, in group order; [] where there are none. Planes kept
        in unused bits of the pixel data (retired in 2004) are not read.
    Raises:
        UnusableError: E_ROI_UNREADABLE, E_TOO_LARGE, or what `read.dicom` refuses a file for.
    """
    header = read_header(path)
    if header.rows * header.columns > _MOST_PIXELS:
        raise unusable("E_TOO_LARGE", f"an overlay on {header.rows} × {header.columns} pixels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            tags = [Tag(group, element) for group in _GROUPS for element in _WANTED]
            dataset = dcmread(path, specific_tags=tags)
            groups = [group for group in _GROUPS if Tag(group, _DATA) in dataset]
            return [_placed(dataset, group, header.rows, header.columns) for group in groups]
    except UnusableError:
        raise
    except Exception as error:  # the one broad catch of overlays: damaged ones raise half a dozen types
        raise unusable("E_ROI_UNREADABLE", f"an overlay stops its reader ({type(error).__name__})") from None


def closed_contours(overlay: NDArray[np.bool_], rules: ContourRules = ContourRules()) -> list[NDArray[np.bool_]]:
    """Every closed ring of an overlay as a filled mask of the same shape, line included, in row order.

    Pixels that touch, also by a corner, are one drawing. A drawing is a contour where it encloses an area within the
    limits of `rules` and is no letter of a word; handles and numbers that hang on the line are cut off. Filled blobs
    enclose nothing.
    """
    from scipy import ndimage

    touching = np.ones((3, 3), dtype=np.bool_)
    drawings, _ = ndimage.label(overlay, structure=touching)
    boxes = ndimage.find_objects(drawings)
    contours: list[NDArray[np.bool_]] = []
    for number, where in enumerate(boxes, start=1):
        line = np.pad(drawings[where] == number, 1)
        found = _enclosed(line, overlay.size, rules)
        if found is None or _in_a_word(where, boxes, rules.most_letter_px):
            continue
        # The line itself belongs to the lesion, whatever else hangs on it does not: one pixel around what it encloses.
        whole = ndimage.binary_dilation(found, structure=touching) & (found | line)
        contour = np.zeros_like(overlay)
        contour[where] = whole[1:-1, 1:-1]
        contours.append(contour)
    return contours


def _enclosed(line: NDArray[np.bool_], image_px: int, rules: ContourRules) -> NDArray[np.bool_] | None:
    """The largest hole of one drawing where the drawing is a contour, else None."""
    from scipy import ndimage

    holes, count = ndimage.label(ndimage.binary_fill_holes(line) & ~line)
    if not count:
        return None
    sizes = np.bincount(holes.ravel())[1:]
    hole: NDArray[np.bool_] = holes == 1 + int(sizes.argmax())
    size, everything = int(sizes.max()), int(sizes.sum() + line.sum())
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    box = int((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))
    ring = rules.least_px <= size <= rules.most_share * image_px
    return hole if ring and size <= rules.most_upright * box and size >= rules.least_open * everything else None


def _in_a_word(box: Box, boxes: Sequence[Box], most_letter_px: int) -> bool:
    """Whether another drawing stands beside this one as letters do: about as high, and closer than 0.6 heights."""
    height = _length(box[0])
    if height > most_letter_px:
        return False
    for rows, columns in boxes:
        gap = max(columns.start - box[1].stop, box[1].start - columns.stop)
        shared = min(rows.stop, box[0].stop) - max(rows.start, box[0].start)
        alike = _length(rows) <= 1.5 * height and 2 * shared > height
        if alike and 0 <= gap <= 0.6 * height:
            return True
    return False


def _length(part: slice) -> int:
    length: int = part.stop - part.start
    return length


def _placed(dataset: Dataset, group: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """One plane on the pixels of its image; its origin counts rows and columns from 1 and may lie outside."""
    frames = dataset.get((group, _FRAMES))
    if frames is not None and int(frames.value or 1) > 1:
        raise unusable("E_ROI_UNREADABLE", "an overlay of several frames")
    plane = np.asarray(dataset.overlay_array(group)) != 0
    found = dataset.get((group, _ORIGIN))
    origin = [int(one) for one in found.value] if found is not None and found.value else [1, 1]
    placed = np.zeros((rows, columns), dtype=np.bool_)
    target_row, target_column = (np.arange(n) + start - 1 for n, start in zip(plane.shape, origin, strict=True))
    in_rows, in_columns = ((at >= 0) & (at < n) for at, n in ((target_row, rows), (target_column, columns)))
    placed[np.ix_(target_row[in_rows], target_column[in_columns])] = plane[np.ix_(in_rows, in_columns)]
    return placed
