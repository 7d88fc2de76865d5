"""`fl-liver site`: what a hospital runs on its own data. Heavy things are imported inside the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fl_liver import site_run_cli, site_study_cli, site_trust_cli

app = typer.Typer(no_args_is_help=True, help="What a hospital runs on its own data.")
app.add_typer(site_trust_cli.app)
app.add_typer(site_study_cli.app)
app.add_typer(site_run_cli.app)


@app.command(
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

    from fl_liver.client.cohort.check.check import check_folder, render

    report = check_folder(folder)
    console = Console()
    render(report, console if console.is_terminal else Console(width=140))
    if json_file is not None:
        json_file.touch(mode=0o600)
        json_file.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    raise typer.Exit(report.exit_code)
