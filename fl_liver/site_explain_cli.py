"""`fl-liver site explain`: why the study's model says what it says of this hospital's patients. Nothing is sent.

Heavy things are imported inside the command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fl_liver.site_run_cli import Dir, site_file

if TYPE_CHECKING:
    from fl_liver.client.cohort.cohort import Cohort
    from fl_liver.client.explain.explained import Explained, OnImages
    from fl_liver.client.explain.page import Picture
    from fl_liver.study import Study

app = typer.Typer()


@app.command(
    "explain",
    epilog="Example:  fl-liver site explain 3f9ac1d2 --model model.safetensors --out explained    "
    "fl-liver site explain study.toml --model model.safetensors --patients 48cc1ddf1e5d,9b01c2aa7f30 --out explained   "
    "Writes explain.html and explain.csv into a folder that only you can read. "
    "Exit status: 0 done · 2 no such patient, or no images · 78 model of another study, or configuration.",
)
def site_explain(
    study: Annotated[
        str, typer.Argument(help="An approved study's hash (first 8 digits or more), or the run's study.toml.")
    ],
    model: Annotated[Path, typer.Option(help="model.safetensors, as the coordinator published it with the run.")],
    out: Annotated[Path, typer.Option(help="Folder for page and table; made, mode 0700.")],
    patients: Annotated[
        str,
        typer.Option(
            help="Pseudonyms and parts (train, calibration, internal, external), comma-separated; "
            "all; or unseen: not trained on."
        ),
    ] = "unseen",
    folder: Dir = Path(),
    shown: Annotated[int, typer.Option(min=1, help="Heat maps of at most so many patients are on the page.")] = 24,
    device: Annotated[str, typer.Option(help="cpu, auto (the first GPU if there is one) or cuda:N.")] = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
) -> None:
    """Heat maps, hit rates, t-SNE and physical features of your own patients, on a page that stays here."""
    from fl_liver.client.cohort.load import load_cohort
    from fl_liver.client.explain.chosen import chosen_patients
    from fl_liver.client.explain.explained import explain_cohort
    from fl_liver.client.explain.page import private_folder, write_table
    from fl_liver.client.explain.study_model import approved_here, final_model
    from fl_liver.client.site import load_site
    from fl_liver.client.train import pick_device
    from fl_liver.study_files import load_study

    site = load_site(site_file(folder))
    asked = approved_here(site, study) or load_study(study)
    _require_images(asked)
    vector, layout = final_model(site, asked, model)
    where = pick_device(device)
    with _progress("patients read") as tell:
        cohort = load_cohort(site, asked, on_patient=tell)
    chosen = chosen_patients(cohort, patients)
    if dry_run:
        images = sum(map(int, (cohort.owner[:, None] == chosen).any(1)))
        unit = asked.cohort.unit
        typer.echo(f"would explain {len(chosen)} {unit}s, {images} images, and write {out}/explain.html and .csv")
        return
    private_folder(out)
    with _progress("images explained") as tell:
        explained = explain_cohort(
            asked, cohort, vector, layout, patients=chosen, shown=shown, device=where, on_images=tell
        )
    pictures, missing = _pictures(asked, cohort, explained)
    write_table(out, cohort, explained)
    path = _write(out, asked, site.site, patients, explained, pictures, missing)
    typer.echo(f"{path}: shows images of patients; it stays in the hospital")


def _require_images(study: Study) -> None:
    from fl_liver.errors import ConfigError

    if study.task.modality == "table":
        raise ConfigError(f"study {study.name} reads a table, no images; there is nothing to draw heat maps over")


def _pictures(study: Study, cohort: Cohort, explained: Explained) -> tuple[list[Picture], list[str]]:
    from fl_liver.client.explain.page import Picture
    from fl_liver.explanation_figures import explanation_figures
    from fl_liver.server.report.style import render_svg

    drawings, missing = explanation_figures(
        study, cohort, explained, titled=lambda patient: f"{cohort.patients[patient]}: "
    )
    drawn = [render_svg(one) for one in drawings]
    return [Picture(one.svg_uri, one.alt, one.caption, one.width_px) for one in drawn], missing


def _write(
    out: Path,
    study: Study,
    site: str,
    whom: str,
    explained: Explained,
    pictures: list[Picture],
    missing: list[str],
) -> Path:
    from datetime import datetime

    from fl_liver.client.explain.page import Facts, write_page

    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    people, images = len(explained.patients), len(explained.rows)
    facts = Facts(study.title, site, study.sha256, made, people, study.cohort.unit, images, whom, tuple(missing))
    return write_page(out, facts, pictures)


@contextmanager
def _progress(what: str) -> Iterator[OnImages]:
    """A bar on a terminal, on standard error; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<17}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
