"""What Linux says about a process: its children, processor time and memory. For tests."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process by its id."""

    pid: int

    @property
    def children(self) -> list[Process]:
        found = [path.read_text().split() for path in Path(f"/proc/{self.pid}/task").glob("*/children")]
        return [Process(int(pid)) for pids in found for pid in pids]

    @property
    def command(self) -> str:
        return Path(f"/proc/{self.pid}/cmdline").read_text().replace("\0", " ").strip()

    @property
    def cpu_s(self) -> float:
        fields = self._stat()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def alive(self) -> bool:
        """There, and no zombie."""
        try:
            return self._stat()[0] != "Z"
        except OSError:
            return False

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def _stat(self) -> list[str]:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
