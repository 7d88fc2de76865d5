"""Whole B-mode scans: a liver under its wall with no lesion, one or several, and vessels that look like cysts.

Schmauch et al., Diagn Interv Imaging 100 (2019) 227–233 report blood vessels read as cysts: both are black and round,
but the liver is brighter behind a cyst, and a portal branch bright walls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulation.phantom.fields import Field, distance_mm, inside, texture
from simulation.phantom.patients import Lesion, Patient
from simulation.phantom.scanners import UltrasoundScanner
from simulation.phantom.ultrasound import (
    COLUMNS,
    ROWS,
    Box,
    Exam,
    add_lesion,
    compressed,
    field_of_view,
    lesion_box,
    liver_db,
)

_FRAME, _HAND = 9, 10  # purposes of the patient's random streams
_PLACES = 60
_APART_MM = 4.0
_VESSEL_DB = -14.0
_VESSEL_RADIUS_MM = (2.5, 7.0)
_WALL_MM, _WALL_MARGIN_MM = (10.0, 18.0), 1.3


@dataclass(frozen=True, slots=True)
class WholeView:
    """One frame: grey levels (ROWS, COLUMNS) uint8, black outside the field of view."""

    grey: NDArray[np.uint8]
    boxes: tuple[tuple[str, Box], ...]
    """("lesion", box) of each lesion."""
    lesion_mask: NDArray[np.bool_]
    """(ROWS, COLUMNS); the true outlines, which no hospital has."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where something round lies in a frame, px."""

    row: float
    column: float
    radius_px: float

    def clear_of(self, other: Spot, gap_px: float) -> bool:
        apart = math.hypot(self.row - other.row, self.column - other.column)
        return apart > self.radius_px + other.radius_px + gap_px


def draw_whole_view(
    patient: Patient, lesions: tuple[Lesion, ...], scanner: UltrasoundScanner, exam: Exam, number: int
) -> WholeView:
    """View `number` of an exam; every view has its own plane, vessels, speckle and operator's hand."""
    random, hand = patient.random(_FRAME, number), patient.random(_HAND, number)
    field, pixel_mm = field_of_view(scanner.curvature_px), exam.pixel_mm
    wall_mm = float(random.uniform(*_WALL_MM))
    shown = [replace(one, size_mm=one.size_mm * random.uniform(0.9, 1.05)) for one in lesions]
    spots: list[Spot] = []
    for lesion in shown:
        spots.append(_place(random, field, spots, lesion.size_mm / 2 / pixel_mm, wall_mm, pixel_mm))
    places = [(spot.row, spot.column) for spot in spots]
    distances = [distance_mm(random, (ROWS, COLUMNS), pixel_mm, *one) for one in zip(shown, places, strict=True)]
    free = np.ones((ROWS, COLUMNS), np.bool_)
    for lesion, distance in zip(shown, distances, strict=True):
        free &= distance > lesion.margin_mm
    echo_db = liver_db(random, patient, free, pixel_mm)
    for _ in range(random.integers(0, 4)):
        radius_px = float(random.uniform(*_VESSEL_RADIUS_MM)) / pixel_mm
        spot = _place(random, field, spots, radius_px, wall_mm, pixel_mm)
        echo_db += vessel_section(random, spot, pixel_mm) * free
    for lesion, distance, place in zip(shown, distances, places, strict=True):
        add_lesion(random, echo_db, lesion, distance, pixel_mm, place)
    _add_wall(random, echo_db, wall_mm, pixel_mm)
    grey = compressed(random, echo_db, scanner.second() if exam.second_machine else scanner, pixel_mm)
    boxes = tuple(
        ("lesion", lesion_box(hand, place, lesion.size_mm / 2 / pixel_mm))
        for lesion, place in zip(shown, places, strict=True)
    )
    mask = np.zeros((ROWS, COLUMNS), np.bool_)
    for distance in distances:
        mask |= distance < 0
    return WholeView(np.where(field, grey, 0).astype(np.uint8), boxes, mask)


def _place(
    random: np.random.Generator,
    field: NDArray[np.bool_],
    taken: list[Spot],
    radius_px: float,
    wall_mm: float,
    pixel_mm: float,
) -> Spot:
    """In the field of view, below the wall, apart from what is there; in a full picture the last try is taken."""
    top = min(wall_mm / pixel_mm + radius_px, ROWS / 2)
    spot = Spot(ROWS / 2, COLUMNS / 2, radius_px)
    for _ in range(_PLACES):
        row = float(random.uniform(top, max(ROWS - 4 - radius_px, top + 1)))
        spot = Spot(row, float(random.uniform(0.1, 0.9)) * COLUMNS, radius_px)
        sides = [(row, spot.column + side * radius_px) for side in (-1, 1)] + [(row + radius_px, spot.column)]
        seen = all(0 <= c < COLUMNS and r < ROWS and field[int(r), int(c)] for r, c in sides)
        if seen and all(spot.clear_of(other, _APART_MM / pixel_mm) for other in taken):
            break
    return spot


def vessel_section(random: np.random.Generator, spot: Spot, pixel_mm: float) -> Field:
    """A vessel cut across, dB: black and nearly round; portal branches have bright walls, hepatic veins none."""
    row, column = (np.arange(n, dtype=np.float32) for n in (ROWS, COLUMNS))
    stretch = float(random.uniform(1.0, 1.6))
    across = np.hypot((row[:, None] - spot.row) * stretch**0.5, (column[None] - spot.column) / stretch**0.5)
    radius = across / spot.radius_px
    echo_db = _VESSEL_DB * np.exp(-(radius**6))
    if random.random() < 0.5:
        echo_db += 5 * np.exp(-np.square(((across - spot.radius_px) * pixel_mm - 1.0) / 0.9))  # outside what is black
    return np.asarray(echo_db, dtype=np.float32)


def _add_wall(random: np.random.Generator, echo_db: Field, wall_mm: float, pixel_mm: float) -> None:
    """Skin, fat and muscle above the liver: layers along the probe, which cover whatever lies there."""
    depth_mm = np.arange(ROWS, dtype=np.float32)[:, None] * np.float32(pixel_mm)
    share = inside(depth_mm - np.float32(wall_mm), _WALL_MARGIN_MM)
    layers = 3 * np.cos(2 * np.pi * depth_mm / np.float32(random.uniform(4, 7))) + np.float32(random.uniform(1, 4))
    echo_db += share * (layers + texture(random, (ROWS, COLUMNS), 2.0 / pixel_mm) - echo_db)
    echo_db += 6 * np.exp(-np.square((depth_mm - np.float32(wall_mm)) / np.float32(0.8)))  # the capsule
