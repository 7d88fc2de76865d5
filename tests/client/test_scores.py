"""Stored scores: float64 log-odds that come back bit for bit, rows that were not scored are NaN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit, softmax

from fl_liver.client.scores import ImageLogits, ScoreStore, disease_log_odds, require_logits
from fl_liver.errors import DataError, ProtocolError
from fl_liver.models.patient_score import patient_log_odds

TINY_DIFFERENCE = np.array([[30.0], [np.nextafter(30.0, 31)], [-745.0], [1e-300]])


def test_scores_come_back_bit_for_bit(tmp_path: Path) -> None:
    """Two patients whose probabilities are both 1 in float32 keep their order."""
    store = ScoreStore(tmp_path, 4)
    store.keep("federated", np.arange(4), TINY_DIFFERENCE)
    assert store.load("federated").tobytes() == TINY_DIFFERENCE.tobytes()


def test_rows_that_were_not_scored_are_missing(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, 4)
    store.keep("federated", np.array([1, 3]), np.array([[1.0], [2.0]]))
    np.testing.assert_array_equal(store.load("federated")[:, 0], [np.nan, 1, np.nan, 2])


def test_parts_that_are_scored_one_after_the_other_stand_together(tmp_path: Path) -> None:
    """Cross-fitting scores one fold at a time under one name."""
    store = ScoreStore(tmp_path, 4)
    store.keep("unseen", np.array([0, 2]), np.array([[1.0], [2.0]]))
    store.keep("unseen", np.array([1, 2]), np.array([[3.0], [4.0]]))
    np.testing.assert_array_equal(store.load("unseen")[:, 0], [1, 3, 4, np.nan])


def test_another_number_of_classes_starts_anew(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, 2)
    store.keep("a", np.array([0, 1]), np.ones((2, 1)))
    store.keep("a", np.array([0]), np.full((1, 3), -np.log(2)))
    assert store.load("a").shape == (2, 3)
    assert np.isnan(store.load("a")[1]).all()


def test_a_name_that_was_never_scored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="no scores 'federated' at this site; a Score must come before a Sum"):
        ScoreStore(tmp_path, 4).load("federated")


def test_scores_of_another_cohort_are_refused(tmp_path: Path) -> None:
    ScoreStore(tmp_path, 4).keep("a", np.arange(4), TINY_DIFFERENCE)
    with pytest.raises(ProtocolError, match="scores 'a' are of 4 patients, the cohort has 5"):
        ScoreStore(tmp_path, 5).load("a")


def test_scores_that_make_no_average_are_named_with_shape_and_question(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, 4)
    for name, shape, endpoint in (("a", (4, 1), ""), ("b", (4, 2), ""), ("c", (4, 1), "type"), ("d", (4, 1), "")):
        store.keep(name, np.arange(4), np.zeros(shape), endpoint=endpoint)
    with pytest.raises(
        ProtocolError, match=r"'a' is \(4, 1\) of the study's own question, 'b' is \(4, 2\) of .*; wanted"
    ):
        store.load_alike(["a", "b"])
    with pytest.raises(ProtocolError, match=r"'a' is .* own question, 'c' is \(4, 1\) of endpoint 'type'; wanted one"):
        store.load_alike(["a", "c"])
    assert [one.shape for one in store.load_alike(["a", "d"])] == [(4, 1), (4, 1)]


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "", "a" * 42, "a b", "1a", "a.b", "a\n"])
def test_a_name_that_is_no_plain_word_is_refused(tmp_path: Path, name: str) -> None:
    """The server chooses the name; it must not choose the folder."""
    with pytest.raises(ProtocolError, match="is not a plain word"):
        ScoreStore(tmp_path / "site", 4).keep(name, np.arange(4), TINY_DIFFERENCE)
    assert list(tmp_path.iterdir()) == []


def test_names_lists_what_was_scored(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, 4)
    assert store.names() == []
    store.keep("pooled", np.arange(4), TINY_DIFFERENCE)
    store.keep("federated", np.arange(4), TINY_DIFFERENCE)
    assert store.names() == ["federated", "pooled"]


def of_images(*pairs: tuple[int, float], count: int = 5) -> ImageLogits:
    return ImageLogits(np.array([one for one, _ in pairs]), np.array([[logit] for _, logit in pairs]), count)


def test_images_of_parts_that_are_scored_one_after_the_other_stand_together(tmp_path: Path) -> None:
    """As their patients do, whose scores stay as they were; images of nobody are missing."""
    store = ScoreStore(tmp_path, 4)
    store.keep("unseen", np.array([0]), np.array([[9.0]]), images=of_images((0, 1.0), (3, 2.0)))
    store.keep("unseen", np.array([1]), np.array([[8.0]]), images=of_images((1, 30.0), (3, np.nextafter(2.0, 3))))
    found = store.images("unseen")
    assert found is not None
    assert found[:, 0].tobytes() == np.array([1, 30.0, np.nan, np.nextafter(2.0, 3), np.nan]).tobytes()
    np.testing.assert_array_equal(store.load("unseen")[:, 0], [9, 8, np.nan, np.nan])


def test_images_of_another_cohort_are_forgotten(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, 1)
    store.keep("a", np.array([0]), np.ones((1, 1)), images=of_images((0, 1.0)))
    store.keep("a", np.array([0]), np.ones((1, 1)), images=of_images((2, 4.0), count=3))
    found = store.images("a")
    assert found is not None
    np.testing.assert_array_equal(found[:, 0], [np.nan, np.nan, 4])


def test_a_score_of_patients_alone_has_no_images_left_from_before(tmp_path: Path) -> None:
    """A fusion under a name that a network had: its images would be another model's."""
    store = ScoreStore(tmp_path, 1)
    store.keep("a", np.array([0]), np.ones((1, 1)), images=of_images((0, 1.0)))
    store.keep("a", np.array([0]), np.zeros((1, 1)))
    assert store.images("a") is None
    with pytest.raises(ProtocolError, match="no scores 'b' at this site; a Score must come before a table"):
        store.images("b")


@given(st.integers(2, 6), st.integers(1, 9), st.floats(0.01, 300), st.integers(0, 2**32 - 1))
def test_log_odds_of_any_network_are_kept_and_its_softmax_is_not(
    tmp_path_factory: pytest.TempPathFactory, classes: int, patients: int, spread: float, seed: int
) -> None:
    """Also where a network is so sure that its softmax is 0 and 1."""
    logits = np.random.default_rng(seed).normal(0, spread, (patients, classes))
    store, rows = ScoreStore(tmp_path_factory.mktemp("site"), patients), np.arange(patients)
    store.keep("a", rows, patient_log_odds(logits, rows))
    with pytest.raises(DataError, match=rf"score 'a': {patients} of {patients} rows are not log-odds of each class"):
        store.keep("a", rows, softmax(logits, axis=1))
    np.testing.assert_array_equal(store.load("a"), patient_log_odds(logits, rows))


def test_bare_logits_of_several_classes_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 2 rows .* \(the 3 probabilities sum to 2.64, wanted 1\)"):
        ScoreStore(tmp_path, 2).keep("a", np.arange(2), np.array([[-np.log(2)] * 3, [2.0, 2.0, 2.0]]))
    with pytest.raises(DataError, match="1 of 1 rows"):
        ScoreStore(tmp_path, 2).keep("a", np.arange(1), np.full((1, 3), np.nan))


@given(st.integers(2, 6), st.integers(1, 40), st.floats(0, 60), st.integers(0, 2**32 - 1))
def test_a_softmax_in_float32_is_told_by_its_numbers(classes: int, images: int, spread: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 1, (images, classes)) * spread
    rounded = softmax(logits.astype(np.float32), axis=1).astype(np.float64)
    with pytest.raises(DataError, match=r"in \[0, 1\] and sums to 1: a softmax\); .* sure patients tie"):
        require_logits(rounded, "", "model 'x'")


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_logits_between_0_and_1_are_no_softmax(classes: int) -> None:
    """A barely trained network: all zeros, all a half, all one, or small positive numbers."""
    draw = np.random.default_rng(classes)
    small = draw.uniform(0, 1, (30, classes))
    for logits in (small, np.zeros((4, classes)), np.full((4, 1), 0.5), np.ones((4, 1)), np.zeros((0, classes))):
        require_logits(logits, "addmm", "model 'x'")
        require_logits(logits, "", "model 'x'")


def test_one_column_is_the_log_odds_already() -> None:
    assert disease_log_odds(TINY_DIFFERENCE, [1]).tobytes() == TINY_DIFFERENCE[:, 0].tobytes()


@given(st.lists(st.floats(-8, 8), min_size=5, max_size=5), st.sets(st.integers(0, 4), min_size=1, max_size=4))
def test_several_classes_give_the_log_odds_of_their_summed_probabilities(raw: list[float], positive: set[int]) -> None:
    """A network of K classes stores the log-odds of each class against the rest."""
    shares = softmax(np.array([raw]), axis=1)
    wanted = logit(shares[0, sorted(positive)].sum())
    np.testing.assert_allclose(disease_log_odds(logit(shares), sorted(positive)), [wanted], rtol=1e-9, atol=1e-9)


def test_an_almost_certain_patient_does_not_become_infinite() -> None:
    """Probabilities e⁸⁰⁰ : 1 : 1; the log-odds of each class are exact where its probability rounds to 1 or 0."""
    scores = np.array([[800 - np.log(2), -800.0, -800.0]])
    found = disease_log_odds(scores, [0])
    np.testing.assert_allclose(found, [800 - np.log(2)], rtol=1e-12)
