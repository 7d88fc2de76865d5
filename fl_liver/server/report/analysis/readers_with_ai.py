"""Sections about several readers: twice, without and with AI, and by experience."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from fl_liver.server.report.analysis.content import Content, Titled, proportion_cell
from fl_liver.server.report.analysis.performance import NAME_LENGTH, curves_beside
from fl_liver.server.report.number_text import count, decimal, fraction, p_value
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, find, number, table, triple
from fl_liver.server.report.roc import Curve, roc_panel
from fl_liver.server.report.style import INK, Drawing, axes_at, clipped, in_house_style, look_number
from fl_liver.server.report.tables import Cell, TextTable, cell, interval_cell

SHARES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "accuracy": "Accuracy"}
_TIMES = {"alone": "without\N{NO-BREAK SPACE}AI", "with_ai": "with\N{NO-BREAK SPACE}AI"}
NOTE = (
    "Pooled differences and their p: patients are the units, readers of one patient are not independent (Obuchowski "
    "1998). They are about these readers. Single readers: McNemar's exact test."
)
T_TEST = (
    "The paired t-test over readers, as printed in Wang 2021, treats the patients as fixed; with three readers it has "
    "two degrees of freedom."
)
ALL_ALIKE = (
    "A difference without an interval: it is the same in every patient, so that its variance is 0; how sure it is, "
    "these patients do not say."
)


def readers_with_ai(entry: Any, result: Summary) -> Content:
    """Every reader without and with AI, all of them and by experience, agreement, and both points on the ROC plane."""
    pooled = table(result, "pooled")
    groups = {"All readers": pooled, **_tables(table(result, "groups"))}
    tables = (
        _each(entry, result),
        group_table("All readers, and by experience: with AI against without", "with AI", "without", groups),
        _agreement(result),
        _over_readers(result),
    )
    said = f"accuracy {_mean(pooled, 'other')} without AI, {_mean(pooled, 'mean')} with AI"
    difference = table(pooled, "difference", "accuracy")
    p = number(difference, "p")
    said += "" if isinstance(p, Missing) else f", p {p_value(p)}"
    star = _balanced(entry, result)
    curves = [] if entry.model is None else curves_beside([entry.model], result)
    drawing = _points_drawing(entry, result, curves, star)
    notes = (NOTE, T_TEST, *all_alike_note(groups))
    return Content(said, tuple(one for one in tables if one is not None), (drawing,), notes)


def group_table(title: str, mine: str, theirs: str, groups: Mapping[str, Summary | Missing]) -> Titled:
    """Means of groups of readers beside what they are compared with, and the pooled difference."""
    rows = []
    for name, found in groups.items():
        for key, label in SHARES.items():
            difference = table(found, "difference", key)
            rows.append(
                (
                    Cell(name if label == "Sensitivity" else ""),
                    Cell(label),
                    cell(number(found, "mean", key), fraction),
                    cell(number(found, "other", key), fraction),
                    interval_cell(difference if isinstance(difference, Missing) else estimate(difference, "estimate")),
                    cell(number(difference, "p"), p_value),
                )
            )
    head = ("Readers", "", f"Mean {mine}", f"Mean {theirs}", "Difference [95 %]", "p")
    return Titled(title, TextTable(head, tuple(rows), names=2))


def all_alike_note(groups: Mapping[str, Summary | Missing]) -> tuple[str, ...]:
    """A sentence where some pooled difference has no interval."""
    found = [find(of, "difference", key, "flags") for of in groups.values() for key in SHARES]
    return (ALL_ALIKE,) if any("degenerate_variance" in one for one in found if not isinstance(one, Missing)) else ()


def _each(entry: Any, result: Summary) -> Titled:
    rows = []
    for place, name in enumerate(entry.alone):
        of = table(result, "readers", name)
        for time, words in _TIMES.items():
            tests = [number(of, f"mcnemar_{key}", "p_exact") if time == "with_ai" else None for key in SHARES]
            label = name if not entry.experience else f"{name} ({entry.experience[place]})"
            rows.append(
                (
                    Cell(label if time == "alone" else ""),
                    Cell(words),
                    *(proportion_cell({} if isinstance(of, Missing) else of, time, key) for key in SHARES),
                    cell(number(of, time, "kappa"), fraction),
                    *(Cell("") if one is None else cell(one, p_value) for one in tests),
                )
            )
    head = (
        *("Reader", "", "Sensitivity", "Specificity", "Accuracy", "κ"),
        *("p sens.", "p spec.", "p acc."),
    )
    return Titled(
        "Each reader, with exact 95 % intervals; p is McNemar's, exact", TextTable(head, tuple(rows), names=2)
    )


def _agreement(result: Summary) -> Titled | None:
    found = table(result, "agreement")
    if isinstance(found, Missing):
        return None
    rows = tuple(
        (
            Cell(words[0].upper() + words[1:]),
            cell(number(found, time, "kappa"), fraction),
            cell(number(found, time, "p"), p_value),
            cell(number(found, time, "agree_percent"), lambda x: decimal(x, 1)),
            cell(number(found, time, "subjects"), count),
        )
        for time, words in _TIMES.items()
    )
    head = ("Agreement of the readers", "Fleiss' κ", "p", "All agree, %", "Patients")
    return Titled("", TextTable(head, rows))


def _over_readers(result: Summary) -> Titled:
    rows = tuple(
        (
            Cell({**SHARES, "f1": "F1", "kappa": "κ"}[key]),
            cell(number(result, "pooled", "other", key), fraction),
            cell(number(result, "pooled", "mean", key), fraction),
            cell(number(result, "reader_t_p", key), p_value),
        )
        for key in (*SHARES, "f1", "kappa")
    )
    return Titled("", TextTable(("Mean of the readers", "Without AI", "With AI", "p (paired t)"), rows))


@in_house_style
def _points_drawing(entry: Any, result: Summary, curves: list[Curve], star: tuple[float, float] | None) -> Drawing:
    """Filled without AI, hollow with it, joined (Wang 2021, Fig. 4); the model's curve where the plan names one."""
    figure = Figure(figsize=(4.5, 4.35))
    axes = axes_at(figure, 0.6, 0.55, 3.75, 3.75)
    for place, name in enumerate(entry.alone, start=1):
        look, label = look_number(place), clipped(name, NAME_LENGTH)
        of = table(result, "readers", name)
        points = [_point(table(of, time)) for time in _TIMES]
        known = [point for point in points if point is not None]
        axes.plot(*zip(*known, strict=True), linestyle=(0, (2, 2)), color=look.colour, linewidth=1.0, zorder=4)
        for point, fill in zip(points, (look.colour, "white"), strict=True):
            if point is not None:
                shown = "" if fill == "white" else label
                axes.plot(
                    *point, look.marker, color=look.colour, markerfacecolor=fill, markersize=7, zorder=5, label=shown
                )
    if star is not None:
        axes.plot(*star, "*", color=INK, markersize=11, label="Model, balanced", zorder=6)
    roc_panel(axes, "", curves)
    caption = "Filled: the reader without AI; hollow: with AI. Dotted diagonal: chance."
    if star is not None:
        caption += " Star: the model where its sensitivity and specificity are nearest to each other."
    return Drawing("readers_with_ai", figure, f"Readers without and with AI: {', '.join(entry.alone)}.", caption)


def _balanced(entry: Any, result: Summary) -> tuple[float, float] | None:
    if entry.model is None:
        return None
    found = table(result, "curves", entry.model, "balanced")
    sensitivity, specificity = number(found, "sensitivity"), number(found, "specificity")
    if isinstance(sensitivity, Missing) or isinstance(specificity, Missing):
        return None
    return 1 - specificity, sensitivity


def _point(of: Summary | Missing) -> tuple[float, float] | None:
    if isinstance(of, Missing):
        return None
    sensitivity, specificity = triple(of, "sensitivity"), triple(of, "specificity")
    if isinstance(sensitivity, Estimate) and isinstance(specificity, Estimate):
        return 1 - specificity.value, sensitivity.value
    return None


def _tables(found: Summary | Missing) -> dict[str, Summary | Missing]:
    return {} if isinstance(found, Missing) else {name: table(found, name) for name in found}


def _mean(found: Summary | Missing, of: str) -> str:
    return cell(number(found, of, "accuracy"), fraction).text
