"""A command of `fl-liver` that runs until it is stopped, as a process of its own: a server, a hospital's daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fl_liver.errors import FLLiverError
from fl_liver.server.child_process import die_with_parent

_POLL_S = 0.1
_STOP_S = 30.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def loopback_environment() -> dict[str, str]:
    """One thread a process, as workers of a simulation have; no proxy, since everything is on this machine."""
    kept = {name: value for name, value in os.environ.items() if name.lower() not in _PROXIES}
    return {**kept, "OMP_NUM_THREADS": "1"}


@dataclass
class Program:
    """`title` is how errors call it; what it prints is appended to `log_file`."""

    title: str
    arguments: Sequence[str]
    log_file: Path
    environment: dict[str, str] = field(default_factory=loopback_environment)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It ends with this process, also where this one is killed outright."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fl_liver.cli", *self.arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the run, which stops its programs in order
                preexec_fn=die_with_parent,
            )

    def said(self) -> str:
        """Everything since its log was begun."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def require_alive(self, error: type[FLLiverError] = FLLiverError) -> None:
        """Raises `error` where it has ended."""
        if self.process is None or (status := self.process.poll()) is None:
            return
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise error(f"{self.title} {how}; it last said: {self._last_line()}; see {self.log_file}")

    def until(
        self, ready: Callable[[], object], what: str, timeout_s: float, error: type[FLLiverError] = FLLiverError
    ) -> None:
        """Wait until `ready`.

        Raises:
            error: not within `timeout_s`, or the program has ended; says `what` was awaited and where its log is.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.require_alive(error)
            if time.monotonic() > deadline:
                raise error(
                    f"{self.title}: no {what} within {timeout_s:.0f} s; it last said: {self._last_line()}; see"
                    f" {self.log_file}"
                )
            time.sleep(_POLL_S)

    def terminate(self) -> None:
        """Ask it to end; `stop` waits for that."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self, patience_s: float = _STOP_S) -> int | None:
        """SIGTERM, after `patience_s` SIGKILL; returns its exit status when it is gone, None if it never ran."""
        process = self.process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()

    def stop_all_below(self) -> None:
        """`stop`, and the end of every process below it that outlives it, as a run outlives the server for a while."""
        below = _below(self.process.pid) if self.process is not None else {}
        self.stop()
        for pid, started in below.items():
            if _started(pid) == started:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """As a power cut."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _last_line(self) -> str:
        lines = [line.strip() for line in self.said().splitlines() if line.strip()]
        return lines[-1][:400] if lines else "nothing"


def _below(pid: int) -> dict[int, str]:
    """All descendants of a process → when each was started, so that an id that is used again is not mistaken."""
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                new = [int(child) for child in children.read_text(encoding="ascii").split()]
                waiting += new
                found |= {child: _started(child) for child in new}
    return found


def _started(pid: int) -> str:
    """Clock ticks since boot, of proc(5); "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def stop_together(programs: Iterable[Program]) -> None:
    """Tell all of them first, then wait for each."""
    programs = list(programs)
    for program in programs:
        program.terminate()
    for program in programs:
        program.stop()
