"""Whether text is burned into an image: bright, sharp pieces of like height on one line. Nothing is read, only found.

Over black or a flat panel, text is found in any font from 12 pixels on, after a lossy JPEG too, and speckle is never
taken for it. Over tissue only the hard-edged letters of a character generator are found: smooth ones look like speckle
to a rule as simple as this, so no text found over tissue does not mean that there is none. None was
found in 378 scans without text (phantoms, parts of real scans, speckle of many grains, each also as JPEG) and in 39
megapixels of speckle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fl_liver.client.cohort.ultrasound.screen import Window

_STROKE_PX = 9
"""What is thinner than this in one direction can be a stroke."""
_CONTRAST = 60
"""Grey levels by which a stroke is brighter than what lies round it."""
_HEIGHT_PX = (5, 48)
_EVEN = 12
"""Round a letter on black or on a panel, the middle three fifths of the pixels differ by no more."""
_ONE_LEVEL, _LEVEL_SHARE = 0.12, 0.8
"""Of a hard-edged letter, so much lies within so much of its own bright level."""
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

    @property
    def area_px(self) -> int:
        return (self.row_max_px - self.row_min_px) * (self.column_max_px - self.column_min_px)


@dataclass(frozen=True, slots=True)
class _Glyph:
    """A piece that could be a letter: one of an even surround, or a hard-edged one, or both."""

    top: int
    bottom: int
    left: int
    right: int
    level: float
    on_even: bool
    hard_edged: bool

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


def text_like_share(grey: NDArray[np.generic], window: Window) -> float:
    """Share of the window's area that lines of text take, 0..1; above 0 text was found."""
    inside = window.cut(grey)
    return sum(line.area_px for line in text_lines(inside)) / inside.size


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
        here = (slice(rows.start, rows.stop + 6), slice(columns.start, columns.stop + 6))
        glyph = _judged(level[rows, columns][piece], wide[here][apart[here]], rows, columns)
        if glyph.on_even or glyph.hard_edged:
            found.append(glyph)
    return found


def _judged(values: NDArray[np.float32], surround: NDArray[np.float32], rows: slice, columns: slice) -> _Glyph:
    bright = float(np.percentile(values, 80))
    low, high = np.percentile(surround, (20, 80)) if surround.size >= 4 else (0.0, 255.0)
    return _Glyph(
        *(rows.start, rows.stop, columns.start, columns.stop, bright),
        on_even=bool(high - low <= _EVEN and bright - high >= _CONTRAST),
        hard_edged=bool((np.abs(values - bright) <= _ONE_LEVEL * bright).mean() >= _LEVEL_SHARE),
    )


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
    beside = -1 <= glyph.left - last.right <= tall
    if not beside or abs(glyph.level - last.level) > _LIKE_BRIGHT * max(glyph.level, last.level):
        return False
    if last.on_even and glyph.on_even:  # small letters beside capitals: one of the two edges agrees
        same_base, same_top = abs(glyph.bottom - last.bottom) <= 1, abs(glyph.top - last.top) <= 1
        return (same_base or same_top) and tall <= 1.7 * short
    # Over tissue a pixel more of latitude would find lines in every third megapixel of speckle.
    return last.hard_edged and glyph.hard_edged and glyph.bottom == last.bottom and tall - short <= 1


def _has_a_broad_one(line: list[_Glyph]) -> bool:
    """A ruler's ticks are all one pixel wide; a word has at least one broad letter."""
    return max(one.right - one.left for one in line) >= max(3.0, 0.4 * line[0].height)
