"""ROC curves with their 95 % bands: one panel of any curves, and all models of a run, internal and external."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fl_liver.server.report.number_text import with_interval
from fl_liver.server.report.pieces import Estimate, Missing, Series, Summary, estimate, series, table
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
    look_of,
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One ROC curve: rates (n,) in [0, 1], the band's limits where there is one, and how it is named and drawn."""

    label: str
    look: Look
    fpr: Series
    tpr: Series
    band: tuple[Series, Series] | None = None


@in_house_style
def draw_roc(summary: Summary) -> Drawing | Missing:
    """One panel for each part that has a curve. Missing, with the first reason found, where no model has one."""
    panels = {part: curves for part in PARTS if (curves := _curves(summary, part))}
    if not panels:
        return _why_none(summary)
    figure = Figure(figsize=(PAGE_WIDTH_IN, 4.75))
    for place, (part, curves) in enumerate(panels.items()):
        roc_panel(axes_at(figure, 0.65 + place * 4.5, 0.6, 3.75, 3.75), PARTS[part], curves)
    alt = "; ".join(f"{PARTS[part]}: {', '.join(c.look.label for c in curves)}" for part, curves in panels.items())
    caption = (
        "Shaded: 95 % band of the sensitivity at each specificity. The local-only curve is the mean of the hospitals' "
        "own models and has no band. Dotted diagonal: chance. Legend: AUC [95 % interval]."
    )
    return Drawing("roc", figure, f"ROC curves. {alt}.", caption)


def labelled(name: str, auc: Estimate | Missing) -> str:
    """A legend entry: the name and, where it is known, the AUC with its interval."""
    return name if isinstance(auc, Missing) else f"{name}  {with_interval(auc)}"


def roc_panel(axes: Axes, title: str, curves: Sequence[Curve]) -> None:
    """Frame, diagonal, curves with bands, and legend in one panel. Call within `in_house_style`."""
    axes.plot([0, 1], [0, 1], ":", color=QUIET, linewidth=1.0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", ylabel="Sensitivity")
    axes.set_title(title)
    axes.set_aspect("equal")
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    fraction_ticks(axes.xaxis)
    fraction_ticks(axes.yaxis)
    axes.grid()
    axes.set_axisbelow(True)
    for curve in curves:
        colour = curve.look.colour
        axes.plot(curve.fpr, curve.tpr, linestyle=curve.look.dash, color=colour, label=curve.label, zorder=3)
        if curve.band is not None:
            axes.fill_between(curve.fpr, *curve.band, color=colour, alpha=0.11, linewidth=0, zorder=2)
    axes.legend(loc="lower right", borderaxespad=0.4, handlelength=2.4, labelspacing=0.5)


def curve_of(measured: Summary | Missing, name: str, look: Look, *, with_band: bool = True) -> Curve | Missing:
    """The curve of a measured model {auc, ci95, roc: {fpr, tpr, tpr_low, tpr_high}}; Missing, with the reason."""
    fpr, tpr = series(measured, "roc", "fpr"), series(measured, "roc", "tpr")
    if isinstance(fpr, Missing) or isinstance(tpr, Missing):
        return fpr if isinstance(fpr, Missing) else Missing("the curve holds no points")
    low, high = series(measured, "roc", "tpr_low"), series(measured, "roc", "tpr_high")
    band = None if not with_band or isinstance(low, Missing) or isinstance(high, Missing) else (low, high)
    return Curve(labelled(name, estimate(measured, "auc")), look, fpr, tpr, band)


def _curves(summary: Summary, part: str) -> list[Curve]:
    """Models with a curve for this part, in the order of the looks."""
    found = []
    for model in LOOKS:
        look, measured = look_of(model), table(summary, "models", model, part)
        curve = curve_of(measured, look.label, look, with_band=model != "local_only")
        found += [] if isinstance(curve, Missing) else [curve]
    return found


def _why_none(summary: Summary) -> Missing:
    for part in PARTS:
        found = table(summary, "models", "federated", part, "roc")
        if isinstance(found, Missing):
            return found
    return Missing("the curve holds no points")
