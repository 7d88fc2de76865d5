"""How far each hospital's clock is from the server's, as its daemon's last question showed: `up/clocks.json`.

Every question to the SuperLink bears the time at which it was signed. One that is more than 5 s ahead is not let in,
and then this file and the gateway's log are the only places at the coordinator where the reason can be read.
"""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from fl_liver.consortium.safe_file import PUBLIC, write_whole
from fl_liver.errors import ConfigError

FILE = "clocks.json"
HEADER = "flwr-timestamp"
FAR_S = 3.0
_WRITE_EVERY_S = 5.0


class Clocks:
    """Notes clocks in memory, and every few seconds on the disk."""

    def __init__(self, path: Path | None) -> None:
        """Without a path nothing is written."""
        self._path, self._written = path, 0.0
        self._ahead_s: dict[str, float] = {}

    def note(self, site: str, stamp: str | None) -> float | None:
        """Seconds that the hospital's clock is ahead; None where the question does not say."""
        try:
            signed = datetime.fromisoformat(stamp or "")
        except ValueError:
            return None
        ahead_s = (signed if signed.tzinfo else signed.replace(tzinfo=UTC)).timestamp() - time.time()
        self._ahead_s[site] = round(ahead_s, 2)
        now = time.monotonic()
        if self._path is not None and now - self._written > _WRITE_EVERY_S:
            self._written = now
            with contextlib.suppress(OSError, ConfigError):  # for the eye only; a full disk must not close the door
                write_whole(self._path, json.dumps(self._ahead_s) + "\n", PUBLIC)
        return ahead_s


def read_clocks(folder: Path) -> dict[str, float]:
    """Hospital → seconds ahead, of the folder of a running server; empty where another program is the door."""
    try:
        body = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(site): float(ahead_s) for site, ahead_s in body.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
