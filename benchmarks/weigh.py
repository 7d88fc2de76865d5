"""Peak memory of a process tree: PSS of every process, and shared-memory files that no process maps at that moment."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from simulation.memory import tree_pss_kb

SHARED = Path("/dev/shm")  # noqa: S108 - looked at, never written


class PeakWeight:
    """Samples every `period_s`. Files in /dev/shm count if they came after the beginning and begin with `prefix`."""

    def __init__(self, period_s: float = 0.02, prefix: str = "fl-liver-") -> None:
        self._period_s, self._prefix = period_s, prefix
        self._before = set(self._folders())
        self._peak_b = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="weigh", daemon=True)

    def __enter__(self) -> PeakWeight:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def peak_mb(self) -> float:
        """10⁶ bytes."""
        return self._peak_b / 1e6

    def _watch(self) -> None:
        while not self._stopped.wait(self._period_s):
            self._peak_b = max(self._peak_b, tree_pss_kb() * 1024 + self._unmapped_b())

    def _unmapped_b(self) -> int:
        files = [file for folder in self._folders() if folder not in self._before for file in folder.glob("*")]
        if not files:
            return 0
        mapped = "".join(_maps())
        total = 0
        for file in files:
            try:
                total += file.stat().st_blocks * 512 if str(file) not in mapped else 0
            except FileNotFoundError:
                continue  # read and gone meanwhile
        return total

    def _folders(self) -> list[Path]:
        return list(SHARED.glob(f"{self._prefix}*")) if SHARED.is_dir() else []


def _maps() -> list[str]:
    """Maps of this process and its descendants."""
    found, waiting = [], ["self"]
    while waiting:
        process = Path("/proc") / waiting.pop()
        try:
            found.append((process / "maps").read_text())
            for children in (process / "task").glob("*/children"):
                waiting += children.read_text().split()
        except OSError:
            continue  # it ended between the listing and the reading
    return found
