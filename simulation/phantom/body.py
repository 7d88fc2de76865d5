"""An upper abdomen made of ellipsoids and tubes, which any grid can cut into slices.

The anatomy (`anatomy`) stands in body coordinates; a `Body` places and scales it in the patient coordinates of its
scans and adds lesions. What a tissue looks like is another matter: `ct`, `mr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid, Triple
from simulation.phantom.anatomy import PARTS, Part, Tissue
from simulation.phantom.lesion import Coordinates, SolidLesion, Zone

SUB_SLICES = 4
"""Planes through a slice that are averaged: partial volume."""
FIRST_LESION = 64  # labels below are tissues


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One person's upper abdomen.

    centre_mm   where the anatomy's origin lies in patient coordinates
    scale       size of the person, 1 is 340 mm wide
    lesions     in patient coordinates; later ones lie over earlier ones
    """

    centre_mm: Triple = (0.0, 0.0, 0.0)
    scale: float = 1.0
    lesions: tuple[SolidLesion, ...] = ()


@dataclass(frozen=True, slots=True)
class Appearance:
    """The value of each tissue in one image, and of each lesion's zones, in the order of `Body.lesions`."""

    tissues: Mapping[Tissue, float]
    lesions: tuple[Mapping[Zone, float], ...] = ()


def sample(body: Body, grid: Grid, appearance: Appearance, thickness_mm: float | None = None) -> NDArray[np.float32]:
    """The body as a noiseless image on a grid, (slices, rows, columns).

    Args:
        thickness_mm: what a slice averages over; by default the distance to the next.
    """
    return paint(sections(body, grid, thickness_mm), appearance)


def sections(body: Body, grid: Grid, thickness_mm: float | None = None) -> NDArray[np.uint8]:
    """What lies in each plane, as labels for `paint`: (slices, SUB_SLICES, rows, columns); one call for all phases."""
    positions = planes(grid, grid.spacing_mm[0] if thickness_mm is None else thickness_mm)
    labels = np.zeros((grid.shape[0], SUB_SLICES, *grid.shape[1:]), np.uint8)
    canonical = [(at - np.float32(c)) / np.float32(body.scale) for at, c in zip(positions, body.centre_mm, strict=True)]
    boxes = np.array([part.shape.box() for part in PARTS]) * body.scale + np.asarray(body.centre_mm)
    for part, box in zip(PARTS, _boxes(grid, boxes), strict=True):
        if labels[box].size:
            _paint_part(labels[box], _cut(canonical, box), part)
    for first, lesion, box in zip(count(FIRST_LESION, len(Zone)), body.lesions, _lesion_boxes(grid, body)):
        zones = lesion.zones(*_cut(positions, box))
        np.copyto(labels[box], zones.astype(np.uint8) + np.uint8(first), where=zones >= 0)
    return labels


def paint(labels: NDArray[np.uint8], appearance: Appearance) -> NDArray[np.float32]:
    """Labels of `sections` → mean value over the planes of each slice, (slices, rows, columns)."""
    values = np.zeros(256, np.float32)
    for tissue, value in appearance.tissues.items():
        values[tissue] = value
    for number, look in enumerate(appearance.lesions):
        for zone, value in look.items():
            values[FIRST_LESION + len(Zone) * number + zone] = value
    image = np.empty((labels.shape[0], *labels.shape[2:]), np.float32)
    for into, slab in zip(image, labels, strict=True):
        np.add.reduce(values[slab], axis=0, out=into)
    image /= labels.shape[1]
    return image


def lesion_mask(body: Body, grid: Grid) -> NDArray[np.uint16]:
    """(slices, rows, columns): n where the voxel's centre lies in lesion n, counted from 1; 0 elsewhere."""
    mask = np.zeros(grid.shape, np.uint16)
    positions = [at[:, 0] for at in planes(grid, 0.0, number=1)]
    boxes = [(slices, rows, columns) for slices, _, rows, columns in _lesion_boxes(grid, body)]
    for number, (lesion, box) in enumerate(zip(body.lesions, boxes, strict=True), start=1):
        mask[box][lesion.depth(*_cut(positions, box)) <= 1] = number
    return mask


def planes(grid: Grid, thickness_mm: float, number: int = SUB_SLICES) -> list[Coordinates]:
    """x, y and z in patient coordinates, each broadcastable to (slices, planes, rows, columns).

    An axis along which a coordinate does not change keeps length 1: on axial grids nothing three-dimensional is made.
    """
    offset = ((np.arange(number) + 0.5) / number - 0.5) * thickness_mm
    counts = (np.arange(grid.shape[0]), offset, np.arange(grid.shape[1]), np.arange(grid.shape[2]))
    steps = np.stack([grid.slice_step_mm, grid.normal, grid.row_step_mm, grid.column_step_mm])
    found = []
    for axis in range(3):
        at = np.full((1, 1, 1, 1), grid.origin_mm[axis])
        for place, (along, step) in enumerate(zip(counts, steps[:, axis], strict=True)):
            if abs(step) > 1e-9:
                at = at + (along * step).reshape([-1 if place == p else 1 for p in range(4)])
        found.append(at.astype(np.float32))
    return found


def _boxes(grid: Grid, corners_mm: NDArray[np.float64]) -> list[tuple[slice, ...]]:
    """The part of (slices, planes, rows, columns) that may meet each box; (n, 2, 3) opposite corners."""
    middle, half = corners_mm.mean(axis=1), np.ptp(corners_mm, axis=1) / 2
    reach = half @ np.abs(np.linalg.inv(grid.steps_mm)) + 1  # a slice has planes beside its middle
    index = grid.index_of(middle)
    first = np.clip(np.floor(index - reach), 0, grid.shape).astype(int)
    last = np.clip(np.ceil(index + reach) + 1, first, grid.shape).astype(int)
    return [
        (slice(*slices), slice(None), slice(*rows), slice(*columns))
        for slices, rows, columns in np.stack([first, last], axis=-1).tolist()
    ]


def _lesion_boxes(grid: Grid, body: Body) -> list[tuple[slice, ...]]:
    centre = np.array([lesion.centre_mm for lesion in body.lesions]).reshape(-1, 3)
    reach = np.array([lesion.reach_mm for lesion in body.lesions]).reshape(-1, 3)
    return _boxes(grid, np.stack([centre - reach, centre + reach], axis=1))


def _cut(coordinates: list[Coordinates], box: tuple[slice, ...]) -> list[Coordinates]:
    """The coordinates inside a box; axes of length 1 stay."""
    return [
        at[tuple(part if n > 1 else slice(None) for part, n in zip(box, at.shape, strict=True))] for at in coordinates
    ]


def _paint_part(labels: NDArray[np.uint8], canonical: list[Coordinates], part: Part) -> None:
    inside = np.broadcast_to(part.shape.inside(*canonical), labels.shape)
    if part.over:
        inside = inside & _among(part.over)[labels]
    np.copyto(labels, np.uint8(part.tissue), where=inside)


@lru_cache
def _among(tissues: tuple[Tissue, ...]) -> NDArray[np.bool_]:
    """(256,) True at the labels of some tissues."""
    found = np.zeros(256, np.bool_)
    found[list(tissues)] = True
    return found
