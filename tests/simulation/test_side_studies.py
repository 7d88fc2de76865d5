"""What is asked of further studies, and how a grid chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fl_liver.cli import run_app
from fl_liver.errors import ConfigError, FLLiverError
from simulation import side_studies
from simulation.__main__ import app
from simulation.engine import make_engine
from simulation.hospitals import Hospitals
from simulation.options import Options, grid_of, repeats_of, resolve_study
from simulation.side_studies import SideStudies, _spread, best_point


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
        (
            Options(grid=("training.no_such_key=1",)),
            r"--grid training\.no_such_key=1: .* unknown key 'training\.no_such_key'",
        ),
        (
            Options(grid=("training.batch_size=8,1",)),
            r"--grid training\.batch_size=1: .*'training\.batch_size'.*found 1",
        ),
        (Options(grid=("no_such.key=1",)), "--grid 'no_such.key=1': wanted SECTION.KEY"),
        (Options(grid=("nosuch.key=1",)), r"--grid nosuch\.key=1: .* unknown key 'nosuch'"),
        (Options(grid=("seed.x=1",)), r"--grid seed\.x=1: 'seed' is no section of a study"),
        (Options(grid=("factor.name=1",)), r"--grid factor\.name=1: 'factor' is no section of a study"),
        (
            Options(grid=("training.mu=0.0,0.1", 'training.strategy="fedprox"')),
            r"--grid training\.mu=0\.0 training\.strategy='fedprox': .*mu > 0 goes with strategy 'fedprox'",
        ),
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


def test_a_dry_run_refuses_a_grid_that_the_run_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["lesion_us_fusion", "--dry-run", "--grid", "training.no_such_key=1"]) == ConfigError.exit_code
    assert "unknown key 'training.no_such_key'" in capsys.readouterr().err


def test_no_point_of_a_grid_is_trained_where_the_network_refuses_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study file says which networks there are, and only the network what it has no use for."""
    monkeypatch.setattr(SideStudies, "_run_checked", lambda *_: pytest.fail("a point was trained"))
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "roster.toml").touch()
    options = Options(study="clinical", grid=('model.trunk="published","resnet18"',))
    study = resolve_study(options)
    aside = SideStudies(make_engine("serial", 1), Hospitals(study, {}, {}), tmp_path, "cpu", lambda *_: None)
    with pytest.raises(ConfigError, match=r"has no use for model\.trunk 'resnet18'"):
        aside.grid(options, study)


def test_a_refused_task_is_in_no_comparison_and_no_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = resolve_study(Options(study="clinical"))
    monkeypatch.setattr(side_studies, "load_checked", lambda path: (study.with_top(title=path.parent.name), None))
    monkeypatch.setattr(side_studies, "task_comparisons", lambda rows: sorted(rows.studies))
    monkeypatch.setattr(side_studies, "task_ensembles", lambda rows, lines: [rows.alike(), lines])
    aside = SideStudies(make_engine("serial", 1), Hospitals(study, {}, {}), tmp_path, "cpu", lambda *_: None)
    tasks: list[dict[str, Any]] = [{"task": "E", "refused": "BELOW_FLOOR"}, {"task": "F"}, {"task": "G"}]
    found = aside.between_tasks(tasks)
    assert found == {"task_comparisons": ["F", "G"], "task_ensembles": [[("F", "G")], tasks]}


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
