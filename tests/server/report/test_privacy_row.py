"""What the page says of private training: ε as `run_study` puts it into the summary, nothing where there is none."""

from __future__ import annotations

from pathlib import Path

from fl_liver.accountant import training_epsilon, training_privacy
from fl_liver.study import Study
from tests.server.report.study_summary import study_summary
from tests.server.report.test_noised_section import words


def test_epsilon_stands_in_the_run_table(plain_study: Study, tmp_path: Path) -> None:
    section = {
        "noise_multiplier": 2.0,
        "patient_clip_norm": 1.0,
        "sampling_rate": 0.1,
        "expected_patients": 4.0,
        "max_epsilon": 8.0,
    }
    study = plain_study.changed(training={"max_weight": 1, "triplet_weight": 0}, privacy={"training": section})
    said = training_privacy(study, {"train": 3})
    assert said is not None
    epsilon = training_epsilon(study, {"train": 3})
    assert epsilon > training_epsilon(study), "a round of an interrupted run counts too"
    page = words(study_summary() | {"privacy": said}, tmp_path)
    assert f"Training privacy ε = {epsilon:.3g} at δ = 1e-05 for any patient of any hospital" in page


def test_without_private_training_the_page_says_nothing_of_it(plain_study: Study, tmp_path: Path) -> None:
    assert training_privacy(plain_study) is None
    assert "Training privacy" not in words(study_summary() | {"privacy": None}, tmp_path)
