"""`fl-liver analyse`: one plan, several hospitals' tables, one pooled answer through the sums that a federation uses.

The tables are read here, but a statistic sees only what every site adds up, and every site answers only what its own
guard lets the plan ask: the path is that of a deployed study, with sums masked or in the clear inside this process.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.guarded_summer import GuardedSummer
from fl_liver.masked_summer import MaskedSummer
from fl_liver.stats.conversation import Table
from fl_liver.stats.permit import permit_of_plan
from fl_liver.stats.plan import DEFAULT_MIN_CELL, Plan, Refused, read_plan, refusals, run_plan
from fl_liver.stats.plan_private import check_sites
from fl_liver.whole_file import READABLE, write_whole

if TYPE_CHECKING:
    from fl_liver.server.report.analysis.beside import Beside

MIN_SITES = 3
_SUMMERS: dict[str, type[GuardedSummer | MaskedSummer]] = {"plain": GuardedSummer, "masked": MaskedSummer}
_SAID = {"plain": "sums in the clear in this process", "masked": "sums masked"}
_MISSING = ("", "NA")
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE)


def analyse(
    plan: Path,
    sites: Sequence[str],
    json_file: Path,
    *,
    min_cell: int = DEFAULT_MIN_CELL,
    report: Path | None = None,
    sums: Literal["plain", "masked"] = "plain",
) -> int:
    """Answer an analysis plan over the tables of three or more sites; returns the exit status.

    Args:
        plan: TOML, [[analysis]] tables with id, kind and that kind's keys.
        sites: NAME=FILE.csv, one for each site.
        json_file: where {id: result} is written if every analysis was answered; otherwise it is left alone.
        min_cell: smallest group that a result may describe; 1 (public data) switches floors and merging off.
        report: where the HTML page is written, also if an analysis was refused: the page says so. It asks some
            questions beside the plan, in the same batch, and their answers stand in the JSON too.
        sums: how the tables' vectors are added; masked gives the same numbers by the way of a deployment.
    Returns:
        0, or the exit status of the first analysis that was refused.
    Raises:
        ConfigError, DataError, PrivacyError: a wrong plan, command line or table; nothing was answered.
    """
    if min_cell < 1:
        raise ConfigError(f"--min-cell {min_cell}: wanted 1 (public data, no floor) or more")
    read = read_plan(plan)
    files = site_files(sites)
    check_sites(read.analyses, len(files))
    tables = read_tables(files, read)
    written, refused = answers(read, tables, min_cell=min_cell, sums=sums, for_page=report is not None)
    _show(read, written, refused, tables, min_cell, sums)
    if not refused:
        write_json(json_file, written)
    if report is not None:
        write_page(report, plan.stem, read, written, list(tables), min_cell=min_cell, sums=sums)
    return next((one.exit_code for one in refused.values()), 0)


def answers(
    plan: Plan,
    tables: Mapping[str, Table],
    *,
    min_cell: int = DEFAULT_MIN_CELL,
    sums: Literal["plain", "masked"] = "plain",
    for_page: bool = False,
) -> tuple[dict[str, dict[str, Any]], dict[str, Refused]]:
    """({id: result as JSON}, {id: why it has none}) of a plan over the tables of three or more sites.

    Args:
        tables: as `read_tables` gives them.
        for_page: also ask what the page shows beside the plan, in the same batch.
    """
    beside = _questions_of_the_page(plan) if for_page else []
    whole = Plan((*plan.analyses, *beside), plan.derived)
    summer = _SUMMERS[sums](tables, permit_of_plan(whole, min_cell=min_cell))
    answered = run_plan(whole, summer, min_cell=min_cell)
    results = {analysis.id: answered[analysis.id] for analysis in plan.analyses}
    written = {name: result.to_json() for name, result in results.items()}
    for question in beside:
        question.put(written, answered[question.id].to_json())
    return written, refusals(results)


# The page loads matplotlib, which takes a second: only where it is asked for.
def _questions_of_the_page(plan: Plan) -> list[Beside]:
    from fl_liver.server.report.analysis.beside import questions_beside

    return questions_beside(plan.analyses)


def write_page(
    path: Path,
    title: str,
    plan: Plan,
    written: Mapping[str, dict[str, Any]],
    sites: Sequence[str],
    *,
    min_cell: int = DEFAULT_MIN_CELL,
    sums: str = "plain",
) -> None:
    """The page about a plan's answers, which were asked `for_page`."""
    from fl_liver.server.report.analysis import write_analysis_report

    write_analysis_report(
        plan.analyses,
        written,
        path,
        sites=sites,
        min_cell=min_cell,
        title=title,
        secure_sum=sums,
        made=plan.derived,
    )


def site_files(options: Sequence[str]) -> dict[str, Path]:
    """{site: file} from NAME=FILE options.

    Raises:
        ConfigError: an option that is not NAME=FILE, or a name or file given twice.
        PrivacyError: fewer than three sites.
    """
    found: dict[str, Path] = {}
    for option in options:
        name, equals, path = option.partition("=")
        if not (name and equals and path):
            raise ConfigError(f"--site {option}: wanted NAME=FILE.csv")
        if name in found:
            raise ConfigError(f"--site {name}: given twice; every site has one table")
        if Path(path).resolve() in {one.resolve() for one in found.values()}:
            raise ConfigError(f"--site {name}: {path} is already another site's table; its patients would count twice")
        found[name] = Path(path)
    if len(found) < MIN_SITES:
        raise PrivacyError(
            f"min_sites: {len(found)} sites given, {MIN_SITES} or more are needed:"
            " with two, each would learn the other's sums by subtraction"
        )
    return found


def read_tables(paths: Mapping[str, Path], plan: Plan) -> dict[str, Table]:
    """One table a site with the columns of the plan, each a number column everywhere or a text column everywhere.

    Columns that the plan makes are made here, of one site's rows at a time.

    Raises:
        DataError: a file cannot be read, a row has too few or too many fields, a number is not finite, or sites
            disagree on a column's type.
        ConfigError: a site has no column of that name.
    """
    needed = plan.columns()
    texts = {name: _read_texts(name, path, plan) for name, path in paths.items()}
    numeric = {column: _is_numeric(column, {name: site[column] for name, site in texts.items()}) for column in needed}
    return {
        name: _completed(
            name,
            plan,
            {column: _typed(f"site {name}: column '{column}'", site[column], numeric[column]) for column in needed},
        )
        for name, site in texts.items()
    }


def _completed(site: str, plan: Plan, columns: Mapping[str, NDArray[Any]]) -> Table:
    try:
        return plan.completed(Table(columns))
    except DataError as error:
        raise DataError(f"site {site}: {error}") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write all of it or nothing."""
    try:
        write_whole(path, json.dumps(value, indent=1, allow_nan=False) + "\n", mode=READABLE)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({type(error).__name__}); give another --json path") from error


def _read_texts(site: str, path: Path, plan: Plan) -> dict[str, list[str]]:
    needed = plan.columns()
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = csv.reader(handle)
            header = next(rows, None)
            if header is None:
                raise DataError(f"site {site}: {path} is empty; a site with nobody still has a header line")
            _check_header(site, path, header, plan)
            return _columns(f"site {site}: {path}", rows, header, needed)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"site {site}: {path} cannot be read as CSV ({type(error).__name__}: {error})") from error


def _check_header(site: str, path: Path, header: Sequence[str], plan: Plan) -> None:
    if len(set(header)) < len(header):
        raise DataError(f"site {site}: {path} has two columns of one name; rename one")
    if both := [one.name for one in plan.derived if one.name in header]:
        raise ConfigError(f"site {site}: {path} has a column '{both[0]}', and the plan makes one of that name")
    absent = [name for name in plan.columns() if name not in header]
    if absent:
        known = ", ".join(header)
        raise ConfigError(f"site {site}: no column '{absent[0]}' in {path} (columns: {known}); correct the plan")


def _columns(
    where: str, rows: Iterable[list[str]], header: Sequence[str], needed: Sequence[str]
) -> dict[str, list[str]]:
    places = {name: header.index(name) for name in needed}
    columns: dict[str, list[str]] = {name: [] for name in needed}
    for line, row in enumerate(rows, start=2):
        if row and len(row) != len(header):
            raise DataError(f"{where} row {line} has {len(row)} fields, the header has {len(header)}")
        if row:
            for name, place in places.items():
                columns[name].append(row[place].strip())
    return columns


def _is_numeric(column: str, by_site: Mapping[str, Sequence[str]]) -> bool:
    numeric, text = [], []
    for site, values in by_site.items():
        kinds = {bool(_NUMBER.fullmatch(value)) for value in values if value not in _MISSING}
        if False in kinds:
            text.append(site)
        elif True in kinds:
            numeric.append(site)
    if numeric and text:
        raise DataError(
            f"column '{column}': site {text[0]} holds text, site {numeric[0]} numbers;"
            " write it in the same way at every site"
        )
    return not text


def _typed(where: str, values: Sequence[str], numeric: bool) -> NDArray[Any]:
    if numeric:
        given = np.array([float(value) for value in values if value not in _MISSING], dtype=np.float64)
        infinite = int((~np.isfinite(given)).sum())
        if infinite:
            raise DataError(
                f"{where}: {infinite} values are not finite numbers; leave the fields of unknown values empty"
            )
        column = np.full(len(values), np.nan)
        column[[value not in _MISSING for value in values]] = given
        return column
    return np.array(["" if value in _MISSING else value for value in values], dtype=object)


def _show(
    plan: Plan,
    written: Mapping[str, dict[str, Any]],
    refused: Mapping[str, Refused],
    tables: Mapping[str, Table],
    min_cell: int,
    sums: str,
) -> None:
    patients = sum(len(table) for table in tables.values())
    title = f"{len(tables)} sites, {patients} rows; {_SAID[sums]}; min_cell {min_cell}"
    shown = RichTable(title=title, title_justify="left")
    for heading in ("analysis", "kind", "result"):
        shown.add_column(heading, overflow="fold")
    for analysis in plan.analyses:
        told = f"refused: {refused[analysis.id].reason}" if analysis.id in refused else headline(written[analysis.id])
        shown.add_row(escape(analysis.id), analysis.kind, escape(told))
    Console(soft_wrap=False).print(shown)
    for name, one in refused.items():
        print(f"analysis '{name}' refused: {one.reason}", file=sys.stderr)


def headline(result: Mapping[str, Any], entries: int = 6) -> str:
    """The first numbers of a result in one line.

    >>> headline({"auc": 0.91234, "ci95": [0.88, 0.94], "flags": [], "p": None})
    'auc 0.9123, ci95 [0.88, 0.94], p n/a'
    """
    short = [
        f"{name} {_brief(value)}"
        for name, value in result.items()
        if value is None or isinstance(value, int | float) or (isinstance(value, list) and _is_short(value))
    ]
    return ", ".join(short[:entries]) if short else ", ".join(result)


def _is_short(values: Sequence[Any]) -> bool:
    return 0 < len(values) <= 4 and all(value is None or isinstance(value, int | float | str) for value in values)


def _brief(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, list):
        return "[" + ", ".join(_brief(one) for one in value) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
