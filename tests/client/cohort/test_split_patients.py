"""Patients are parted within class, whatever the order of the table; shares are right to within one patient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_liver.client.cohort.cohort import PARTS
from fl_liver.client.cohort.split import shares, split_patients
from fl_liver.errors import DataError
from fl_liver.study import Study
from fl_liver.study_files import load_study

STUDY = load_study("lesion_us_fusion")
LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=150)
SHARE = st.floats(0, 0.9)


def _ids(count: int) -> list[str]:
    return [f"P{number:04d}" for number in range(count)]


def _with(**rules: object) -> Study:
    return STUDY.changed(cohort=rules)


@given(LABELS, SHARE, SHARE)
def test_shares_are_right_to_within_one_patient(labels: list[int], internal: float, calibration: float) -> None:
    study = _with(internal_validation=internal, calibration=calibration)
    part = split_patients(_ids(len(labels)), labels, "train", study).part
    label = np.asarray(labels)
    count = {name: int((part == index).sum()) for index, name in enumerate(PARTS)}
    assert sum(count.values()) == len(labels)
    assert abs(count["internal"] - internal * len(labels)) <= 0.5 + 1e-6
    assert abs(count["calibration"] - calibration * (len(labels) - count["internal"])) <= 0.5 + 1e-6
    for index in set(labels):
        of_class = part[label == index]
        internal_of_class = int((of_class == PARTS.index("internal")).sum())
        calibration_of_class = int((of_class == PARTS.index("calibration")).sum())
        assert abs(internal_of_class - internal * len(of_class)) < 1 + 1e-6
        assert abs(calibration_of_class - calibration * (len(of_class) - internal_of_class)) < 1 + 1e-6


@given(LABELS, st.randoms(use_true_random=False))
def test_the_order_of_the_table_changes_nothing(labels: list[int], random: object) -> None:
    ids = _ids(len(labels))
    order = list(range(len(ids)))
    random.shuffle(order)  # type: ignore[attr-defined]
    part = split_patients(ids, labels, "train", STUDY).part
    moved = split_patients([ids[i] for i in order], [labels[i] for i in order], "train", STUDY).part
    np.testing.assert_array_equal(part[order], moved)


@given(LABELS, st.integers(2, 10))
def test_folds_share_the_training_part_evenly(labels: list[int], folds: int) -> None:
    split = split_patients(_ids(len(labels)), labels, "train", _with(folds=folds, calibration=0.25))
    training = split.part == PARTS.index("train")
    assert not (split.part == PARTS.index("calibration")).any()
    np.testing.assert_array_equal(split.fold >= 0, training)
    for index in (None, *set(labels)):
        chosen = training if index is None else training & (np.asarray(labels) == index)
        sizes = np.bincount(split.fold[chosen], minlength=folds)
        assert sizes.max() - sizes.min() <= 1


def test_an_external_hospital_has_one_part() -> None:
    split = split_patients(_ids(7), [0, 1, 0, 1, 0, 1, 0], "external", _with(folds=5))
    assert (split.part == PARTS.index("external")).all()
    assert (split.fold == -1).all()


def test_another_seed_gives_another_split() -> None:
    ids, label = _ids(60), [number % 2 for number in range(60)]
    parts = [split_patients(ids, label, "train", STUDY.with_top(seed=seed)).part for seed in (1, 1, 2)]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert (parts[0] != parts[2]).any()


def test_the_largest_remainder_gets_the_last_patient() -> None:
    assert shares([50, 8, 2], 0.2) == [10, 2, 0]
    assert shares([5, 5], 0.0) == [0, 0]
    assert shares([], 0.2) == []


def test_a_patient_twice_is_refused() -> None:
    with pytest.raises(DataError, match="3 patients, 2 different ids, 3 labels"):
        split_patients(["A", "B", "A"], [0, 1, 0], "train", STUDY)


PRIVATE: dict[str, object] = {
    "training": {
        "noise_multiplier": 1.2,
        "patient_clip_norm": 1.0,
        "sampling_rate": 0.1,
        "expected_patients": 4.0,
        "max_epsilon": 8.0,
    }
}


def _private(**rules: object) -> Study:
    training: dict[str, object] = {"max_weight": 1, "triplet_weight": 0}
    return STUDY.changed(model={"norm": "group"}, training=training, privacy=PRIVATE, cohort=rules)


@given(LABELS, st.integers(0, 4), st.sampled_from([0, 2, 5]))
def test_with_private_training_one_patient_more_moves_nobody_else(labels: list[int], label: int, folds: int) -> None:
    """Otherwise ε, which is about one patient, would have to be about all that moved."""
    study = _private(folds=folds)
    ids = _ids(len(labels) + 1)
    without = split_patients(ids[:-1], labels, "train", study)
    split = split_patients(ids, [*labels, label], "train", study)
    np.testing.assert_array_equal(split.part[:-1], without.part)
    np.testing.assert_array_equal(split.fold[:-1], without.fold)


def test_with_exact_shares_one_patient_more_moves_others() -> None:
    """The claim above can fail: this is what it guards against."""
    study = STUDY.changed(cohort={"folds": 5})
    ids, label = _ids(41), [number % 2 for number in range(41)]
    without = split_patients(ids[:-1], label[:-1], "train", study)
    assert (split_patients(ids, label, "train", study).fold[:-1] != without.fold).any()


@pytest.mark.parametrize("folds", [0, 5])
def test_with_private_training_parts_have_their_shares_on_average(folds: int) -> None:
    count = 5000
    split = split_patients(_ids(count), [0] * count, "train", _private(folds=folds, calibration=0.25))
    shares_of = np.bincount(split.part, minlength=4) / count
    calibration = 0.0 if folds else 0.2
    np.testing.assert_allclose(shares_of, [0.8 - calibration, calibration, 0.2, 0.0], atol=0.02)
    np.testing.assert_array_equal(split.fold >= 0, (split.part == PARTS.index("train")) & (folds > 0))
    if folds:
        np.testing.assert_allclose(np.bincount(split.fold[split.fold >= 0]) / count, [0.16] * 5, atol=0.02)
