"""Tables about the fused model and about the run itself: terms, rounds, software, times, further analyses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fl_liver.server.report.number_text import count, decimal, duration, fraction, p_value, ratio_with_interval
from fl_liver.server.report.odds import FITS
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, find, number, records, table, text
from fl_liver.server.report.tables import Cell, TextTable, absent, cell, interval_cell

LEFT_OUT = "leave_one_centre_out"


def screening_table(summary: Summary) -> TextTable | Missing:
    """The factors one by one."""
    rows = records(summary, "fusion", "screening")
    if isinstance(rows, Missing):
        return rows
    cells = [
        (
            Cell(text(row, "label") or text(row, "name")),
            _ratio(row),
            cell(number(row, "p"), p_value),
            Cell({"True": "yes", "False": "no"}.get(text(row, "selected"), "–")),
        )
        for row in rows
    ]
    return TextTable(("Factor", "Odds ratio [95 %]", "p", "Kept"), tuple(cells))


def left_out(summary: Summary) -> list[str]:
    """Labels of the factors that a floor kept out of the fused model."""
    rows = records(summary, "fusion", "left_out")
    return [] if isinstance(rows, Missing) else [text(row, "label") for row in rows]


def terms_table(summary: Summary, fit: str) -> TextTable | Missing:
    """The coefficients of one fit ("multivariable" or "fused"), intercept included."""
    terms = records(summary, "fusion", fit, "terms")
    if isinstance(terms, Missing):
        return terms
    cells = [
        (
            Cell(text(term, "label") or text(term, "name")),
            cell(number(term, "beta"), decimal),
            cell(number(term, "se"), decimal),
            cell(number(term, "z"), decimal),
            cell(number(term, "p"), p_value),
            _ratio(term),
        )
        for term in terms
    ]
    return TextTable((FITS[fit], "β", "s.e.", "z", "p", "Odds ratio [95 %]"), tuple(cells))


def _ratio(row: Summary) -> Cell:
    measured = estimate(row, "odds_ratio", "or_ci95")
    return absent(measured) if isinstance(measured, Missing) else Cell(ratio_with_interval(measured))


def rounds_table(summary: Summary) -> TextTable | Missing:
    """One row a round."""
    rounds = records(summary, "rounds")
    if isinstance(rounds, Missing):
        return rounds
    forms: dict[str, Callable[[float], str]] = {
        "round": count,
        "sites_expected": count,
        "sites_answered": count,
        "loss": lambda loss: decimal(loss, 3),
        "internal_auc": fraction,
    }
    cells = [
        (*(cell(number(row, key), form) for key, form in forms.items()), cell(number(row, "seconds"), duration))
        for row in rounds
    ]
    head = ("Round", "Hospitals asked", "answered", "Loss", "Internal AUC", "Time")
    return TextTable(head, tuple(cells), names=0)


def run_table(summary: Summary) -> TextTable:
    """Study, hash, seed, sums, memory; times by phase; software versions."""
    facts = [("Study", text(summary, "study")), ("Study SHA-256", text(summary, "study_sha256"))]
    facts += [("Seed", text(summary, "seed")), ("Sums", text(summary, "secure_sum"))]
    epsilon, delta = number(summary, "privacy", "epsilon"), number(summary, "privacy", "delta")
    if not isinstance(epsilon, Missing) and not isinstance(delta, Missing):
        said = f"ε = {epsilon:.3g} at δ = {delta:g} for any patient of any hospital, about the trained weights only"
        facts.append(("Training privacy", said))
    peak = number(summary, "peak_rss_mb")
    facts.append(("Peak memory", "" if isinstance(peak, Missing) else f"{count(peak)} MB"))
    for phase in _or_empty(table(summary, "seconds")):
        seconds = number(summary, "seconds", phase)
        facts.append((f"Time: {phase.replace('_', ' ')}", "" if isinstance(seconds, Missing) else duration(seconds)))
    for name in sorted(_or_empty(table(summary, "software"))):
        facts.append((f"Software: {name}", text(summary, "software", name)))
    return TextTable(("Item", "Value"), tuple((Cell(a), Cell(b or "–", absent=not b)) for a, b in facts), names=2)


def pooled_analyses(summary: Summary) -> TextTable | None:
    """Analyses that are an AUC of their own (within centres, leave one centre out), for the note on intervals."""
    rows = []
    for name, result in _or_empty(table(summary, "analysis")).items():
        auc = estimate(result, "auc") if _has_number(result, "auc") else Missing("")
        if isinstance(auc, Estimate):
            wanted = [_interval(result, key) for key in ("prediction95", "tau2")]
            rows.append((Cell(name.replace("_", " ")), interval_cell(auc), *wanted))
    return TextTable(("Analysis", "AUC [95 %]", "Prediction interval", "τ²"), tuple(rows)) if rows else None


def left_out_centres(summary: Summary) -> TextTable | None:
    """One federation without each training hospital, tested there; None where that was not asked."""
    rows = records(summary, "analysis", LEFT_OUT)
    if isinstance(rows, Missing):
        return None
    cells = []
    for row in rows:
        reason = text(row, "not_released")
        there = Cell(reason) if reason else interval_cell(estimate(row, "auc"))
        cells.append((Cell(text(row, "left_out")), there, cell(number(row, "n"), count)))
    return TextTable(("Hospital left out", "AUC there [95 %]", "n"), tuple(cells))


def _has_number(result: object, key: str) -> bool:
    return isinstance(result, Mapping) and isinstance(result.get(key), (int, float))


def _interval(result: Summary, key: str) -> Cell:
    found = find(result, key)
    return absent(found) if isinstance(found, Missing) else Cell(_value(found))


def other_analyses(summary: Summary) -> list[tuple[str, TextTable]]:
    """Every analysis of the plan, key by key, under its id."""
    listing = []
    for name in _or_empty(table(summary, "analysis")):
        if name == LEFT_OUT:
            continue
        result = find(summary, "analysis", name)
        if isinstance(result, Mapping):
            rows = tuple((Cell(str(key)), Cell(_value(value))) for key, value in result.items())
        else:
            rows = ((Cell("result"), Cell(_value(result))),)
        listing.append((name, TextTable(("Result", "Value"), rows, names=2)))
    return listing


def _value(value: Any) -> str:
    """Any JSON value in one cell; long lists and tables only by their length."""
    if isinstance(value, Missing):
        return value.reason
    if value is None or isinstance(value, (bool, str)):
        return "–" if value is None else str(value)
    if isinstance(value, (int, float)):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if isinstance(value, Mapping):
        return (
            value["not_released"]
            if "not_released" in value
            else _joined([f"{k}: {_value(v)}" for k, v in value.items()])
        )
    return _joined([_value(entry) for entry in value]) if isinstance(value, Sequence) else str(value)


def _joined(parts: list[str]) -> str:
    return ", ".join(parts) if len(parts) <= 12 else f"{len(parts)} entries, in summary.json"


def _or_empty(found: Summary | Missing) -> Summary:
    return {} if isinstance(found, Missing) else found
