"""Sections about a fitted logistic model: its odds ratios, and its nomogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fl_liver.server.report.analysis.content import Content, Titled, facts, numbers
from fl_liver.server.report.analysis.nomogram import draw_nomogram, points_tables
from fl_liver.server.report.number_text import count, decimal, p_value, ratio_with_interval
from fl_liver.server.report.odds import odds_figure
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, find, number
from fl_liver.server.report.style import Drawing
from fl_liver.server.report.tables import Cell, TextTable, absent, cell

WALD = "Odds ratios are per unit of a number, or against the reference level; intervals are Wald's, 95 %."


def logistic(entry: Any, result: Summary) -> Content:
    """Coefficients, odds ratios and fit."""
    terms = fitted_terms(entry, result)
    fit = numbers(
        result,
        {
            "n": ("Patients", count),
            "n_events": ("Events", count),
            "deviance": ("Deviance", decimal),
            "null_deviance": ("Null deviance", decimal),
            "aic": ("AIC", decimal),
        },
    )
    flags = find(result, "flags")
    notes = [] if isinstance(flags, Missing) else [str(flag).replace("_", " ").capitalize() + "." for flag in flags]
    shown: list[Summary] = [term for term in terms if term["name"] != "(Intercept)"]
    drawing = Drawing(
        "odds_ratios",
        odds_figure({"multivariable": shown}),
        f"Forest plot of odds ratios of {', '.join(str(term['label']) for term in shown)}.",
        f"Odds ratio of {entry.outcome} = 1 and its 95 % Wald interval; right of 1, the term speaks for it.",
    )
    said = f"{len(shown)} odds ratios from {fit['Patients'].text} patients"
    tables = (_coefficients(terms), facts("Fit", fit))
    return Content(said, tables, (drawing,) if shown else (), (WALD, *notes))


def _coefficients(terms: Sequence[Summary]) -> Titled:
    rows = tuple(
        (
            Cell(str(term["label"])),
            *(cell(number(term, key), lambda x: decimal(x, 3)) for key in ("beta", "se")),
            cell(number(term, "z"), decimal),
            cell(number(term, "p"), p_value),
            _ratio(term),
        )
        for term in terms
    )
    head = ("Term", "β", "s.e.", "z", "p", "Odds ratio [95 %]")
    return Titled("Model", TextTable(head, rows))


def nomogram(entry: Any, result: Summary) -> Content:
    """The rulers, and the same in numbers."""
    drawn = draw_nomogram(entry.terms, entry.outcome, result)
    betas = tuple(
        (Cell(str(term["label"])), cell(number(term, "beta"), lambda x: decimal(x, 4)))
        for term in fitted_terms(entry, result)
    )
    tables = [Titled("Coefficients", TextTable(("Term", "β"), betas), folded=True), *points_tables(entry.terms, result)]
    note = (
        "A number's line ends at the limits of the plan; do not read beyond them. The nomogram is the fitted model and "
        "nothing else: how well its probabilities hold stands under calibration, if the plan asks for it."
    )
    missing = () if isinstance(drawn, Drawing) else (f"The nomogram was not drawn: {drawn.reason}.",)
    said = f"{len(entry.terms)} terms, {cell(number(result, 'n'), count).text} patients"
    return Content(said, tuple(tables), (drawn,) if isinstance(drawn, Drawing) else (), (note, *missing))


def fitted_terms(entry: Any, result: Summary) -> list[dict[str, Any]]:
    """One record a coefficient, with a factor's dummies named "column: level (against reference)"."""
    names = find(result, "terms")
    columns = {key: find(result, key) for key in ("beta", "se", "z", "p", "odds_ratio", "or_ci95")}
    given = {key: values for key, values in columns.items() if not isinstance(values, Missing)}
    listed = [] if isinstance(names, Missing) else list(names)
    return [
        {"name": name, "label": _label(entry, str(name)), **{key: values[place] for key, values in given.items()}}
        for place, name in enumerate(listed)
    ]


def _label(entry: Any, name: str) -> str:
    if name in entry.terms or name == "(Intercept)":
        return name
    for column, reference in entry.factors.items():
        if name.startswith(column):
            return f"{column}: {name.removeprefix(column)} (against {reference})"
    return name


def _ratio(term: Summary) -> Cell:
    measured: Estimate | Missing = estimate(term, "odds_ratio", "or_ci95")
    return absent(measured) if isinstance(measured, Missing) else Cell(ratio_with_interval(measured))
