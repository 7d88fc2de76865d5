"""The parts of an upper abdomen, in the order in which they are painted over one another.

Body coordinates: mm, LPS directions (left, posterior and superior grow), origin in the middle of the body at liver
height. Sizes are those of an adult, rounded; nobody's scan was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Triple

_LONG = 1e4
"""Half length of what runs through all slices."""


class Tissue(IntEnum):
    """What a point of the body is made of; the number is its label."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    LUNG = 3
    BONE = 4
    MARROW = 5
    CANAL = 6
    LIVER = 7
    SPLEEN = 8
    KIDNEY = 9
    STOMACH = 10
    GAS = 11
    GALLBLADDER = 12
    AORTA = 13
    CAVA = 14
    PORTAL_VEIN = 15
    HEPATIC_VEIN = 16
    HEART = 17
    BOWEL = 18
    CAVITY = 19
    """Fat between the organs."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """`square` (0..1) draws the outline in x and y towards a rectangle: x² + y² − square · x² y² + z² < 1."""

    centre: Triple
    radii: Triple
    square: float = 0.0

    def box(self) -> tuple[Triple, Triple]:
        """Two opposite corners."""
        (x, y, z), (a, b, c) = self.centre, self.radii
        return (x - a, y - b, z - c), (x + a, y + b, z + c)

    def inside(self, x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether positions, which are broadcast, lie in it."""
        axes = zip((x, y, z), self.centre, self.radii, strict=True)
        x2, y2, z2 = (np.square((at - np.float32(c)) / np.float32(r)) for at, c, r in axes)
        flat = x2 + y2
        if self.square:
            flat -= np.float32(self.square) * x2 * y2
            # Beyond the corners the polynomial turns back below 1.
            return np.asarray((flat + z2 < 1) & (x2 < 1) & (y2 < 1))
        return np.asarray(flat + z2 < 1)


@dataclass(frozen=True, slots=True)
class Tube:
    """A vessel from one point to another, with round ends."""

    start: Triple
    end: Triple
    radius: float

    def box(self) -> tuple[Triple, Triple]:
        ends = np.array([self.start, self.end])
        low, high = ends.min(0) - self.radius, ends.max(0) + self.radius
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def inside(self, x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.bool_]:
        start, along = np.array(self.start), np.array(self.end) - self.start
        offset = [at - np.float32(s) for at, s in zip((x, y, z), start, strict=True)]
        share = sum(np.float32(d / (along @ along)) * at for d, at in zip(along, offset, strict=True))
        share = np.clip(share, 0, 1)
        away = [np.square(at - np.float32(d) * share) for d, at in zip(along, offset, strict=True)]
        return np.asarray(away[0] + away[1] + away[2] < np.float32(self.radius**2))


@dataclass(frozen=True, slots=True)
class Part:
    """A shape of one tissue; `over` lists the tissues that it may cover, () for all."""

    tissue: Tissue
    shape: Ellipsoid | Tube
    over: tuple[Tissue, ...] = ()


LESION_ROOM = Ellipsoid((-69, -3, -2), (56, 67, 64))
"""The inside of the right lobe, where lesions are put."""
_GALLBLADDER, _CAVA = Ellipsoid((-46, -46, -50), (15, 19, 28)), Ellipsoid((-22, 30, 0), (13, 11, _LONG))
KEPT_CLEAR = (_GALLBLADDER, _CAVA)
"""What lesions are not put on, where there is other room."""

_INSIDE = (Tissue.CAVITY, Tissue.LUNG, Tissue.HEART, Tissue.BOWEL, Tissue.STOMACH)
_IN_LIVER = (Tissue.LIVER,)
_CAVITY = Ellipsoid((0, -4, 0), (139, 90, _LONG), square=0.5)


def _ribs() -> list[Part]:
    """Short slanting bars in the wall of the chest, a shell of bone round marrow."""
    parts = []
    for level in range(-3, 5):
        for angle in (0.15, 0.75, 1.45, 2.1, 2.65):
            for side in (-1, 1):
                across = np.pi / 2 - angle
                x, y = side * 145 * np.cos(across), -4 - 96 * np.sin(across)
                z = 26 * level + 12 * np.cos(angle)
                radii = (5.0 + 9 * abs(np.sin(across)), 5.0 + 9 * abs(np.cos(across)), 6.5)
                inner = (radii[0] - 2.5, radii[1] - 2.5, 4.0)
                parts.append(Part(Tissue.BONE, Ellipsoid((x, y, z), radii), (Tissue.MUSCLE, Tissue.FAT)))
                parts.append(Part(Tissue.MARROW, Ellipsoid((x, y, z), inner), (Tissue.BONE,)))
    return parts


def _spine() -> list[Part]:
    """Vertebrae with discs between them, the canal and the muscles beside it."""
    parts = [
        Part(Tissue.MUSCLE, Ellipsoid((side * 38, 82, 0), (31, 21, _LONG))) for side in (-1, 1)
    ]  # beside the spine
    parts += [Part(Tissue.MUSCLE, Ellipsoid((0, 54, 0), (23, 18, _LONG)))]  # the discs
    for level in range(-5, 6):
        z = 31.0 * level
        parts.append(Part(Tissue.BONE, Ellipsoid((0, 54, z), (23, 18, 15))))
        parts.append(Part(Tissue.BONE, Ellipsoid((0, 97, z - 8), (5, 16, 12))))
        parts.append(Part(Tissue.MARROW, Ellipsoid((0, 54, z), (21, 16, 13.5))))
    parts.append(Part(Tissue.BONE, Ellipsoid((0, 80, 0), (13, 11, _LONG))))
    return [*parts, Part(Tissue.CANAL, Ellipsoid((0, 80, 0), (10, 8, _LONG)))]


def _vessels() -> list[Part]:
    portal = [
        ((0, 8, -62), (-34, 2, -8), 7.0), ((-34, 2, -8), (-72, -2, 4), 5.5), ((-72, -2, 4), (-112, 22, 12), 4.0),
        ((-72, -2, 4), (-104, -34, 0), 3.5), ((-34, 2, -8), (2, -36, 14), 4.5), ((2, -36, 14), (34, -48, 22), 3.5),
    ]  # fmt: skip
    hepatic = [
        ((-22, 26, 58), (-64, 34, 36), 5.0), ((-64, 34, 36), (-118, 30, 2), 4.0),
        ((-22, 26, 58), (-52, -22, 36), 4.5), ((-52, -22, 36), (-76, -52, 6), 3.5),
        ((-22, 26, 58), (6, -34, 42), 4.0),
    ]  # fmt: skip
    return [
        *(Part(Tissue.PORTAL_VEIN, Tube(*one), (Tissue.LIVER, Tissue.CAVITY)) for one in portal),
        *(Part(Tissue.HEPATIC_VEIN, Tube(*one), _IN_LIVER) for one in hepatic),
        Part(Tissue.CAVA, _CAVA),
        Part(Tissue.AORTA, Ellipsoid((8, 26, 0), (11, 11, _LONG))),
    ]


PARTS: tuple[Part, ...] = (
    Part(Tissue.FAT, Ellipsoid((0, 0, 0), (170, 118, _LONG), square=0.45)),
    Part(Tissue.MUSCLE, Ellipsoid((0, -2, 0), (153, 103, _LONG), square=0.5)),
    *_ribs(),
    Part(Tissue.CAVITY, _CAVITY),
    *_spine(),
    Part(Tissue.LUNG, Ellipsoid((-74, 6, 142), (72, 98, 128)), _INSIDE),
    Part(Tissue.LUNG, Ellipsoid((76, 8, 146), (70, 98, 128)), _INSIDE),
    Part(Tissue.HEART, Ellipsoid((26, -34, 116), (58, 48, 48)), _INSIDE),
    Part(Tissue.BOWEL, Ellipsoid((26, -42, -88), (92, 42, 46)), _INSIDE),
    Part(Tissue.KIDNEY, Ellipsoid((66, 46, -52), (26, 29, 52)), _INSIDE),
    Part(Tissue.KIDNEY, Ellipsoid((-62, 50, -76), (26, 28, 50)), _INSIDE),
    Part(Tissue.SPLEEN, Ellipsoid((98, 34, 14), (32, 46, 52)), _INSIDE),
    Part(Tissue.STOMACH, Ellipsoid((68, -34, 18), (44, 40, 54)), _INSIDE),
    Part(Tissue.GAS, Ellipsoid((66, -58, 24), (25, 13, 30)), (Tissue.STOMACH,)),
    Part(Tissue.LIVER, Ellipsoid((-72, -3, 0), (66, 77, 72)), _INSIDE),
    Part(Tissue.LIVER, Ellipsoid((2, -46, 24), (72, 36, 36)), _INSIDE),
    Part(Tissue.GALLBLADDER, _GALLBLADDER, _INSIDE + _IN_LIVER),
    *_vessels(),
)
