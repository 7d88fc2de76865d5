"""A whole simulation of a study with `histogram_epsilon`: noised figures of the models, nothing exact beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fl_liver.server.noised import NOT_EXACT
from fl_liver.study_files import load_study

Simulate = Callable[..., Any]
HospitalsIn = Callable[[Path], Path]
EPSILON = 40.0
"""So little noise that the figures of some forty patients can be held against each other."""


@pytest.fixture
def noised_study(tiny_study: Path, tmp_path: Path) -> Path:
    study = load_study(tiny_study).changed(
        analysis={"fusion": [], "curve_every": 1},
        privacy={"histogram_epsilon": EPSILON},
        cohort={"internal_validation": 0.4, "calibration": 0.0},
    )
    path = tmp_path / "noised.toml"
    path.write_text(study.to_toml(), encoding="utf-8")
    return path


def questions(run: Path) -> Iterator[dict[str, Any]]:
    """What the hospitals of a run wrote into their ledgers: one line for each batch that was begun."""
    for path in sorted((run / "hospitals").glob("*/work/studies/*/ledger.jsonl")):
        yield from (json.loads(line) for line in path.read_text().splitlines())


def reasons(value: Any) -> list[str]:
    """Every reason in a result."""
    if isinstance(value, dict):
        own = [value["not_released"]] if "not_released" in value else []
        return own + [reason for one in value.values() for reason in reasons(one)]
    return [reason for one in value for reason in reasons(one)] if isinstance(value, list) else []


def test_a_study_with_noise_releases_noised_figures_and_nothing_exact(
    simulate: Simulate, hospitals_in: HospitalsIn, noised_study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    hospitals_in(folder)
    run = simulate(folder, "--rounds", "2", study=noised_study)
    assert run.status == 0, run.err + run.out
    summary, model = run.summary, run.summary["models"]["federated"]
    internal = model["internal"]
    assert (internal["epsilon"], internal["models"]) == (EPSILON, 1)
    assert 0 <= internal["auc"] <= 1
    assert internal["noise_sd"] > 0
    assert "differential privacy, epsilon 40 for 1 model together" in internal["cost"]
    assert summary["noised"] == {"epsilon": EPSILON, "honest": 3, "sites": 4}
    left_out = [internal["roc"], model["external"], *model["calibration"].values(), model["cutoff"], summary["fusion"]]
    left_out += [*model["per_site"].values(), summary["analysis"]["within_centre_federated"]]
    left_out += [record["internal_auc"] for record in summary["rounds"]]
    left_out += [line[key] for line in summary["sites"] for key in ("patients", "positives", "excluded", "images")]
    assert {one["not_released"] for one in left_out} == {NOT_EXACT}
    assert set(reasons(summary)) == {NOT_EXACT}
    assert summary["comparisons"] == []
    assert [(one["rows"], one["sites"], one["steps"]) for one in summary["batches"]] == [
        ("internal", ["H01", "H02", "H03", "H04"], 1)
    ]
    begun = list(questions(folder))
    assert len(begun) == 4
    assert {tuple(one["rows"]) for one in begun} == {("internal",)}
    assert all(one["counts"] == {} for one in begun)


def test_a_resumed_run_has_its_noised_figures_and_asks_no_second_time(
    simulate: Simulate, hospitals_in: HospitalsIn, noised_study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    hospitals_in(folder)
    first = simulate(folder, study=noised_study)
    assert first.status == 0, first.err + first.out
    before = first.summary["models"]
    (folder / "summary.json").unlink()
    again = simulate(folder, "--resume", str(folder), study=noised_study)
    assert again.status == 0, again.err + again.out
    assert again.summary["models"] == before
    assert len(list(questions(folder))) == 4


def test_baselines_of_a_study_with_noise_are_not_released(
    simulate: Simulate, hospitals_in: HospitalsIn, noised_study: Path, tmp_path: Path
) -> None:
    """They would be a second noised answer: hospitals refuse it."""
    folder = tmp_path / "run"
    hospitals_in(folder)
    run = simulate(folder, "--baselines", study=noised_study)
    assert run.status == 0, run.err + run.out
    models = run.summary["models"]
    assert "auc" in models["federated"]["internal"]
    for part in ("internal", "external"):
        assert "not_released" in models["pooled"][part]
        assert "not_released" in models["local_only"][part]
    assert "a hospital gives one noised answer a study" in models["pooled"]["internal"]["not_released"]
    assert {one["not_released"] for one in run.summary["comparisons"]} == {NOT_EXACT}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h2>Figures with noise</h2>" in page
    assert "Counts and AUC carry noise: differential privacy, epsilon 40 for 1 model together" in page
    assert "not released: noised figures only (histogram_epsilon)" in page
