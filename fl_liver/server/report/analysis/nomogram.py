"""The drawing of a nomogram, to be printed and used with a ruler."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fl_liver.server.report.analysis.content import Titled, risk, shortest
from fl_liver.server.report.analysis.nomogram_rulers import Ruler, Rulers, lay_out, points_at
from fl_liver.server.report.number_text import decimal, odds_to_probability
from fl_liver.server.report.pieces import Missing, Summary, number
from fl_liver.server.report.style import GRID, INK, PAGE_WIDTH_IN, Drawing, axes_at, clipped, in_house_style
from fl_liver.server.report.tables import Cell, TextTable

ROW_IN, LINE_IN, MAJOR_IN, MINOR_IN = 0.17, 0.30, 0.07, 0.04
LABEL_LENGTH = 26
TOP_IN, BOTTOM_IN = 0.1, 0.1


@in_house_style
def draw_nomogram(terms: Sequence[str], outcome: str, result: Summary) -> Drawing | Missing:
    """Points on top, a ruler for each term, total points and probability at the bottom; all on one scale of inches."""
    rulers = lay_out(terms, result)
    if isinstance(rulers, Missing):
        return rulers
    heights = [_height(ruler) for ruler in rulers.all()]
    gap_in = 0.2
    height = sum(heights) + TOP_IN + BOTTOM_IN + gap_in
    figure = Figure(figsize=(PAGE_WIDTH_IN, height))
    axes = axes_at(figure, 0, 0, PAGE_WIDTH_IN, height)
    axes.set(xlim=(0, PAGE_WIDTH_IN), ylim=(0, height))
    axes.set_axis_off()
    places: list[float] = []
    top = height - TOP_IN
    for ruler, tall in zip(rulers.all(), heights, strict=True):
        top -= gap_in if ruler is rulers.total else 0
        places.append(top - ROW_IN * ruler.rows(above=True) - 0.1)
        top -= tall
    _guides(axes, rulers, places)
    for ruler, y in zip(rulers.all(), places, strict=True):
        _draw_ruler(axes, ruler, y)
    caption = (
        "For each line, find the patient's value, go straight up to Points and note the number. Add the numbers "
        f"up, find the sum on Total points, and go straight down to the probability of {outcome} = 1. "
        f"{example(terms, result)}"
    )
    return Drawing("nomogram", figure, f"Nomogram of {outcome} from {', '.join(terms)}.", caption)


def example(terms: Sequence[str], result: Summary) -> str:
    """One worked reading: the value in the middle of each line."""
    rulers = lay_out(terms, result)
    start, scale = number(result, "log_odds_at_zero"), number(result, "points_per_log_odds")
    if isinstance(rulers, Missing) or isinstance(start, Missing) or isinstance(scale, Missing):
        return ""
    told, total = [], 0.0
    for ruler in rulers.terms:
        labelled = [tick for tick in ruler.ticks if tick.label]
        middle = labelled[len(labelled) // 2]
        points = points_at(middle.x_in)
        total += points
        told.append(f"{ruler.name} {middle.label}: {decimal(points, 0)}")
    probability = risk(odds_to_probability(start + total / scale))
    return f"Example: {', '.join(told)}; together {decimal(total, 0)} points, probability {probability}."


def points_tables(terms: Sequence[str], result: Summary) -> list[Titled]:
    """The same in numbers, for who has no ruler."""
    rulers = lay_out(terms, result)
    start, scale = number(result, "log_odds_at_zero"), number(result, "points_per_log_odds")
    if isinstance(rulers, Missing) or isinstance(start, Missing) or isinstance(scale, Missing):
        return []
    rows = tuple(
        (Cell(ruler.name), Cell(tick.label), Cell(decimal(points_at(tick.x_in), 1)))
        for ruler in rulers.terms
        for tick in ruler.ticks
        if tick.label
    )
    totals = tuple(
        (Cell(shortest(tick.value)), Cell(risk(odds_to_probability(start + tick.value / scale))))
        for tick in rulers.total.ticks
        if tick.label
    )
    return [
        Titled("Points of each value", TextTable(("Term", "Value", "Points"), rows, names=2), folded=True),
        Titled("Probability at total points", TextTable(("Total points", "Probability"), totals, names=0), folded=True),
    ]


def _height(ruler: Ruler) -> float:
    return LINE_IN + ROW_IN * (ruler.rows(above=True) + ruler.rows(above=False))


def _draw_ruler(axes: Axes, ruler: Ruler, y: float) -> None:
    low, high = ruler.ends_in
    axes.plot([low, high], [y, y], color=INK, linewidth=1.1, solid_capstyle="butt")
    weight = "bold" if ruler.name in ("Points", "Total points", "Probability") else "normal"
    axes.text(0.1, y, clipped(ruler.name, LABEL_LENGTH), va="center", weight=weight)
    for tick in ruler.ticks:
        above = tick.row % 2 == 1
        side = 1 if above else -1
        length = MAJOR_IN if tick.label else MINOR_IN
        axes.plot([tick.x_in, tick.x_in], [y, y + side * length], color=INK, linewidth=0.9)
        if tick.label:
            away = length + 0.02 + ROW_IN * (tick.row // 2)
            axes.text(tick.x_in, y + side * away, tick.label, ha="center", va="bottom" if above else "top", fontsize=9)


def _guides(axes: Axes, rulers: Rulers, places: Sequence[float]) -> None:
    """Faint vertical lines that lead the eye from a term up to its points, and from the total down."""
    for ruler, top, bottom in ((rulers.points, places[0], places[-3]), (rulers.total, places[-2], places[-1])):
        for tick in ruler.ticks:
            if tick.label and math.isfinite(tick.x_in):
                axes.plot([tick.x_in, tick.x_in], [bottom, top], color=GRID, linewidth=0.6, zorder=0)
