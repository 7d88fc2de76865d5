"""`fl-liver analyse`: one plan, several hospitals' tables, one pooled answer through the sums that a federation uses.

The tables are read here, but a statistic sees only what every site adds up: the path is that of a deployed study, with
sums in the clear inside this process.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as RichTable

from fl_liver.errors import ConfigError, DataError, FLLiverError, PrivacyError, ProtocolError
from fl_liver.stats.conversation import Question, Table, Totals, answer
from fl_liver.stats.plan import DEFAULT_MIN_CELL, Plan, Refused, read_plan, refusals, run_plan

MIN_SITES = 3
_MISSING = ("", "NA", "NaN", "nan")
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity)", re.IGNORECASE)


def analyse(
    plan: Annotated[Path, typer.Argument(help="Plan in TOML: [[analysis]] tables with id, kind and that kind's keys.")],
    site: Annotated[list[str], typer.Option(help="NAME=FILE.csv, once for each site; three or more.")],
    json_file: Annotated[Path, typer.Option("--json", help="Where {id: result} is written, if all are answered.")],
    min_cell: Annotated[
        int, typer.Option(help="Smallest group that a result may describe; 1 (public data) switches floors off.")
    ] = DEFAULT_MIN_CELL,
) -> None:
    """Answer an analysis plan over the tables of three or more sites."""
    read = read_plan(plan)
    if min_cell < 1:
        raise ConfigError(f"--min-cell {min_cell}: wanted 1 (public data, no floor) or more")
    paths = site_files(site)
    tables = read_tables(paths, read)
    results = run_plan(read, SitesSummer(tables), min_cell=min_cell)
    written = {name: result.to_json() for name, result in results.items()}
    refused = refusals(results)
    _show(read, written, refused, tables, min_cell)
    if refused:
        raise typer.Exit(next(iter(refused.values())).exit_code)
    write_json(json_file, written)


class SitesSummer:
    """Adds in the clear over named tables in this process; an error of one table names its site."""

    method = "plain"

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    def total(self, questions: Sequence[Question]) -> Totals:
        """One total a question over all sites.

        Raises:
            DataError, ProtocolError: as the site function says it, with the site's name before it.
        """
        totals = [np.zeros(question.length, np.int64) for question in questions]
        for name, table in self._tables.items():
            for total, question in zip(totals, questions, strict=True):
                try:
                    total += answer(question, table)
                except (DataError, ProtocolError) as error:
                    raise type(error)(f"site {name}: {error}") from error
        return totals


def site_files(options: Sequence[str]) -> dict[str, Path]:
    """{site: file} from NAME=FILE options.

    Raises:
        ConfigError: an option that is not NAME=FILE, or a name given twice.
        PrivacyError: fewer than three sites.
    """
    found: dict[str, Path] = {}
    for option in options:
        name, equals, path = option.partition("=")
        if not (name and equals and path):
            raise ConfigError(f"--site {option}: wanted NAME=FILE.csv")
        if name in found:
            raise ConfigError(f"--site {name}: given twice; every site has one table")
        found[name] = Path(path)
    if len(found) < MIN_SITES:
        raise PrivacyError(
            f"min_sites: {len(found)} sites given, {MIN_SITES} or more are needed:"
            " with two, each would learn the other's sums by subtraction"
        )
    return found


def read_tables(paths: Mapping[str, Path], plan: Plan) -> dict[str, Table]:
    """One table a site with the columns of the plan, each a number column everywhere or a text column everywhere.

    Raises:
        DataError: a file cannot be read, a row has too few or too many fields, or sites disagree on a column's type.
        ConfigError: a site has no column of that name.
    """
    needed = plan.columns()
    texts = {name: _read_texts(name, path, needed) for name, path in paths.items()}
    numeric = {column: _is_numeric(column, {name: site[column] for name, site in texts.items()}) for column in needed}
    return {
        name: Table({column: _typed(site[column], numeric[column]) for column in needed})
        for name, site in texts.items()
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write all of it or nothing: into a file beside `path`, then renamed."""
    beside = path.with_name(f"{path.name}.part")
    try:
        beside.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(beside, path)  # noqa: PTH105
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({type(error).__name__}); give another --json path") from error


def _read_texts(site: str, path: Path, needed: Sequence[str]) -> dict[str, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.reader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"site {site}: {path} cannot be read as CSV ({type(error).__name__}: {error})") from error
    if not rows:
        raise DataError(f"site {site}: {path} is empty; a site with nobody still has a header line")
    header = rows[0]
    if len(set(header)) < len(header):
        raise DataError(f"site {site}: {path} has two columns of one name; rename one")
    for name in needed:
        if name not in header:
            raise ConfigError(
                f"site {site}: no column '{name}' in {path} (columns: {', '.join(header)}); correct the plan"
            )
    for line, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(header):
            raise DataError(f"site {site}: {path} row {line} has {len(row)} fields, the header has {len(header)}")
    place = {name: header.index(name) for name in needed}
    return {name: [row[place[name]].strip() for row in rows[1:] if row] for name in needed}


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


def _typed(values: Sequence[str], numeric: bool) -> NDArray[Any]:
    if numeric:
        return np.array([np.nan if value in _MISSING else float(value) for value in values], dtype=np.float64)
    return np.array(["" if value in _MISSING else value for value in values], dtype=object)


def _show(
    plan: Plan,
    written: Mapping[str, dict[str, Any]],
    refused: Mapping[str, Refused],
    tables: Mapping[str, Table],
    min_cell: int,
) -> None:
    patients = sum(len(table) for table in tables.values())
    title = f"{len(tables)} sites, {patients} rows; sums in the clear in this process; min_cell {min_cell}"
    shown = RichTable(title=title, title_justify="left")
    for heading in ("analysis", "kind", "result"):
        shown.add_column(heading, overflow="fold")
    for analysis in plan.analyses:
        told = f"refused: {refused[analysis.id].reason}" if analysis.id in refused else headline(written[analysis.id])
        shown.add_row(analysis.id, analysis.kind, told)
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


def _main() -> int:
    application = typer.Typer(pretty_exceptions_enable=False)
    application.command()(analyse)
    try:
        return int(application(standalone_mode=False) or 0)
    except FLLiverError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(_main())
