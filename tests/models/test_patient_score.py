"""A patient's score against the direct mean of probabilities, and where that one fails."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax

from fl_liver.errors import ConfigError
from fl_liver.models.patient_score import patient_log_odds
from fl_liver.study_training import PatientRule


@given(st.lists(st.lists(st.floats(-8, 8), min_size=1, max_size=6), min_size=1, max_size=5))
def test_score_is_the_log_odds_of_the_mean_probability(patients: list[list[float]]) -> None:
    """Oracle: scipy's expit and logit, exact enough between −8 and 8."""
    first = np.cumsum([0, *map(len, patients)])[:-1]
    found = patient_log_odds(np.concatenate(patients)[:, None], first)[:, 0]
    np.testing.assert_allclose(found, [logit(expit(np.array(one)).mean()) for one in patients], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("z", [-2000.0, -200.0, 200.0, 2000.0])
def test_score_of_extreme_images_stays_finite_and_exact(z: float) -> None:
    np.testing.assert_allclose(patient_log_odds(np.full((3, 1), z), np.array([0])), [[z]])


def test_one_sure_image_of_two_gives_even_odds() -> None:
    """p̄ = (1 + 0)/2: both ends must survive, which a rounded probability would lose."""
    assert patient_log_odds(np.array([[200.0], [-200.0]]), np.array([0]))[0, 0] == pytest.approx(0, abs=1e-12)


def test_many_classes_give_each_class_against_the_rest() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (7, 5))
    first = np.array([0, 3, 4])
    mean = np.array([softmax(part, axis=1).mean(0) for part in np.split(logits, first[1:])])
    found = patient_log_odds(logits, first)
    np.testing.assert_allclose(found, logit(mean), rtol=1e-10)
    assert (found.argmax(1) == mean.argmax(1)).all()
    assert np.isfinite(patient_log_odds(logits * 500, first)).all()


def test_no_patients_give_no_scores() -> None:
    assert patient_log_odds(np.zeros((0, 3)), np.zeros(0, np.int64)).shape == (0, 3)


def wang_2021(logits: list[float], *, divided: bool) -> float:
    """−Σ wᵢ log10(1 − pᵢ), wᵢ = pᵢ / Σp, and / n where the paper prints it; then log(10ʳ − 1). 400 digits."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 400, -(10**12), 10**12
        p = [1 / (1 + Decimal(-z).exp()) for z in logits]
        risk = -sum((one / sum(p) * (1 - one).log10() for one in p), Decimal(0))
        return float((Decimal(10) ** (risk / len(p) if divided else risk) - 1).ln())


@given(st.lists(st.floats(-300, 300), min_size=1, max_size=6), st.booleans())
@settings(max_examples=60)
def test_risk_is_wangs_score_as_log_odds(logits: list[float], divided: bool) -> None:
    """Oracle: the paper's formula by decimal arithmetic, which loses nothing at p = 1 − 1e-130."""
    rule: PatientRule = "risk_printed" if divided else "risk"
    found = patient_log_odds(np.array(logits)[:, None], np.array([0]), rule)[0, 0]
    assert found == pytest.approx(wang_2021(logits, divided=divided), rel=1e-12, abs=1e-12)


def test_patients_do_not_mix_in_a_risk() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (9, 1))
    first = np.array([0, 4, 5])
    for rule in ("risk", "risk_printed"):
        found = patient_log_odds(logits, first, rule)
        alone = [patient_log_odds(part, np.array([0]), rule)[0] for part in np.split(logits, first[1:])]
        np.testing.assert_allclose(found, alone, rtol=1e-12)


def test_a_patient_imaged_twice_as_often_has_the_same_risk_and_half_the_printed_one() -> None:
    """p = .9: r = 1 and 1, as printed 1 and .5; 10 − 1 = 9 and √10 − 1."""
    z = np.log([[9.0]])
    twice, first = np.repeat(z, 2, 0), np.array([0])
    assert patient_log_odds(twice, first, "risk")[0, 0] == pytest.approx(np.log(9))
    assert patient_log_odds(z, first, "risk_printed")[0, 0] == pytest.approx(np.log(9))
    assert patient_log_odds(twice, first, "risk_printed")[0, 0] == pytest.approx(np.log(np.sqrt(10) - 1))


@pytest.mark.parametrize("z", [-(2.0**128), -2000.0, -40.1, -39.9, 0.0, 1.0, 2000.0, 2.0**128])
def test_a_risk_of_equal_images_is_their_logit_at_any_size(z: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = patient_log_odds(np.full((3, 1), z), np.array([0]), "risk")
        assert np.isfinite(patient_log_odds(np.full((3, 1), z), np.array([0]), "risk_printed")).all()
    np.testing.assert_allclose(found, [[z]], rtol=1e-12, atol=1e-12)


def test_a_risk_of_many_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'risk' is a score of one disease, the network has 3 outputs"):
        patient_log_odds(np.zeros((2, 3)), np.array([0]), "risk")


def test_no_patients_have_no_risk() -> None:
    assert patient_log_odds(np.zeros((0, 1)), np.zeros(0, np.int64), "risk").shape == (0, 1)
