"""Calibration: how often patients of one predicted risk turned out positive, with the patients behind each point."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fl_liver.server.report.number_text import decimal, fraction
from fl_liver.server.report.pieces import Missing, Series, Summary, number, series, table
from fl_liver.server.report.style import (
    LOOKS,
    PAGE_WIDTH_IN,
    PARTS,
    QUIET,
    Drawing,
    Look,
    axes_at,
    fraction_ticks,
    in_house_style,
)

DRAWN = ("federated", "fusion")
"""Four models with ten points each cannot be told apart in one panel; the others stand in the table."""


@in_house_style
def draw_calibration(summary: Summary) -> Drawing | Missing:
    """One panel for each part with a calibration, a strip of patient counts under it."""
    panels = {part: models for part in PARTS if (models := _drawable(summary, part))}
    if not panels:
        return _why_none(summary)
    figure = Figure(figsize=(PAGE_WIDTH_IN, 6.5))
    for place, (part, models) in enumerate(panels.items()):
        left_in = 0.65 + place * 4.5
        _panel(
            axes_at(figure, left_in, 1.55, 3.75, 3.7), axes_at(figure, left_in, 0.55, 3.75, 0.75), summary, part, models
        )
    alt = "Calibration plots of observed frequency against predicted risk: " + ", ".join(PARTS[p] for p in panels) + "."
    caption = (
        "Points: groups of patients of similar predicted risk, with 95 % Wilson intervals; strips: patients in each "
        "group. On the dotted line, predictions are exactly right."
    )
    return Drawing("calibration", figure, alt, caption)


def wilson(rate: Series, n: Series) -> tuple[Series, Series]:
    """95 % interval of proportions, (n,) each in [0, 1]. Source: Wilson, JASA 22 (1927) 209–212.

    >>> low, high = wilson(np.array([0.5]), np.array([10.0]))  # statsmodels proportion_confint(5, 10, .05, "wilson")
    >>> round(float(low[0]), 4), round(float(high[0]), 4)
    (0.2366, 0.7634)
    """
    z = 1.959963984540054
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return centre - half, centre + half


def _drawable(summary: Summary, part: str) -> list[str]:
    keys = ("mean_pred", "obs_rate", "n")
    return [
        model
        for model in DRAWN
        if not any(isinstance(series(summary, "models", model, "calibration", part, key), Missing) for key in keys)
    ]


def _why_none(summary: Summary) -> Missing:
    reasons = [table(summary, "models", model, "calibration", part) for model in DRAWN for part in PARTS]
    return next(
        (why for why in reasons if isinstance(why, Missing) and not why.released), Missing("not computed in this run")
    )


def _panel(axes: Axes, strip: Axes, summary: Summary, part: str, models: list[str]) -> None:
    for model in models:
        measured = table(summary, "models", model, "calibration", part)
        draw_groups(axes, measured, LOOKS[model])
        draw_counts(strip, measured, LOOKS[model])
    calibration_frame(axes, strip, PARTS[part], len(models))


def calibration_frame(axes: Axes, strip: Axes, title: str, entries: int) -> None:
    """Diagonal, ticks, legend of `entries` two-line entries above the panel, and the strip below it; drawn last."""
    axes.plot([0, 1], [0, 1], ":", color=QUIET, linewidth=1.0, zorder=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Observed frequency")
    axes.set_title(title, pad=8 + 29 * entries)
    axes.set_xticks(ticks := [0, 0.2, 0.4, 0.6, 0.8, 1], [])
    axes.set_yticks(ticks)
    fraction_ticks(axes.yaxis)
    axes.grid()
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), labelspacing=0.6, borderaxespad=0.3)
    strip.set(xlim=(-0.02, 1.02), xlabel="Predicted risk", ylabel="Patients")
    strip.set_ylim(0, 1.25 * strip.dataLim.ymax)
    strip.set_xticks(ticks)
    fraction_ticks(strip.xaxis)
    strip.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def draw_groups(axes: Axes, measured: Summary | Missing, look: Look, *, line: bool = True) -> None:
    """Observed rate of each group over its mean prediction, with Wilson intervals; nothing where they are missing."""
    predicted, observed, n = (series(measured, key) for key in ("mean_pred", "obs_rate", "n"))
    if isinstance(predicted, Missing) or isinstance(observed, Missing) or isinstance(n, Missing):
        return
    low, high = wilson(observed, n)
    # Rounding can push an interval's end past the point itself, which matplotlib refuses.
    bars = np.maximum(0, [observed - low, high - observed])
    axes.errorbar(
        predicted,
        observed,
        yerr=bars,
        fmt=look.marker,
        color=look.colour,
        markersize=5.5,
        elinewidth=1.1,
        linestyle=look.dash if line else "none",
        linewidth=1.0,
        label=_label(look.label, measured),
    )


def draw_counts(strip: Axes, measured: Summary | Missing, look: Look) -> None:
    """Patients of each group, at its mean prediction."""
    predicted, n = series(measured, "mean_pred"), series(measured, "n")
    if isinstance(predicted, Missing) or isinstance(n, Missing):
        return
    strip.vlines(predicted, 0, n, color=look.colour, linewidth=1.6)
    strip.plot(predicted, n, look.marker, color=look.colour, markersize=4)


def _label(name: str, measured: Summary | Missing) -> str:
    slope, intercept, brier = (number(measured, key) for key in ("slope", "intercept", "brier"))
    parts = [] if isinstance(slope, Missing) else [f"slope {decimal(slope)}"]
    parts += [] if isinstance(intercept, Missing) else [f"intercept {decimal(intercept)}"]
    parts += [] if isinstance(brier, Missing) else [f"Brier {fraction(brier)}"]
    return f"{name}\n{', '.join(parts)}" if parts else name
