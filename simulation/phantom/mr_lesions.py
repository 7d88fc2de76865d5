"""What MR shows of one lesion: signals drawn about those of its class (`mr.LESION_MR`), and what they say of it.

Within a class lesions differ: every signal has its own spread, and one lesion in five lies half-way to another class
(the well-differentiated HCC, the metastasis of a tumour with many vessels, the sclerosed haemangioma).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_liver.study_cohort import SequenceKind
from simulation.phantom.lesion import LESION_KINDS, LesionKind, Zone
from simulation.phantom.mr import DYNAMIC, LESION_MR
from simulation.phantom.patients import Patient
from simulation.phantom.subtypes import LOOKS, Subtype

SUBTYPE_OF: dict[LesionKind, Subtype] = {
    "cyst": "cyst", "hemangioma": "hemangioma", "fnh": "fnh", "other_benign": "other_benign", "hcc": "hcc",
    "metastasis": "metastasis", "other_malignant": "icc",
}  # fmt: skip
"""The person who has such a lesion, and its outline."""
MALIGNANT_KINDS: tuple[LesionKind, ...] = ("hcc", "metastasis", "other_malignant")

_SPREAD = np.array([0.26, 0.20, 0.16, 0.22, 0.15, 0.12])
"""Standard deviations of the logarithms: T2, diffusion coefficient, T1 before contrast, then the three phases."""
_ATYPICAL = 0.20
_TEXTURE_PER_DB = 0.035
"""Relative standard deviation inside a lesion for each dB that it varies by in ultrasound."""


@dataclass(frozen=True, slots=True)
class MrLook:
    """One lesion.

    log_signal  (6,) logarithms of T2, of the diffusion coefficient in 10⁻³ mm²/s, and of the T1 signal relative to the
                liver before contrast and in three phases
    zones       factor on what rim, scar and nodules add
    texture     relative standard deviation inside it
    """

    kind: LesionKind
    log_signal: NDArray[np.float64]
    zones: float
    texture: float


class _Part(NamedTuple):
    """One normal of the mixture that a class is."""

    share: float
    mean: NDArray[np.float64]


def draw_look(random: np.random.Generator, kind: LesionKind, patient: Patient) -> MrLook:
    """A lesion of a class in one patient."""
    parts = _mixture(kind)
    part = parts[int(random.choice(len(parts), p=[one.share for one in parts]))]
    return MrLook(
        kind=kind,
        log_signal=part.mean + _SPREAD * random.standard_normal(len(_SPREAD)),
        zones=float(np.clip(random.normal(1.0, 0.5), 0, 2)),
        texture=_TEXTURE_PER_DB * patient.lesion.heterogeneity_db,
    )


def signals(look: MrLook, kind: SequenceKind, b_value: float = 0.0) -> dict[Zone, float]:
    """Of each zone in one sequence: T1 relative to the liver in the same phase, others to the liver at b = 0."""
    t2, diffusion, *dynamic = np.exp(look.log_signal).tolist()
    row, added = LESION_MR[look.kind]
    if kind in DYNAMIC:
        bulk, place = dynamic[DYNAMIC.index(kind)], 1 + DYNAMIC.index(kind)
    elif kind == "dwi":
        bulk, place = row[1] * t2 / row[0] * math.exp(-b_value * diffusion / 1000), None  # T2 shines through
    else:
        bulk, place = t2, 0
    more = {zone: 0.0 if place is None else look.zones * values[place] for zone, values in added.items()}
    return {zone: max(0.02, bulk + more.get(zone, 0.0)) for zone in Zone}


def class_log_density(look: MrLook, patient: Patient, kind: LesionKind) -> float:
    """Log density, among lesions of a class, of the signals, the texture and the outline; less a constant."""
    outline = LOOKS[SUBTYPE_OF[kind]]
    values = (
        (patient.lesion.heterogeneity_db, outline.heterogeneity_db),
        (patient.lesion.irregularity, outline.irregularity),
    )
    shape = sum(-0.5 * ((value - mean) / sd) ** 2 - math.log(sd) for value, (mean, sd) in values)
    apart = [((look.log_signal - part.mean) / _SPREAD, part.share) for part in _mixture(kind)]
    return shape + float(np.logaddexp.reduce([math.log(share) - 0.5 * float(z @ z) for z, share in apart]))


def malignancy_log_odds(look: MrLook, patient: Patient) -> float:
    """Log-odds of malignancy by Bayes' rule, where both sides are as likely, and the classes of each side too."""
    benign = [kind for kind in LESION_KINDS if kind not in MALIGNANT_KINDS]
    sides = [
        np.logaddexp.reduce([class_log_density(look, patient, kind) for kind in kinds]) - math.log(len(kinds))
        for kinds in (MALIGNANT_KINDS, benign)
    ]
    return float(sides[0] - sides[1])


def _mixture(kind: LesionKind) -> tuple[_Part, ...]:
    """The typical lesions of a class, and those half-way to each other class."""
    own = _mean(kind)
    others = [other for other in LESION_KINDS if other != kind]
    between = (_Part(_ATYPICAL / len(others), (own + _mean(other)) / 2) for other in others)
    return (_Part(1 - _ATYPICAL, own), *between)


def _mean(kind: LesionKind) -> NDArray[np.float64]:
    t2, _, *rest = LESION_MR[kind][0]
    return np.log([t2, *rest])
