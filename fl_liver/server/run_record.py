"""What a run must remember of its sums to go on after an interruption: its name, and the last slot of each purpose."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from fl_liver.errors import ConfigError
from fl_liver.securesum.context import Slot


class RunRecord:
    """`sums.json` in the run's folder. Hospitals answer a slot of a run once, so that a resumed run keeps its name."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where the file is there but is not a run record."""
        self._path = path
        try:
            self.run, self._begun = _read(path) if path.is_file() else (secrets.token_hex(8), {})
        except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
            raise ConfigError(
                f"{path}: no run record ({type(error).__name__}); resume from an undamaged folder"
            ) from error
        if not path.is_file():
            self._save()

    def begun(self, purpose: str) -> tuple[int, int] | None:
        """Round and attempt of the last training slot that hospitals were asked to answer."""
        return self._begun.get(purpose)

    def begin(self, slot: Slot) -> None:
        """Write down, before it is asked, that a slot is begun."""
        self._begun[slot.purpose] = slot.round, slot.attempt
        self._save()

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"run": self.run, "begun": self._begun}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)


def _read(path: Path) -> tuple[str, dict[str, tuple[int, int]]]:
    body = json.loads(path.read_text(encoding="utf-8"))
    begun = {str(purpose): (int(last[0]), int(last[1])) for purpose, last in body["begun"].items()}
    if not isinstance(body["run"], str) or not body["run"]:
        raise ValueError(body["run"])
    return body["run"], begun
