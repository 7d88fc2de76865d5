"""`fl-liver study`: what a coordinator does with studies. Heavy things are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fl_liver import study_run_cli

app = typer.Typer(no_args_is_help=True, help="Studies: what hospitals agree on before a round is run.")


@app.command("list")
def study_list() -> None:
    """List the studies that ship with fl_liver, and their variants."""
    from fl_liver.study_files import load_study, shipped_studies, tasks_of

    for name in shipped_studies():
        typer.echo(f"{name:36s}{load_study(name).title}")
        for task in tasks_of(name):
            typer.echo(f"  {f'{name}:{task}':34s}{load_study(f'{name}:{task}').title}")


@app.command(
    "check",
    epilog="Example:  fl-liver study check lesion_us_fusion --out study/   "
    "writes study/study.toml (with the first weights' SHA-256) and study/initial.safetensors.",
)
def study_check(
    study: Annotated[str, typer.Argument(help="A shipped study's name or the path of a .toml file; with :VARIANT.")],
    out: Annotated[Path, typer.Option(help="Folder for study.toml and initial.safetensors.")] = Path("study"),
) -> None:
    """Check a study, make its first weights, print its hash."""
    from fl_liver.first_weights import check_study, describe
    from fl_liver.study_files import load_study

    checked = check_study(load_study(study), out)
    for label, value in describe(checked, out):
        typer.echo(f"{label:14s}{value}")


app.add_typer(study_run_cli.app)
