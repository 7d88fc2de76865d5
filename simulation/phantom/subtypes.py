"""What each kind of lesion looks like, and in whom it is found: the distributions behind `patients`.

The findings follow Table 1 and the multivariable odds ratios of Yang et al., EBioMedicine 56 (2020) 102777; the
acoustic numbers are invented, set so that a network separates the classes well but not perfectly. That study has
neither cysts nor livers without a lesion, which other systems see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Subtype = Literal["hemangioma", "fnh", "other_benign", "hcc", "metastasis", "icc", "cyst", "none"]

BENIGN: tuple[Subtype, ...] = ("hemangioma", "fnh", "other_benign")
MALIGNANT: tuple[Subtype, ...] = ("hcc", "metastasis", "icc")
"""As a case mix draws them; "cyst" and "none" are drawn where a study asks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Mean and standard deviation of each acoustic latent; probability of a halo; size as median and log-sd."""

    echo_db: tuple[float, float]
    margin_mm: tuple[float, float]
    irregularity: tuple[float, float]
    halo: float
    heterogeneity_db: tuple[float, float]
    posterior_db: tuple[float, float]
    size_mm: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Probabilities of each finding; age as mean and standard deviation in years."""

    hepatitis: float
    tumour_history: float
    male: float
    age_years: tuple[float, float]
    raised_afp: float
    fibrosis: float
    steatosis: float
    vascularity: float


# Malignant margins are wider than benign ones by more than one point-spread function; less, and speckle hides it.
LOOKS: dict[Subtype, Look] = {
    "hemangioma": Look(
        echo_db=(5.5, 2.8), margin_mm=(0.8, 0.4), irregularity=(0.05, 0.03), halo=0.03,
        heterogeneity_db=(1.0, 0.5), posterior_db=(2.4, 1.4), size_mm=(27, 0.50),
    ),
    "fnh": Look(
        echo_db=(-0.5, 2.2), margin_mm=(1.0, 0.5), irregularity=(0.06, 0.035), halo=0.05,
        heterogeneity_db=(1.2, 0.6), posterior_db=(1.0, 1.4), size_mm=(33, 0.45),
    ),
    "other_benign": Look(
        echo_db=(-3.5, 3.0), margin_mm=(1.4, 0.8), irregularity=(0.09, 0.05), halo=0.08,
        heterogeneity_db=(1.9, 0.9), posterior_db=(1.0, 1.4), size_mm=(32, 0.50),
    ),
    "hcc": Look(
        echo_db=(-4.0, 3.4), margin_mm=(2.7, 1.0), irregularity=(0.13, 0.05), halo=0.54,
        heterogeneity_db=(2.9, 1.0), posterior_db=(0.0, 1.5), size_mm=(38, 0.55),
    ),
    "metastasis": Look(
        echo_db=(-5.0, 4.0), margin_mm=(2.5, 1.0), irregularity=(0.13, 0.05), halo=0.62,
        heterogeneity_db=(2.6, 1.0), posterior_db=(-1.0, 1.5), size_mm=(32, 0.50),
    ),
    "icc": Look(
        echo_db=(-3.5, 3.0), margin_mm=(3.2, 1.1), irregularity=(0.17, 0.06), halo=0.36,
        heterogeneity_db=(3.2, 1.0), posterior_db=(-1.2, 1.5), size_mm=(45, 0.45),
    ),
    "cyst": Look(
        echo_db=(-13.0, 2.0), margin_mm=(0.5, 0.2), irregularity=(0.03, 0.02), halo=0.01,
        heterogeneity_db=(0.6, 0.3), posterior_db=(4.0, 1.2), size_mm=(24, 0.45),
    ),
}  # fmt: skip
"""None for "none"."""

PEOPLE: dict[Subtype, Person] = {
    "hemangioma": Person(
        hepatitis=0.12, tumour_history=0.04, male=0.45, age_years=(49, 12),
        raised_afp=0.010, fibrosis=0.15, steatosis=0.12, vascularity=0.36,
    ),
    "fnh": Person(
        hepatitis=0.12, tumour_history=0.03, male=0.45, age_years=(46, 12),
        raised_afp=0.010, fibrosis=0.12, steatosis=0.12, vascularity=0.48,
    ),
    "other_benign": Person(
        hepatitis=0.20, tumour_history=0.08, male=0.58, age_years=(54, 12),
        raised_afp=0.025, fibrosis=0.25, steatosis=0.12, vascularity=0.44,
    ),
    "hcc": Person(
        hepatitis=0.84, tumour_history=0.09, male=0.80, age_years=(58, 11),
        raised_afp=0.26, fibrosis=0.75, steatosis=0.06, vascularity=0.63,
    ),
    "metastasis": Person(
        hepatitis=0.18, tumour_history=0.84, male=0.60, age_years=(59, 11),
        raised_afp=0.01, fibrosis=0.20, steatosis=0.12, vascularity=0.50,
    ),
    "icc": Person(
        hepatitis=0.50, tumour_history=0.14, male=0.62, age_years=(60, 10),
        raised_afp=0.05, fibrosis=0.45, steatosis=0.06, vascularity=0.55,
    ),
    "cyst": Person(
        hepatitis=0.12, tumour_history=0.06, male=0.45, age_years=(57, 12),
        raised_afp=0.010, fibrosis=0.12, steatosis=0.15, vascularity=0.02,
    ),
    "none": Person(
        hepatitis=0.20, tumour_history=0.10, male=0.52, age_years=(52, 14),
        raised_afp=0.010, fibrosis=0.25, steatosis=0.25, vascularity=0.0,
    ),
}  # fmt: skip
