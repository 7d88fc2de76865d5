"""The section about the mean ROC curve of several readers, alone or against another condition."""

from __future__ import annotations

from typing import Any

from fl_liver.server.report.analysis.content import Content, Titled, facts, numbers
from fl_liver.server.report.analysis.performance import NAME_LENGTH, patients, roc_drawing
from fl_liver.server.report.forest import Row
from fl_liver.server.report.number_text import count, with_interval
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, series, table
from fl_liver.server.report.roc import Curve, labelled
from fl_liver.server.report.style import Drawing, clipped, look_number
from fl_liver.server.report.tables import Cell, TextTable, absent, interval_cell

NOTE = (
    "With these readers: other patients, the same readers (DeLong). For all readers: other patients and other readers "
    "like these (Obuchowski and Rockette, with Hillis' degrees of freedom); quote it for readers at large."
)


def reader_mean(entry: Any, result: Summary) -> Content:
    """The mean AUC and the difference with both intervals, each reader, and the mean curves."""
    mean = estimate(result, "auc")
    rows = {
        "Mean AUC [95 %, these readers]": interval_cell(mean),
        "Mean AUC [95 %, all readers]": _around(mean, table(result, "random_readers")),
    }
    if entry.against:
        difference = estimate(table(result, "difference"), "estimate")
        rows |= {
            "Difference [95 %, these readers]": interval_cell(difference),
            "Difference [95 %, all readers]": _around(difference, table(result, "difference_random")),
        }
    rows |= numbers(result, {"n_pos": ("Positive patients", count), "n_neg": ("Negative patients", count)})
    aucs = {
        **{name: estimate(table(result, "readers", name), "auc") for name in entry.scores},
        **{name: estimate(table(result, "against", name), "auc") for name in entry.against},
    }
    each = tuple((Cell(name), interval_cell(auc)) for name, auc in aucs.items())
    tables = (facts("Mean of the readers", rows), Titled("Each", TextTable(("Reader", "AUC [95 %]"), each)))
    forest = (
        *(Row(clipped(name, NAME_LENGTH), auc, patients(result)) for name, auc in aucs.items()),
        Row("Mean of the readers", mean, patients(result), diamond=True),
    )
    curves = _curves(entry, result, mean)
    drawings: tuple[Drawing, ...] = (roc_drawing(curves, "the mean of the readers"),) if curves else ()
    said = mean.reason if isinstance(mean, Missing) else f"mean AUC {with_interval(mean)}"
    return Content(said, tables, drawings, (NOTE,), forest)


def _around(value: Estimate | Missing, found: Summary | Missing) -> Cell:
    """The estimate with the interval of another table."""
    ends = series(found, "ci95")
    if isinstance(value, Missing) or isinstance(ends, Missing):
        return absent(Missing("not computed"))
    return interval_cell(Estimate(value.value, float(ends[0]), float(ends[1])))


def _curves(entry: Any, result: Summary, mean: Estimate | Missing) -> list[Curve]:
    other = entry.against[0] if len(entry.against) == 1 else "Mean, other condition"
    alone: Estimate | Missing = Missing("the legend has no number here")
    if len(entry.against) == 1:
        alone = estimate(table(result, "against", entry.against[0]), "auc")
    found = []
    for place, (key, name, auc) in enumerate((("curve", "Mean", mean), ("against_curve", other, alone))):
        fpr, tpr = series(result, key, "fpr"), series(result, key, "tpr")
        if not isinstance(fpr, Missing) and not isinstance(tpr, Missing):
            found.append(Curve(labelled(clipped(name, NAME_LENGTH - 3), auc), look_number(place), fpr, tpr))
    return found
