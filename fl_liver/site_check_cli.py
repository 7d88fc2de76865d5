"""`fl-liver site check`: what a folder of DICOM holds and what is wrong with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from fl_liver.client.cohort.check.check import OnProgress
    from fl_liver.client.cohort.check.report import CheckReport

app = typer.Typer()
_EVERY_S = 10.0


@app.command(
    "check",
    epilog="Example:  fl-liver site check /srv/cohort --html check.html --json check.json   "
    "Exit status: 0 clean · 1 usable with exclusions · 2 nothing usable, or stop · 65 no DICOM · 78 configuration.",
)
def site_check(
    folder: Annotated[
        Path, typer.Argument(help="Folder with DICOM files in any order and depth, or a hospital's folder.")
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write series and findings as JSON (mode 0600).")
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", help="Also write a page with pictures of every case, to tick off (mode 0600)."),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Also say whom this study would leave out: a name or a TOML file.")
    ] = None,
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Decode no image; quick and less thorough.")
    ] = False,
) -> None:
    """Read every series and every image; report, send nothing. No patient tag is printed.

    A file that stops its reader costs itself: images are opened in processes of their own. In a hospital's folder (one
    with site.toml) only what changed since the last check is read again.
    """
    import json

    from rich.console import Console

    from fl_liver.client.cohort.check.check import CheckOptions, check_folder
    from fl_liver.client.cohort.check.terminal import render
    from fl_liver.study_files import load_study
    from fl_liver.whole_file import write_whole

    console = Console()
    asked = load_study(study) if study is not None else None
    with _progress(console) as tell:
        options = CheckOptions(pixels=not headers_only, study=asked, on_progress=tell)
        report = check_folder(folder, options=options)
        if html_file is not None:
            _write_page(report, folder, html_file, tell)
    render(report, console if console.is_terminal else Console(width=140))
    if json_file is not None:
        write_whole(json_file, json.dumps(report.to_json(), indent=1) + "\n", mode=0o600)
    if html_file is not None:
        console.print(f"{html_file}: shows images of patients; it stays in the hospital")
    raise typer.Exit(report.exit_code)


def _write_page(report: CheckReport, folder: Path, html_file: Path, tell: OnProgress) -> None:
    from datetime import datetime

    from fl_liver.client.cohort.check.sheets import write_check_page
    from fl_liver.client.cohort.table.exclude import EXCLUDE_FILE, read_excluded
    from fl_liver.client.site import load_site

    site = load_site(folder / "site.toml") if (folder / "site.toml").is_file() else None
    write_check_page(
        report,
        html_file,
        title=site.site if site is not None else "Cohort",
        made=datetime.now().astimezone(),
        decoders=site.decoders if site is not None else "auto",
        excluded=read_excluded((site.data if site is not None else folder) / EXCLUDE_FILE),
        on_progress=tell,
    )


@contextmanager
def _progress(console: Console) -> Iterator[OnProgress]:
    """A bar for each stage on a terminal; elsewhere a line every ten seconds."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not console.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield tell


class _Lines:
    """Progress on standard error, so that it never mixes with the tables."""

    def __init__(self) -> None:
        self._said_s = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if time.monotonic() - self._said_s > _EVERY_S:
            self._said_s = time.monotonic()
            print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)
