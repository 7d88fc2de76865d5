"""Forest plot of odds ratios: the clinical factors together, and the same with the network's score (fused model)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fl_liver.server.report.number_text import p_value, ratio_with_interval
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, number, records, table, text
from fl_liver.server.report.style import GRID, LOOKS, PAGE_WIDTH_IN, QUIET, Drawing, axes_at, in_house_style, wrapped

LINE_IN = 0.23
FITS = {"multivariable": "Clinical factors alone", "fused": "With the network's score"}
_COLOURS = {"multivariable": "#6b6b6b", "fused": LOOKS["fusion"].colour}
_MARKERS = {"multivariable": "o", "fused": LOOKS["fusion"].marker}
_TICKS = (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000)


def odds_terms(summary: Summary, fit: str) -> list[Summary]:
    """The terms of one fit without its intercept; empty where the fit is missing."""
    terms = records(summary, "fusion", fit, "terms")
    return [] if isinstance(terms, Missing) else [term for term in terms if "ntercept" not in text(term, "name")]


@in_house_style
def draw_odds(summary: Summary) -> Drawing | Missing:
    """One row a term, one line a fit, on a logarithmic axis; an interval that leaves the axis ends in an arrow."""
    fits = {fit: terms for fit in FITS if (terms := odds_terms(summary, fit))}
    if not fits:
        why = table(summary, "fusion")
        return why if isinstance(why, Missing) else Missing("no fused model was fitted in this run")
    caption = (
        "Odds ratio of a positive diagnosis and its 95 % Wald interval; right of 1, the factor speaks for it. "
        "The network's score counts per unit of log-odds."
    )
    names = dict.fromkeys(text(term, "label") or text(term, "name") for terms in fits.values() for term in terms)
    return Drawing("odds_ratios", odds_figure(fits), f"Forest plot of odds ratios of {', '.join(names)}.", caption)


@in_house_style
def odds_figure(fits: dict[str, list[Summary]]) -> Figure:
    """Terms {name, label, odds_ratio, or_ci95, p} of one fit, or of both of `FITS`, which then stand in a legend."""
    lines = _lines(fits)
    height = LINE_IN * (lines[-1][0] + 1)
    figure = Figure(figsize=(PAGE_WIDTH_IN, height + 1.05))
    axes = axes_at(figure, 2.6, 0.55, 3.75, height)
    _frame(axes, [measured for _, _, _, measured in lines], lines[-1][0])
    for y, fit, term, measured in lines:
        _line(axes, y, fit, term, measured)
    _labels(axes, lines)
    _headings(axes)
    if len(fits) > 1:
        _legend(axes, list(fits))
    return figure


Line = tuple[float, str, Summary, Estimate | Missing]


def _lines(fits: dict[str, list[Summary]]) -> list[Line]:
    """(y, fit, term, odds ratio) in the order of the fused model's terms, with half a line of space between terms."""
    names = dict.fromkeys(text(term, "name") for terms in reversed(fits.values()) for term in terms)
    lines: list[Line] = []
    y = 0.0
    for name in names:
        for fit, terms in fits.items():
            for term in terms:
                if text(term, "name") == name:
                    lines.append((y, fit, term, estimate(term, "odds_ratio", "or_ci95")))
                    y += 1
        y += 0.5
    return lines


def _frame(axes: Axes, measured: Sequence[Estimate | Missing], last: float) -> None:
    ends = [x for m in measured if isinstance(m, Estimate) for x in (m.low, m.value, m.high) if x is not None and x > 0]
    low, high = float(np.clip(min([*ends, 0.5]), 0.01, 0.5)), float(np.clip(max([*ends, 2]), 2, 1000))
    axes.set_xscale("log")
    axes.set(xlim=(low / 1.15, high * 1.15), ylim=(last + 0.7, -0.7), xlabel="Odds ratio (logarithmic)")
    wide = high / low > 300
    ticks = [t for t in _TICKS if low / 1.15 <= t <= high * 1.15 and (not wide or t in (0.01, 0.1, 1, 10, 100, 1000))]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.axvline(1, color=QUIET, linewidth=1.0, linestyle=":")
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)


def _line(axes: Axes, y: float, fit: str, term: Summary, measured: Estimate | Missing) -> None:
    beside, colour = axes.get_yaxis_transform(), _COLOURS[fit]
    if isinstance(measured, Missing):
        axes.text(1.04, y, measured.reason, transform=beside, va="center", color=QUIET)
        return
    p = number(term, "p")
    axes.text(1.04, y, ratio_with_interval(measured), transform=beside, va="center")
    axes.text(1.62, y, "" if isinstance(p, Missing) else p_value(p), transform=beside, va="center", ha="right")
    left, right = axes.get_xlim()
    low, high = (measured.value if end is None else end for end in (measured.low, measured.high))
    axes.plot([max(low, left), min(high, right)], [y, y], color=colour, linewidth=1.5, solid_capstyle="butt")
    for beyond, x, arrow in ((low < left, left, "<"), (high > right, right, ">")):
        if beyond:
            axes.plot([x], [y], arrow, color=colour, markersize=6, clip_on=False)
    if left <= measured.value <= right:
        axes.plot([measured.value], [y], _MARKERS[fit], color=colour, markersize=5.5)


def _labels(axes: Axes, lines: list[Line]) -> None:
    beside = axes.get_yaxis_transform()
    where: dict[str, list[float]] = {}
    for y, _, term, _ in lines:
        where.setdefault(text(term, "label") or text(term, "name"), []).append(y)
    for label, ys in where.items():
        axes.text(-0.66, float(np.mean(ys)), wrapped(label, 32), transform=beside, va="center", linespacing=0.95)


def _headings(axes: Axes) -> None:
    above = axes.get_yaxis_transform()
    axes.text(1.04, -0.95, "OR [95 % interval]", transform=above, va="bottom", color=QUIET)
    axes.text(1.62, -0.95, "p", transform=above, va="bottom", ha="right", color=QUIET)


def _legend(axes: Axes, fits: list[str]) -> None:
    for fit in fits:
        axes.plot([], [], marker=_MARKERS[fit], color=_COLOURS[fit], markersize=5.5, linewidth=1.5, label=FITS[fit])
    axes.legend(loc="lower left", bbox_to_anchor=(-0.68, 1.0), ncols=2, borderaxespad=0.2, columnspacing=1.5)
