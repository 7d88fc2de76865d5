"""Confusion matrices: any square table of counts, and those of a study with several classes (truth in rows)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fl_liver.errors import DataError
from fl_liver.server.report.number_text import count
from fl_liver.server.report.pieces import Missing, Series, Summary, find, series, table
from fl_liver.server.report.style import PAGE_WIDTH_IN, PARTS, QUIET, Drawing, axes_at, in_house_style, look_of, wrapped

CELL_IN = 0.56
WIDEST_OF_TWO_IN = 2.85
"""Two matrices stand side by side up to this width, otherwise one above the other."""


@in_house_style
def draw_confusion(summary: Summary, model: str) -> Drawing | Missing:
    """Internal and external matrix of one model, each cell with its count and the share of its row."""
    panels = {part: found for part in PARTS if not isinstance(found := _matrix(summary, model, part), Missing)}
    if not panels:
        return Missing("not computed in this run")
    side = CELL_IN * max(len(labels) for labels, _ in panels.values())
    across = 2 if side <= WIDEST_OF_TWO_IN else 1
    pitch = side + 1.8
    figure = Figure(figsize=(PAGE_WIDTH_IN, pitch * -(-len(panels) // across)))
    for place, (part, (labels, counts)) in enumerate(panels.items()):
        row, column = divmod(place, across)
        bottom_in = figure.get_size_inches()[1] - (row + 1) * pitch + 1.35
        confusion_panel(axes_at(figure, 1.75 + column * 4.5, bottom_in, side, side), PARTS[part], labels, counts)
    name = look_of(model).label
    caption = f"{name}: patients of each true class (rows) by the class with the highest score; percent of the row."
    return Drawing(f"confusion_{model}", figure, f"Confusion matrices of the {name.lower()} model.", caption)


def _matrix(summary: Summary, model: str, part: str) -> tuple[list[str], Series] | Missing:
    confusion = table(summary, "models", model, part, "confusion")
    if isinstance(confusion, Missing):
        return confusion
    names, rows = find(confusion, "labels"), find(confusion, "counts")
    if isinstance(names, Missing) or isinstance(rows, Missing):
        return Missing("not computed in this run")
    labels, parsed = [str(label) for label in names], [series(row) for row in rows]
    if len(parsed) != len(labels) or any(isinstance(row, Missing) or row.size != len(labels) for row in parsed):
        raise DataError(
            f"summary, models.{model}.{part}.confusion: {len(labels)} labels but counts of another shape; wanted "
            f"{len(labels)} × {len(labels)}; the report was not written"
        )
    return labels, np.array(parsed)


def confusion_panel(
    axes: Axes, title: str, labels: list[str], counts: Series, *, across: str = "Said", down: str = "Truth"
) -> None:
    """One (k, k) table of counts, rows `down` and columns `across`. Call within `in_house_style`."""
    totals = np.nansum(counts, axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for (truth, said), n in np.ndenumerate(counts):
        words = "–" if np.isnan(n) else f"{count(n)}\n{100 * shares[truth, said]:.0f} %"
        colour = "white" if shares[truth, said] > 0.55 else "#1b1b1b"
        axes.text(said, truth, words, ha="center", va="center", color=colour, linespacing=1.1, fontsize=9)
    places, shown = range(len(labels)), [wrapped(label, 20) for label in labels]
    axes.set_xticks(places, shown, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, shown)
    axes.set(xlabel=across, ylabel=down)
    axes.set_title(title)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set(visible=True, color=QUIET)
