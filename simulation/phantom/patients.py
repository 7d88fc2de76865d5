"""A virtual patient: the true lesion, the liver round it and the person, before any scanner sees them.

All modalities share these latents, so that an ultrasound and a CT study of one seed show the same people. Their
distributions stand in `subtypes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulation.phantom.subtypes import BENIGN, LOOKS, MALIGNANT, PEOPLE, Look, Person, Subtype

Background = Literal["normal", "steatosis", "fibrosis"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMix:
    """Whom a hospital sees. Mixes are probabilities in the order of BENIGN and MALIGNANT."""

    patients: int
    prevalence: float
    """Probability of malignancy."""
    benign_mix: tuple[float, ...]
    malignant_mix: tuple[float, ...]
    log_size_shift: float
    """Added to the log of every lesion size; early screening against late referral."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One focal lesion as ultrasound would show it, echo levels in dB against the liver."""

    size_mm: float
    echo_db: float
    margin_mm: float
    """Width of the transition from lesion to liver."""
    irregularity: float
    """Relative amplitude of the harmonics of the outline."""
    halo: bool
    halo_db: float
    halo_mm: float
    heterogeneity_db: float
    posterior_db: float
    """Enhancement (> 0) or shadow (< 0) behind the lesion."""
    aspect: float
    angle_rad: float


NO_LESION = Lesion(
    size_mm=0.0, echo_db=0.0, margin_mm=1.0, irregularity=0.0, halo=False, halo_db=0.0, halo_mm=1.0,
    heterogeneity_db=0.0, posterior_db=0.0, aspect=1.0, angle_rad=0.0,
)  # fmt: skip
"""Of a patient whose subtype is "none"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the record says: the person, the laboratory, and a radiologist's reading of the scan (fallible)."""

    age_years: int
    male: bool
    hepatitis: bool
    tumour_history: bool
    afp_ng_ml: float
    """Alpha-fetoprotein; NaN where nobody measured it (about 6 %)."""
    diabetes: bool
    symptoms: bool
    halo: bool
    vascularity: bool
    hypoechoic: bool
    calcification: bool
    posterior_enhancement: bool
    multiple: bool
    left_lobe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One person with one lesion. `entropy` starts every later random stream of this patient."""

    patient_id: str
    name: str
    """Family^Given, built from syllables; nobody's name."""
    birth_date: str
    """YYYYMMDD."""
    study_date: str
    """YYYYMMDD, between May 2018 and June 2019 as in the source."""
    subtype: Subtype
    background: Background
    lesion: Lesion
    findings: Findings
    entropy: tuple[int, int]

    @property
    def malignant(self) -> bool:
        return self.subtype in MALIGNANT

    def random(self, *purpose: int) -> np.random.Generator:
        """A fresh stream for one purpose, equal on every call."""
        return np.random.default_rng([*self.entropy, *purpose])


_AFP_MISSING = 0.06
_SYLLABLES = ("bel", "dor", "fen", "gil", "har", "jun", "kes", "lom", "mir", "nav", "ort", "pel", "quil", "ras", "tov")


def draw_patient(cases: CaseMix, hospital: str, hospital_seed: int, index: int) -> Patient:
    """Patient `index` (from 0) of a hospital; the same arguments give the same patient, whoever was drawn before."""
    random = np.random.default_rng([hospital_seed, index])
    subtype = _draw_subtype(random, cases)
    return draw_patient_with(
        random, subtype, cases.log_size_shift, f"{hospital}-{index + 1:04d}", (hospital_seed, index)
    )


def draw_patient_with(
    random: np.random.Generator, subtype: Subtype, log_size_shift: float, patient_id: str, entropy: tuple[int, int]
) -> Patient:
    """A patient of one subtype, from a stream; `entropy` as in `Patient`."""
    person = PEOPLE[subtype]
    lesion = NO_LESION if subtype == "none" else _draw_lesion(random, LOOKS[subtype], log_size_shift)
    background = _draw_background(random, person)
    findings = _draw_findings(random, person, lesion)
    first_day = np.datetime64("2018-05-01")
    study_day = first_day + int(random.integers(426))
    birth_day = study_day - 365 * findings.age_years - findings.age_years // 4 - int(random.integers(1, 360))
    return Patient(
        patient_id=patient_id,
        name=f"{_syllables(random)}^{_syllables(random)}",
        birth_date=str(birth_day).replace("-", ""),
        study_date=str(study_day).replace("-", ""),
        subtype=subtype,
        background=background,
        lesion=lesion,
        findings=findings,
        entropy=entropy,
    )


def _draw_subtype(random: np.random.Generator, cases: CaseMix) -> Subtype:
    malignant = random.random() < cases.prevalence
    kinds, mix = (MALIGNANT, cases.malignant_mix) if malignant else (BENIGN, cases.benign_mix)
    return kinds[int(np.searchsorted(np.cumsum(mix)[:-1], random.random(), side="right"))]


def _draw_lesion(random: np.random.Generator, look: Look, log_size_shift: float) -> Lesion:
    median_mm, log_sd = look.size_mm
    size_mm = float(np.clip(np.exp(np.log(median_mm) + log_size_shift + log_sd * random.normal()), 11, 110))
    hetero_mean, hetero_sd = look.heterogeneity_db
    hetero_mean += 0.5 * (size_mm > 50)  # large lesions bleed and necrose
    return Lesion(
        size_mm=size_mm,
        echo_db=_clipped(
            random, look.echo_db, min(-9, 1.5 * look.echo_db[0]), 10
        ),  # a cyst lies below any solid lesion
        margin_mm=_clipped(random, look.margin_mm, 0.2, 5),
        irregularity=_clipped(random, look.irregularity, 0, 0.35),
        halo=bool(random.random() < look.halo),
        halo_db=_clipped(random, (-6, 1.8), -11, -2),
        halo_mm=_clipped(random, (2.2, 0.8), 0.8, 5),
        heterogeneity_db=_clipped(random, (hetero_mean, hetero_sd), 0.2, 6),
        posterior_db=_clipped(random, look.posterior_db, -4, 6),
        aspect=_clipped(random, (1.15, 0.15), 0.8, 1.7),
        angle_rad=float(random.uniform(0, np.pi)),
    )


def _draw_background(random: np.random.Generator, person: Person) -> Background:
    chance = random.random()
    if chance < person.fibrosis:
        return "fibrosis"
    return "steatosis" if chance < person.fibrosis + person.steatosis else "normal"


def _draw_findings(random: np.random.Generator, person: Person, lesion: Lesion) -> Findings:
    def chance(probability: float) -> bool:
        return bool(random.random() < probability)

    afp_ng_ml = float(np.exp(random.normal(np.log(900 if chance(person.raised_afp) else 5), 1)))
    return Findings(
        age_years=int(np.clip(random.normal(*person.age_years), 18, 90)),
        male=chance(person.male),
        hepatitis=chance(person.hepatitis),
        tumour_history=chance(person.tumour_history),
        afp_ng_ml=float("nan") if chance(_AFP_MISSING) else round(afp_ng_ml, 1),
        diabetes=chance(0.12),
        symptoms=chance(0.25),
        halo=lesion.halo,
        vascularity=chance(person.vascularity),
        hypoechoic=_read_hypoechoic(random, lesion),
        calcification=chance(0.06),
        posterior_enhancement=bool(lesion.posterior_db + random.normal(0, 7) > 2.5),
        multiple=chance(0.19),
        left_lobe=chance(0.32),
    )


def _read_hypoechoic(random: np.random.Generator, lesion: Lesion) -> bool:
    """The reader calls coarse lesions "heterogeneous" instead, which takes part of the class out of this reading."""
    heterogeneous = lesion.heterogeneity_db + random.normal(0, 1.0) > 3.7
    return bool(not heterogeneous and lesion.echo_db + random.normal(0, 8) < 0.0)


def _clipped(random: np.random.Generator, mean_sd: tuple[float, float], low: float, high: float) -> float:
    return float(np.clip(random.normal(*mean_sd), low, high))


def _syllables(random: np.random.Generator) -> str:
    return "".join(_SYLLABLES[k] for k in random.integers(len(_SYLLABLES), size=2)).capitalize()
