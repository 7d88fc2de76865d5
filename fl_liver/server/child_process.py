"""One process that must run: started, watched, started again with growing pauses, stopped by its id."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger("fl_liver.up")
_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STEADY_S = 60.0
"""After so long a death is a new one, and the pause short again."""
_HUNG_S = 30.0
_STILL_S = 5.0
"""A process that somebody stopped is let go on after that: a SuperExec that is killed takes the run with it."""
_STOP_S = 10.0
_LOG_BYTES = 32 << 20
_SIGNAL_OF_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2): a child never outlives a supervisor that was killed."""


@dataclass(slots=True)
class ChildProcess:
    """`healthy` is asked while it runs; one that is not for 30 s is killed and started again.

    One that was stopped by a signal (SIGSTOP) gets SIGCONT after 5 s.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    log_file: Path
    healthy: Callable[[], bool]
    restarts: int = 0
    ok: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _next: float = 0.0
    _failures: int = 0
    _well: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        with self.log_file.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a key in the terminal is for the supervisor alone
                preexec_fn=_begin,
            )
        self._started = self._well = time.monotonic()
        self.ok = False
        log.info("%s: started, process %d", self.name, self._process.pid)

    def look(self) -> None:
        """Once in a while: is it there, does it answer; if not, what must be done."""
        now = time.monotonic()
        self._shorten_log()
        if self._process is None or self._process.poll() is not None:
            self.ok = False
            self._again(now)
            return
        still = stopped(self._process.pid)
        self.ok = not still and self.healthy()
        if still:
            self._let_go_on(now, self._process)
        elif self.ok:
            self._well = now
        elif now - self._well > _HUNG_S:
            log.error("%s: process %d does not answer for %d s; killed", self.name, self._process.pid, _HUNG_S)
            self._process.kill()
            self._process.wait()

    def _let_go_on(self, now: float, process: subprocess.Popen[bytes]) -> None:
        if now - self._well > _STILL_S:
            log.error("%s: process %d was stopped by a signal; it is told to go on", self.name, process.pid)
            process.send_signal(signal.SIGCONT)
            self._well = now

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 10 s; returns when it is gone."""
        process, self._process = self._process, None
        self.ok = False
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            log.warning("%s: process %d did not stop within %d s; killed", self.name, process.pid, _STOP_S)
            process.kill()
            process.wait()

    def _shorten_log(self) -> None:
        """A server that runs for months logs every question of every hospital; two files of 32 MB are kept."""
        with contextlib.suppress(OSError):
            if self.log_file.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self.log_file, self.log_file.with_suffix(".log.1"))
                os.truncate(self.log_file, 0)  # it is appended to: the process goes on at the new end

    def _again(self, now: float) -> None:
        if self._process is not None:
            self._failures = 0 if now - self._started > _STEADY_S else self._failures
            pause = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
            how = _how(self._process.returncode)
            log.error("%s: %s; started again in %g s; see %s", self.name, how, pause, self.log_file)
            self._failures += 1
            self.restarts += 1
            self._process, self._next = None, now + pause
        if now >= self._next:
            self.start()


def stopped(pid: int | None) -> bool:
    """Whether a process is there but was stopped (SIGSTOP)."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def _how(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


_libc = ctypes.CDLL(None, use_errno=True)


def _begin() -> None:
    """For `preexec_fn`: where a script starts a server in the background, SIGINT is ignored, by which Flower ends a run
    whose executor is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent()


def die_with_parent(how: signal.Signals = signal.SIGTERM) -> None:
    """For `preexec_fn`: the child gets that signal when the process that started it is gone."""
    _libc.prctl(_SIGNAL_OF_PARENT, how)
