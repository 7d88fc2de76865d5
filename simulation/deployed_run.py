"""A run on the SuperLink as a simulation shows it: its journal is read as it grows, and its end is the run's end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fl_liver import errors
from fl_liver.errors import FLLiverError
from fl_liver.server.flower_command import FlowerCommand
from fl_liver.server.journal import Listener
from fl_liver.server.run_folder import RUNS, Progress, RunFolder
from fl_liver.server.server_folder import ServerFolder

_POLL_S = 0.2
_QUIET_S = 30.0
"""After so long without an event Flower is asked whether the run is still there; its command line takes seconds."""


def follow(run: RunFolder, seen_bytes: int, show: Listener, require_alive: Callable[[], None]) -> None:
    """Hand the events of a run to `show` until it is done.

    Args:
        seen_bytes: of its journal, that were followed before.
        require_alive: raises where a process that the run needs has ended.
    Raises:
        FLLiverError: what the run itself ended with, as that error; or it ended without a word.
    """
    progress, heard = Progress({}, done=run.summary_file.is_file()), time.monotonic()
    tail = _Tail(run.path / "journal.jsonl", seen_bytes)
    while not progress.done:
        require_alive()
        for line in tail.lines():
            event, heard = json.loads(line), time.monotonic()
            progress.take(event)
            show(event["event"], {key: value for key, value in event.items() if key not in ("event", "time")})
        if progress.failed:
            raise _named(progress.failed, run)
        if not progress.done and progress.process is not None and progress.process.state == "gone":
            raise _without_a_word(run, "its process is gone")
        if time.monotonic() - heard > _QUIET_S:
            _require_running(run)
            heard = time.monotonic()
        time.sleep(0.0 if progress.done else _POLL_S)


class _Tail:
    """Whole lines of a file as they are appended."""

    def __init__(self, path: Path, position: int) -> None:
        self._path, self._position = path, position

    def lines(self) -> Iterator[str]:
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            whole, end, _ = file.read().rpartition(b"\n")
        self._position += len(whole) + len(end)
        yield from whole.decode().splitlines()


def _named(failed: str, run: RunFolder) -> FLLiverError:
    """The journal's "ErrorClass: words" as that error again."""
    name, _, words = failed.partition(": ")
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, FLLiverError)):
        kind, words = FLLiverError, failed
    return kind(f"{words or name} (logs: {_server(run).folder})")


def _require_running(run: RunFolder) -> None:
    status = FlowerCommand(_server(run)).status(run.last_run)
    if status.startswith("finished"):
        raise _without_a_word(run, status)


def _without_a_word(run: RunFolder, how: str) -> FLLiverError:
    return FLLiverError(f"{run.path.name} ended in the middle ({how}); see {_server(run).log('superexec')}")


def _server(run: RunFolder) -> ServerFolder:
    """Of the coordinator in whose folder the run lies: CONSORTIUM/runs/NAME."""
    consortium = run.path.parent.parent if run.path.parent.name == RUNS else run.path
    return ServerFolder.of(consortium)
