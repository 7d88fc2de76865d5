"""The tables of the page as rows of text: cohort, models side by side, comparisons, cut-off, classes, calibration.

Every cell is either a number of the summary, printed by `number_text`, or the reason why it is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fl_liver.server.report.number_text import count, decimal, fraction, odds_to_probability, p_value, with_interval
from fl_liver.server.report.pieces import (
    Estimate,
    Missing,
    Summary,
    estimate,
    mean_of,
    number,
    records,
    series,
    table,
    triple,
)
from fl_liver.server.report.pieces import text as words
from fl_liver.server.report.style import LOOKS, PARTS, look_of


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of one cell; `absent` where it stands for a missing number."""

    text: str
    absent: bool = False


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table for the page. The first `names` columns hold words and stand left, the others numbers and stand right."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    names: int = 1
    total_rows: int = 0
    """That many rows at the end are sums of those above."""


def cell(value: float | Missing, form: Callable[[float], str]) -> Cell:
    """A number in its form; a missing one as a dash, or with its reason where a hospital kept it back."""
    return absent(value) if isinstance(value, Missing) else Cell(form(value))


def absent(why: Missing) -> Cell:
    return Cell("–" if why.released else why.reason, absent=True)


def interval_cell(value: Estimate | Missing) -> Cell:
    return absent(value) if isinstance(value, Missing) else Cell(with_interval(value))


def cohort_table(summary: Summary) -> TextTable | Missing:
    """Hospitals with role, device, patients, positives and exclusions, and a total for each role."""
    sites = records(summary, "sites")
    if isinstance(sites, Missing):
        return sites
    devices = any(words(site, "device") for site in sites)
    keys = _counts_of(sites)
    rows = []
    for site in sites:
        names = [words(site, "name"), _ROLES.get(words(site, "role"), words(site, "role"))]
        names += [words(site, "device") or "–"] if devices else []
        rows.append((*map(Cell, names), *(cell(number(site, key), count) for key in keys)))
    roles = [role for role in _ROLES if any(words(site, "role") == role for site in sites)]
    totals = [_role_total(sites, role, keys, devices) for role in roles]
    head = ("Hospital", "Role", *(["Device"] if devices else []), *(_COUNTS[key] for key in keys))
    return TextTable(head, (*rows, *totals), names=3 if devices else 2, total_rows=len(totals))


def _counts_of(sites: list[Summary]) -> tuple[str, ...]:
    """Lesions stand beside patients where a patient has several."""
    several = any(words(site, "lesions") not in ("", words(site, "patients")) for site in sites)
    return tuple(key for key in _COUNTS if key != "lesions" or several)


_COUNTS = {"patients": "Patients", "lesions": "Lesions", "positives": "Positive", "excluded": "Excluded"}
_ROLES = {"train": "training", "external": "external test"}


def _role_total(sites: list[Summary], role: str, keys: tuple[str, ...], devices: bool) -> tuple[Cell, ...]:
    of_role = [site for site in sites if words(site, "role") == role]
    cells = [Cell(f"All {len(of_role)}"), Cell(_ROLES[role]), *([Cell("")] if devices else [])]
    for key in keys:
        values = [number(site, key) for site in of_role]
        known = [value for value in values if not isinstance(value, Missing)]
        cells.append(Cell(count(sum(known))) if len(known) == len(values) else Cell("–", absent=True))
    return tuple(cells)


def models_table(summary: Summary) -> TextTable | Missing:
    """AUC and patients, internal and external, of every model in the summary."""
    models = table(summary, "models")
    if isinstance(models, Missing):
        return models
    rows = []
    for name in models_in_order(models):
        cells = [Cell(look_of(name).label)]
        for part in PARTS:
            measured = table(models, name, part)
            if isinstance(measured, Missing):
                cells += [absent(measured), Cell("–", absent=True), Cell("–", absent=True)]
                continue
            cells.append(interval_cell(estimate(measured, "auc")))
            counts = [cell(number(measured, key), count) for key in ("n", "positives")]
            cells += [Cell(of), counts[1]] if (of := mean_of(measured)) else counts
        rows.append(tuple(cells))
    columns = ("AUC [95 %]", "n", "Positive")
    head = (
        "Model",
        *(f"{part.capitalize()} {column}" if column != "Positive" else column for part in PARTS for column in columns),
    )
    return TextTable(head, tuple(rows))


def comparisons_table(summary: Summary) -> TextTable | Missing:
    """Differences between AUCs on the same patients, with interval and p."""
    comparisons = records(summary, "comparisons")
    if isinstance(comparisons, Missing) or not comparisons:
        return comparisons if isinstance(comparisons, Missing) else Missing("no comparison was asked for")
    rows = [
        (
            Cell(f"{_model_or_score(words(row, 'a'))} − {_model_or_score(words(row, 'b'))}"),
            Cell(words(row, "rows")),
            interval_cell(why if isinstance(why := table(row), Missing) else estimate(row, "difference")),
            cell(number(row, "p"), p_value),
        )
        for row in comparisons
    ]
    return TextTable(("AUC of … minus AUC of …", "Patients", "Difference [95 %]", "p"), tuple(rows), names=2)


def _model_or_score(name: str) -> str:
    return look_of(name.removeprefix("score:")).label


def cutoff_table(summary: Summary) -> TextTable | Missing:
    """Youden's cut-off of each model and what it does: on the rows it was fixed on, internal, external.

    Reads `models.X.cutoff` {threshold, rows, sensitivity, specificity, internal: {sensitivity, ..}, external: {..}}.
    """
    rows = []
    why = Missing("no cut-off was fixed in this run")
    for name in models_in_order(or_empty(table(summary, "models"))):
        cutoff = table(summary, "models", name, "cutoff")
        if isinstance(cutoff, Missing):
            why = why if cutoff.released else cutoff
            continue
        threshold = number(cutoff, "threshold")
        places = {words(cutoff, "rows") or "calibration": cutoff, **{part: table(cutoff, part) for part in PARTS}}
        for place, measured in places.items():
            if isinstance(measured, Missing) and measured.released:
                continue
            proportions = [triple(measured, key) for key in ("sensitivity", "specificity")]
            rows.append(
                (
                    Cell(look_of(name).label),
                    Cell(place),
                    cell(threshold, decimal),
                    cell(threshold, lambda logit: fraction(odds_to_probability(logit))),
                    *map(interval_cell, proportions),
                )
            )
    head = ("Model", "Patients", "Cut-off (log-odds)", "as risk", "Sensitivity [95 %]", "Specificity [95 %]")
    return TextTable(head, tuple(rows), names=2) if rows else why


def class_table(summary: Summary) -> TextTable | None:
    """One class against the rest, for every model and part; None in a two-class study."""
    rows = []
    for name in models_in_order(or_empty(table(summary, "models"))):
        parts = {part: table(summary, "models", name, part, "per_class") for part in PARTS}
        classes = dict.fromkeys(key for found in parts.values() for key in or_empty(found))
        for label in classes:
            measured = [table(found, label) if isinstance(found, dict) else found for found in parts.values()]
            aucs = [one if isinstance(one, Missing) else estimate(one, "auc") for one in measured]
            rows.append((Cell(look_of(name).label), Cell(label), *map(interval_cell, aucs)))
    head = ("Model", "Class against the rest", "Internal AUC [95 %]", "External AUC [95 %]")
    return TextTable(head, tuple(rows), names=2) if rows else None


def calibration_table(summary: Summary) -> TextTable | None:
    """The groups behind the calibration plot; None where there are none."""
    rows = []
    for name in models_in_order(or_empty(table(summary, "models"))):
        for part in PARTS:
            columns = [series(summary, "models", name, "calibration", part, k) for k in ("mean_pred", "obs_rate", "n")]
            known = [column for column in columns if not isinstance(column, Missing)]
            if len(known) == len(columns):
                rows += [
                    (Cell(look_of(name).label), Cell(part), Cell(fraction(p)), Cell(fraction(rate)), Cell(count(n)))
                    for p, rate, n in zip(*known, strict=True)
                ]
    head = ("Model", "Patients", "Mean predicted risk", "Observed frequency", "n")
    return TextTable(head, tuple(rows), names=2) if rows else None


def models_in_order(models: Summary) -> list[str]:
    """Models in the order of the looks, then others by name."""
    return [name for name in LOOKS if name in models] + sorted(name for name in models if name not in LOOKS)


def or_empty(found: Summary | Missing) -> Summary:
    return {} if isinstance(found, Missing) else found
