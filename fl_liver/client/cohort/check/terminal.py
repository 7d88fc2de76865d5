"""A check's series and findings as tables on a terminal, with pseudonyms only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.series.series import Series

_MOST_ROWS = 200


def render(report: CheckReport, console: Console) -> None:
    """Print a summary, a table of series, then one of findings; of very many, the first of each."""
    usable = sum(one.usable for one in report.series)
    people = f", {len(report.patients)} patients" if report.patients else ""
    console.print(f"{report.files} files{people}, {len(report.series)} series, {usable} usable")
    if report.series:
        console.print(_series_table(report.series))
    if report.findings:
        console.print(_findings_table(report.findings))
    if len(report.series) > _MOST_ROWS or len(report.findings) > _MOST_ROWS:
        console.print(f"Tables end after {_MOST_ROWS} rows; --json FILE and --html FILE have all.")


def _series_table(series: tuple[Series, ...]) -> Table:
    table = Table(title="Series")
    for name in ("series", "case", "kind", "orientation", "file order", "usable"):
        table.add_column(name)
    table.add_column("slices", justify="right")
    table.add_column("spacing mm (row, column, slice)", justify="right")
    for one in series[:_MOST_ROWS]:
        order = "sorted by position" if one.reordered else "as named"
        table.add_row(
            *(one.id, one.case, one.kind or one.modality or "unknown", one.orientation or "–", order),
            *("yes" if one.usable else "no", str(one.slices), _spacing(one.spacing_mm)),
        )
    return table


def _spacing(spacing_mm: tuple[float | None, float | None, float | None] | None) -> str:
    if spacing_mm is None:
        return "–"
    return " × ".join("–" if value is None else f"{value:.3f}" for value in spacing_mm)


def _findings_table(findings: tuple[Finding, ...]) -> Table:
    """What excludes row by row; what is only to be known once for each code."""
    counts: Mapping[str, int] = Counter(one.severity for one in findings)
    stop = f"{counts['F']} stop the hospital, " if counts.get("F") else ""
    table = Table(title=f"Findings: {stop}{counts.get('E', 0)} exclude, {counts.get('W', 0)} to know")
    for name in ("code", "case", "series", "cause", "what to do"):
        table.add_column(name, overflow="fold")
    grave = [one for one in findings if one.severity != "W"]
    for one in grave[:_MOST_ROWS]:
        table.add_row(one.code, one.case, one.series, one.cause, one.remedy)
    for same in _by_code(one for one in findings if one.severity == "W"):
        first, more = same[0], len(same) - 1
        cases = len({one.case for one in same})
        case = first.case if cases == 1 else f"{cases} cases"
        table.add_row(
            first.code,
            case,
            "" if more else first.series,
            first.cause + (f" (and {more} more)" if more else ""),
            first.remedy,
        )
    return table


def _by_code(findings: Iterable[Finding]) -> list[list[Finding]]:
    """In the order in which the codes come."""
    groups: dict[str, list[Finding]] = {}
    for one in findings:
        groups.setdefault(one.code, []).append(one)
    return list(groups.values())
