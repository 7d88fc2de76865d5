"""Small hypoattenuating liver nodules of patients with colorectal cancer, before any scanner sees them.

Frequencies follow Table 3 and the odds ratios of Khalili et al., Sci Rep 10 (2020) 15248: malignant nodules are larger,
nearer to the liver in attenuation and less sharply bounded. The numbers behind the looks are invented, set so that a
network on patches separates the classes well but not perfectly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

NoduleKind = Literal["cyst", "hemangioma", "other_benign", "metastasis"]
BENIGN_NODULES: tuple[NoduleKind, ...] = ("cyst", "hemangioma", "other_benign")
Stage = Literal["I", "II", "III", "IV"]

MOST_NODULES = 5
SMALLEST_MM, LARGEST_MM = 4.5, 9.8
"""Diameter; under 4.5 mm a nodule may fall between two slices."""
_MALIGNANT_COUNT, _BENIGN_COUNT = (0.10, 0.12, 0.18, 0.25, 0.35), (0.36, 0.27, 0.18, 0.12, 0.07)
_MIXED = 0.16
"""Of patients with malignant nodules, those who have benign ones too: 7 of 45."""
LIVER_METASTASIS = {True: 0.70, False: 0.05}
"""Probability of a metastasis of 1 cm or more, by whether any nodule is malignant."""
_EXTRAHEPATIC = {True: 0.35, False: 0.05}
"""By whether there is such a metastasis; of no use beside it, as in the paper."""
_EARLY_STAGES: tuple[Stage, ...] = ("I", "II", "III")
_EARLY = (0.25, 0.37, 0.38)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoduleLook:
    """Mean and standard deviation of each latent; size as median and log-sd; probability of a rim."""

    plain_hu: tuple[float, float]
    uptake_hu: tuple[float, float]
    """Of the portal venous phase at 120 kV; the liver takes up 54."""
    margin_mm: tuple[float, float]
    irregularity: tuple[float, float]
    size_mm: tuple[float, float]
    rim: float


NODULE_LOOKS: Mapping[NoduleKind, NoduleLook] = {
    "cyst": NoduleLook(
        plain_hu=(24, 8), uptake_hu=(12, 9), margin_mm=(0.6, 0.35), irregularity=(0.06, 0.04), size_mm=(5.3, 0.24),
        rim=0.04,
    ),
    "hemangioma": NoduleLook(
        plain_hu=(38, 6), uptake_hu=(30, 12), margin_mm=(0.7, 0.40), irregularity=(0.08, 0.05), size_mm=(5.8, 0.24),
        rim=0.12,
    ),
    "other_benign": NoduleLook(
        plain_hu=(35, 8), uptake_hu=(20, 12), margin_mm=(0.8, 0.45), irregularity=(0.09, 0.05), size_mm=(5.5, 0.24),
        rim=0.08,
    ),
    "metastasis": NoduleLook(
        plain_hu=(40, 6), uptake_hu=(30, 10), margin_mm=(1.6, 0.60), irregularity=(0.18, 0.06), size_mm=(6.9, 0.22),
        rim=0.40,
    ),
}  # fmt: skip
_RANGES = {"plain_hu": (0.0, 60.0), "uptake_hu": (0.0, 52.0), "margin_mm": (0.2, 3.5), "irregularity": (0.0, 0.35)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoduleCases:
    """Whom a hospital sees: share of patients with malignant nodules, and the mix of BENIGN_NODULES."""

    prevalence: float
    benign_mix: tuple[float, ...]
    log_size_shift: float
    mean_age_years: float
    male: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodule:
    """One nodule; its diameter is the longest one."""

    kind: NoduleKind
    size_mm: float
    plain_hu: float
    uptake_hu: float
    margin_mm: float
    """Width of the transition to liver."""
    irregularity: float
    rim: bool

    @property
    def malignant(self) -> bool:
        return self.kind == "metastasis"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodulePatient:
    """What is known of one patient beside the images. `stage` is that of the tumour before the nodules were judged."""

    age_years: int
    male: bool
    stage: Stage
    liver_metastasis: bool
    """Synchronous, 1 cm or more."""
    extrahepatic_metastasis: bool
    nodules: tuple[Nodule, ...]

    @property
    def malignant(self) -> bool:
        return any(nodule.malignant for nodule in self.nodules)


def draw_nodule_cases(random: np.random.Generator) -> NoduleCases:
    """The patients of one hospital: a referral centre, or one that stages everybody."""
    return NoduleCases(
        prevalence=float(random.uniform(0.24, 0.40)),
        benign_mix=tuple(float(share) for share in random.dirichlet((4, 4, 4))),
        log_size_shift=float(random.uniform(-0.1, 0.1)),
        mean_age_years=float(random.uniform(58, 66)),
        male=float(random.uniform(0.48, 0.66)),
    )


def draw_nodule_patient(random: np.random.Generator, cases: NoduleCases, *, malignant: bool) -> NodulePatient:
    """One patient with 1 to MOST_NODULES nodules, any of them malignant or none."""
    count = 1 + int(random.choice(MOST_NODULES, p=_MALIGNANT_COUNT if malignant else _BENIGN_COUNT))
    mixed = malignant and count > 1 and random.random() < _MIXED
    benign = int(random.integers(1, count)) if mixed else 0 if malignant else count
    kinds: list[NoduleKind] = ["metastasis"] * (count - benign)
    kinds += [BENIGN_NODULES[int(random.choice(3, p=cases.benign_mix))] for _ in range(benign)]
    liver = bool(random.random() < LIVER_METASTASIS[malignant])
    elsewhere = bool(random.random() < _EXTRAHEPATIC[liver])
    early = _EARLY_STAGES[int(random.choice(3, p=_EARLY))]
    return NodulePatient(
        age_years=int(np.clip(random.normal(cases.mean_age_years, 12), 20, 88)),
        male=bool(random.random() < cases.male),
        stage="IV" if liver or elsewhere else early,
        liver_metastasis=liver,
        extrahepatic_metastasis=elsewhere,
        nodules=tuple(_draw_nodule(random, kinds[at], cases) for at in random.permutation(count)),
    )


def _draw_nodule(random: np.random.Generator, kind: NoduleKind, cases: NoduleCases) -> Nodule:
    look = NODULE_LOOKS[kind]
    drawn = {
        name: float(np.clip(random.normal(*getattr(look, name)), low, high)) for name, (low, high) in _RANGES.items()
    }
    median_mm, log_sd = look.size_mm
    size_mm = median_mm * math.exp(cases.log_size_shift + log_sd * random.normal())
    return Nodule(
        kind=kind, size_mm=float(np.clip(size_mm, SMALLEST_MM, LARGEST_MM)), rim=bool(random.random() < look.rim),
        **drawn,
    )  # fmt: skip


def malignancy_log_odds(nodule: Nodule, patient: NodulePatient) -> float:
    """By Bayes' rule, where both sides are as likely: from the nodule's latents and the larger metastasis beside it.

    Radiologists see the whole scan, the network a patch. Densities are those before values are clipped.
    """
    benign = np.logaddexp.reduce([_log_density(nodule, NODULE_LOOKS[kind]) for kind in BENIGN_NODULES]) - math.log(3)
    context = {side: p if patient.liver_metastasis else 1 - p for side, p in LIVER_METASTASIS.items()}
    seen = math.log(context[True] / context[False])
    return float(_log_density(nodule, NODULE_LOOKS["metastasis"]) - benign + seen)


def _log_density(nodule: Nodule, look: NoduleLook) -> float:
    median_mm, log_sd = look.size_mm
    pairs = [(getattr(nodule, name), getattr(look, name)) for name in _RANGES]
    pairs.append((math.log(nodule.size_mm), (math.log(median_mm), log_sd)))
    normal = sum(-0.5 * ((value - mean) / sd) ** 2 - math.log(sd) for value, (mean, sd) in pairs)
    return float(normal) + math.log(look.rim if nodule.rim else 1 - look.rim)
