"""ROC curves of all models, internal and external side by side, with 95 % bands where the summary holds them."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fl_liver.server.report.number_text import with_interval
from fl_liver.server.report.pieces import Missing, Summary, estimate, series, table
from fl_liver.server.report.style import (
    LOOKS,
    PAGE_WIDTH_IN,
    PARTS,
    QUIET,
    Drawing,
    axes_at,
    fraction_ticks,
    in_house_style,
    look_of,
)


@in_house_style
def draw_roc(summary: Summary) -> Drawing | Missing:
    """One panel for each part that has a curve. Missing, with the first reason found, where no model has one."""
    panels = {part: curves for part in PARTS if (curves := _curves(summary, part))}
    if not panels:
        return _why_none(summary)
    figure = Figure(figsize=(PAGE_WIDTH_IN, 4.75))
    for place, (part, curves) in enumerate(panels.items()):
        axes = axes_at(figure, 0.65 + place * 4.5, 0.6, 3.75, 3.75)
        _frame(axes, PARTS[part])
        for model in curves:
            _curve(axes, summary, model, part)
        axes.legend(loc="lower right", borderaxespad=0.4, handlelength=2.4, labelspacing=0.5)
    alt = "; ".join(f"{PARTS[part]}: {', '.join(look_of(m).label for m in curves)}" for part, curves in panels.items())
    caption = (
        "Shaded: 95 % band of the sensitivity at each specificity. The local-only curve is the mean of the hospitals' "
        "own models and has no band. Dotted diagonal: chance. Legend: AUC [95 % interval]."
    )
    return Drawing("roc", figure, f"ROC curves. {alt}.", caption)


def _curves(summary: Summary, part: str) -> list[str]:
    """Models with a curve for this part, in the order of the looks."""
    return [
        model
        for model in LOOKS
        if not isinstance(series(summary, "models", model, part, "roc", "fpr"), Missing)
        and not isinstance(series(summary, "models", model, part, "roc", "tpr"), Missing)
    ]


def _why_none(summary: Summary) -> Missing:
    for part in PARTS:
        found = table(summary, "models", "federated", part, "roc")
        if isinstance(found, Missing):
            return found
    return Missing("the curve holds no points")


def _frame(axes: Axes, title: str) -> None:
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


def _curve(axes: Axes, summary: Summary, model: str, part: str) -> None:
    look = look_of(model)
    measured = table(summary, "models", model, part)
    fpr, tpr = series(measured, "roc", "fpr"), series(measured, "roc", "tpr")
    low, high = series(measured, "roc", "tpr_low"), series(measured, "roc", "tpr_high")
    if isinstance(fpr, Missing) or isinstance(tpr, Missing):
        return
    auc = estimate(measured, "auc")
    label = look.label if isinstance(auc, Missing) else f"{look.label}  {with_interval(auc)}"
    axes.plot(fpr, tpr, linestyle=look.dash, color=look.colour, label=label, zorder=3)
    if model != "local_only" and not isinstance(low, Missing) and not isinstance(high, Missing):
        axes.fill_between(fpr, low, high, color=look.colour, alpha=0.11, linewidth=0, zorder=2)
