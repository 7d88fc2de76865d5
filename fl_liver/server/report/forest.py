"""Forest plot of AUCs: any rows, and each hospital of a run with diamonds for all hospitals of a part together.

The hospitals' own figures are named releases; one that did not consent keeps its row and says "not released".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from fl_liver.server.report.number_text import count, with_interval
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, mean_of, number, records, table, text
from fl_liver.server.report.style import (
    GRID,
    LOOKS,
    PAGE_WIDTH_IN,
    PARTS,
    QUIET,
    Drawing,
    axes_at,
    fraction_ticks,
    in_house_style,
)

ROW_IN = 0.25
HEADING = "#0b4f76"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the plot. A heading has neither AUC nor marker."""

    label: str
    auc: Estimate | Missing | None = None
    patients: str = ""
    model: str = "federated"
    diamond: bool = False


@in_house_style
def draw_forest(summary: Summary) -> Drawing | Missing:
    """Training hospitals, then external hospitals, each followed by its diamonds. Missing where nothing has an AUC."""
    rows = [row for part in PARTS for row in _part(summary, part)]
    if not any(isinstance(row.auc, Estimate) for row in rows):
        return Missing("no hospital and no group of hospitals has an AUC in this run")
    caption = (
        "Circles: the federated model in one hospital, with its 95 % interval. Diamonds: all patients of the part "
        "together; their width is the 95 % interval. Dotted line: chance."
    )
    kept_back: dict[str, list[str]] = {}
    for row in rows:
        if isinstance(row.auc, Missing):
            kept_back.setdefault(row.auc.reason, []).append(row.label)
    for reason, labels in kept_back.items():
        caption += f" Without AUC ({reason}): {', '.join(labels)}."
    named = [row.label for row in rows if isinstance(row.auc, Estimate)]
    alt = f"Forest plot of AUC with intervals for {', '.join(named)}."
    return Drawing("forest_auc", forest_figure(rows), alt, caption)


@in_house_style
def forest_figure(rows: Sequence[Row]) -> Figure:
    """One line a row on an axis from .5, or from the lowest interval, to 1; at least one row has an AUC."""
    height = len(rows) * ROW_IN
    figure = Figure(figsize=(PAGE_WIDTH_IN, height + 0.95))
    axes = axes_at(figure, 2.7, 0.55, 4.1, height)
    lowest = min(row.auc.value if row.auc.low is None else row.auc.low for row in rows if isinstance(row.auc, Estimate))
    start = max(0.0, min(0.5, int(lowest * 10) / 10))
    axes.set(xlim=(start - 0.01, 1.01), ylim=(len(rows) - 0.4, -0.6), xlabel="AUC")
    axes.axvline(0.5, color=QUIET, linewidth=1.0, linestyle=":")
    for y, row in enumerate(rows):
        _draw_row(axes, y, row)
    _columns(axes)
    return figure


def _part(summary: Summary, part: str) -> list[Row]:
    role = "train" if part == "internal" else "external"
    per_site = table(summary, "models", "federated", "per_site")
    sites = records(summary, "sites")
    roles = {} if isinstance(sites, Missing) else {text(site, "name"): text(site, "role") for site in sites}
    entries = {} if isinstance(per_site, Missing) else per_site
    rows = [_site(entries, name) for name in sorted(entries) if roles.get(name, "external") == role]
    for model, look in LOOKS.items():
        pooled = table(summary, "models", model, part)
        if isinstance(pooled, Missing) and pooled.released:
            continue
        auc = pooled if isinstance(pooled, Missing) else estimate(pooled, "auc")
        rows.append(Row(look.label, auc, _patients(pooled), model, diamond=True))
    return [Row(PARTS[part]), *rows] if rows else []


def _site(entries: Summary, name: str) -> Row:
    entry = table(entries, name)
    return Row(name, entry if isinstance(entry, Missing) else estimate(entry, "auc"), _patients(entry))


def _patients(entry: Summary | Missing) -> str:
    n, positives = number(entry, "n"), number(entry, "positives")
    if isinstance(n, Missing):
        return mean_of(entry)
    return count(n) if isinstance(positives, Missing) else f"{count(n)} ({count(positives)})"


def _draw_row(axes: Axes, y: int, row: Row) -> None:
    beside = axes.get_yaxis_transform()
    if row.auc is None:
        axes.text(-0.65, y, row.label, transform=beside, va="center", weight="bold", color=HEADING)
        return
    weight = "bold" if row.diamond else "normal"
    axes.text(-0.62, y, row.label, transform=beside, va="center", weight=weight)
    axes.text(-0.03, y, row.patients, transform=beside, va="center", ha="right")
    if isinstance(row.auc, Missing):
        axes.text(1.04, y, "–" if row.auc.released else "not released", transform=beside, va="center", color=QUIET)
        return
    axes.text(1.04, y, with_interval(row.auc), transform=beside, va="center", weight=weight)
    _mark(axes, y, row.auc, row)


def _mark(axes: Axes, y: int, auc: Estimate, row: Row) -> None:
    look = LOOKS[row.model]
    low, high = (auc.value if end is None else end for end in (auc.low, auc.high))
    if row.diamond and high > low:
        axes.fill([low, auc.value, high, auc.value], [y, y - 0.32, y, y + 0.32], color=look.colour, linewidth=0)
        return
    axes.plot([low, high], [y, y], color=look.colour, linewidth=1.5, solid_capstyle="butt")
    axes.plot([auc.value], [y], "D" if row.diamond else look.marker, color=look.colour, markersize=6)


def _columns(axes: Axes) -> None:
    above = axes.get_yaxis_transform()
    axes.text(-0.03, -0.85, "n (positive)", transform=above, ha="right", va="bottom", color=QUIET)
    axes.text(1.04, -0.85, "AUC [95 % interval]", transform=above, va="bottom", color=QUIET)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MultipleLocator(0.1))
    fraction_ticks(axes.xaxis)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
