"""What happened in a run, one JSON line an event, in `journal.jsonl`; whoever watches gets the same events live.

Events: submitted, started, site_waiting, site_ready, site_out, phase, round_started, site_answered, round_done,
checkpoint, warning, failed, done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SPARE_BYTES = 16 << 10
Listener = Callable[[str, dict[str, Any]], None]


class Journal:
    """Appends events to a file and hands them to listeners (a progress display, a test)."""

    def __init__(self, path: Path, *listeners: Listener) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._listeners = listeners
        self._spare = path.with_suffix(".spare")
        if not self._spare.exists():
            self._spare.write_bytes(bytes(_SPARE_BYTES))

    def write(self, event: str, **details: Any) -> None:
        line = json.dumps({"time": round(time.time(), 3), "event": event, **details})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        for listener in self._listeners:
            listener(event, details)

    def write_last(self, event: str, **details: Any) -> None:
        """Why a run ends, also on a disk that is full: the room for it was kept free from the start."""
        self._spare.unlink(missing_ok=True)
        self.write(event, **details)
