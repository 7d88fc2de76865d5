"""A focal lesion in three dimensions: a lobed ellipsoid whose volume and centre are known exactly.

`patients.Lesion` is what ultrasound shows of a lesion; this is its body, which CT and MR cut into slices. Positions are
in mm in patient coordinates (LPS).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Triple

Coordinates = NDArray[np.float32]
LesionKind = Literal["cyst", "hemangioma", "fnh", "other_benign", "hcc", "metastasis", "other_malignant"]
LESION_KINDS: tuple[LesionKind, ...] = get_args(LesionKind)
"""The classes of Zhen et al., Front Oncol 10 (2020) 680."""

_POLAR_NODES, _AZIMUTHS = 64, 128  # integrates the outlines drawn here to nine digits
_ORDERS = (2, 3, 4, 5)
_CORE, _RIM_MM, _NODULE = 0.35, 2.0, 0.55


class Zone(IntEnum):
    """Parts of a lesion that take up contrast differently."""

    BULK = 0
    CORE = 1
    """Innermost third: scar, necrosis."""
    RIM = 2
    """Outermost 2 mm: capsule, rim enhancement."""
    NODULE = 3
    """Patches of the periphery of a haemangioma, where it fills first."""


@dataclass(frozen=True, slots=True)
class Lobe:
    """One wave over the outline: amplitude · cos(order · (direction · u) + phase), u on the unit sphere."""

    direction: Triple
    order: int
    phase_rad: float
    amplitude: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SolidLesion:
    """A lobed ellipsoid.

    kind        what CT and MR make of it
    centre_mm   its centre of gravity
    radii_mm    half axes, along x, y and z, of the smooth ellipsoid with the same volume
    lobes       waves of the outline; none for a smooth ellipsoid
    """

    centre_mm: Triple
    radii_mm: Triple
    lobes: tuple[Lobe, ...] = ()
    kind: LesionKind = "hcc"

    @property
    def volume_mm3(self) -> float:
        """Of what is drawn: the outline is scaled so that lobes do not change it.

        >>> round(SolidLesion(centre_mm=(0, 0, 0), radii_mm=(10, 10, 10)).volume_mm3)
        4189
        """
        return float(4 / 3 * np.pi * np.prod(self.radii_mm))

    @property
    def reach_mm(self) -> Triple:
        """Half a box round the centre that holds all of the lesion."""
        scale, centroid = _moments(self.lobes)
        longest = scale * (1 + sum(abs(lobe.amplitude) for lobe in self.lobes)) + float(np.abs(centroid).max())
        x, y, z = (radius * longest for radius in self.radii_mm)
        return x, y, z

    def depth(self, x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
        """0 in the middle, 1 on the outline, more outside; for positions in mm, which are broadcast."""
        return self._polar(x, y, z)[0]

    def zones(self, x: Coordinates, y: Coordinates, z: Coordinates) -> NDArray[np.int8]:
        """The `Zone` of each position, −1 outside; positions in mm are broadcast."""
        depth, direction = self._polar(x, y, z)
        radius_mm = float(np.prod(self.radii_mm)) ** (1 / 3)
        found = np.full(depth.shape, -1, np.int8)
        inside = depth <= 1
        found[inside] = Zone.BULK
        found[depth < _CORE] = Zone.CORE
        found[inside & (depth > max(1 - _RIM_MM / radius_mm, 0.7))] = Zone.RIM
        if self.kind == "hemangioma":
            found[inside & (depth > _NODULE) & (_patches(self.lobes, direction) > 0)] = Zone.NODULE
        return found

    def _polar(self, x: Coordinates, y: Coordinates, z: Coordinates) -> tuple[Coordinates, Coordinates]:
        """Depth, and the (3, …) direction from the point that the outline is a star about."""
        scale, centroid = _moments(self.lobes)
        axes = zip((x, y, z), self.centre_mm, self.radii_mm, centroid, strict=True)
        unit = [(at - np.float32(centre)) / np.float32(radius) + np.float32(c) for at, centre, radius, c in axes]
        position = np.stack(np.broadcast_arrays(*unit))
        length = np.sqrt(np.square(position).sum(0)) + np.float32(1e-9)
        direction = position / length
        return np.asarray(length / (np.float32(scale) * _outline(self.lobes, direction)), np.float32), direction


def draw_lobes(random: np.random.Generator, irregularity: float) -> tuple[Lobe, ...]:
    """Four waves; `irregularity` 0..0.35 as in `patients.Lesion`."""
    lobes = []
    for order in _ORDERS:
        x, y, z = (float(v) for v in _unit(random.normal(size=3)))
        amplitude = irregularity * float(random.uniform(0.4, 1.0)) / order**0.5
        lobes.append(Lobe((x, y, z), order, float(random.uniform(0, 2 * np.pi)), amplitude))
    return tuple(lobes)


@lru_cache(maxsize=256)
def _moments(lobes: tuple[Lobe, ...]) -> tuple[float, tuple[float, float, float]]:
    """The factor that gives the outline the volume of the unit ball, and the centre of gravity after it.

    A star body of radius R(u) has volume ∫ R³/3 and first moment ∫ R⁴/4 · u over the sphere.
    """
    height, weight = np.polynomial.legendre.leggauss(_POLAR_NODES)
    azimuth = np.arange(_AZIMUTHS) * 2 * np.pi / _AZIMUTHS
    flat = np.sqrt(1 - height**2)[:, None]
    direction = np.stack(np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), height[:, None]))
    share = weight[:, None] / (2 * _AZIMUTHS)
    radius = _outline(lobes, direction)
    volume = float((share * radius**3).sum())
    scale = volume ** (-1 / 3)
    x, y, z = ((0.75 * scale * (share * radius**4 * axis).sum() / volume).item() for axis in direction)
    return scale, (x, y, z)


def _outline(lobes: tuple[Lobe, ...], direction: NDArray[np.floating]) -> NDArray[np.floating]:
    """(3, …) unit vectors → radius before scaling."""
    radius = np.ones(direction.shape[1:], direction.dtype)
    for lobe in lobes:
        radius += lobe.amplitude * np.cos(_wave(lobe, direction, lobe.order) + direction.dtype.type(lobe.phase_rad))
    return radius


def _patches(lobes: tuple[Lobe, ...], direction: Coordinates) -> Coordinates:
    """Positive on about a third of the sphere, in patches."""
    waves = [np.cos(_wave(lobe, direction, 3 * lobe.order) + np.float32(2 * lobe.phase_rad)) for lobe in lobes]
    return np.asarray(sum(waves, np.full(direction.shape[1:], -0.5, np.float32)), np.float32)


def _wave(lobe: Lobe, direction: NDArray[np.floating], order: int) -> NDArray[np.floating]:
    x, y, z = (direction.dtype.type(order * part) for part in lobe.direction)
    return np.asarray(direction[0] * x + direction[1] * y + direction[2] * z)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))
