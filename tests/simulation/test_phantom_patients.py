"""Virtual patients and hospitals: distributions against Yang et al. (2020), and what depends on what."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import statsmodels.api as sm

from fl_liver.errors import ConfigError
from simulation.phantom import phantom_hospitals
from simulation.phantom.patients import Patient

FACTORS = (
    "age_60", "male", "hepatitis", "tumour_history", "afp_200", "diabetes", "symptoms", "halo", "vascularity",
    "hypoechoic", "calcification", "posterior_enhancement", "multiple", "left_lobe",
)  # fmt: skip
INDEPENDENT = ("diabetes", "symptoms", "calcification", "multiple", "left_lobe")
PUBLISHED_ODDS = {  # EBioMedicine 56 (2020) 102777, section 3.2, with the 95 % interval
    "halo": (9.9, 18.4, 34.1),
    "tumour_history": (9.3, 16.2, 28.1),
    "hepatitis": (7.9, 11.7, 17.5),
    "age_60": (2.1, 3.3, 5.3),
    "male": (1.6, 2.3, 3.3),
    "vascularity": (1.3, 1.9, 2.7),
}
PUBLISHED_SHARES = {"hepatitis": 0.45, "tumour_history": 0.24, "male": 0.68, "halo": 0.35, "vascularity": 0.54}


@functools.cache
def crowd() -> tuple[Patient, ...]:
    """10,000 patients of 100 hospitals, so that no single case mix decides."""
    return tuple(hospital.patient(index) for hospital in phantom_hospitals(11, 100, 0) for index in range(100))


def column(name: str) -> np.ndarray:
    findings = [patient.findings for patient in crowd()]
    if name == "age_60":
        return np.array([one.age_years >= 60 for one in findings], float)
    if name == "afp_200":
        return np.array([one.afp_ng_ml > 200 for one in findings], float)
    return np.array([getattr(one, name) for one in findings], float)


@functools.cache
def adjusted_odds(names: tuple[str, ...]) -> dict[str, float]:
    malignant = np.array([patient.malignant for patient in crowd()], float)
    features = sm.add_constant(np.column_stack([column(name) for name in names]))
    fitted = sm.Logit(malignant, features).fit(disp=0)
    return dict(zip(names, np.exp(fitted.params[1:]).tolist(), strict=True))


@pytest.mark.parametrize("factor", PUBLISHED_ODDS)
@pytest.mark.parametrize("names", [tuple(PUBLISHED_ODDS), FACTORS], ids=["six", "fourteen"])
def test_adjusted_odds_ratio_lies_in_the_published_interval(factor: str, names: tuple[str, ...]) -> None:
    low, _, high = PUBLISHED_ODDS[factor]
    assert low < adjusted_odds(names)[factor] < high


@pytest.mark.parametrize("factor", INDEPENDENT)
def test_independent_factors_have_odds_ratio_one(factor: str) -> None:
    """Four standard errors: 0.44 for calcification (6 % of 10,000), up to 0.27 for the others."""
    assert abs(math.log(adjusted_odds(FACTORS)[factor])) < (0.44 if factor == "calcification" else 0.27)


def test_readings_of_the_image_add_little_after_adjustment() -> None:
    """The reader sees echo and enhancement through much noise; the image itself says more."""
    odds = adjusted_odds(FACTORS)
    assert 0.6 < odds["hypoechoic"] < 1.6
    assert 0.5 < odds["posterior_enhancement"] < 1.0


@pytest.mark.parametrize("factor", PUBLISHED_SHARES)
def test_share_of_patients_is_near_the_published_one(factor: str) -> None:
    assert column(factor).mean() == pytest.approx(PUBLISHED_SHARES[factor], abs=0.07)


def test_age_size_and_missing_afp_are_near_the_published_ones() -> None:
    age = [patient.findings.age_years for patient in crowd()]
    assert np.mean(age) == pytest.approx(55.7, abs=2.5)
    assert np.std(age) == pytest.approx(12.4, abs=1.5)
    assert np.median([patient.lesion.size_mm for patient in crowd()]) == pytest.approx(37, abs=5)
    assert np.mean([math.isnan(patient.findings.afp_ng_ml) for patient in crowd()]) == pytest.approx(0.064, abs=0.01)


def test_default_hospitals_are_those_of_the_source() -> None:
    hospitals = phantom_hospitals(2020)
    assert [hospital.name for hospital in hospitals] == [f"H{k:02d}" for k in range(1, 14)]
    assert [hospital.cases.patients for hospital in hospitals] == [
        120, 96, 84, 72, 64, 56, 48, 44, 40, 36, 32, 110, 90
    ]  # fmt: skip
    assert [hospital.name for hospital in hospitals if hospital.external] == ["H12", "H13"]


def test_external_scanners_lie_outside_every_training_range() -> None:
    *train, over_smoothed, coarse = (hospital.scanner for hospital in phantom_hospitals(5, 60, 2))
    assert over_smoothed.smoothing_px > max(scanner.smoothing_px for scanner in train)
    assert over_smoothed.dynamic_range_db < min(scanner.dynamic_range_db for scanner in train)
    assert coarse.lateral_mm > max(scanner.lateral_mm for scanner in train)
    assert coarse.looks < min(scanner.looks for scanner in train)
    assert over_smoothed.confounding == coarse.confounding == 0


def test_default_hospitals_differ_in_device_mix_and_confounding() -> None:
    train = phantom_hospitals(2020)[:11]
    styles = {(one.scanner.make.pixel_style, one.scanner.make.multi_frame) for one in train}
    assert {("MONOCHROME2", False), ("MONOCHROME2", True), ("RGB", False)} <= styles
    assert np.ptp([one.cases.prevalence for one in train]) > 0.2
    assert np.ptp([one.scanner.confounding for one in train]) > 0.5


def test_a_hospital_does_not_depend_on_those_after_it() -> None:
    assert phantom_hospitals(3, 7, 0) == phantom_hospitals(3, 200, 0)[:7]


def test_scale_changes_only_the_number_of_patients() -> None:
    full, small = phantom_hospitals(3)[0], phantom_hospitals(3, scale=0.25)[0]
    assert small.cases.patients == 30
    assert small.patient(4) == full.patient(4)
    assert min(hospital.cases.patients for hospital in phantom_hospitals(3, scale=0.01)) == 12


def test_another_seed_gives_other_hospitals_and_patients() -> None:
    first, second = phantom_hospitals(1)[0], phantom_hospitals(2)[0]
    assert first.scanner != second.scanner
    assert first.patient(0).lesion != second.patient(0).lesion


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 11, 2, 1.0), "seed is -1, wanted 0 or more"),
        ((0, 0, 2, 1.0), "0 training and 2 external hospitals"),
        ((0, 199, 2, 1.0), "together at most 200"),
        ((0, 11, 2, 0.0), "scale is 0.0, wanted a positive number"),
        ((0, 11, 2, math.nan), "scale is nan"),
    ],
)
def test_impossible_numbers_are_refused(arguments: tuple[int, int, int, float], message: str) -> None:
    seed, train, external, scale = arguments
    with pytest.raises(ConfigError, match=message):
        phantom_hospitals(seed, train, external, scale=scale)
