"""The process that a run's ServerApp is: whether it is still there, for whoever looks at the run's journal.

Flower calls a run "running" for a while after its process died, and nothing starts it again by itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["running", "stopped", "gone", "elsewhere"]


@dataclass(frozen=True, slots=True)
class AppProcess:
    """A process id alone is used again: `started` (clock ticks since boot) and `namespace` say which one is meant."""

    process: int
    started: int
    namespace: str

    @staticmethod
    def own() -> AppProcess:
        return AppProcess(os.getpid(), _stat(os.getpid())[1], _namespace())

    @staticmethod
    def of(line: dict[str, Any]) -> AppProcess | None:
        """From a line of the journal; None where it names none."""
        try:
            return AppProcess(int(line["process"]), int(line["started"]), str(line["namespace"]))
        except (KeyError, TypeError, ValueError):
            return None

    def as_line(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def state(self) -> State:
        """ "elsewhere": of another container or machine, which cannot be looked into from here."""
        if not self.namespace or self.namespace != _namespace():
            return "elsewhere"
        letter, started = _stat(self.process)
        if started != self.started or letter in ("Z", "X"):
            return "gone"
        return "stopped" if letter in ("T", "t") else "running"

    def end(self) -> None:
        """SIGKILL, if it is still there: two server apps must never write into one run."""
        if self.state in ("running", "stopped"):
            with contextlib.suppress(OSError):
                os.kill(self.process, signal.SIGKILL)


def _stat(process: int) -> tuple[str, int]:
    """State letter and start of a process, of proc(5); ("", 0) where there is none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0


def _namespace() -> str:
    """Which boot and which process namespace; "" where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
