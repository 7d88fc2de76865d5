"""Lesions are parted by patient, and parts and folds have their shares of lesions, classes and patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from fl_liver.client.cohort.cohort import PARTS
from fl_liver.client.cohort.split import Split, split_lesions
from fl_liver.errors import DataError
from fl_liver.study import Study
from tests.client.cohort.tiny_volumes import ct_study


def _study(**cohort: Any) -> Study:
    return ct_study(unit="lesion", **cohort)


def _khalili() -> tuple[list[str], np.ndarray]:
    """412 nodules of 150 patients: 1 to 8 each; of a patient most often all of one class."""
    draw = np.random.default_rng(7)
    ids: list[str] = []
    labels: list[int] = []
    for number in range(150):
        count = int(draw.choice([1, 2, 3, 4, 6, 8], p=[0.35, 0.2, 0.15, 0.14, 0.1, 0.06]))
        usual = int(draw.random() < 0.4)
        ids += [f"P{number:03d}"] * count
        labels += [usual if draw.random() < 0.9 else 1 - usual for _ in range(count)]
    return ids, np.array(labels)


def _uneven(fold: np.ndarray, label: np.ndarray) -> float:
    """Largest distance of a fold's share of a class from a fifth of it."""
    shares = [np.bincount(fold[label == one], minlength=5) / (label == one).sum() for one in (0, 1)]
    return float(np.abs(np.array(shares) - 0.2).max())


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 2)), min_size=1, max_size=60), st.integers(0, 5))
def test_no_patient_is_in_two_parts_or_folds(rows: list[tuple[int, int]], folds: int) -> None:
    rows.sort()
    ids, label = [f"P{number}" for number, _ in rows], np.array([one for _, one in rows])
    split = split_lesions(ids, label, "train", _study(folds=folds))
    for patient in set(ids):
        mine = [i for i, one in enumerate(ids) if one == patient]
        assert len({(int(split.part[i]), int(split.fold[i])) for i in mine}) == 1
    training = split.part == PARTS.index("train")
    assert (split.fold >= 0).tolist() == (training if folds else np.zeros(len(ids), dtype=bool)).tolist()


def test_folds_are_as_even_as_those_of_scikit_learn() -> None:
    """Its StratifiedGroupKFold is greedy too, but looks at classes only; here patients count as well."""
    ids, label = _khalili()
    split = split_lesions(ids, label, "train", _study(folds=5, internal_validation=0.0))
    theirs = np.zeros(len(ids), dtype=np.int64)
    for fold, (_, test) in enumerate(StratifiedGroupKFold(5).split(ids, label, ids)):
        theirs[test] = fold
    assert _uneven(split.fold, label) <= max(_uneven(theirs, label), 0.01)
    patients = [len({ids[i] for i in np.flatnonzero(split.fold == fold)}) for fold in range(5)]
    assert max(patients) - min(patients) <= 2
    lesions = np.bincount(split.fold)
    assert lesions.max() - lesions.min() <= 3


def test_parts_have_their_shares_of_every_class() -> None:
    ids, label = _khalili()
    split = split_lesions(ids, label, "train", _study(internal_validation=0.2, calibration=0.25))
    for one in (0, 1):
        mine = split.part[label == one]
        shares = [float((mine == PARTS.index(part)).mean()) for part in ("internal", "calibration", "train")]
        assert shares == pytest.approx([0.2, 0.2, 0.6], abs=0.02)


def test_the_order_of_rows_changes_nothing_and_the_seed_does() -> None:
    ids, label = _khalili()
    order = np.random.default_rng(1).permutation(len(ids))

    def parts(study: Study) -> Split:
        return split_lesions(ids, label, "train", study)

    moved = split_lesions([ids[i] for i in order], label[order], "train", _study())
    np.testing.assert_array_equal(parts(_study()).part[order], moved.part)
    assert (parts(_study()).part != parts(_study().with_top(seed=3)).part).any()


def test_all_shares_may_be_nothing() -> None:
    split = split_lesions(["A", "A", "B"], [0, 1, 0], "train", _study(internal_validation=0.0, calibration=0.0))
    assert split.part.tolist() == [PARTS.index("train")] * 3


def test_an_external_hospital_keeps_every_lesion() -> None:
    split = split_lesions(["A", "A", "B"], [0, 1, 0], "external", _study(folds=5))
    assert (split.part == PARTS.index("external")).all()
    assert (split.fold == -1).all()


def test_labels_of_another_number_are_refused() -> None:
    with pytest.raises(DataError, match="2 lesions, 1 labels; wanted one of each"):
        split_lesions(["A", "B"], [0], "train", _study())
