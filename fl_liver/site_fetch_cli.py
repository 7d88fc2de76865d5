"""`fl-liver site fetch`: images from the hospital's archive over DICOMweb. Heavy things are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click
import typer

app = typer.Typer()


@app.command(
    "fetch",
    epilog="Example:  fl-liver site fetch --list worklist.csv --dry-run    fl-liver site fetch --list worklist.csv   "
    "The worklist is a CSV table with the column patient_id and, where wanted, archive_id, study_uid, "
    "accession_number, from, to (YYYY-MM-DD), modality (MR, or MR;SEG) and series_description (*t2*). Run it again "
    "after any failure: what is here is not fetched twice. "
    "Exit status: 0 all here · 1 some failed · 2 nothing here, or the worklist is wrong · 69 archive unreachable · "
    "75 disk at its floor, or another fetch runs · 78 configuration, user or password.",
)
def site_fetch(
    folder: Annotated[Path, typer.Option("--dir", help="The hospital's folder, with site.toml in it.")] = Path(),
    worklist: Annotated[Path | None, typer.Option("--list", help="Whom to fetch: a CSV table, see below.")] = None,
    patient: Annotated[str, typer.Option(help="One patient by id, instead of a list.")] = "",
    study: Annotated[str, typer.Option(help="One study by StudyInstanceUID, instead of a list.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Search only; say what would be fetched.")] = False,
    modality: Annotated[list[str] | None, typer.Option(help="Only these, over list and site.toml; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many studies.")] = None,
) -> None:
    """Fetch images of listed patients from the archive (table pacs of site.toml) into dicom/; prints pseudonyms."""
    from rich.console import Console

    from fl_liver.client.cohort.pacs.fetch import Choice, Miss, Task, fetch, preview
    from fl_liver.client.cohort.pacs.show import Lines, outcome_table, preview_table, watching
    from fl_liver.client.cohort.pacs.wanted import one_patient, one_study, read_worklist
    from fl_liver.client.site import load_site

    if sum(map(bool, (worklist, patient, study))) != 1:
        raise click.UsageError("give one of --list FILE, --patient ID and --study UID")
    site = load_site(folder if folder.suffix == ".toml" else folder / "site.toml")
    rows = read_worklist(worklist) if worklist else [one_patient(patient) if patient else one_study(study)]
    choice = Choice(tuple(one.upper() for one in modality or ()), limit)
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    if dry_run:
        found = list(preview(site, rows, choice))
        tasks = [one for one in found if isinstance(one, Task)]
        for miss in (one for one in found if isinstance(one, Miss)):
            Lines(console).missed(miss)
        console.print(preview_table(tasks))
        raise typer.Exit(0 if tasks and len(tasks) == len(found) else 1 if tasks else 2)
    with watching(console) as watcher:
        outcome = fetch(site, rows, choice, watcher)
    console.print(outcome_table(outcome))
    if outcome.cut_by is not None:
        raise outcome.cut_by
    raise typer.Exit(outcome.exit_code)
