"""The page of a study with `histogram_epsilon`: noised numbers, their cost, and a reason where a figure is missing."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np

from fl_liver.server.noised import noised_model, without_exact
from fl_liver.server.report import write_report
from fl_liver.stats.private_roc import from_noised_cells
from fl_liver.study import Study
from tests.server.report.study_summary import study_summary

REASON = "not released: noised figures only (histogram_epsilon)"


def noised_summary(study: Study) -> dict[str, Any]:
    """As `run_study` writes it, from 32 bins that were drawn; every name of a hospital is that of the summary."""
    draw = np.random.default_rng(4)
    cells = [draw.multinomial(400, p / p.sum()) for p in (np.arange(32, 0, -1.0), np.arange(1.0, 33))]
    found = from_noised_cells(cells[0], cells[1], 3.0, epsilon=4.0)
    summary = study_summary()
    per_site = {one["name"]: "internal" if one["role"] == "train" else "external" for one in summary["sites"]}
    model = noised_model(found, per_site)
    summary |= {"models": {"federated": model}, "comparisons": []}
    summary["analysis"] = {"within_centre_federated": model["external"] | {"rows": "internal"}}
    return without_exact(summary, study.changed(privacy={"histogram_epsilon": 4.0}))


def words(summary: dict[str, Any], folder: Path) -> str:
    page = write_report(summary, folder).read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)))


def test_the_page_says_what_the_noise_costs_and_who_makes_it(table_study: Study, tmp_path: Path) -> None:
    page = words(noised_summary(table_study), tmp_path)
    assert "Counts and AUC carry noise: differential privacy, epsilon 4 for 1 model together: the noise widens" in page
    assert "Figures with noise" in page
    assert "Hospitals whose noise alone suffices 3 of 11" in page
    assert "Left out, because an exact count of the same patients would undo the noise" in page
    assert "Sums were added in the clear: whoever adds them sees each hospital's counts" in page
    masked = words(noised_summary(table_study) | {"secure_sum": "masked"}, tmp_path)
    assert "whoever adds them" not in masked


def test_every_figure_that_is_left_out_says_why(table_study: Study, tmp_path: Path) -> None:
    page = words(noised_summary(table_study), tmp_path)
    for what in ("ROC curves", "Calibration", "Cut-off", "Fused model"):
        assert f"{what}: {REASON}." in page
    assert f"H01 training Philips EPIQ 7 {REASON}" in page, "a hospital's counts"
    assert not (tmp_path / "figures" / "roc.svg").exists()
    assert (tmp_path / "figures" / "learning_curve.svg").exists(), "the loss is still drawn"


def test_a_study_without_noise_has_no_such_section(tmp_path: Path) -> None:
    page = words(study_summary(), tmp_path)
    assert "Figures with noise" not in page
    assert "carry noise" not in page


def test_a_comparison_that_is_left_out_names_the_models_and_the_reason(tmp_path: Path) -> None:
    summary = study_summary()
    line = {"name": "x", "a": "federated", "b": "pooled", "rows": "internal", "not_released": "histogram_epsilon"}
    page = words({**summary, "comparisons": [line]}, tmp_path)
    assert "Federated − Pooled internal not released: histogram_epsilon" in page
