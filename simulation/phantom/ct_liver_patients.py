"""Patients with an HCC, with something that looks like one, or with a healthy liver, before any scanner sees them.

Sex, age, kinds of lesion and what pathology says follow Tables 1 and 3 of Wang et al., Br J Cancer 125 (2021) 1111,
the rarer diagnoses more frequent than there. An HCC is more conspicuous where there are several and where the liver is
fibrotic, which is what the paper found its score to follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulation.phantom.anatomy import Tissue
from simulation.phantom.ct import LESION_HU, TISSUE_HU
from simulation.phantom.lesion import LesionKind

Diagnosis = Literal["hcc", "metastasis", "hemangioma", "fnh", "cyst", "cholangiocarcinoma", "none"]
MIMICS: tuple[Diagnosis, ...] = ("metastasis", "hemangioma", "fnh", "cyst", "cholangiocarcinoma", "none")
_MIMIC_WEIGHTS = (5.0, 6.0, 3.0, 4.0, 3.5, 1.5)
TnmStage = Literal["I", "II", "III", "IV"]

_KIND: dict[Diagnosis, LesionKind] = {
    "hcc": "hcc", "metastasis": "metastasis", "hemangioma": "hemangioma", "fnh": "fnh", "cyst": "cyst",
    "cholangiocarcinoma": "other_malignant",
}  # fmt: skip
_SIZE_MM: dict[Diagnosis, tuple[float, float]] = {
    "hcc": (42, 0.35), "metastasis": (36, 0.38), "hemangioma": (38, 0.38), "fnh": (38, 0.32), "cyst": (34, 0.40),
    "cholangiocarcinoma": (44, 0.33),
}  # fmt: skip
"""Median and log-sd."""
SMALLEST_MM, LARGEST_MM, LARGEST_OF_SEVERAL_MM = 12.0, 66.0, 56.0
"""What finds room in the right lobe."""
_COUNT: dict[Diagnosis, tuple[float, float, float]] = {
    "hcc": (0.70, 0.18, 0.12), "metastasis": (0.40, 0.30, 0.30), "hemangioma": (0.75, 0.17, 0.08),
    "fnh": (0.85, 0.12, 0.03), "cyst": (0.55, 0.28, 0.17), "cholangiocarcinoma": (0.85, 0.12, 0.03),
}  # fmt: skip
_FIBROSIS_HCC, _FIBROSIS = (0.12, 0.10, 0.13, 0.20, 0.45), (0.62, 0.15, 0.10, 0.07, 0.06)
_GRADE = (0.18, 0.57, 0.25)
_STRENGTH_SD = 0.16
_ATYPICAL = 0.2
_SHIFT_HU, _PHASE_HU = 4.0, 7.0
NOTHING_SEEN = -6.0
"""Log-odds of HCC in a liver without a lesion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiverCases:
    """Whom a hospital sees: share of HCC, and the mix of MIMICS."""

    prevalence: float
    mimic_mix: tuple[float, ...]
    log_size_shift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LiverPatient:
    """One patient; `sizes_mm` of each lesion, the largest first. Pathology is that of an HCC, None for others.

    contrast_hu   bulk of the lesions minus liver, at 120 kV, in the four phases of `ct`
    zone_factor   on what rim, core and nodules add
    fibrosis      METAVIR stage 0–4
    grade         1 well, 2 moderately, 3 poorly differentiated
    afp_ng_ml     NaN where nobody measured it
    """

    diagnosis: Diagnosis
    age_years: int
    male: bool
    sizes_mm: tuple[float, ...]
    contrast_hu: tuple[float, float, float, float]
    zone_factor: float
    fibrosis: int
    afp_ng_ml: float
    vascular_invasion: bool | None = None
    stage: TnmStage | None = None
    grade: int | None = None

    @property
    def hcc(self) -> bool:
        return self.diagnosis == "hcc"

    @property
    def kind(self) -> LesionKind:
        """Of the lesions, as `ct` has it."""
        return _KIND[self.diagnosis]


def draw_liver_cases(random: np.random.Generator) -> LiverCases:
    """The patients of one hospital."""
    return LiverCases(
        prevalence=float(random.uniform(0.35, 0.60)),
        mimic_mix=tuple(float(share) for share in random.dirichlet(_MIMIC_WEIGHTS)),
        log_size_shift=float(random.uniform(-0.15, 0.15)),
    )


def draw_liver_patient(random: np.random.Generator, cases: LiverCases, *, hcc: bool) -> LiverPatient:
    """One patient."""
    diagnosis: Diagnosis = "hcc" if hcc else MIMICS[int(random.choice(len(MIMICS), p=cases.mimic_mix))]
    fibrosis = int(random.choice(5, p=_FIBROSIS_HCC if hcc else _FIBROSIS))
    sizes_mm = () if diagnosis == "none" else _draw_sizes(random, diagnosis, cases)
    raised = random.random() < (0.45 if hcc else 0.03)
    afp_ng_ml = round(float(np.exp(random.normal(math.log(400 if raised else 5), 1.0))), 1)
    measured = random.random() > 0.06
    grade = 1 + int(random.choice(3, p=_GRADE))
    invaded = bool(random.random() < (0.55 if sizes_mm and sizes_mm[0] > 50 else 0.30))
    chance = float(random.random())
    return LiverPatient(
        diagnosis=diagnosis,
        age_years=int(np.clip(random.normal(57 if hcc else 54, 11), 18, 90)),
        male=bool(random.random() < (0.77 if hcc else 0.40)),
        sizes_mm=sizes_mm,
        contrast_hu=_draw_contrast(random, diagnosis, _conspicuity(len(sizes_mm), fibrosis, grade) if hcc else 1.0),
        zone_factor=float(np.clip(random.normal(0.7, 0.3), 0, 1.3)),
        fibrosis=fibrosis,
        afp_ng_ml=afp_ng_ml if measured else math.nan,
        vascular_invasion=invaded if hcc else None,
        stage=_stage(sizes_mm, invaded, chance) if hcc else None,
        grade=grade if hcc else None,
    )


def _draw_sizes(random: np.random.Generator, diagnosis: Diagnosis, cases: LiverCases) -> tuple[float, ...]:
    median_mm, log_sd = _SIZE_MM[diagnosis]
    size_mm = median_mm * math.exp(cases.log_size_shift + log_sd * random.normal())
    count = 1 + int(random.choice(3, p=_COUNT[diagnosis]))
    first = float(np.clip(size_mm, SMALLEST_MM, LARGEST_MM if count == 1 else LARGEST_OF_SEVERAL_MM))
    others = [float(np.clip(first * random.uniform(0.35, 0.7), 10, 24)) for _ in range(count - 1)]
    return (first, *others)


def _stage(sizes_mm: tuple[float, ...], invaded: bool, chance: float) -> TnmStage:
    """AJCC, 7th edition; `chance` (0..1) decides about spread and whether a major branch is invaded."""
    if chance < 0.04:
        return "IV"
    if (len(sizes_mm) > 1 and sizes_mm[0] > 50) or (invaded and chance > 0.75):
        return "III"
    return "II" if len(sizes_mm) > 1 or invaded else "I"


def _conspicuity(lesions: int, fibrosis: int, grade: int) -> float:
    """Factor of what tells an HCC from liver."""
    return 0.80 + 0.25 * (lesions > 1) + 0.22 * (fibrosis >= 3) - 0.08 * (grade == 1)


def _mean_contrast(diagnosis: Diagnosis) -> NDArray[np.float64]:
    """(4,) textbook values minus liver."""
    bulk: NDArray[np.float64] = np.array(LESION_HU[_KIND[diagnosis]][0], float) - np.array(TISSUE_HU[Tissue.LIVER])
    return bulk


def _draw_contrast(
    random: np.random.Generator, diagnosis: Diagnosis, conspicuity: float
) -> tuple[float, float, float, float]:
    """One lesion in five lies half-way to another diagnosis: a well-differentiated HCC, a metastasis with vessels."""
    atypical, other = random.random() < _ATYPICAL, int(random.integers(len(_KIND) - 1))
    strength, shift, phases = random.normal(1, _STRENGTH_SD), random.normal(), random.normal(size=4)
    if diagnosis == "none":
        return (0.0, 0.0, 0.0, 0.0)
    mean = _mean_contrast(diagnosis)
    if atypical:
        mean = (mean + _mean_contrast([one for one in _KIND if one != diagnosis][other])) / 2
    plain, arterial, portal, delayed = (
        conspicuity * strength * mean + _SHIFT_HU * shift + _PHASE_HU * phases * np.array([0.3, 1, 1, 1])
    ).tolist()
    return plain, arterial, portal, delayed


def hcc_log_odds(patient: LiverPatient) -> float:
    """From the enhancement of the lesions by Bayes' rule, HCC and the rest as likely, and each other diagnosis too."""
    if patient.diagnosis == "none":
        return NOTHING_SEEN
    others = [_log_density(patient, one) for one in _KIND if one != "hcc"]
    return float(_log_density(patient, "hcc") - np.logaddexp.reduce(others) + math.log(len(others)))


def _log_density(patient: LiverPatient, diagnosis: Diagnosis) -> float:
    """Of the contrast among lesions of a diagnosis, a mixture of normals; an HCC of middling conspicuity."""
    own, level = _mean_contrast(diagnosis), 0.99 if diagnosis == "hcc" else 1.0
    others = [one for one in _KIND if one != diagnosis]
    parts = [(1 - _ATYPICAL, own), *((_ATYPICAL / len(others), (own + _mean_contrast(one)) / 2) for one in others)]
    noise = np.diag((_PHASE_HU * np.array([0.3, 1, 1, 1])) ** 2) + _SHIFT_HU**2
    found = []
    for share, mean in parts:
        spread = noise + (level * _STRENGTH_SD) ** 2 * np.outer(mean, mean)
        off = np.array(patient.contrast_hu) - level * mean
        found.append(math.log(share) - 0.5 * float(off @ np.linalg.solve(spread, off) + np.linalg.slogdet(spread)[1]))
    return float(np.logaddexp.reduce(found))
