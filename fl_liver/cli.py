"""`fl-liver`: the command line of coordinators and hospitals. Heavy things are imported inside the commands.

Every error that fl_liver raises on purpose ends in one line on stderr and the exit status of `errors.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import click
import typer

from fl_liver import __version__, coordinator_cli, site_cli, study_cli
from fl_liver.errors import FLLiverError

USAGE = 64
"""Exit status of a wrong command line (sysexits.h)."""

app = typer.Typer(
    name="fl-liver",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and test liver-lesion models across hospitals; images never leave them. Not a medical device.",
    epilog="Exit status: 0 done · 1 done with exclusions · 2 unusable data · 64 usage · 69 server · 71 training · "
    "74 audit log · 75 incomplete · 76 protocol · 77 privacy · 78 configuration.",
)
app.add_typer(study_cli.app, name="study")
app.add_typer(site_cli.app, name="site")
app.add_typer(coordinator_cli.app, name="coordinator")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"fl_liver {__version__}")


@app.command(
    epilog="Example:  fl-liver analyse plan.toml --site north=north.csv --site south=south.csv --site east=east.csv "
    "--json results.json   Exit status: 0 all answered · 2 data · 76 protocol · 77 a floor · 78 plan or command line.",
)
def analyse(
    plan: Annotated[
        Path,
        typer.Argument(help="Plan in TOML: an 'analysis' table for each question, with id, kind and that kind's keys."),
    ],
    site: Annotated[list[str], typer.Option(help="NAME=FILE.csv, once for each site; three or more.")],
    json_file: Annotated[Path, typer.Option("--json", help="Where {id: result} is written, if all are answered.")],
    min_cell: Annotated[
        int, typer.Option(help="Smallest group that a result may describe; 1 (public data) switches floors off.")
    ] = 5,
    report: Annotated[Path | None, typer.Option(help="Also write the results as an HTML page.")] = None,
    sums: Annotated[
        Literal["plain", "masked"],
        typer.Option(envvar="FL_LIVER_SUMS", help="Add in the clear in this process, or masked as between hospitals."),
    ] = "plain",
) -> None:
    """Answer an analysis plan over the tables of three or more sites."""
    from fl_liver.analyse import analyse as answer

    raise typer.Exit(answer(plan, site, json_file, min_cell=min_cell, report=report, sums=sums))


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
