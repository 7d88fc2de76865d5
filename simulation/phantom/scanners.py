"""The ultrasound machines of the virtual hospitals: what each does to an echo, and how each writes DICOM.

Model names are those of real machines, so that readers meet real tag values; the acoustics are invented.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

SECOND_GAMMA, SECOND_SMOOTHING_PX = 1.25, 0.5
CONFOUNDING = (0.35, 0.85)
PixelStyle = Literal["MONOCHROME2", "RGB", "YBR_FULL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Size of the stored frame and where the scan stands in it, px."""

    rows: int
    columns: int
    region_row: int
    region_column: int
    ruler_right: bool
    """Depth ruler to the right of the scan and grey bar to the left, or the other way round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundMake:
    """What a manufacturer's machines write into every file."""

    manufacturer: str
    models: tuple[str, str]
    """First and second scanner of a hospital."""
    software: str
    transducer: str
    pixel_style: PixelStyle
    multi_frame: bool
    """All views of a patient as one multi-frame object, instead of one still each."""
    screen: Screen

    @property
    def device(self) -> str:
        """In words, for a report."""
        return f"{self.manufacturer} {self.models[0]}"


_NARROW = Screen(rows=148, columns=220, region_row=16, region_column=14, ruler_right=True)
_WIDE = Screen(rows=152, columns=236, region_row=14, region_column=24, ruler_right=False)
_TALL = Screen(rows=160, columns=224, region_row=22, region_column=12, ruler_right=True)

MAKES: tuple[UltrasoundMake, ...] = (
    UltrasoundMake(
        manufacturer="SIEMENS", models=("ACUSON Sequoia", "ACUSON S2000"), software="VA25A", transducer="5C1",
        pixel_style="YBR_FULL", multi_frame=False, screen=_TALL,
    ),
    UltrasoundMake(
        manufacturer="GE Healthcare", models=("LOGIQ E9", "LOGIQ S8"), software="LOGIQE9:R6.2.2", transducer="C1-5-D",
        pixel_style="RGB", multi_frame=False, screen=_WIDE,
    ),
    UltrasoundMake(
        manufacturer="Philips Medical Systems", models=("EPIQ 7G", "iU22"), software="EPIQ 7G_4.0.1", transducer="C5-1",
        pixel_style="RGB", multi_frame=False, screen=_NARROW,
    ),
    UltrasoundMake(
        manufacturer="CANON_MEC", models=("TUS-AI800", "TUS-A500"), software="AB_V4.00*R004", transducer="PVI-475BX",
        pixel_style="MONOCHROME2", multi_frame=False, screen=_NARROW,
    ),
    UltrasoundMake(
        manufacturer="Hitachi, Ltd.", models=("ARIETTA 70", "HI VISION Ascendus"), software="V4.1.1",
        transducer="C251", pixel_style="MONOCHROME2", multi_frame=True, screen=_WIDE,
    ),
    UltrasoundMake(
        manufacturer="Mindray", models=("Resona 7", "DC-8"), software="02.08.00", transducer="SC5-1U",
        pixel_style="MONOCHROME2", multi_frame=False, screen=_WIDE,
    ),
    UltrasoundMake(
        manufacturer="SAMSUNG MEDISON CO.,LTD.", models=("RS80A", "RS85"), software="3.00.02.0713",
        transducer="CA1-7A", pixel_style="MONOCHROME2", multi_frame=False, screen=_TALL,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundScanner:
    """One hospital's ultrasound room: two machines of one make (`second`)."""

    make: UltrasoundMake
    pixel_mm: float
    """Pixel of the usual depth setting; a large lesion makes the operator zoom out."""
    axial_mm: float
    lateral_mm: float
    """Full widths of the point-spread function, two standard deviations."""
    looks: int
    """Independent speckle patterns averaged by spatial compounding."""
    dynamic_range_db: float
    gain_db: float
    gamma: float
    noise: float
    """Electronic noise power over the median echo power."""
    tgc_db_per_mm: float
    """Error of the time-gain compensation."""
    smoothing_px: float
    curvature_px: int
    """Radius of the deepest arc of the convex field of view."""
    confounding: float
    """−1..1: how much more often malignant patients than benign ones go to the second machine."""

    @property
    def device(self) -> str:
        """In words, for a report."""
        return self.make.device

    def second(self) -> UltrasoundScanner:
        """The older machine of the room: brighter, harder and smoother, which standardising an image does not undo."""
        return replace(
            self,
            gain_db=self.gain_db + 6.0,
            gamma=self.gamma * SECOND_GAMMA,
            smoothing_px=self.smoothing_px + SECOND_SMOOTHING_PX,
        )


def draw_scanner(random: np.random.Generator, make: UltrasoundMake, sign: int) -> UltrasoundScanner:
    """A room of the training hospitals. `sign` (±1): whether malignant or benign patients go to the older machine.

    Which of the two it is differs from hospital to hospital: a hospital's own model learns a shortcut that holds
    nowhere else.
    """
    draw = random.uniform
    return UltrasoundScanner(
        make=make,
        pixel_mm=float(draw(0.45, 0.75)),
        axial_mm=float(draw(0.5, 0.9)),
        lateral_mm=float(draw(0.9, 2.0)),
        looks=int(random.integers(3, 7)),
        dynamic_range_db=float(draw(46, 72)),
        gain_db=float(draw(-8, 8)),
        gamma=float(draw(0.75, 1.3)),
        noise=float(draw(0.002, 0.02)),
        tgc_db_per_mm=float(draw(-0.10, 0.10)),
        smoothing_px=float(draw(0.0, 0.8)),
        curvature_px=int(random.integers(260, 480)),
        confounding=sign * float(draw(*CONFOUNDING)),
    )


def outside_the_hull(scanner: UltrasoundScanner, direction: int) -> UltrasoundScanner:
    """The same room with settings that no training hospital has: 0 is smooth and hard, 1 coarse and flat."""
    if direction == 0:
        return replace(
            scanner, make=_make("Mindray"), looks=9, smoothing_px=1.3, dynamic_range_db=40.0, gamma=1.5, gain_db=6.0,
            pixel_mm=0.85, confounding=0.0,
        )  # fmt: skip
    return replace(
        scanner, make=_make("SAMSUNG"), looks=2, lateral_mm=2.4, axial_mm=1.1, dynamic_range_db=80.0, gamma=0.65,
        gain_db=-8.0, noise=0.05, smoothing_px=0.0, confounding=0.0,
    )  # fmt: skip


def _make(start: str) -> UltrasoundMake:
    return next(make for make in MAKES if make.manufacturer.startswith(start))
