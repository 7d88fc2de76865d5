"""`fl-liver site table`: the hospital's own table for `fl-liver analyse`. Heavy things are imported inside."""

from __future__ import annotations

from collections.abc import Mapping
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
    "For a plan that reads more columns:  fl-liver site table 3f9ac1d2 --out north.csv --column stage --column bmi   "
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
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="A further column of the clinical table or of readers.csv, by its name (--column stage); give it once "
            "for each. Without it: what the study and its paper's plan read, and the readers' calls."
        ),
    ] = None,
) -> None:
    """Patients under pseudonyms, with class, scores, clinical columns and readers' calls. Nothing is sent.

    Columns are taken by name alone. What was left out is printed. A column that holds dates is refused.
    """
    from fl_liver.client.explain.study_model import approved_here
    from fl_liver.client.export import image_table, write_table
    from fl_liver.client.export import site_table as columns_of
    from fl_liver.client.respond import read_cohort
    from fl_liver.client.site import load_site
    from fl_liver.stats.plan import read_plan
    from fl_liver.study_files import load_study, shipped_plan

    if images and (explained is not None or column):
        raise ConfigError(
            "--explained and --column are of patients, --images of single images; ask for the one or the other"
        )
    site = load_site(site_file(folder))
    asked = approved_here(site, study) or load_study(study)
    read, cohort = read_cohort(site, asked.sha256)
    if images:
        columns, said = image_table(site, read, cohort), []
    else:
        plan = shipped_plan(read)
        asks = [] if plan is None else read_plan(plan).columns()
        table = columns_of(site, read, cohort, explained, plan=asks, named=column or [])
        columns = table.columns
        said = [*_of_tables("kept", table.taken), *_of_tables("left out", table.left_out)]
    write_table(out, columns)
    for line in said:
        typer.echo(line)
    typer.echo(
        f"{out}: {len(columns['case'])} rows, {len(columns)} columns; of single patients: it stays in the hospital"
    )


def _of_tables(word: str, columns: Mapping[str, list[str]]) -> list[str]:
    """A line for each of the hospital's tables."""
    return [f"{word} of {table}: {', '.join(names) or 'nothing'}" for table, names in columns.items()]
