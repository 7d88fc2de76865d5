"""`fl-liver study launch|status|watch|stop|resume|report`: runs of studies. Heavy things are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fl_liver.coordinator_trust_cli import Folder

app = typer.Typer()

Run = Annotated[str | None, typer.Argument(help="The run's folder or the beginning of its name.  [default: newest]")]
Wait = Annotated[
    float, typer.Option("--wait-min", min=0, help="Minutes that hospitals which are not ready are waited for.")
]
Watch = Annotated[bool, typer.Option("--watch", help="Follow it to its end.")]


@app.command(
    "launch",
    epilog="Example:  fl-liver study launch study/ --folder liver --watch   "
    "Exit status: 0 submitted (or done) · 69 server · 75 with fewer hospitals than the study names · 78 study, folder.",
)
def study_launch(
    study: Annotated[Path, typer.Argument(help="The folder that `study check` wrote, or the study.toml in it.")],
    folder: Folder = Path(),
    wait_min: Wait = 60.0,
    follow: Watch = False,
) -> None:
    """Begin a run: every hospital of the study is asked, and waited for until it approved and is online."""
    from fl_liver.server.launch import launch

    run = launch(folder, study, wait_min * 60)
    typer.echo(f"submitted {run.path.name}: study {run.study().sha256}")
    typer.echo(f"next: hospitals see it with `fl-liver site requests`; follow with `fl-liver study watch -C {folder}`")
    if follow:
        _watch(folder, run.path.name)


@app.command(
    "status",
    epilog="Example:  fl-liver study status --folder liver --json   "
    "Exit status: 0 running or done · 75 with fewer hospitals, or ended before the last round · 78 no such run.",
)
def study_status(
    run: Run = None,
    folder: Folder = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How far a run is, once."""
    import json

    from rich.console import Console

    from fl_liver.server.run_folder import find_run
    from fl_liver.server.watch import View

    view = View(folder, find_run(folder, run))
    progress = view.refresh()
    if as_json:
        typer.echo(json.dumps(view.as_json(progress), indent=1))
    else:
        Console(highlight=False).print(view.screen(progress))
    raise typer.Exit(view.exit_code(progress))


@app.command(
    "watch",
    epilog="Example:  fl-liver study watch --folder liver   Ends with the run; Ctrl-C leaves it running.   "
    "Exit status: 0 done · 75 with fewer hospitals, or ended before the last round · else that of the run's error.",
)
def study_watch(run: Run = None, folder: Folder = Path()) -> None:
    """Follow a run to its end: hospitals, rounds, bytes."""
    _watch(folder, run)


@app.command(
    "stop",
    epilog="Example:  fl-liver study stop --folder liver   Its checkpoints stay for `study resume`.   "
    "Exit status: 0 stopped, or stops after the round · 69 it is not running · 78 done, or no server.",
)
def study_stop(
    run: Run = None,
    folder: Folder = Path(),
    now: Annotated[
        bool, typer.Option("--now", help="Do not finish the round; it may be lost, since no sum is opened twice.")
    ] = False,
) -> None:
    """End a run after the round that is on."""
    from fl_liver.server.launch import stop
    from fl_liver.server.run_folder import find_run

    found = find_run(folder, run)
    later = stop(folder, found, now=now)
    typer.echo(f"{found.path.name}: {'stops after this round' if later else 'stopped'}")
    typer.echo(f"next: go on with `fl-liver study resume {found.path.name} -C {folder}`")


@app.command(
    "resume",
    epilog="Example:  fl-liver study resume --folder liver --watch   Goes on after the last whole round.   "
    "Exit status: 0 submitted (or done) · 75 with fewer hospitals than the study names · 78 done, or still running.",
)
def study_resume(run: Run = None, folder: Folder = Path(), wait_min: Wait = 60.0, follow: Watch = False) -> None:
    """Go on with a run that was stopped or interrupted, in the same folder."""
    from fl_liver.server.launch import resume
    from fl_liver.server.run_folder import find_run

    found = find_run(folder, run)
    resume(folder, found, wait_min * 60)
    typer.echo(f"submitted {found.path.name} again")
    if follow:
        _watch(folder, found.path.name)


@app.command(
    "report",
    epilog="Example:  fl-liver study report --folder liver   writes report.html and figures/ into the run's folder.   "
    "Exit status: 0 written · 75 written, of a run with fewer hospitals than the study names · 78 not done yet.",
)
def study_report(run: Run = None, folder: Folder = Path()) -> None:
    """Write the report of a run that is done: the same page as the simulation's."""
    from fl_liver.errors import ConfigError
    from fl_liver.server.report.page import write_report
    from fl_liver.server.run_folder import find_run

    found = find_run(folder, run)
    summary = found.summary()
    if summary is None:
        raise ConfigError(f"{found.path.name}: is not done; see `fl-liver study status {found.path.name} -C {folder}`")
    incomplete = summary.get("incomplete")
    typer.echo(f"{found.path.name}: INCOMPLETE: {incomplete}" if incomplete else f"{found.path.name}: done")
    typer.echo(f"report   {write_report(summary, found.path)}")
    typer.echo(f"summary  {found.summary_file}")
    raise typer.Exit(75 if incomplete else 0)


def _watch(folder: Path, run: str | None) -> None:
    from rich.console import Console

    from fl_liver.server.run_folder import find_run
    from fl_liver.server.watch import View, watch

    raise typer.Exit(watch(View(folder, find_run(folder, run)), Console(highlight=False)))
