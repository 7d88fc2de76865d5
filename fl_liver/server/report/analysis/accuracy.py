"""Sections about calls: a score cut at a threshold, several classes, readers against a model, low confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fl_liver.server.report.analysis.asked import quoted
from fl_liver.server.report.analysis.content import Content, Titled, facts, numbers, p_cell, proportion_cell
from fl_liver.server.report.analysis.performance import NAME_LENGTH, curves_beside, flag_notes, roc_drawing
from fl_liver.server.report.analysis.readers_with_ai import all_alike_note, group_table
from fl_liver.server.report.confusion import CELL_IN, confusion_panel
from fl_liver.server.report.forest import Row
from fl_liver.server.report.number_text import count, decimal, fraction, p_value, with_interval
from fl_liver.server.report.pieces import (
    Estimate,
    Missing,
    Series,
    Summary,
    estimate,
    find,
    number,
    series,
    table,
    triple,
)
from fl_liver.server.report.style import Drawing, axes_at, clipped, in_house_style
from fl_liver.server.report.tables import Cell, TextTable, cell, interval_cell

MEASURES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "accuracy": "Accuracy",
}
EXACT = "Intervals of proportions are exact (Clopper–Pearson), 95 %."


def diagnostic(entry: Any, result: Summary) -> Content:
    """Sensitivity and the rest with exact intervals, and the table of calls."""
    rows = {label: proportion_cell(result, key) for key, label in MEASURES.items()}
    rows |= numbers(
        result, {"f1": ("F1", fraction), "kappa": ("κ with the truth", fraction), "kappa_p": ("p of κ = 0", p_value)}
    )
    said = [f"{key} {_in_words(triple(result, key))}" for key in ("sensitivity", "specificity")]
    cells = [[number(result, key) for key in row] for row in (("tn", "fp"), ("fn", "tp"))]
    known = np.array([[np.nan if isinstance(x, Missing) else x for x in row] for row in cells])
    drawing = confusion_drawing(["negative", "positive"], known, f"calls of {entry.score} against {entry.label}")
    return Content(", ".join(said), (facts("Accuracy of the call", rows),), (drawing,), (EXACT,))


def multiclass(entry: Any, result: Summary) -> Content:
    """Each class against the rest, the averages, and the table of classes."""
    classes = [str(name) for name in _listed(result, "classes")]
    aucs = [_estimate_at(result, place) for place in range(len(classes))]
    sizes = [number(n) for n in _listed(result, "n")]
    rows = tuple(
        (Cell(name), interval_cell(auc), cell(n, count)) for name, auc, n in zip(classes, aucs, sizes, strict=True)
    )
    forms = {"macro_auc": "Macro AUC (mean of classes)", "micro_auc": "Micro AUC", "hand_till": "Hand and Till"}
    overall = numbers(result, {key: (label, fraction) for key, label in forms.items()})
    overall |= {"Accuracy [95 %]": proportion_cell(result, "accuracy"), "κ": cell(number(result, "kappa"), fraction)}
    tables = (
        Titled("One class against the rest", TextTable(("Class", "AUC [95 %]", "n"), rows)),
        facts("All classes", overall),
    )
    drawing = confusion_drawing(classes, _matrix(result, "confusion"), f"the classes of {entry.label}")
    forest = tuple(
        Row(clipped(name, NAME_LENGTH), auc, "" if isinstance(n, Missing) else count(n))
        for name, auc, n in zip(classes, aucs, sizes, strict=True)
    )
    said = f"macro AUC {overall['Macro AUC (mean of classes)'].text}, accuracy {overall['Accuracy [95 %]'].text}"
    return Content(said, tables, (drawing,), (EXACT, *flag_notes(result)), forest)


def readers(entry: Any, result: Summary) -> Content:
    """The model and every reader side by side, McNemar's tests, and readers as points beside the model's curve."""
    calls = {entry.model: table(result, "model")}
    calls |= {name: table(result, "readers", name, "accuracy") for name in entry.readers}
    tables = [_side_by_side(calls), _mcnemar_of_readers(entry, result), _over_readers(result)]
    of_groups = table(result, "groups")
    groups = {} if isinstance(of_groups, Missing) else {name: table(of_groups, name) for name in of_groups}
    if groups:
        tables.append(group_table("Readers by experience against the model", "readers", "model", groups))
    points = {name: _point(of) for name, of in calls.items() if name != entry.model and not isinstance(of, Missing)}
    curves = curves_beside([entry.model], result)
    drawings = (roc_drawing(curves, f"{entry.model} with {len(points)} readers", points),) if curves else ()
    note = (
        "McNemar's test uses the patients and is the one to read. The t-test over readers, as printed in Wang 2021, "
        "treats the patients as fixed and has few degrees of freedom."
    )
    said = ", ".join(
        f"{name} {proportion_cell(of, 'accuracy').text}" for name, of in calls.items() if isinstance(of, dict)
    )
    return Content(f"accuracy: {said}", tuple(tables), drawings, (EXACT, note, *all_alike_note(groups)))


def low_confidence(entry: Any, result: Summary) -> Content:
    """Points 4 to 7 of the ten-point scale."""
    rows = []
    for name in entry.scales:
        of = table(result, "raters", name)
        share = of if isinstance(of, Missing) else estimate(of, "estimate")
        rows.append((Cell(name), cell(number(of, "x"), count), cell(number(of, "n"), count), interval_cell(share)))
    tables = [
        Titled("Points 4 to 7 of 10", TextTable(("Rater", "In the zone", "Patients", "Share [95 %]"), tuple(rows)))
    ]
    paired = table(result, "mcnemar")
    if not isinstance(paired, Missing):
        tables.append(facts("McNemar", mcnemar_rows(paired, list(entry.scales))))
    return Content(", ".join(f"{row[0].text} {row[3].text}" for row in rows), tuple(tables), (), (EXACT,))


def mcnemar_rows(result: Summary, names: Sequence[str]) -> dict[str, Cell]:
    """The discordant counts and the exact test."""
    return {
        f"Only {quoted(names[0])}": cell(number(result, "b"), count),
        f"Only {quoted(names[1])}": cell(number(result, "c"), count),
        "Ratio of the two (odds ratio)": cell(number(result, "odds_ratio"), decimal),
        "Exact p, two-sided": p_cell(result, "p_exact"),
    }


@in_house_style
def confusion_drawing(
    labels: list[str], counts: Series, what: str, *, across: str = "Said", down: str = "Truth"
) -> Drawing:
    """One table of counts with the share of each row."""
    side, longest = CELL_IN * max(len(labels), 2), min(20, max(len(label) for label in labels))
    left_in, bottom_in = 0.75 + 0.075 * longest, 0.65 + 0.05 * longest
    figure = Figure(figsize=(max(left_in + side + 0.3, 3.2), bottom_in + side + 0.15))
    confusion_panel(axes_at(figure, left_in, bottom_in, side, side), "", labels, counts, across=across, down=down)
    caption = f"Patients by {quoted(down)} (rows) and {quoted(across)} (columns), with the percent of the row."
    return Drawing("confusion", figure, f"Table of counts: {what}.", caption)


def _side_by_side(calls: Mapping[str, Summary | Missing]) -> Titled:
    rows = tuple(
        (Cell(name), *(proportion_cell(of, key) for key in MEASURES), cell(number(of, "kappa"), fraction))
        for name, of in calls.items()
        if not isinstance(of, Missing)
    )
    head = ("", "Sensitivity", "Specificity", "PPV", "NPV", "Accuracy", "κ")
    return Titled("The model and each reader, with exact 95 % intervals", TextTable(head, rows))


def _mcnemar_of_readers(entry: Any, result: Summary) -> Titled:
    measures = ("sensitivity", "specificity", "accuracy")
    rows = tuple(
        (Cell(name), *(cell(number(result, "readers", name, f"mcnemar_{one}", "p_exact"), p_value) for one in measures))
        for name in entry.readers
    )
    head = ("Reader", *(MEASURES[one] for one in measures))
    return Titled("Reader against the model, exact McNemar p", TextTable(head, rows))


def _over_readers(result: Summary) -> Titled:
    keys = [key for key in [*MEASURES, "f1", "kappa"] if not isinstance(number(result, "reader_mean", key), Missing)]
    rows = tuple(
        (
            Cell(MEASURES.get(key, {"f1": "F1", "kappa": "κ"}.get(key, key))),
            cell(number(result, "reader_mean", key), fraction),
            cell(number(result, "reader_t_p", key), p_value),
        )
        for key in keys
    )
    return Titled("Mean of the readers", TextTable(("", "Mean", "p (t-test)"), rows))


def _point(of: Summary) -> tuple[float, float]:
    sensitivity, specificity = triple(of, "sensitivity"), triple(of, "specificity")
    if isinstance(sensitivity, Missing) or isinstance(specificity, Missing):
        return np.nan, np.nan
    return 1 - specificity.value, sensitivity.value


def _listed(result: Summary, key: str) -> list[Any]:
    found = find(result, key)
    return [] if isinstance(found, Missing) else list(found)


def _estimate_at(result: Summary, place: int) -> Estimate | Missing:
    return estimate({"auc": _listed(result, "auc")[place], "ci95": _listed(result, "ci95")[place]}, "auc")


def _matrix(result: Summary, key: str) -> Series:
    rows = [series(row) for row in _listed(result, key)]
    return np.array([row for row in rows if not isinstance(row, Missing)])


def _in_words(value: Estimate | Missing) -> str:
    return value.reason if isinstance(value, Missing) else with_interval(value)
