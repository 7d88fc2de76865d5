"""`fl-liver study launch|resume|stop`: a run's folder is made, and the thin bundle handed to Flower."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from fl_liver.consortium.folder import Consortium, changing
from fl_liver.errors import ConfigError, FlowerCommandError, IncompleteError
from fl_liver.identity import write_roster
from fl_liver.server.bundle import write_bundle
from fl_liver.server.flower_command import FlowerCommand
from fl_liver.server.journal import Journal
from fl_liver.server.run import load_checked
from fl_liver.server.run_folder import RunFolder, new_run_folder, read_progress
from fl_liver.server.server_folder import ServerFolder
from fl_liver.study import Study

PATIENCE_S = 90.0
"""A daemon that was killed is let in again within 40 s; after this a hospital that is away costs the round no more."""
_OVER = "finished"
_LAG_S = 30.0


def launch(consortium: Path, study: Path, wait_s: float) -> RunFolder:
    """Begin a new run of a checked study.

    Raises:
        ConfigError: the study was not checked, names a hospital that is not in, or the server is not up.
        FlowerCommandError: Flower does not take it.
    """
    ServerFolder.of(consortium).state()
    source = study / "study.toml" if study.is_dir() else study
    checked, _ = load_checked(source)
    with changing(consortium) as opened:
        identities = _identities(opened, checked)
    folder = new_run_folder(consortium, checked)
    for name in ("study.toml", "initial.safetensors"):
        shutil.copyfile(source.parent / (source.name if name == "study.toml" else name), folder.path / name)
    write_roster(folder.path / "roster.toml", identities)
    try:
        _submit(consortium, folder, checked, wait_s)
    except FlowerCommandError:
        shutil.rmtree(folder.path)  # nothing ran in it
        raise
    return folder


def resume(consortium: Path, folder: RunFolder, wait_s: float) -> None:
    """Go on with a run after its last whole round.

    Raises:
        ConfigError: it is done, or still running, or the server is not up.
    """
    server = ServerFolder.of(consortium)
    server.state()
    process = read_progress(folder).process
    if folder.summary_file.is_file():
        raise ConfigError(f"{folder.path.name}: is done; see `fl-liver study report {folder.path.name}`")
    if folder.submissions():
        _require_over(FlowerCommand(server), folder)
    if process is not None:
        process.end()  # one that was stopped by a signal would go on beside the new one
    folder.stop_file.unlink(missing_ok=True)
    study, _ = load_checked(folder.study_file)
    _submit(consortium, folder, study, wait_s)


def stop(consortium: Path, folder: RunFolder, *, now: bool = False) -> bool:
    """End a run; its checkpoints stay. True where it ends by itself after the round that is on.

    A round that is cut off may be lost, so that it is finished first, unless `now`.

    Raises:
        ConfigError: the server is not up, or the run is done.
        FlowerCommandError: Flower does not know the run, or it has ended.
    """
    server = ServerFolder.of(consortium)
    server.state()
    if folder.summary_file.is_file():
        raise ConfigError(f"{folder.path.name}: is done already")
    progress = read_progress(folder)
    if not now and progress.phase == "train" and not progress.failed:
        folder.stop_file.touch()
        return True
    FlowerCommand(server).stop(folder.last_run)
    # Its process is ended from outside and cannot say so itself.
    Journal(folder.path / "journal.jsonl").write_last(
        "failed",
        error="stopped as asked, at once; `fl-liver study resume` goes on",
        exit_code=IncompleteError.exit_code,
    )
    return False


def _require_over(flower: FlowerCommand, folder: RunFolder) -> None:
    """A run that has just failed, or whose process died, is behind at Flower. Raises ConfigError where it goes on."""
    progress = read_progress(folder)
    died = progress.process is not None and progress.process.state == "gone"
    if died and not progress.over and not flower.status(folder.last_run).startswith((_OVER, "unknown")):
        flower.stop(folder.last_run)
    deadline = time.monotonic() + (_LAG_S if died or progress.failed else 0.0)
    while not (status := flower.status(folder.last_run)).startswith((_OVER, "unknown")):
        if time.monotonic() >= deadline:
            raise ConfigError(f"{folder.path.name}: is {status}; watch it, or stop it first")
        time.sleep(1.0)


def _submit(consortium: Path, folder: RunFolder, study: Study, wait_s: float) -> None:
    server = ServerFolder.of(consortium)
    config = {
        "study": str(folder.study_file),
        "folder": str(folder.path),
        "nodes_file": str(server.nodes),
        "patience_s": PATIENCE_S,
        "wait_s": wait_s,
    }
    app = write_bundle(folder.path / "app", study.title)
    run = FlowerCommand(server).run(app, config, folder.path / "run-config.toml")
    folder.note_submission(run)
    Journal(folder.path / "journal.jsonl").write("submitted", run=str(run))


def _identities(consortium: Consortium, study: Study) -> dict[str, str]:
    roster = consortium.roster(datetime.now(UTC)).identity
    strangers = [site for site in study.every_site if site not in roster]
    if strangers:
        raise ConfigError(
            f"study {study.name}: {', '.join(strangers)} not admitted to '{consortium.register.name}'; admit with"
            " `fl-liver coordinator enrol` and `approve`, or change the study"
        )
    return {site: roster[site] for site in study.every_site}
