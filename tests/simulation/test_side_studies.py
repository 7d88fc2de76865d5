"""What is asked of further studies, and how a grid chooses."""

from __future__ import annotations

from typing import Any

import pytest

from fl_liver.errors import ConfigError, FLLiverError
from simulation.options import Options, grid_of, repeats_of, resolve_study
from simulation.side_studies import _spread, best_point


def test_a_grid_is_every_combination_in_order() -> None:
    points = grid_of(Options(grid=("model.width=8,16", "training.learning_rate=0.1")))
    assert points == [
        {"model": {"width": 8}, "training": {"learning_rate": 0.1}},
        {"model": {"width": 16}, "training": {"learning_rate": 0.1}},
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(grid=("width=8",)), r"--grid 'width=8': wanted SECTION.KEY=VALUE,VALUE"),
        (Options(grid=("model.trunk=resnet18",)), "'resnet18' is no TOML value; put words in quotes"),
        (Options(repeats="3"), "--repeats '3': wanted SPLITSxFOLDS"),
        (Options(repeats="3x1"), "--repeats '3x1': wanted SPLITSxFOLDS with 2 to 10 folds"),
        (Options(folds=1), "--folds 1: wanted 2 to 10"),
        (Options(study="clinical", all_tasks=True), "--all-tasks: study 'clinical' has no"),
        (Options(repeats="2x2", deploy=True), "--deploy --repeats: a deployment runs one study"),
    ],
)
def test_what_cannot_be_met_is_refused_before_anything_is_written(options: Options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_study(options)


def test_repeats_are_splits_times_folds() -> None:
    assert repeats_of(Options(repeats="3x5")) == (3, 5)
    assert repeats_of(Options()) is None


def test_the_best_point_has_the_largest_calibration_auc_and_of_equals_comes_first() -> None:
    aucs = [None, 0.7, 0.9, 0.9]
    assert best_point([{"calibration_auc": auc} for auc in aucs]) == 2
    with pytest.raises(FLLiverError, match="grid: no point has an AUC"):
        best_point([{"calibration_auc": None}])


def test_the_spread_is_the_sample_standard_deviation_over_runs_that_have_the_number() -> None:
    runs: list[dict[str, Any]] = [{"main": 0.8, "type": None}, {"main": 0.9, "type": 0.5}, {"main": 1.0, "type": 0.7}]
    spread = _spread(runs)
    assert spread["mean"] == pytest.approx({"main": 0.9, "type": 0.6})
    assert spread["sd"] == pytest.approx({"main": 0.1, "type": 0.02**0.5})
