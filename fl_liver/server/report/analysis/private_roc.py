"""The section about AUCs with differential privacy: noised numbers, the noise, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fl_liver.server.report.analysis.asked import quoted
from fl_liver.server.report.analysis.content import Content, Titled, facts, numbers
from fl_liver.server.report.analysis.performance import NAME_LENGTH
from fl_liver.server.report.forest import Row
from fl_liver.server.report.number_text import count, decimal, fraction, with_interval
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, find, number, table, text
from fl_liver.server.report.style import clipped
from fl_liver.server.report.tables import Cell, TextTable, cell, interval_cell

NOTE = (
    "AUC and counts carry noise, and the interval holds the chance in drawing patients as well as the noise. Floors do "
    "not apply, as no exact count was asked. Scores stand in 32 bins of half a unit of log-odds; the last column "
    "estimates how far this can move the AUC, which the interval does not hold."
)
FEW = "A class has fewer than 200 patients: the noise is about as large as what is measured."


def private_roc(entry: Any, result: Summary) -> Content:
    """The scores of one entry of a plan."""
    found = {name: table(result, name) for name in entry.scores}
    return noised_aucs("Score", found, honest=entry.noise[1], sites=entry.sites)


def noised_aucs(what: str, found: Mapping[str, Summary | Missing], *, honest: int, sites: int) -> Content:
    """Each score's AUC and noised counts, the noise for all of them, and the cost in words.

    Args:
        what: heading of the names in `found`.
        honest, sites: hospitals whose noise alone must suffice, and hospitals in the sum.
    """
    aucs = {name: one if isinstance(one, Missing) else estimate(one, "auc") for name, one in found.items()}
    rows = tuple((Cell(name), interval_cell(aucs[name]), *_noised(one)) for name, one in found.items())
    head = (what, "AUC [95 %]", "Positives, noised", "Negatives, noised", "Standard error", "Grid")
    said = ", ".join(f"{name} {_in_words(auc)}" for name, auc in aucs.items())
    costs = tuple(f"{quoted(name)}: {cost}." for name, one in found.items() if (cost := text(one, "cost")))
    few = (FEW,) if any("few_patients" in _flags(one) for one in found.values()) else ()
    forest = tuple(Row(clipped(name, NAME_LENGTH), auc) for name, auc in aucs.items())
    tables = (Titled("AUC with noise", TextTable(head, rows)), _noise(found, honest, sites))
    return Content(f"noised AUC {said}", tables, (), (*costs, NOTE, *few), forest)


def _noised(one: Summary | Missing) -> tuple[Cell, ...]:
    counts = (cell(number(one, key), count) for key in ("n_pos", "n_neg"))
    errors = (cell(number(one, key), lambda x: fraction(x, 4)) for key in ("se", "certificate"))
    return (*counts, *errors)


def _noise(found: Mapping[str, Summary | Missing], honest: int, sites: int) -> Titled:
    first = next(iter(found.values()))
    shown = {} if isinstance(first, Missing) else numbers(first, {"epsilon": ("ε of all scores together", decimal)})
    shown |= {"Scores that share it": Cell(str(len(found)))}
    shown |= {"Hospitals whose noise alone suffices": Cell(f"{honest} of {sites}")}
    shown |= {"Noise of one cell, standard deviation": cell(number(first, "noise_sd"), decimal)}
    return facts("Noise", shown)


def _flags(one: Summary | Missing) -> list[str]:
    flags = find(one, "flags")
    return [] if isinstance(flags, Missing) else list(flags)


def _in_words(auc: Estimate | Missing) -> str:
    return auc.reason if isinstance(auc, Missing) else with_interval(auc)
