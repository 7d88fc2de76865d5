"""The CT rooms of virtual hospitals: protocol, dose, kernel and contrast timing of each, and which patients go where.

Makes, models and kernels are real ones (`ct_makes`), so that readers meet real tag values; the physics is invented.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from fl_liver.client.cohort.series.grid import Triple
from simulation.phantom.ct_makes import CT_MAKES, CtMake, Maker, ct_make
from simulation.phantom.patients import Patient

CONFOUNDING = (0.35, 0.7)
LOW_DOSE, SHARPER = 1.6, 0.6
"""Of the second protocol: factor of the noise, and of blur and grain."""
TRAIN_KVP, IODINE = (100, 120, 140), {80: 1.45, 100: 1.22, 120: 1.0, 140: 0.87}
"""Tube voltages, and how strongly iodine absorbs at each against 120 kV."""
_SHARP_KERNEL: dict[Maker, tuple[str, ...]] = {
    "siemens": ("I50f", "3"), "ge": ("DETAIL",), "philips": ("D",), "canon": ("FC30",),
}  # fmt: skip
AGENT = (0.85, 1.12)
"""Of the dose of the agent against 120 kV's usual one."""
OFFSET_HU = (-8.0, 8.0)
DELAYS_S = ((24.0, 42.0), (62.0, 82.0), (140.0, 240.0))
MULTI_FRAME = 0.3
"""Hospitals whose scanner writes one file a series."""
MAKERS: tuple[Maker, ...] = tuple(CT_MAKES)
_DESCRIPTION = "LIVER PV"
_ROOM = 51  # purpose of the patient's random stream
_SIZE_SD = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class CtOptics:
    """What becomes of a body in an image.

    gap_share  from one slice to the next, of the thickness; less than 1 makes slices overlap
    blur_mm    standard deviation of the point-spread function in the slice
    grain_mm   standard deviation of the noise's grain
    """

    pixel_mm: float
    thickness_mm: float
    gap_share: float
    blur_mm: float
    noise_hu: float
    grain_mm: float

    @property
    def gap_mm(self) -> float:
        return round(self.thickness_mm * self.gap_share, 4)


_RANGED = tuple(one.name for one in fields(CtOptics))


@dataclass(frozen=True, slots=True, kw_only=True)
class CtScanner:
    """One hospital's CT with two protocols (`second`).

    enhanced     multi-frame files
    iodine       factor of all enhancement: tube voltage and dose of the agent
    offset_hu    error of the calibration
    delays_s     of the arterial, portal venous and delayed phase, after the bolus begins
    confounding  −1..1: how much more often patients with the disease than others get the second protocol
    sharp        whether this is the second protocol
    """

    maker: Maker
    enhanced: bool
    kvp: int
    tube_ma: int
    iodine: float
    optics: CtOptics
    offset_hu: float
    delays_s: Triple
    confounding: float
    sharp: bool = False

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
        usual = self.optics
        optics = replace(
            usual,
            noise_hu=usual.noise_hu * LOW_DOSE,
            blur_mm=usual.blur_mm * SHARPER,
            grain_mm=usual.grain_mm * SHARPER,
        )
        return replace(self, tube_ma=self.tube_ma // 3, optics=optics, sharp=True)

    def used_for(self, patient: Patient, *, disease: bool) -> CtScanner:
        """The protocol that a patient gets, noisier in a large person."""
        random = patient.random(_ROOM)
        chance = 0.5 + 0.5 * self.confounding * (1 if disease else -1)
        protocol = self.second() if random.random() < chance else self
        noise_hu = protocol.optics.noise_hu * float(np.exp(random.normal(0, _SIZE_SD)))
        return replace(protocol, optics=replace(protocol.optics, noise_hu=noise_hu))


@dataclass(frozen=True, slots=True, kw_only=True)
class CtProtocols:
    """What the training hospitals of a study scan with: ranges, see `CtOptics`."""

    pixel_mm: tuple[float, float]
    thickness_mm: tuple[float, float]
    gap_share: tuple[float, float]
    blur_mm: tuple[float, float]
    noise_hu: tuple[float, float]
    grain_mm: tuple[float, float]


def draw_ct_scanner(random: np.random.Generator, maker: Maker, sign: int, usual: CtProtocols) -> CtScanner:
    """A room of the training hospitals.

    Args:
        sign: ±1, whether patients with or without the disease get the second protocol more often. It differs from
            hospital to hospital: a hospital's own model learns a shortcut that holds nowhere else.
    """

    def draw(low_high: tuple[float, float]) -> float:
        return round(float(random.uniform(*low_high)), 4)

    kvp = int(random.choice(TRAIN_KVP))
    return CtScanner(
        maker=maker,
        enhanced=bool(random.random() < MULTI_FRAME),
        kvp=kvp,
        tube_ma=int(random.integers(150, 320)),
        iodine=round(IODINE[kvp] * float(random.uniform(*AGENT)), 4),
        offset_hu=draw(OFFSET_HU),
        delays_s=(draw(DELAYS_S[0]), draw(DELAYS_S[1]), draw(DELAYS_S[2])),
        confounding=sign * draw(CONFOUNDING),
        optics=CtOptics(**{name: draw(getattr(usual, name)) for name in _RANGED}),
    )


def ct_outside_the_hull(scanner: CtScanner, usual: CtProtocols, direction: int) -> CtScanner:
    """The same room with settings that no training hospital has: 0 is smooth, thick and bright, 1 sharp and noisy."""
    optics = CtOptics(
        **{name: _beyond(getattr(usual, name), (name == "noise_hu") == (direction == 1)) for name in _RANGED}
    )
    if direction == 0:
        return replace(
            scanner, maker="canon", kvp=80, iodine=IODINE[80], offset_hu=10.5, delays_s=(22.5, 60.5, 130.0),
            confounding=0.0, optics=optics,
        )  # fmt: skip
    return replace(
        scanner, maker="ge", kvp=140, iodine=0.7, offset_hu=-10.5, delays_s=(44.0, 84.0, 260.0), confounding=0.0,
        optics=optics,
    )  # fmt: skip


def _beyond(low_high: tuple[float, float], above: bool) -> float:
    """Outside a range by a quarter of it."""
    low, high = low_high
    return round(high + 0.25 * (high - low) if above else low - 0.25 * (high - low), 4)
