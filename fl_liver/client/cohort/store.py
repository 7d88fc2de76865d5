"""What was made of a file or a patient, kept as JSON under a key; void when the code that made it is another.

Holds what headers say, and with it patients' ids: mode 0600, in the cache, and removed with it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from fl_liver.whole_file import write_whole

_log = logging.getLogger(__name__)


class Store:
    """Keys of one run: `save` keeps what was asked for or put since the store was opened, and forgets the rest."""

    def __init__(self, path: Path, version: str) -> None:
        self._path, self._version = path, version
        self._known: dict[str, Any] = self._load()
        self._seen: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """The value put under `key`, as JSON gives it back; None where there is none."""
        found = self._known.get(key)
        if found is not None:
            self._seen[key] = found
        return found

    def put(self, key: str, value: Any) -> None:
        self._seen[key] = value

    def save(self) -> None:
        """Write, if anything changed."""
        if self._seen != self._known:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            body = {"version": self._version, "entries": self._seen}
            write_whole(self._path, json.dumps(body, separators=(",", ":")), mode=0o600)

    def _load(self) -> dict[str, Any]:
        try:
            with self._path.open(encoding="utf-8") as file:
                raw = json.load(file)
            entries: dict[str, Any] = dict(raw["entries"]) if raw["version"] == self._version else {}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s is damaged (%s); it is made anew", self._path.name, type(error).__name__)
            return {}
        return entries
