"""A patient's score against the direct mean of probabilities, and where that one fails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax

from fl_liver.models.patient_score import patient_log_odds


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
