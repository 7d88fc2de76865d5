"""B-mode frames of one patient: scatterers, speckle, compression, and the two boxes that an operator draws.

Everything is in mm and dB until the last step, so that a scanner changes how a lesion looks and not what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError
from simulation.phantom.fields import Field, blur, distance_mm, inside, speckle_power, texture
from simulation.phantom.patients import Lesion, Patient
from simulation.phantom.scanners import UltrasoundScanner

ROWS, COLUMNS = 128, 192
"""Size of the scan, px: wide enough for the lesion on one side and plain liver on the other."""
VIEWS = 4

_EXAM, _FRAME, _BOXES = 6, 7, 8  # purposes of the patient's random streams
_BACKGROUND_SIDES_PX = (44, 36, 28, 20, 14)


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels x_min ≤ x < x_max, y_min ≤ y < y_max of a frame; 0-based."""

    x_min_px: int
    y_min_px: int
    x_max_px: int
    y_max_px: int

    def shifted(self, columns: int, rows: int) -> Box:
        return Box(self.x_min_px + columns, self.y_min_px + rows, self.x_max_px + columns, self.y_max_px + rows)


@dataclass(frozen=True, slots=True)
class Exam:
    """What the operator settles once for a patient."""

    pixel_mm: float
    second_machine: bool


@dataclass(frozen=True, slots=True)
class View:
    """One frame: grey levels (ROWS, COLUMNS) uint8, black outside the field of view, and its boxes."""

    grey: NDArray[np.uint8]
    lesion: Box
    background: Box
    lesion_mask: NDArray[np.bool_]
    """(ROWS, COLUMNS); the true outline, which no hospital has."""

    @property
    def boxes(self) -> tuple[tuple[str, Box], ...]:
        """Kind and place of each, as the operator drew them."""
        return ("lesion", self.lesion), ("background", self.background)


def plan_exam(patient: Patient, scanner: UltrasoundScanner) -> Exam:
    """Depth setting and machine. The second machine is confounded with the class, as a referral path would do."""
    chance = 0.5 + scanner.confounding * (0.5 if patient.malignant else -0.5)
    return Exam(
        pixel_mm=max(scanner.pixel_mm, 1.5 * patient.lesion.size_mm / ROWS),
        second_machine=bool(patient.random(_EXAM).random() < chance),
    )


def draw_view(patient: Patient, scanner: UltrasoundScanner, exam: Exam, number: int) -> View:
    """View `number` of an exam; every view has its own plane, speckle and operator's hand.

    Raises:
        DataError: no free liver beside the lesion (cannot happen with the latents of `patients`).
    """
    random = patient.random(_FRAME, number)
    lesion = replace(
        patient.lesion,
        size_mm=patient.lesion.size_mm * random.uniform(0.9, 1.05),
        angle_rad=patient.lesion.angle_rad + random.normal(0, 0.3),
    )
    centre = _draw_centre(random)
    distance = distance_mm(random, (ROWS, COLUMNS), exam.pixel_mm, lesion, centre)
    echo_db = tissue_db(random, patient, lesion, distance, exam.pixel_mm, centre)
    field = field_of_view(scanner.curvature_px)
    machine = scanner.second() if exam.second_machine else scanner
    grey = compressed(random, echo_db, machine, exam.pixel_mm)
    hand = patient.random(_BOXES, number)
    box = lesion_box(hand, centre, lesion.size_mm / 2 / exam.pixel_mm)
    clear = field & (distance > lesion.margin_mm + lesion.halo_mm * lesion.halo)
    clear[box.y_min_px : box.y_max_px, box.x_min_px : box.x_max_px] = False
    return View(
        grey=np.where(field, grey, 0).astype(np.uint8),
        lesion=box,
        background=_background_box(hand, clear, centre[1]),
        lesion_mask=distance < 0,
    )


@cache
def field_of_view(curvature_px: int) -> NDArray[np.bool_]:
    """(ROWS, COLUMNS): the part between two arcs that a convex probe sees, corners cut."""
    half_angle = np.arcsin(COLUMNS / 2 / curvature_px)
    skin_px = (curvature_px - ROWS) / np.cos(half_angle)  # radius of the probe's face
    row = np.arange(ROWS)[:, None] + 0.5 + curvature_px - ROWS
    column = np.arange(COLUMNS)[None] + 0.5 - COLUMNS / 2
    radius = np.hypot(row, column)
    seen: NDArray[np.bool_] = (
        (radius > skin_px) & (radius < curvature_px) & (np.abs(np.arctan2(column, row)) < half_angle)
    )
    return seen


def _draw_centre(random: np.random.Generator) -> tuple[float, float]:
    """Row and column of the lesion, px: at mid-depth, left or right, so that plain liver shows on the other side."""
    column = COLUMNS * (0.36 if random.random() < 0.5 else 0.64)
    return (
        ROWS / 2 + float(np.clip(random.normal(0, 4), -8, 8)),
        column + float(np.clip(random.normal(0, 4), -8, 8)),
    )


def tissue_db(
    random: np.random.Generator,
    patient: Patient,
    lesion: Lesion,
    distance: Field,
    pixel_mm: float,
    centre: tuple[float, float],
) -> Field:
    """Echo level before speckle, dB against normal liver."""
    echo_db = liver_db(random, patient, distance > lesion.margin_mm, pixel_mm)
    add_lesion(random, echo_db, lesion, distance, pixel_mm, centre)
    return echo_db


def add_lesion(
    random: np.random.Generator,
    echo_db: Field,
    lesion: Lesion,
    distance: Field,
    pixel_mm: float,
    centre: tuple[float, float],
) -> None:
    """Put a lesion into an echo level: its inside, a halo round it, and what lies behind it."""
    grain = texture(random, (ROWS, COLUMNS), 0.1 * lesion.size_mm / pixel_mm)
    share = inside(distance, lesion.margin_mm)
    echo_db += share * (np.float32(lesion.echo_db) + np.float32(lesion.heterogeneity_db) * grain - echo_db)
    if lesion.halo:
        echo_db += np.float32(lesion.halo_db) * np.exp(
            -(((distance - np.float32(0.3 * lesion.halo_mm)) / np.float32(0.5 * lesion.halo_mm)) ** 2)
        )
    row, column = np.arange(ROWS, dtype=np.float32), np.arange(COLUMNS, dtype=np.float32)
    radius_px = lesion.size_mm / 2 / pixel_mm
    across = np.exp(-(((column - centre[1]) / (0.8 * radius_px)) ** 2))
    behind = 1 / (1 + np.exp(-(row - centre[0] - radius_px) / 3))
    echo_db += (lesion.posterior_db * behind[:, None] * across[None]).astype(np.float32)


def liver_db(random: np.random.Generator, patient: Patient, free: NDArray[np.bool_], pixel_mm: float) -> Field:
    """Plain liver: a fatty one is bright and fades with depth, a fibrotic one is coarse; one to three vessels."""
    depth_mm = np.arange(ROWS, dtype=np.float32)[:, None] * np.float32(pixel_mm)
    coarse_db = 1.4 if patient.background == "fibrosis" else 0.5
    echo_db = texture(random, (ROWS, COLUMNS), 3.0 / pixel_mm) * np.float32(coarse_db)
    if patient.background == "steatosis":
        echo_db += 4 - np.float32(0.10) * depth_mm
    y = depth_mm - np.float32(ROWS / 2 * pixel_mm)
    x = (np.arange(COLUMNS, dtype=np.float32)[None] - np.float32(COLUMNS / 2)) * np.float32(pixel_mm)
    for _ in range(random.integers(1, 4)):
        angle, offset_mm = random.uniform(0, np.pi), random.uniform(-0.45, 0.45) * ROWS * pixel_mm
        half_width_mm, walls = random.uniform(1.0, 2.6), random.random() < 0.5
        half_length_mm = random.uniform(0.2, 0.6) * ROWS * pixel_mm
        along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
        across = x * np.float32(np.sin(angle)) - y * np.float32(np.cos(angle)) - np.float32(offset_mm)
        across += 2 * np.sin(along / 12 + np.float32(offset_mm))
        ends = _flat_top(along / np.float32(half_length_mm))
        profile = -14 * _flat_top(across / np.float32(half_width_mm))
        if walls:  # portal branches have bright walls, hepatic veins do not
            profile += 4 * np.exp(-np.square((np.abs(across) - np.float32(half_width_mm + 0.8)) / np.float32(0.7)))
        echo_db += profile * ends * free
    return echo_db


def _flat_top(distance: NDArray[np.floating]) -> Field:
    """1 near 0, falling to 1/e at 1."""
    return np.asarray(np.exp(-np.square(np.square(distance))), dtype=np.float32)


def compressed(random: np.random.Generator, echo_db: Field, scanner: UltrasoundScanner, pixel_mm: float) -> Field:
    """Speckle, noise, gain, log compression, gamma and smoothing of one machine; grey levels 0..255."""
    amplitude = np.power(np.float32(10), echo_db / 20)
    half_pixel = 2 * pixel_mm
    power = speckle_power(
        random, amplitude, scanner.looks, scanner.axial_mm / half_pixel, scanner.lateral_mm / half_pixel
    )
    power += np.float32(scanner.noise) * random.standard_exponential(power.shape, dtype=np.float32)
    depth_mm = np.arange(ROWS, dtype=np.float32)[:, None] * np.float32(pixel_mm)
    gain_db = scanner.gain_db + scanner.tgc_db_per_mm * (depth_mm - depth_mm.mean())
    level = 10 * np.log10(power + np.float32(1e-6)) + gain_db
    bright = np.clip(level / scanner.dynamic_range_db + 0.55, 0, 1).astype(np.float32) ** np.float32(scanner.gamma)
    if scanner.smoothing_px > 0.05:
        bright = blur(bright, scanner.smoothing_px, scanner.smoothing_px)
    return np.asarray(np.clip(bright * 255, 0, 255), dtype=np.float32)


def lesion_box(hand: np.random.Generator, centre: tuple[float, float], radius_px: float) -> Box:
    """The square round the lesion's mean radius, set by hand: a few per cent off in place and size."""
    row, column = (c + float(np.clip(hand.normal(0, 0.04), -0.1, 0.1)) * radius_px for c in centre)
    reach = max(radius_px * (1 + float(np.clip(hand.normal(0.02, 0.04), -0.08, 0.12))), 3.0)
    return Box(
        x_min_px=max(0, round(column - reach)),
        y_min_px=max(0, round(row - reach)),
        x_max_px=min(COLUMNS, round(column + reach)),
        y_max_px=min(ROWS, round(row + reach)),
    )


def _background_box(hand: np.random.Generator, clear: NDArray[np.bool_], lesion_column: float) -> Box:
    """A square of plain liver, as large as fits, on the side of the scan away from the lesion."""
    blocked = np.zeros((ROWS + 1, COLUMNS + 1), np.int32)
    np.cumsum(np.cumsum(~clear, axis=0, dtype=np.int32), axis=1, out=blocked[1:, 1:])
    for side in _BACKGROUND_SIDES_PX:
        count = blocked[side:, side:] - blocked[:-side, side:] - blocked[side:, :-side] + blocked[:-side, :-side]
        rows, columns = np.nonzero(count == 0)
        centres = columns + side / 2
        away = (centres > lesion_column) == (lesion_column < COLUMNS / 2)
        if away.any():
            chosen = hand.choice(np.flatnonzero(away))
            x, y = int(columns[chosen]), int(rows[chosen])
            return Box(x, y, x + side, y + side)
    raise DataError("phantom: no liver free of the lesion in this view; make the lesion smaller")
