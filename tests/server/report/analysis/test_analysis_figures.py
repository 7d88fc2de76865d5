"""The figures of an analysis page draw the results' numbers and lay no text over another."""

from __future__ import annotations

import copy
import io
import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from fl_liver.server.report.analysis.page import SECTIONS
from fl_liver.server.report.forest import forest_figure
from fl_liver.server.report.pieces import Estimate
from tests.server.report.analysis.whole_plan import plan, results

DRAWN = (
    "auc",
    "two",
    "both",
    "sexes",
    "cut",
    "kappa",
    "ranks",
    "kruskal",
    "odds",
    "risk",
    "decide",
    "classes",
    "readers",
    "twice",
    "mean",
)


def figure_of(name: str, **changed: Any) -> Figure:
    (entry,) = plan(name).analyses
    content = SECTIONS[entry.kind](entry, {**results()[name], **changed})
    (drawing,) = content.drawings
    return drawing.figure


def texts(figure: Figure) -> list[Text]:
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    return [text for text in found if text.get_visible() and text.get_window_extent().width > 1]


@pytest.mark.parametrize("name", DRAWN)
def test_no_text_overlaps_another_or_leaves_the_figure(name: str) -> None:
    figure = figure_of(name)
    figure.savefig(io.BytesIO(), format="png")
    page = figure.bbox.padded(0.5)
    boxes = [(text.get_text(), text.get_window_extent().padded(-1.0)) for text in texts(figure)]
    assert [label for label, box in boxes if not all(map(page.contains, *zip(box.min, box.max, strict=True)))] == []
    upright = [text.get_window_extent().padded(-1.0) for text in texts(figure) if text.get_rotation() % 90 == 0]
    assert not any(x.overlaps(y) for x, y in itertools.combinations(upright, 2))


def test_roc_line_and_band_are_the_results_points() -> None:
    (axes,) = figure_of("auc").axes
    roc = results()["auc"]["roc"]
    line = next(line for line in axes.lines if len(np.asarray(line.get_xdata())) == len(roc["fpr"]))
    np.testing.assert_array_equal(line.get_ydata(), roc["tpr"])
    (band,) = axes.collections
    heights = np.asarray(band.get_paths()[0].vertices)[:, 1].tolist()
    assert set(roc["tpr_low"]) | set(roc["tpr_high"]) <= set(heights)


@pytest.mark.parametrize(("name", "curves"), [("two", 2), ("both", 3), ("sexes", 2), ("readers", 1)])
def test_comparisons_draw_one_curve_with_band_for_each_score(name: str, curves: int) -> None:
    (axes,) = figure_of(name).axes
    assert len(axes.collections) == curves


def test_readers_are_points_at_their_sensitivity_and_specificity() -> None:
    (axes,) = figure_of("readers").axes
    points = {line.get_label(): line for line in axes.lines if len(np.asarray(line.get_xdata())) == 1}
    accuracy = results()["readers"]["readers"]["called"]["accuracy"]
    assert float(np.asarray(points["called"].get_ydata())[0]) == accuracy["sensitivity"][0]
    assert float(np.asarray(points["called"].get_xdata())[0]) == pytest.approx(1 - accuracy["specificity"][0])


def test_mean_of_readers_is_drawn_beside_the_model_it_is_compared_with() -> None:
    result = results()["mean"]
    figure = figure_of("mean")
    (axes,) = figure.axes
    drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
    assert result["curve"]["tpr"] in drawn
    assert result["against_curve"]["tpr"] in drawn
    mean = (results()["auc"]["auc"] + results()["two"]["auc"][1]) / 2
    assert any(label.get_text().startswith(f"Mean  {mean:.3f}".replace("0.", ".")) for label in texts(figure))


def test_decision_curve_draws_model_all_and_none() -> None:
    result = results()["decide"]
    (axes,) = figure_of("decide").axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["p"].get_ydata(), result["net_benefit"])
    np.testing.assert_array_equal(lines["Treat all"].get_ydata(), result["treat_all"])
    assert np.asarray(lines["Treat none"].get_ydata()).tolist() == [0, 0]


def test_calibration_draws_groups_smooth_curve_and_counts() -> None:
    result = results()["risk"]
    axes, strip = figure_of("risk").axes
    drawn = [np.asarray(line.get_xdata(), np.float64).tolist() for line in axes.lines]
    assert result["mean_pred"] in drawn
    assert result["smooth"]["predicted"] in drawn
    assert np.asarray(strip.lines[0].get_ydata()).tolist() == result["fixed_bins"]["n"]


def test_confusion_cells_are_the_results_counts() -> None:
    (axes,) = figure_of("cut").axes
    result = results()["cut"]
    cells = [text.get_text().split("\n")[0] for text in axes.texts]
    assert cells == [str(result[key]) for key in ("tn", "fp", "fn", "tp")]


def test_raters_table_sums_to_its_patients_and_shows_kappas_levels() -> None:
    (axes,) = figure_of("kappa").axes
    cells = [int(text.get_text().split("\n")[0]) for text in axes.texts]
    assert sum(cells) == results()["kappa"]["n"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_forest_rows_of_a_comparison_are_its_aucs_with_delong_intervals() -> None:
    """The interval of a comparison's AUC, from its variance, is that of the score's own analysis."""
    (entry,) = plan("two").analyses
    rows = SECTIONS[entry.kind](entry, results()["two"]).forest
    alone = results()["auc"]
    assert rows[0].auc == Estimate(alone["auc"], *alone["ci95"])
    assert "p" in [text.get_text() for text in forest_figure(rows).axes[0].texts]


def test_a_result_without_curve_has_a_table_and_no_figure() -> None:
    (entry,) = plan("auc").analyses
    one_class = {"n_pos": 0, "n_neg": 30, "auc": None, "roc": None, "youden": None, "flags": ["one_class"]}
    content = SECTIONS["roc"](entry, one_class)
    assert content.drawings == ()
    assert content.notes == ("All patients are of one class, so that no AUC exists.",)


def test_boxes_stand_at_the_released_quartiles() -> None:
    """A quartile that the floor keeps inexact is drawn in the middle of its interval, and the interval is shaded."""
    boxes = results("kruskal")["kruskal"]["boxes"]
    changed = {**boxes, "q1": [50.0, [50.0, 54.0], 51.0], "q3": [60.0, 66.0, 61.0], "low": [None, 40.0, 41.0]}
    axes = figure_of("kruskal", boxes=changed).axes[0]
    drawn = [one for one in axes.patches if isinstance(one, Rectangle)]
    assert [ends_of(one) for one in drawn if not one.get_fill()] == [(50.0, 60.0), (52.0, 66.0), (51.0, 61.0)]
    assert (50.0, 54.0) in [ends_of(one) for one in drawn if one.get_alpha() == 0.13]
    lines = [np.asarray(line.get_xydata(), np.float64) for line in axes.lines]
    stems = [xy for xy in lines if len(set(xy[:, 0])) == 1]
    assert sum(40.0 in xy[:, 1] for xy in stems) == 1
    assert sum(xy[0, 0] == 0 for xy in stems) == 1  # the first group has no lower whisker


def ends_of(box: Rectangle) -> tuple[float, float]:
    return box.get_y(), box.get_y() + box.get_height()


def test_readers_without_and_with_ai_are_filled_and_hollow_points_that_are_joined() -> None:
    twice = results("twice")["twice"]
    axes = figure_of("twice").axes[0]
    drawn = {
        (*np.round(np.asarray(one.get_xydata())[0], 9), one.get_markerfacecolor() == "white")
        for one in axes.lines
        if len(np.asarray(one.get_xydata())) == 1 and one.get_marker() != "*"
    }
    assert drawn == {
        (round(1 - of[time]["specificity"][0], 9), round(of[time]["sensitivity"][0], 9), time == "with_ai")
        for of in twice["readers"].values()
        for time in ("alone", "with_ai")
    }
    balanced = twice["curves"]["p"]["balanced"]
    star = next(one for one in axes.lines if one.get_marker() == "*")
    assert np.allclose(star.get_xydata(), [(1 - balanced["specificity"], balanced["sensitivity"])])


@pytest.mark.parametrize(("name", "of"), [("twice", "pooled"), ("readers", "groups")])
def test_a_difference_without_an_interval_stands_alone_and_is_explained(name: str, of: str) -> None:
    """Readers who all changed alike: no brackets and no "nan", and a sentence that says why."""
    (entry,), result = plan(name).analyses, copy.deepcopy(results()[name])
    assert not [note for note in SECTIONS[entry.kind](entry, result).notes if "without an interval" in note]
    group = result[of] if of == "pooled" else result[of]["junior"]
    group["difference"]["sensitivity"] |= {"estimate": 1.0, "ci95": [None, None], "flags": ["degenerate_variance"]}
    content = SECTIONS[entry.kind](entry, result)
    assert [note for note in content.notes if "without an interval" in note]
    cells = [[cell.text for cell in row] for table in content.tables for row in table.table.rows]
    assert [row for row in cells if row[1:2] == ["Sensitivity"] and row[4] == "1.000"]
    assert not [row for row in cells if "nan" in " ".join(row).lower()]
