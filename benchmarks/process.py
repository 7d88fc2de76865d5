"""What Linux says about a process: its memory and processor time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


def rss_mb(pid: int) -> float:
    """Resident memory, 10⁶ bytes. Raises OSError where it has ended."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def own_mb(pid: int) -> float:
    """Resident memory without mapped files, 10⁶ bytes: a database that ten threads map counts ten times in `rss_mb`.

    Raises OSError where it has ended.
    """
    return _told_mb(pid, "RssAnon:")


def peak_mb(pid: int | str = "self") -> float:
    """The most that was resident so far, 10⁶ bytes. Not `ru_maxrss`, which begins at what the parent held at the start.

    Raises OSError where it has ended.
    """
    return _told_mb(pid, "VmHWM:")


def _told_mb(pid: int | str, key: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Processor time that it has used. Raises OSError where it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Its child processes now."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def together(measure: Callable[[int], float], pid: int) -> float:
    """A measure of a process and of its children, added."""
    return measure(pid) + sum(measure(child) for child in children(pid))


class Sampler:
    """Calls `look` every `period_s` while it is open; `seen` has (seconds since 1970, what it returned)."""

    def __init__(self, look: Callable[[], dict[str, float]], period_s: float = 0.5) -> None:
        self._look, self._period_s = look, period_s
        self.seen: list[tuple[float, dict[str, float]]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def most(self, name: str, since: float = 0.0, until: float = float("inf")) -> float:
        """The largest value of a name in a time; 0 where it was never seen."""
        return max((values.get(name, 0.0) for when, values in self.seen if since <= when <= until), default=0.0)

    def _watch(self) -> None:
        while not self._stopped.wait(self._period_s):
            try:
                self.seen.append((time.time(), self._look()))
            except OSError:
                continue  # a process or file that is gone for the moment
