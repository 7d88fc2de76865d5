"""The CT rooms of virtual hospitals: protocol, dose, kernel and contrast timing of each, and which patients go where.

Makes, models and kernels are real ones (`ct_makes`), so that readers meet real tag values; the physics is invented.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fl_liver.client.cohort.series.grid import Triple
from simulation.phantom.ct_makes import CT_MAKES, CtMake, Maker, ct_make
from simulation.phantom.patients import Patient

CONFOUNDING = (0.55, 0.95)
LOW_DOSE, SHARPER = 1.7, 0.55
"""Of the second protocol: factor of the noise, and of blur and grain."""
TRAIN_KVP, IODINE = (100, 120, 140), {70: 1.75, 80: 1.55, 100: 1.22, 120: 1.0, 140: 0.87}
"""Tube voltages, and how strongly iodine absorbs at each against 120 kV."""
_SHARP_KERNEL: dict[Maker, tuple[str, ...]] = {
    "siemens": ("I50f", "3"), "ge": ("DETAIL",), "philips": ("D",), "canon": ("FC30",),
}  # fmt: skip
_DESCRIPTION = "LIVER PV"
_ROOM = 51  # purpose of the patient's random stream
_SIZE_SD = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class CtScanner:
    """One hospital's CT with two protocols (`second`).

    enhanced     multi-frame files
    iodine       factor of all enhancement: tube voltage and dose of the agent
    blur_mm      standard deviation of the point-spread function in the slice
    grain_mm     standard deviation of the noise's grain
    offset_hu    error of the calibration
    delays_s     of the arterial, portal venous and delayed phase, after the bolus begins
    confounding  −1..1: how much more often patients with the disease than others get the second protocol
    """

    maker: Maker
    enhanced: bool
    kvp: int
    tube_ma: int
    iodine: float
    pixel_mm: float
    thickness_mm: float
    gap_mm: float
    blur_mm: float
    noise_hu: float
    grain_mm: float
    offset_hu: float
    delays_s: Triple
    confounding: float
    sharp: bool = False
    """Whether this is the second protocol."""

    @property
    def make(self) -> CtMake:
        """What is written into the header."""
        make = ct_make(self.maker)
        kernel = _SHARP_KERNEL[self.maker] if self.sharp else make.kernel
        # A single series is told by its words: a phase has no order in time then.
        words = {**make.descriptions, "portal": make.descriptions["portal"] or _DESCRIPTION}
        return replace(make, kvp=self.kvp, tube_ma=self.tube_ma, kernel=kernel, descriptions=words)

    @property
    def device(self) -> str:
        make = ct_make(self.maker)
        return f"{make.manufacturer} {make.model}, {self.kvp} kV"

    def second(self) -> CtScanner:
        """Low dose, sharp kernel: what standardising an image does not undo."""
        return replace(
            self,
            tube_ma=self.tube_ma // 3,
            noise_hu=self.noise_hu * LOW_DOSE,
            blur_mm=self.blur_mm * SHARPER,
            grain_mm=self.grain_mm * SHARPER,
            sharp=True,
        )

    def used_for(self, patient: Patient, *, disease: bool) -> CtScanner:
        """The protocol that a patient gets, noisier in a large person."""
        random = patient.random(_ROOM)
        chance = 0.5 + 0.5 * self.confounding * (1 if disease else -1)
        protocol = self.second() if random.random() < chance else self
        return replace(protocol, noise_hu=protocol.noise_hu * float(np.exp(random.normal(0, _SIZE_SD))))


def draw_ct_scanner(
    random: np.random.Generator, maker: Maker, sign: int, *, noise_hu: tuple[float, float]
) -> CtScanner:
    """A room of the training hospitals.

    Args:
        sign: ±1, whether patients with or without the disease get the second protocol more often. It differs from
            hospital to hospital: a hospital's own model learns a shortcut that holds nowhere else.
        noise_hu: range of the usual protocol's noise at the study's slice thickness.
    """

    def draw(low: float, high: float) -> float:
        return round(float(random.uniform(low, high)), 4)

    kvp = int(random.choice(TRAIN_KVP))
    thickness_mm = draw(2.5, 3.5)
    return CtScanner(
        maker=maker,
        enhanced=bool(random.random() < 0.3),
        kvp=kvp,
        tube_ma=int(random.integers(150, 320)),
        iodine=round(IODINE[kvp] * float(random.uniform(0.85, 1.12)), 4),
        pixel_mm=draw(0.72, 0.88),
        thickness_mm=thickness_mm,
        gap_mm=draw(1.6, 2.6),
        blur_mm=draw(0.5, 0.9),
        noise_hu=draw(*noise_hu),
        grain_mm=draw(0.5, 1.0),
        offset_hu=draw(-8, 8),
        delays_s=(draw(24, 42), draw(62, 82), draw(140, 240)),
        confounding=sign * draw(*CONFOUNDING),
    )


def ct_outside_the_hull(scanner: CtScanner, direction: int) -> CtScanner:
    """The same room with settings that no training hospital has: 0 is smooth, thick and bright, 1 sharp and noisy."""
    if direction == 0:
        return replace(
            scanner, maker="canon", kvp=80, iodine=IODINE[80], thickness_mm=4.5, gap_mm=3.0, pixel_mm=0.95,
            blur_mm=1.1, grain_mm=1.25, noise_hu=0.75 * scanner.noise_hu, offset_hu=12.0, delays_s=(21.5, 60.0, 125.0),
            confounding=0.0,
        )  # fmt: skip
    return replace(
        scanner, maker="ge", kvp=140, iodine=0.7, thickness_mm=2.0, gap_mm=1.5, pixel_mm=0.68, blur_mm=0.35,
        grain_mm=0.4, noise_hu=1.2 * scanner.noise_hu, offset_hu=-12.0, delays_s=(46.0, 87.0, 280.0), confounding=0.0,
    )  # fmt: skip


Sign = Literal[-1, 1]
MAKERS: tuple[Maker, ...] = tuple(CT_MAKES)
