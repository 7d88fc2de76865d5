"""`fl-liver`: the command line of coordinators and hospitals. Heavy things are imported inside the commands.

Every error that fl_liver raises on purpose ends in one line on stderr and the exit status of `errors.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import click
import typer

from fl_liver import __version__
from fl_liver.errors import FLLiverError

USAGE = 64
"""Exit status of a wrong command line (sysexits.h)."""

app = typer.Typer(
    name="fl-liver",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and test liver-lesion models across hospitals; images never leave them. Not a medical device.",
    epilog="Exit status: 0 done · 1 done with exclusions · 2 unusable data · 64 usage · 71 training · 75 incomplete · "
    "76 protocol · 77 privacy · 78 configuration.",
)
study_commands = typer.Typer(no_args_is_help=True, help="Studies: what hospitals agree on before a round is run.")
site_commands = typer.Typer(no_args_is_help=True, help="What a hospital runs on its own data.")
app.add_typer(study_commands, name="study")
app.add_typer(site_commands, name="site")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"fl_liver {__version__}")


@app.command(
    epilog="Example:  fl-liver analyse plan.toml --site north=north.csv --site south=south.csv --site east=east.csv "
    "--json results.json   Exit status: 0 all answered · 2 data · 76 protocol · 77 a floor · 78 plan or command line.",
)
def analyse(
    plan: Annotated[Path, typer.Argument(help="Plan in TOML: [[analysis]] tables with id, kind and that kind's keys.")],
    site: Annotated[list[str], typer.Option(help="NAME=FILE.csv, once for each site; three or more.")],
    json_file: Annotated[Path, typer.Option("--json", help="Where {id: result} is written, if all are answered.")],
    min_cell: Annotated[
        int, typer.Option(help="Smallest group that a result may describe; 1 (public data) switches floors off.")
    ] = 5,
    report: Annotated[Path | None, typer.Option(help="Also write the results as an HTML page.")] = None,
) -> None:
    """Answer an analysis plan over the tables of three or more sites."""
    from fl_liver.analyse import analyse as answer

    raise typer.Exit(answer(plan, site, json_file, min_cell=min_cell, report=report))


@study_commands.command("list")
def study_list() -> None:
    """List the studies that ship with fl_liver."""
    from fl_liver.study import load_study, shipped_studies

    for name in shipped_studies():
        typer.echo(f"{name:24s}{load_study(name).title}")


@study_commands.command(
    "check",
    epilog="Example:  fl-liver study check lesion_us_fusion --out study/   "
    "writes study/study.toml (with the first weights' SHA-256) and study/initial.safetensors.",
)
def study_check(
    study: Annotated[str, typer.Argument(help="A shipped study's name, or the path of a .toml file.")],
    out: Annotated[Path, typer.Option(help="Folder for study.toml and initial.safetensors.")] = Path("study"),
) -> None:
    """Check a study, make its first weights, print its hash."""
    from fl_liver.first_weights import check_study, describe
    from fl_liver.study import load_study

    checked = check_study(load_study(study), out)
    for label, value in describe(checked, out):
        typer.echo(f"{label:14s}{value}")


@site_commands.command(
    "check",
    epilog="Example:  fl-liver site check /srv/cohort --json check.json   "
    "Exit status: 0 clean · 1 usable with exclusions · 2 nothing usable · 78 configuration.",
)
def site_check(
    folder: Annotated[Path, typer.Argument(help="Folder with DICOM files, in any order and depth.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write series and findings as JSON (mode 0600).")
    ] = None,
) -> None:
    """Read every series; report, send nothing. No patient tag is printed."""
    from rich.console import Console

    from fl_liver.client.cohort.check import check_folder, render

    report = check_folder(folder)
    console = Console()
    render(report, console if console.is_terminal else Console(width=140))
    if json_file is not None:
        json_file.touch(mode=0o600)
        json_file.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    raise typer.Exit(report.exit_code)


def run_app(application: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status. No traceback for what a person can mend."""
    return guarded(lambda: application(args=arguments, standalone_mode=False))


def guarded(command: Callable[[], object]) -> int:
    """Run `command` and turn what it raises into one line on stderr and an exit status."""
    try:
        result = command()
    except FLLiverError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of `fl-liver`."""
    sys.exit(run_app(app))


if __name__ == "__main__":
    main()
