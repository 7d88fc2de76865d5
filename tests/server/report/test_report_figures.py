"""Figures draw the summary's numbers, keep each model's look, and lay no text over another."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from statsmodels.stats.proportion import proportion_confint

from fl_liver.errors import DataError
from fl_liver.server.report.calibration import draw_calibration, wilson
from fl_liver.server.report.confusion import draw_confusion
from fl_liver.server.report.forest import draw_forest
from fl_liver.server.report.learning import draw_learning
from fl_liver.server.report.odds import draw_odds
from fl_liver.server.report.pieces import Missing
from fl_liver.server.report.roc import draw_roc
from fl_liver.server.report.sample_images import draw_samples
from fl_liver.server.report.style import LOOKS, Drawing
from tests.server.report.study_summary import multiclass_summary, sample_images, study_summary


def drawn(found: Drawing | Missing) -> Drawing:
    assert isinstance(found, Drawing), found
    return found


ALL: dict[str, Callable[[], Drawing | Missing]] = {
    "learning": lambda: draw_learning(study_summary()),
    "roc": lambda: draw_roc(study_summary()),
    "forest": lambda: draw_forest(study_summary()),
    "calibration": lambda: draw_calibration(study_summary()),
    "odds": lambda: draw_odds(study_summary()),
    "confusion": lambda: draw_confusion(multiclass_summary(), "federated"),
    "samples": lambda: draw_samples(sample_images()),
}


@pytest.mark.parametrize("name", ALL)
def test_no_text_overlaps_another_or_leaves_the_figure(name: str) -> None:
    figure = drawn(ALL[name]()).figure
    figure.savefig(io.BytesIO(), format="png")
    page = figure.bbox.padded(0.5)
    boxes = [(text.get_text(), text.get_window_extent().padded(-1.0)) for text in texts(figure)]
    assert [label for label, box in boxes if not all(map(page.contains, *zip(box.min, box.max, strict=True)))] == []
    # The box of a slanted label is mostly empty; the confusion matrix' column labels were looked at instead.
    upright = [text.get_window_extent().padded(-1.0) for text in texts(figure) if text.get_rotation() % 90 == 0]
    assert not any(x.overlaps(y) for x, y in itertools.combinations(upright, 2))


def texts(figure: Figure) -> list[Text]:
    """Every text that is seen. Tick labels beyond the limits of an axis exist too, but have no extent."""
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    seen = [text for text in found if text.get_visible() and text.get_window_extent().width > 1]
    assert seen
    return seen


@pytest.mark.parametrize("name", ALL)
def test_no_text_is_smaller_than_nine_points(name: str) -> None:
    assert min(float(text.get_fontsize()) for text in texts(drawn(ALL[name]()).figure)) >= 9


@pytest.mark.parametrize("part", [0, 1])
def test_roc_lines_are_the_summary_points(part: int) -> None:
    summary = study_summary()
    axes = drawn(draw_roc(summary)).figure.axes[part]
    lines = {line.get_color(): line for line in axes.lines}
    for name in summary["models"]:
        look = LOOKS[name]
        roc = summary["models"][name][("internal", "external")[part]]["roc"]
        np.testing.assert_array_equal(lines[look.colour].get_xdata(), roc["fpr"])
        np.testing.assert_array_equal(lines[look.colour].get_ydata(), roc["tpr"])


def test_local_only_curve_has_no_band() -> None:
    """It is a mean of curves, so a DeLong-like band would claim what was not computed."""
    summary = study_summary()
    axes = drawn(draw_roc(summary)).figure.axes[0]
    assert len(axes.collections) == len(summary["models"]) - 1


def test_forest_says_not_released_and_why() -> None:
    drawing = drawn(draw_forest(study_summary()))
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert texts.count("not released") == 2
    assert "(not released: hospital H04 did not consent): H04" in drawing.caption


def test_odds_beyond_the_axis_end_in_an_arrow() -> None:
    """Separation gives odds ratios of millions; the axis must stay readable."""
    summary = study_summary()
    summary["fusion"]["fused"]["terms"][2] |= {"odds_ratio": 4e8, "or_ci95": [2e-5, 8e21]}
    axes = drawn(draw_odds(summary)).figure.axes[0]
    assert axes.get_xlim()[1] < 1200
    assert {line.get_marker() for line in axes.lines} >= {"<", ">"}


def test_a_round_without_a_value_is_not_drawn_and_its_neighbours_are_joined() -> None:
    """The AUC is asked for in some rounds only; a curve of single points would be no curve."""
    summary = study_summary()
    summary["rounds"][3]["loss"] = None
    line = drawn(draw_learning(summary)).figure.axes[0].lines[0]
    drawn_rounds = np.asarray(line.get_xdata()).tolist()
    assert len(drawn_rounds) == len(summary["rounds"]) - 1
    assert summary["rounds"][3]["round"] not in drawn_rounds


def test_wilson_interval_agrees_with_statsmodels() -> None:
    positives, n = np.array([0.0, 3.0, 17.0, 20.0]), np.array([20.0, 11.0, 20.0, 20.0])
    np.testing.assert_allclose(
        wilson(positives / n, n), proportion_confint(positives, n, 0.05, "wilson"), rtol=1e-12, atol=1e-15
    )


def test_confusion_cells_hold_count_and_share_of_the_row() -> None:
    axes = drawn(draw_confusion(multiclass_summary(), "federated")).figure.axes[0]
    cells = [text.get_text() for text in axes.texts]
    assert cells[0] == "41\n84 %"  # 41 of 49
    assert cells[5] == "6\n14 %"  # 6 of 43


def test_confusion_of_another_shape_is_refused() -> None:
    summary = multiclass_summary()
    summary["models"]["federated"]["internal"]["confusion"]["counts"].pop()
    with pytest.raises(DataError, match="5 labels but counts of another shape; wanted 5 × 5"):
        draw_confusion(summary, "federated")


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8)])
def test_sample_of_another_kind_is_refused(image: np.ndarray[Any, Any]) -> None:
    with pytest.raises(DataError, match=r"sample image of H01: found .*, wanted 2-D uint8"):
        draw_samples({"H01": [image]})


@pytest.mark.parametrize("draw", [draw_learning, draw_roc, draw_forest, draw_calibration, draw_odds])
def test_figure_without_numbers_is_a_reason(draw: Callable[[Any], Drawing | Missing]) -> None:
    assert isinstance(draw({}), Missing)


@pytest.mark.parametrize("key", ["internal", "external", "per_site", "calibration"])
def test_figures_do_without_any_one_piece_of_a_model(key: str) -> None:
    summary = study_summary()
    for model in summary["models"].values():
        model[key] = {"not_released": "fewer than 3 hospitals"}
    roc, forest, calibration = draw_roc(summary), draw_forest(summary), draw_calibration(summary)
    assert len(drawn(roc).figure.axes) == (1 if key in ("internal", "external") else 2)
    assert isinstance(forest, Drawing)
    if key == "calibration":
        assert calibration == Missing("not released: fewer than 3 hospitals", released=False)
