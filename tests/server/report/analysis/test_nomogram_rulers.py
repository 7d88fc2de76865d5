"""A nomogram read with a ruler gives the model's probability, and the drawing has its marks there."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from fl_liver.server.report.analysis.nomogram import draw_nomogram, points_tables
from fl_liver.server.report.analysis.nomogram_rulers import LEFT_IN, SPAN_IN, Ruler, Rulers, Tick, lay_out, staggered
from fl_liver.server.report.pieces import Missing
from fl_liver.server.report.style import Drawing
from fl_liver.stats.design import Factor
from fl_liver.stats.logistic import LogisticResult
from fl_liver.stats.nomogram import nomogram_of
from tests.server.report.analysis.whole_plan import results

TERMS = ("age", "grade", "smoke")


def fitted(beta: tuple[float, ...], limits: tuple[float, float]) -> dict[str, Any]:
    """The nomogram of a model with age within `limits`, grade a (reference), b, c, and smoke 0 (reference), 1."""
    names = ("(Intercept)", "age", "gradeb", "gradec", "smoke1")
    unused: Any = None
    fit = LogisticResult(
        terms=names,
        n=100,
        n_events=40,
        beta=beta,
        **dict.fromkeys(("se", "z", "p", "odds_ratio", "or_ci95", "deviance", "null_deviance", "loglik"), unused),
        **dict.fromkeys(("aic", "cov", "iterations", "flags", "design"), unused),
    )
    factors = {"grade": Factor(("a", "b", "c"), "a"), "smoke": Factor(("0", "1"), "0")}
    return nomogram_of(fit, {"age": limits}, factors).to_json()


def rulers_of(result: dict[str, Any]) -> Rulers:
    found = lay_out(TERMS, result)
    assert isinstance(found, Rulers), found
    return found


def read_off(ruler: Ruler, x_in: float) -> float:
    """What a person reads straight above or below a place: between the two nearest marks, evenly."""
    places, values = zip(*((tick.x_in, tick.value) for tick in ruler.ticks), strict=True)
    return float(np.interp(x_in, places, values))


def place_of(ruler: Ruler, value: float) -> float:
    values, places = zip(*((tick.value, tick.x_in) for tick in ruler.ticks), strict=True)
    return float(np.interp(value, values, places))


def probability_at(ruler: Ruler, x_in: float) -> float:
    """Between marks the line is even in log-odds; beyond the last mark it goes on as between the last two."""
    ticks = [tick for tick in ruler.ticks if 0 < tick.value < 1]
    x, z = [t.x_in for t in ticks], [math.log(t.value / (1 - t.value)) for t in ticks]
    i = min(max(int(np.searchsorted(x, x_in)), 1), len(x) - 1)
    slope = (z[i] - z[i - 1]) / (x[i] - x[i - 1])
    return 1 / (1 + math.exp(-(z[i - 1] + slope * (x_in - x[i - 1]))))


coefficient = st.floats(-3, 3).filter(lambda b: abs(b) > 0.05)


@settings(max_examples=200)
@given(
    intercept=st.floats(-4, 4),
    age=st.floats(-0.2, 0.2),
    others=st.tuples(coefficient, coefficient, coefficient),
    low=st.integers(-50, 60),
    width=st.integers(1, 300),
    patient=st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 1)),
)
def test_what_is_read_with_a_ruler_is_the_models_probability(
    intercept: float,
    age: float,
    others: tuple[float, ...],
    low: int,
    width: int,
    patient: tuple[int, int, int],
) -> None:
    rulers = rulers_of(fitted((intercept, age, *others), (float(low), float(low + width))))
    ages, grades, smokers = rulers.terms
    years = ages.ticks[patient[0] % len(ages.ticks)]
    grade = next(tick for tick in grades.ticks if tick.label == "abc"[patient[1]])
    smoke = next(tick for tick in smokers.ticks if tick.label == "01"[patient[2]])
    assume(sum(0 < tick.value < 1 for tick in rulers.probability.ticks) >= 2)  # no float lies between .9999… and 1
    total = sum(read_off(rulers.points, tick.x_in) for tick in (years, grade, smoke))
    read = probability_at(rulers.probability, place_of(rulers.total, total))
    b, c, s = others
    log_odds = intercept + age * years.value + (0.0, b, c)[patient[1]] + (0.0, s)[patient[2]]
    assert read == pytest.approx(1 / (1 + math.exp(-log_odds)), rel=1e-5, abs=1e-9)


def test_a_drawn_mark_and_its_label_stand_where_the_geometry_says() -> None:
    result = results()["rulers"]
    drawing = draw_nomogram(TERMS, "y", result)
    assert isinstance(drawing, Drawing)
    (axes,) = drawing.figure.axes
    width, height = drawing.figure.get_size_inches()
    assert axes.get_position().bounds == pytest.approx((0, 0, 1, 1))
    assert axes.get_xlim() == pytest.approx((0, width))
    assert axes.get_ylim() == pytest.approx((0, height))
    marks = {round(float(np.asarray(line.get_xdata())[0]), 6) for line in axes.lines}
    texts = {(text.get_text(), round(text.get_position()[0], 6)) for text in axes.texts}
    for ruler in rulers_of(result).all():
        assert {round(tick.x_in, 6) for tick in ruler.ticks} <= marks
        assert {(tick.label, round(tick.x_in, 6)) for tick in ruler.ticks if tick.label} <= texts
        assert (ruler.name, 0.1) in texts


def test_points_run_from_0_to_100_over_the_whole_line() -> None:
    points = rulers_of(results()["rulers"]).points
    assert (points.ticks[0].value, points.ticks[0].x_in) == (0, LEFT_IN)
    assert (points.ticks[-1].value, points.ticks[-1].x_in) == (100, LEFT_IN + SPAN_IN)
    assert [tick.label for tick in points.ticks if tick.label] == [str(n) for n in range(0, 101, 10)]


def test_the_widest_term_spans_the_line_and_no_total_leaves_its_own() -> None:
    rulers = rulers_of(results()["rulers"])
    assert max(ruler.ends_in[1] for ruler in rulers.terms) == pytest.approx(LEFT_IN + SPAN_IN)
    highest = sum(read_off(rulers.points, ruler.ends_in[1]) for ruler in rulers.terms)
    assert rulers.total.ticks[-1].value >= highest


@pytest.mark.parametrize("beta", [(-30.0, 0.01, 1.0, 2.0, 0.5), (30.0, 0.01, 1.0, 2.0, 0.5)])
def test_probabilities_beyond_every_round_one_still_have_marks(beta: tuple[float, ...]) -> None:
    probability = rulers_of(fitted(beta, (40.0, 80.0))).probability
    assert len([tick for tick in probability.ticks if tick.label]) >= 2


def test_labels_of_close_levels_are_put_in_rows() -> None:
    close = staggered([Tick(3.0, 1.0, "steatosis"), Tick(3.1, 2.0, "fibrosis"), Tick(3.2, 3.0, "normal")])
    assert [tick.row for tick in close] == [0, 1, 2]
    apart = staggered([Tick(3.0, 1.0, "a"), Tick(4.0, 2.0, "b")])
    assert [tick.row for tick in apart] == [0, 0]


@pytest.mark.parametrize("limits", [(40.0, 80.0), (0.0, 1.0), (59.0, 60.0), (0.5, 12000.0)])
def test_no_text_overlaps_another_or_leaves_the_figure(limits: tuple[float, float]) -> None:
    for age in (0.03, 0.0001, -0.2):
        drawing = draw_nomogram(TERMS, "y", fitted((-2.0, age, 0.2, 0.25, 0.6), limits))
        assert isinstance(drawing, Drawing)
        drawing.figure.savefig(io.BytesIO(), format="png")
        texts = [text for text in drawing.figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
        boxes = [text.get_window_extent().padded(-1.0) for text in texts]
        page = drawing.figure.bbox.padded(0.5)
        assert all(page.contains(*corner) for box in boxes for corner in (box.min, box.max))
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_tables_say_the_same_as_the_rulers() -> None:
    result = results()["rulers"]
    points, totals = points_tables(TERMS, result)
    shown = {(row[0].text, row[1].text): row[2].text for row in points.table.rows}
    for level, at in result["level_points"]["grade"].items():
        assert shown["grade", level] == f"{at:.1f}"
    start, scale = result["log_odds_at_zero"], result["points_per_log_odds"]
    total, p = (cell.text for cell in totals.table.rows[2])
    assert float(p) == pytest.approx(1 / (1 + math.exp(-(start + float(total) / scale))), abs=0.0051)


def test_a_result_without_its_scale_is_a_reason() -> None:
    assert isinstance(lay_out(TERMS, {}), Missing)
    assert lay_out(["height"], results()["rulers"]) == Missing("the result has no points for 'height'")
