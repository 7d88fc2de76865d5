"""Peak memory of this process and its children, shared pages counted once (PSS, from /proc)."""

from __future__ import annotations

import resource
import threading
from pathlib import Path


class PeakMemory:
    """Samples every `period_s` in a thread; `stop` gives the peak in MB. Without /proc: this process's own."""

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_s = period_s
        self._peak_kb = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Peak in MB (10⁶ bytes)."""
        self._stopped.set()
        self._thread.join()
        own_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round((self._peak_kb or own_kb) * 1024 / 1e6)

    def _watch(self) -> None:
        while True:
            self._peak_kb = max(self._peak_kb, tree_pss_kb())
            if self._stopped.wait(self._period_s):
                return


def tree_pss_kb() -> int:
    """Proportional set size of this process and all its descendants, kB; 0 where the system does not tell."""
    total, waiting = 0, ["self"]
    while waiting:
        process = Path("/proc") / waiting.pop()
        try:
            rollup = (process / "smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
            for children in (process / "task").glob("*/children"):
                waiting += children.read_text().split()
        except (OSError, StopIteration):
            continue  # it ended between the listing and the reading
    return total
