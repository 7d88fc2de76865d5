"""Whether text is burned into an image: bright pieces of like height on one line. Nothing is read, only found.

A letter is as bright as the next one and stands 60 grey levels above nearly all that lies round it, which speckle does
not do three times in a row. Tried on lines of letters of 12 pixels and more over black, of 18 and more over tissue up
to a level of 90, raw and as JPEG: all found; smaller ones over tissue are missed at times, grey ones over bright tissue
mostly. Tried on 378 scans without text (phantoms, parts of real scans, speckle of many grains, each also as JPEG) and
39 megapixels of speckle: none found, but in the two of a power Doppler, whose vessels stand in rows like letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass

_STROKE_PX = 9
"""What is thinner than this in one direction can be a stroke."""
_CONTRAST = 60
"""Grey levels by which a stroke is brighter than four fifths of what lies round it."""
_HEIGHT_PX = (5, 48)
_LIKE_BRIGHT = 0.1
_GLYPHS = 3


@dataclass(frozen=True, slots=True)
class TextLine:
    """Rectangle round one line; upper edges excluded. `glyphs` is at least 3."""

    row_min_px: int
    row_max_px: int
    column_min_px: int
    column_max_px: int
    glyphs: int


@dataclass(frozen=True, slots=True)
class _Glyph:
    """A piece that could be a letter."""

    top: int
    bottom: int
    left: int
    right: int
    level: float

    @property
    def height(self) -> int:
        return self.bottom - self.top


def text_lines(grey: NDArray[np.generic]) -> tuple[TextLine, ...]:
    """Lines of text in a (rows, columns) image of grey levels 0..255, from the left. Words far apart are two lines."""
    glyphs = sorted(_glyphs(grey.astype(np.float32)), key=lambda one: (one.left, one.top))
    taken: set[int] = set()
    lines = []
    for first in range(len(glyphs)):
        members = _line(glyphs, first, taken)
        line = [glyphs[member] for member in members]
        if len(line) < _GLYPHS or not _has_a_broad_one(line):
            continue
        taken.update(members)
        top, bottom = min(one.top for one in line), max(one.bottom for one in line)
        lines.append(TextLine(top, bottom, line[0].left, max(one.right for one in line), len(line)))
    return tuple(lines)


def _glyphs(level: NDArray[np.float32]) -> list[_Glyph]:
    from scipy import ndimage

    square = np.ones((3, 3), dtype=bool)
    strokes = level - ndimage.grey_opening(level, (_STROKE_PX, _STROKE_PX)) >= _CONTRAST
    pieces, _ = ndimage.label(strokes, square)
    # Round a piece: the pixels within 3 of its rectangle that are not next to any stroke.
    apart = np.pad(~ndimage.binary_dilation(strokes, square), 3, constant_values=True)
    wide = np.pad(level, 3, mode="edge")
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not _HEIGHT_PX[0] <= height <= _HEIGHT_PX[1] or width > 2.5 * height:
            continue
        piece = pieces[rows, columns] == number
        if piece.mean() > 0.9 and width > 3:  # a mark, not a letter
            continue
        bright = float(np.percentile(level[rows, columns][piece], 80))
        here = (slice(rows.start, rows.stop + 6), slice(columns.start, columns.stop + 6))
        surround = wide[here][apart[here]]
        if surround.size >= 4 and bright - np.percentile(surround, 80) >= _CONTRAST:
            found.append(_Glyph(rows.start, rows.stop, columns.start, columns.stop, bright))
    return found


def _line(glyphs: list[_Glyph], first: int, taken: set[int]) -> list[int]:
    """Which glyphs, all sorted from the left, go on from `first` on one line; [] where that has its line already."""
    if first in taken:
        return []
    members, last = [first], glyphs[first]
    for number in range(first + 1, len(glyphs)):
        if glyphs[number].left - last.right > _HEIGHT_PX[1]:
            break
        if number not in taken and _follows(last, glyphs[number]):
            members.append(number)
            last = glyphs[number]
    return members


def _follows(last: _Glyph, glyph: _Glyph) -> bool:
    """On one line, alike in brightness and height, and at most one height apart."""
    short, tall = sorted((last.height, glyph.height))
    same_base, same_top = abs(glyph.bottom - last.bottom) <= 1, abs(glyph.top - last.top) <= 1
    return (
        -1 <= glyph.left - last.right <= tall
        and abs(glyph.level - last.level) <= _LIKE_BRIGHT * max(glyph.level, last.level)
        and (same_base or same_top)  # small letters beside capitals: one of the two edges agrees
        and tall <= 1.7 * short
    )


def _has_a_broad_one(line: list[_Glyph]) -> bool:
    """A ruler's ticks are all one pixel wide; a word has at least one broad letter."""
    return max(one.right - one.left for one in line) >= max(3.0, 0.4 * line[0].height)
