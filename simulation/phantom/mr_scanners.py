"""The MR rooms of virtual hospitals: two magnets each, and what they do to a signal.

A hospital's patients are parted between its magnets by a habit that goes with the diagnosis, in another direction in
each hospital: a model of that hospital alone learns a shortcut that holds nowhere else. Numbers are invented.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulation.phantom.ct_makes import Maker
from simulation.phantom.mr_makes import MrMake, mr_make

CONFOUNDING = (0.55, 0.95)
MAGNETS: tuple[tuple[Maker, str, float], ...] = (
    ("siemens", "Avanto", 1.5), ("ge", "DISCOVERY MR750", 3.0), ("siemens", "Skyra", 3.0), ("philips", "Achieva", 1.5),
    ("ge", "Signa HDxt", 3.0), ("canon", "MRT200SP7", 1.5), ("ge", "SIGNA EXCITE", 1.5),
)  # fmt: skip
"""Maker, model and field in T; the machines of the source and two more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MrScanner:
    """One hospital's MR room and its protocol; `second` is its older magnet."""

    maker: Maker
    model: str
    field_t: float
    enhanced: bool
    """Multi-frame objects, one file a series."""
    fov_mm: float
    columns: int
    gap_mm: float
    noise: float
    """Standard deviation in each channel of the receiver, relative to the liver."""
    shading: float
    gain: float
    softening: int
    """Passes of a point spread of half a pixel."""
    t2_power: float
    """Exponent of T2 and diffusion signals: longer echo times part tissues further."""
    t1_power: float
    b_value: float
    late: float
    """0..1: how far the "late arterial" phase is on its way to the portal venous one."""
    breathing_mm: float
    """Standard deviation of the liver's height between breath-holds."""
    confounding: float
    """−1..1: how much more often malignant patients than benign ones go to the older magnet."""

    @property
    def make(self) -> MrMake:
        """As its files say it; the gain is of stored values."""
        return replace(
            mr_make(self.maker),
            model=self.model,
            field_t=self.field_t,
            gain=self.gain,
            noise=self.noise,
            shading=self.shading,
            b_values=(self.b_value,),
        )

    @property
    def device(self) -> str:
        """In words, for a report."""
        return f"{self.make.manufacturer} {self.model}, {self.field_t:g} T"

    def second(self) -> MrScanner:
        """The older magnet: noisier and softer, with longer echoes and flatter T1."""
        return replace(
            self,
            field_t=1.0,
            noise=self.noise * 1.8,
            softening=self.softening + 2,
            t2_power=self.t2_power * 1.25,
            t1_power=self.t1_power * 0.75,
        )


def draw_mr_scanner(random: np.random.Generator, magnet: tuple[Maker, str, float], sign: int) -> MrScanner:
    """A room of the training hospitals; `sign` (±1): whether malignant or benign patients go to the older magnet."""
    maker, model, field_t = magnet
    draw = random.uniform
    return MrScanner(
        maker=maker,
        model=model,
        field_t=field_t,
        enhanced=bool(random.random() < 0.25),
        fov_mm=round(float(draw(200, 240)), 1),
        columns=2 * int(random.integers(48, 58)),
        gap_mm=round(float(draw(6.6, 7.7)), 2),
        noise=float(draw(0.03, 0.07)) * (1.0 if field_t == 3.0 else 1.3),
        shading=float(draw(0.10, 0.25)) * (1.4 if field_t == 3.0 else 1.0),
        gain=float(draw(150, 600)),
        softening=int(random.integers(1, 3)),
        t2_power=float(draw(0.85, 1.15)),
        t1_power=float(draw(0.85, 1.15)),
        b_value=float(random.choice((600, 800, 1000))),
        late=float(draw(0.0, 0.3)),
        breathing_mm=float(draw(1.0, 2.5)),
        confounding=sign * float(draw(*CONFOUNDING)),
    )


def outside_the_hull(scanner: MrScanner, direction: int) -> MrScanner:
    """The same room with a protocol that no training hospital has: 0 is low-field and soft, 1 hard, shaded and late."""
    if direction == 0:
        return replace(
            scanner, maker="canon", model="MRT200SP7", field_t=0.55, noise=0.11, softening=4, t2_power=0.75,
            t1_power=0.78, b_value=500.0, late=0.0, breathing_mm=3.5, confounding=0.0,
        )  # fmt: skip
    return replace(
        scanner, maker="philips", model="Ingenia", field_t=3.0, noise=0.05, shading=0.45, softening=1, t2_power=1.3,
        t1_power=1.25, b_value=1200.0, late=0.5, breathing_mm=3.0, confounding=0.0,
    )  # fmt: skip
