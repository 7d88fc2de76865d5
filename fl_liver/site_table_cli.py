"""`fl-liver site table`: the hospital's own table for `fl-liver analyse`. Heavy things are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fl_liver.errors import ConfigError
from fl_liver.site_run_cli import Dir, site_file

app = typer.Typer()


@app.command(
    "table",
    epilog="Example:  fl-liver site table 3f9ac1d2 --out north.csv   then, with every hospital's table in one place: "
    "fl-liver analyse plan.toml --site north=north.csv …   "
    "Exit status: 0 done · 2 a table of this hospital is wrong · 76 not approved here · 78 configuration.",
)
def site_table(
    study: Annotated[
        str, typer.Argument(help="An approved study's hash (first 8 digits or more), or the run's study.toml.")
    ],
    out: Annotated[Path, typer.Option(help="Where the table is written (CSV, mode 0600).")],
    folder: Dir = Path(),
    explained: Annotated[
        Path | None, typer.Option(help="explain.csv of `fl-liver site explain`, to join its columns.")
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="One row an image: what the model says of it, and whether it has a lesion.")
    ] = False,
) -> None:
    """Patients under pseudonyms, with class, scores, clinical columns and readers' calls. Nothing is sent."""
    from fl_liver.client.explain.study_model import approved_here
    from fl_liver.client.export import image_table, write_table
    from fl_liver.client.export import site_table as columns_of
    from fl_liver.client.respond import read_cohort
    from fl_liver.client.site import load_site
    from fl_liver.study_files import load_study

    if images and explained is not None:
        raise ConfigError("--explained is of patients, --images of single images; ask for the one or the other")
    site = load_site(site_file(folder))
    asked = approved_here(site, study) or load_study(study)
    read, cohort = read_cohort(site, asked.sha256)
    columns = image_table(site, read, cohort) if images else columns_of(site, read, cohort, explained)
    write_table(out, columns)
    typer.echo(
        f"{out}: {len(columns['case'])} rows, {len(columns)} columns; of single patients: it stays in the hospital"
    )
