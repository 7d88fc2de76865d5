"""The learning curve: loss of the training hospitals and AUC on internal validation, round by round."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fl_liver.server.report.number_text import fraction
from fl_liver.server.report.pieces import Missing, Series, Summary, number, records
from fl_liver.server.report.style import LOOKS, PAGE_WIDTH_IN, QUIET, Drawing, axes_at, fraction_ticks, in_house_style


@in_house_style
def draw_learning(summary: Summary) -> Drawing | Missing:
    """Two panels over the rounds; a round that some hospital missed has a hollow mark. Missing without any value."""
    rounds = records(summary, "rounds")
    if isinstance(rounds, Missing):
        return rounds
    x, loss, auc = (_column(rounds, key) for key in ("round", "loss", "internal_auc"))
    drawn = {key: y for key, y in (("Training loss", loss), ("Internal AUC", auc)) if np.isfinite(x * y).any()}
    if not drawn:
        return Missing("no round reported a loss or an AUC")
    hollow = _column(rounds, "sites_answered") < _column(rounds, "sites_expected")
    figure = Figure(figsize=(PAGE_WIDTH_IN, 3.0))
    for place, (title, y) in enumerate(drawn.items()):
        axes = axes_at(figure, 0.6 + place * 4.55, 0.55, 3.4, 2.1)
        _panel(axes, title, x, y, hollow)
    caption = "Left: mean loss over the hospitals' own training patients. Right: AUC on patients kept from training."
    if len(drawn) == 1:
        caption = f"{next(iter(drawn))} after each round."
    if hollow.any():
        caption += " Hollow marks: rounds that at least one hospital missed."
    return Drawing("learning_curve", figure, f"Line plot over {len(rounds)} rounds of {' and '.join(drawn)}.", caption)


def _column(rounds: list[Summary], key: str) -> Series:
    values = [number(row, key) for row in rounds]
    return np.array([np.nan if isinstance(value, Missing) else value for value in values])


def _panel(axes: Axes, title: str, x: Series, y: Series, hollow: np.ndarray) -> None:
    look = LOOKS["federated"]
    measured = np.isfinite(x * y)  # the AUC is asked for in some rounds only
    axes.plot(x[measured], y[measured], look.dash, color=look.colour, zorder=2)
    for mask, face in ((~hollow, look.colour), (hollow, "white")):
        axes.scatter(x[mask], y[mask], s=26, facecolor=face, edgecolor=look.colour, linewidth=1.3, zorder=3)
    axes.set_title(title)
    axes.set_xlabel("Round")
    axes.grid(axis="y")
    axes.margins(x=0.06, y=0.14)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    fraction_ticks(axes.yaxis, 2)
    last = int(np.flatnonzero(np.isfinite(x * y))[-1])
    axes.annotate(
        fraction(y[last]),
        (x[last], y[last]),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        color=QUIET,
        annotation_clip=False,
    )
