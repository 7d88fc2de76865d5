"""Sections about shares, agreement, and a number between groups; and Table 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from fl_liver.server.report.analysis.accuracy import EXACT, confusion_drawing, mcnemar_rows
from fl_liver.server.report.analysis.boxes import box_drawings
from fl_liver.server.report.analysis.content import Content, Titled, facts, numbers, p_cell, share, shortest, value_cell
from fl_liver.server.report.number_text import count, decimal, fraction, p_value
from fl_liver.server.report.pieces import Missing, Summary, estimate, find, number, series, table
from fl_liver.server.report.style import Drawing
from fl_liver.server.report.tables import Cell, TextTable, absent, cell, interval_cell


def proportion(entry: Any, result: Summary) -> Content:
    """A share with its exact interval."""
    measured = interval_cell(estimate(result, "estimate"))
    rows = numbers(result, {"x": (f"{entry.column} = 1", count), "n": ("Patients", count)})
    rows["Share [95 %]"] = measured
    return Content(measured.text, (facts("Share", rows),), (), (EXACT,))


def mcnemar(entry: Any, result: Summary) -> Content:
    """The discordant pairs and the exact test."""
    rows = mcnemar_rows(result, [entry.first, entry.second])
    said = f"{rows['Exact p, two-sided'].text}"
    return Content(f"p {said}", (facts("Patients in whom the two differ", rows),))


def cohen_kappa(entry: Any, result: Summary) -> Content:
    """Kappa with both standard errors, and the raters' table."""
    rows = numbers(
        result,
        {
            "kappa": ("Cohen's κ", fraction),
            "ase": ("Standard error (for an interval)", fraction),
            "z": ("z of κ = 0", decimal),
            "p": ("p of κ = 0", p_value),
            "n": ("Patients", count),
        },
    )
    said = cell(number(result, "kappa"), fraction).text
    return Content(f"κ {said}", (facts("Agreement", rows),), _rater_table(entry, result))


def fleiss_kappa(_entry: Any, result: Summary) -> Content:
    """Kappa of several raters; the result holds no table."""
    rows = numbers(
        result,
        {
            "kappa": ("Fleiss' κ", fraction),
            "z": ("z of κ = 0", decimal),
            "p": ("p of κ = 0", p_value),
            "subjects": ("Patients", count),
            "raters": ("Raters", count),
            "agree_percent": ("All raters agree in percent", lambda x: decimal(x, 1)),
        },
    )
    said = cell(number(result, "kappa"), fraction).text
    return Content(f"κ {said}", (facts("Agreement", rows),))


def rank_sum(entry: Any, result: Summary) -> Content:
    """Two groups side by side, and the tests."""
    tests = numbers(
        result,
        {
            "U": ("U of the first group", shortest),
            "p_exact": ("p, exact", p_value),
            "p_cc": ("p, normal with continuity correction", p_value),
            "p_nocc": ("p, normal", p_value),
            "welch_t": ("t (Welch)", decimal),
            "welch_p": ("p of t", p_value),
        },
    )
    names = ["n", "mean", "sd", "median"]
    rows = _by_group(result, names)
    head = (entry.group, "n", "Mean", "SD", "Median")
    said = f"p {tests['p, normal with continuity correction'].text} (rank sum)"
    tables = (Titled(entry.x, TextTable(head, rows)), facts("Tests", tests))
    return Content(said, tables, box_drawings(entry.x, entry.group, result))


def kruskal_wallis(entry: Any, result: Summary) -> Content:
    """Group sizes, and the tests by ranks and by means."""
    tests = numbers(
        result,
        {
            "H": ("H (Kruskal–Wallis)", decimal),
            "df": ("Degrees of freedom", count),
            "p": ("p of H", p_value),
            "F": ("F (analysis of variance)", decimal),
            "F_p": ("p of F", p_value),
        },
    )
    groups = Titled(entry.x, TextTable((entry.group, "n", "Mean", "SD"), _by_group(result, ["n", "mean", "sd"])))
    said = f"H {tests['H (Kruskal–Wallis)'].text}, p {tests['p of H'].text}"
    return Content(said, (groups, facts("Tests", tests)), box_drawings(entry.x, entry.group, result))


def table_one(entry: Any, result: Summary) -> Content:
    """Table 1 of a paper: a column for each group, mean (SD), median [quartiles], counts with percent of the group."""
    groups = [str(name) for name in _listed(result, "groups")]
    sizes = [number(n) for n in _listed(result, "n")]
    rows = [(Cell("Patients"), *(cell(n, count) for n in sizes), Cell(""))]
    for column in entry.numeric:
        rows += _numeric_rows(column, table(result, column), len(groups))
    for column in entry.categorical:
        rows += _categorical_rows(column, table(result, column), len(groups))
    head = ("", *(f"{entry.group} = {name}" for name in groups), "p")
    note = (
        "Quartiles are of type 7; where the floor forbids a quartile's value, the narrowest interval with enough "
        "patients stands in its place. Percent are of the patients of the group with a value. p: Pearson's χ² without "
        "continuity correction; numbers have no test here."
    )
    said = ", ".join(f"{row.text} {entry.group} = {name}" for name, row in zip(groups, rows[0][1:-1], strict=True))
    return Content(said, (Titled("Table 1", TextTable(head, tuple(rows))),), (), (note,))


def _numeric_rows(column: str, found: Summary | Missing, groups: int) -> list[tuple[Cell, ...]]:
    if isinstance(found, Missing):
        return [(Cell(column), *(absent(found) for _ in range(groups)), Cell(""))]
    means, sds, medians, q1, q3 = (_listed(found, key) for key in ("mean", "sd", "median", "q1", "q3"))
    missing = [number(n) for n in _listed(found, "missing")]
    middle = [Cell(f"{value_cell(a).text} ({value_cell(b).text})") for a, b in zip(means, sds, strict=True)]
    quartiles = [
        Cell(f"{value_cell(m).text} [{value_cell(a).text}, {value_cell(b).text}]")
        for m, a, b in zip(medians, q1, q3, strict=True)
    ]
    rows = [
        (Cell(f"{column}, mean (SD)"), *middle, Cell("")),
        (Cell(f"{column}, median [Q1, Q3]"), *quartiles, Cell("")),
    ]
    return rows + _missing_row(missing)


def _categorical_rows(column: str, found: Summary | Missing, groups: int) -> list[tuple[Cell, ...]]:
    if isinstance(found, Missing):
        return [(Cell(column), *(absent(found) for _ in range(groups)), Cell(""))]
    counts = [series(row) for row in _listed(found, "counts")]
    known = np.array([row for row in counts if not isinstance(row, Missing)]).reshape(-1, groups)
    whole = known.sum(0)
    rows: list[tuple[Cell, ...]] = [
        (Cell(f"{column}, n (%)"), *(Cell("") for _ in range(groups)), p_cell(found, "chi2_p"))
    ]
    for level, row in zip(_listed(found, "levels"), known, strict=True):
        cells = [Cell(share(float(n), float(of))) for n, of in zip(row, whole, strict=True)]
        rows.append((Cell(f"\N{EM SPACE}{level}"), *cells, Cell("")))
    return rows + _missing_row([number(n) for n in _listed(found, "missing")])


def _missing_row(missing: list[float | Missing]) -> list[tuple[Cell, ...]]:
    if all(isinstance(n, Missing) or n == 0 for n in missing):
        return []
    return [(Cell("\N{EM SPACE}missing"), *(cell(n, count) for n in missing), Cell(""))]


def _by_group(result: Summary, keys: list[str]) -> tuple[tuple[Cell, ...], ...]:
    columns = [[value_cell(value) for value in _listed(result, key)] for key in keys]
    names = [Cell(str(name)) for name in _listed(result, "groups")]
    return tuple(zip(names, *columns, strict=True))


def _rater_table(entry: Any, result: Summary) -> tuple[Drawing, ...]:
    """The table of both raters' levels, which the page asked for beside the plan."""
    if isinstance(table(result, "table"), Missing):
        return ()
    levels = [str(level) for level in _listed(result, "table", "levels")]
    rows = [series(row) for row in _listed(result, "table", "counts")]
    counts = np.array([row for row in rows if not isinstance(row, Missing)])
    first, second = entry.raters
    return (confusion_drawing(levels, counts, f"{first} against {second}", across=second, down=first),)


def _listed(result: Summary, *path: str) -> list[Any]:
    found = find(result, *path)
    return [] if isinstance(found, Missing) else list(found)
