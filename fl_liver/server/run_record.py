"""What a run must remember of its sums to go on after it was interrupted: its name, and the last slot of each purpose."""

from __future__ import annotations

import json
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
            body = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            self.run = str(body.get("run") or secrets.token_hex(8))
            self._begun = {str(purpose): (int(last[0]), int(last[1])) for purpose, last in body.get("begun", {}).items()}
        except (ValueError, TypeError, IndexError, AttributeError, OSError) as error:
            raise ConfigError(f"{path}: no run record ({type(error).__name__}); resume from an undamaged folder") from error
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
        part.write_text(json.dumps({"run": self.run, "begun": self._begun}) + "\n", encoding="utf-8")
        part.replace(self._path)
