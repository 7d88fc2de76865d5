"""Where the boxes of the flow chart and the dots of the fingerprints lie; the template draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl_liver.client.cohort.check.fingerprint import Fingerprint, Spread
from fl_liver.client.cohort.check.flow import UNLISTED, Step

BOX_WIDTH, BOX_HEIGHT = 250, 54
SIDE_LEFT, SIDE_WIDTH = 300, 360
LINE, PAD, GAP = 19, 12, 26
STRIP_WIDTH, STRIP_LINE, STRIP_PAD = 176, 16, 7
_BINS = 44
_SMALLEST_DOT, _LARGEST_DOT = 2.2, 6.0


@dataclass(frozen=True, slots=True)
class SideBox:
    """Patients who leave between two boxes."""

    y: float
    height: float
    head: str
    lines: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class MainBox:
    """A step at height `y`; `side` stands right of the arrow below it, which ends at `arrow_to`."""

    y: float
    label: str
    count: int
    side: SideBox | None
    arrow_to: float | None


@dataclass(frozen=True, slots=True)
class FlowChart:
    """All in pixels; width is fixed."""

    height: float
    boxes: tuple[MainBox, ...]
    width: int = SIDE_LEFT + SIDE_WIDTH + 2


@dataclass(frozen=True, slots=True)
class Dot:
    """One dot at `x` for `n` series."""

    x: float
    radius: float
    n: int


@dataclass(frozen=True, slots=True)
class StripLine:
    """One row of dots on an axis that the whole strip shares; `words` are minimum, median and maximum."""

    y: float
    label: str
    words: str
    dots: tuple[Dot, ...]
    median_x: float


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of dots, one or several of one measure."""

    height: float
    lines: tuple[StripLine, ...]


@dataclass(frozen=True, slots=True)
class FingerprintRow:
    """One kind of series as a row of the page's table; a strip is None where there is no value."""

    what: str
    n: int
    slices: Strip | None
    in_plane_mm: Strip | None
    slice_mm: Strip | None
    intensity: tuple[tuple[str, Strip], ...]
    makers: str


def flow_chart(steps: Sequence[Step]) -> FlowChart:
    """Boxes one below the other, and beside each arrow a box with who left and why."""
    boxes: list[MainBox] = []
    y = 1.0
    for place, step in enumerate(steps):
        last = place == len(steps) - 1
        below = y + BOX_HEIGHT
        gone = 0 if last else step.count - steps[place + 1].count
        lines = tuple((code if code != UNLISTED else "no finding says why", n) for code, n in step.left)
        height = 2 * PAD + LINE * (1 + len(lines)) - 4
        side = SideBox(below + GAP / 2, height, f"left out: {gone}", lines) if gone or lines else None
        next_y = below + (height + GAP if side else GAP + 8)
        boxes.append(MainBox(y, step.label, step.count, side, None if last else next_y))
        y = next_y
    bottom = boxes[-1].y + BOX_HEIGHT + 1 if boxes else 0.0
    return FlowChart(bottom, tuple(boxes))


def fingerprint_rows(fingerprints: Sequence[Fingerprint]) -> tuple[FingerprintRow, ...]:
    """Axes of spacing are shared by all kinds, so that rows can be compared; each intensity has its own."""
    slices = _axis([one.slices for one in fingerprints])
    in_plane = _axis([spread for one in fingerprints for spread in (one.row_mm, one.column_mm)])
    between = _axis([one.slice_mm for one in fingerprints])
    return tuple(
        FingerprintRow(
            one.what,
            one.n,
            _strip([("", one.slices)], slices),
            _strip([("row", one.row_mm), ("col", one.column_mm)], in_plane),
            _strip([("", one.slice_mm)], between),
            tuple((region, strip) for region, three in one.intensity if (strip := _intensity(three)) is not None),
            ", ".join(f"{maker or 'maker not said'} {n}" for maker, n in one.makers),
        )
        for one in fingerprints
    )


def short(value: float) -> str:
    """A number in at most three or four digits, with a true minus.

    >>> short(0.7031), short(512.0), short(-104.4), short(7.0)
    ('0.703', '512', '−104', '7')
    """
    shown = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return shown.replace("-", "\N{MINUS SIGN}")


def _intensity(three: tuple[Spread, Spread, Spread]) -> Strip | None:
    labelled = list(zip(("5 %", "50 %", "95 %"), three, strict=True))
    return _strip(list(labelled), _axis(three))


def _axis(spreads: Sequence[Spread | None]) -> tuple[float, float]:
    """Lowest and highest value, with room where all are the same."""
    there = [one for one in spreads if one is not None]
    if not there:
        return 0.0, 1.0
    low, high = min(one.minimum for one in there), max(one.maximum for one in there)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _strip(labelled: Sequence[tuple[str, Spread | None]], axis: tuple[float, float]) -> Strip | None:
    there = [(label, one) for label, one in labelled if one is not None]
    # Rows and columns of a pixel nearly always have one size: one line says it.
    if len(there) == 2 and there[0][1] == there[1][1]:
        there = [("", there[0][1])]
    if not there:
        return None
    left = 34 if any(label for label, _ in there) else STRIP_PAD
    lines = []
    for place, (label, one) in enumerate(there):
        dots = _dots(one, axis, left)
        y = STRIP_PAD + 1 + place * STRIP_LINE
        lines.append(StripLine(y, label, _words(one), dots, _x(one.median, axis, left)))
    return Strip(STRIP_PAD * 2 + 2 + (len(there) - 1) * STRIP_LINE, tuple(lines))


def _words(one: Spread) -> str:
    if one.minimum == one.maximum:
        return f"all {short(one.median)}"
    return f"{short(one.minimum)} · {short(one.median)} · {short(one.maximum)}"


def _dots(one: Spread, axis: tuple[float, float], left: float) -> tuple[Dot, ...]:
    """At most 44 dots: neighbours are one dot whose area grows with their number."""
    place = np.digitize(one.values, np.linspace(*axis, _BINS + 1)[1:-1])
    counts = np.bincount(place, minlength=_BINS)
    # A dot stands at the mean of its own values: a single value stands exactly where it is.
    sums = np.bincount(place, weights=one.values, minlength=_BINS)
    dots = []
    for n, total in zip(counts.tolist(), sums.tolist(), strict=True):
        if n:
            radius = min(_LARGEST_DOT, _SMALLEST_DOT + (_LARGEST_DOT - _SMALLEST_DOT) * math.sqrt((n - 1) / 60))
            dots.append(Dot(_x(total / n, axis, left), round(radius, 1), n))
    return tuple(dots)


def _x(value: float, axis: tuple[float, float], left: float) -> float:
    share = (value - axis[0]) / (axis[1] - axis[0])
    return round(left + share * (STRIP_WIDTH - left - STRIP_PAD), 1)
