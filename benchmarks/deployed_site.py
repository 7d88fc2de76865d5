"""A hospital's daemon that trains nothing and writes down how long each step took; for `deployment.py` alone.

    python -P -m benchmarks.deployed_site FOLDER

Which program the daemon's compute process runs is a constant of the installed code, replaced here in this process. No
setting, environment variable or message does that: a hospital that runs `fl-liver site run` trains.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fl_liver.client import compute_process
from fl_liver.client.fleet import Fleet, Parcel, Taken
from fl_liver.client.run_site import run_daemon

STEPS = "steps.jsonl"
"""In the hospital's folder, one line an answer: kind, bytes out and back, and when (s since 1970) the message was
`taken`, its content `fetched`, the answer `computed` and `given`."""


class _Notes:
    """What one message's way was, written when its answer is given."""

    def __init__(self, path: Path) -> None:
        self._path, self._line = path, dict[str, Any]()

    def fetch(self, fetch: Callable[[Fleet, Taken], Parcel]) -> Callable[[Fleet, Taken], Parcel]:
        def noted(fleet: Fleet, taken: Taken) -> Parcel:
            self._line = {"kind": taken.kind, "taken": time.time()}
            parcel = fetch(fleet, taken)
            self._line |= {"fetched": time.time(), "bytes_out": parcel.bytes}
            return parcel

        return noted

    def give(self, give: Callable[[Fleet, Parcel, int, float], None]) -> Callable[[Fleet, Parcel, int, float], None]:
        def noted(fleet: Fleet, parcel: Parcel, run_id: int, seconds: float) -> None:
            self._line |= {"computed": time.time(), "bytes_back": parcel.bytes}
            give(fleet, parcel, run_id, seconds)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._line | {"given": time.time()}) + "\n")

        return noted


def main() -> None:
    """Until SIGTERM, as `fl-liver site run`."""
    folder = Path(sys.argv[1])
    notes = _Notes(folder / STEPS)
    with (
        patch.object(compute_process, "MODULE", "benchmarks.untrained_compute"),
        patch.object(Fleet, "fetch", notes.fetch(Fleet.fetch)),
        patch.object(Fleet, "give", notes.give(Fleet.give)),
    ):
        run_daemon(folder / "site.toml")


if __name__ == "__main__":
    main()
