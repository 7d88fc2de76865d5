"""Each published system as one command, small: from phantom patients to a report, with what its paper reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fl_liver.study_files import load_study

pytestmark = pytest.mark.slow
SMALL = ("--quick", "--hospitals", "5", "--external", "1", "--rounds", "2", "--device", "cpu", "--workers", "2")
FUSED = "fusion − federated"


def simulated(folder: Path, study: str, *options: str) -> dict[str, Any]:
    """The summary of `python -m simulation` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "simulation", study, *SMALL, "--out", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


@pytest.mark.parametrize("study", ["nodule_ct", "mri_clinical", "hcc_ct", "lesion_us_fusion", "lesion_us_attention"])
def test_a_published_system_runs_from_patients_to_report(study: str, tmp_path: Path) -> None:
    summary = simulated(tmp_path / "run", study)
    assert summary["study"] == study
    assert summary["incomplete"] is None
    assert not any(line["excluded"] for line in summary["sites"]), "every phantom patient can be used"
    for model in ("federated", "local_only", "pooled"):
        assert 0 <= summary["models"][model]["external"]["auc"] <= 1
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert load_study(study).title in page
    assert 'id="explanations"' in page
    assert (tmp_path / "run" / "analysis" / "paper.html").is_file()
    if load_study(study).cohort.unit == "lesion":
        same_in_the_papers_tables(summary, tmp_path / "run" / "analysis" / "paper.json")
    endpoints = {one.name for one in load_study(study).endpoint}
    if endpoints:
        found = summary["models"]["federated"]["external"]["endpoints"]
        assert set(found) == endpoints
        assert all(
            "fewer than" in one["not_released"] if "not_released" in one else 0 <= one["auc"] <= 1
            for one in found.values()
        )


def same_in_the_papers_tables(summary: dict[str, Any], paper: Path) -> None:
    """Lesions by patient on two ways: a hospital's own grouping, and the column of a table that it wrote for itself."""
    told = json.loads(paper.read_text(encoding="utf-8"))
    for part in ("internal", "external"):
        report, table = summary["models"]["federated"][part], told["CNN"]["strata"][part]
        for key in ("n_pos", "n_neg", "auc", "ci95"):
            assert table[key] == pytest.approx(report[key], rel=1e-12)
        assert report["n"] == report["n_pos"] + report["n_neg"]
    (line,) = [one for one in summary["comparisons"] if (one["name"], one["rows"]) == (FUSED, "external")]
    table = told["CNN and metastasis against CNN"]["strata"]["external"]
    assert (table["p"], table["ci95"]) == (pytest.approx(line["p"], rel=1e-9), pytest.approx(line["ci95"], rel=1e-9))


def test_selection_trains_a_first_federation_and_its_images_follow(tmp_path: Path) -> None:
    """NoduleNet, then HCCNet: two federations in a row, and what the first one sees stays at the hospitals."""
    summary = simulated(tmp_path / "run", "hcc_ct", "--no-baselines")
    checkpoints = tmp_path / "run" / "checkpoints"
    assert json.loads((checkpoints / "selection-train" / "rounds.json").read_text())["rounds"][-1]["round"] == 2
    assert json.loads((checkpoints / "train" / "rounds.json").read_text())["rounds"][-1]["round"] == 2
    seen = list((tmp_path / "run" / "hospitals").glob("H0*/work/**/visible/train.safetensors"))
    assert {path.relative_to(tmp_path / "run" / "hospitals").parts[0] for path in seen} == {"H01", "H02", "H03", "H04"}
    assert "selection" not in summary["models"], "judged on single images alone, in the paper's tables"
    single = json.loads((tmp_path / "run" / "analysis" / "paper.json").read_text())["NoduleNet, single images"]
    assert 0 <= single["strata"]["external"]["auc"] <= 1


def test_cross_validation_repeats_and_grid_are_in_the_summary(tmp_path: Path) -> None:
    options = ("--repeats", "1x2", "--grid", "training.learning_rate=0.02,0.03", "--no-baselines")
    summary = simulated(tmp_path / "run", "nodule_ct", *options)
    assert [line.get("best", False) for line in summary["grid"]].count(True) == 1
    repeats = summary["repeats"]
    assert (len(repeats["runs"]), repeats["splits"], repeats["folds"]) == (2, 1, 2)
    assert repeats["mean"]["main"] == pytest.approx(sum(run["main"] for run in repeats["runs"]) / 2)


def test_every_task_of_a_study_is_run(tmp_path: Path) -> None:
    """Tasks of malignant tumours alone leave so small hospitals too few patients; that ends no other task."""
    summary = simulated(tmp_path / "run", "mri_clinical", "--all-tasks", "--no-baselines")
    assert [line["task"] for line in summary["tasks"]] == list("ABCDEFG")
    refused = {line["task"]: line["refused"] for line in summary["tasks"] if "refused" in line}
    assert set(refused) <= set("EFG")
    assert all("BELOW_FLOOR" in why for why in refused.values())
    assert all("n" in line["external"] for line in summary["tasks"] if line["task"] not in refused)
    sets = [[task for task in of if task not in refused] for of in ("AB", "CD", "EFG")]
    assert [line["of"] for line in summary["task_ensembles"]] == [of for of in sets if len(of) > 1]
