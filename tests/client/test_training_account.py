"""What a hospital notes of private training, and when it trains no more."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fl_liver.accountant import training_epsilon
from fl_liver.client.training_account import TrainingAccount
from fl_liver.errors import PrivacyError
from fl_liver.study import Study
from fl_liver.study_files import load_study


def private(max_epsilon: float, folds: int = 0) -> Study:
    """Three rounds of ten steps: ε = 3.4; with folds, six."""
    section = {
        "noise_multiplier": 1.2,
        "patient_clip_norm": 1.0,
        "sampling_rate": 0.1,
        "expected_patients": 4.0,
        "max_epsilon": max_epsilon,
    }
    return load_study("lesion_us_fusion").changed(
        model={"norm": "group"},
        cohort={"folds": folds},
        training={"rounds": 3, "max_weight": 1, "triplet_weight": 0},
        privacy={"training": section},
    )


def test_a_hospital_trains_until_max_epsilon_and_no_further(tmp_path: Path) -> None:
    study = private(4.0)
    limit = max(rounds for rounds in range(1, 20) if training_epsilon(study, {"train": rounds}) <= 4.0)
    assert limit > 3
    for number in range(limit):
        TrainingAccount(tmp_path, study).begin("train", number % 3 + 1)
    with pytest.raises(
        PrivacyError,
        match=rf"round 3 on 'train': with it {limit + 1} rounds were begun here, epsilon 4\.\d+ at delta 1e-05;"
        r" max_epsilon is 4, nothing is trained",
    ):
        TrainingAccount(tmp_path, study).begin("train", 3)


def test_a_round_that_is_asked_again_counts_again(tmp_path: Path) -> None:
    account = TrainingAccount(tmp_path / "studies" / "abc", private(8.0))
    for _ in range(3):
        account.begin("train", 1)
    assert account.rounds() == {"train": 3}


def test_a_study_that_plans_too_much_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match=r"its rounds would spend epsilon .* max_epsilon is 1"):
        TrainingAccount(tmp_path, private(1.0)).begin("train", 1)
    assert not list(tmp_path.iterdir())


def test_the_federations_of_cross_fitting_add_up(tmp_path: Path) -> None:
    """Two folds: a patient is in "train" and in one of the two; the last round would be a patient's seventh."""
    study = private(8.0, folds=2)
    tight = study.changed(
        privacy={"training": {**study.model_dump()["privacy"]["training"], "max_epsilon": training_epsilon(study)}}
    )
    account = TrainingAccount(tmp_path, tight)
    for rows in ("train", "not-fold-0", "not-fold-1"):
        for number in (1, 2, 3):
            account.begin(rows, number)
    with pytest.raises(PrivacyError, match="round 1 on 'not-fold-1': with it 10 rounds were begun here"):
        account.begin("not-fold-1", 1)


def test_a_line_that_a_crash_cut_short_counts_as_a_round(tmp_path: Path) -> None:
    account = TrainingAccount(tmp_path, private(8.0))
    account.begin("train", 1)
    with (tmp_path / "training-account.jsonl").open("a") as file:
        file.write('{"rows": "tr')
    assert account.rounds() == {"train": 1, "unreadable": 1}


def test_the_file_is_the_hospitals_own(tmp_path: Path) -> None:
    TrainingAccount(tmp_path, private(8.0)).begin("train", 1)
    assert stat.S_IMODE((tmp_path / "training-account.jsonl").stat().st_mode) == 0o600


def test_without_private_training_nothing_is_noted(tmp_path: Path) -> None:
    TrainingAccount(tmp_path, load_study("lesion_us_fusion")).begin("train", 1)
    assert not list(tmp_path.iterdir())
