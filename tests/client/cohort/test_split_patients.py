"""Patients are parted within class, whatever the order of the table; shares are right to within one patient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_liver.client.cohort.cohort import PARTS
from fl_liver.client.cohort.split import shares, split_patients
from fl_liver.errors import DataError
from fl_liver.study import Study, load_study

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
