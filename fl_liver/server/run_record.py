"""What a run must remember of its sums to go on after an interruption: its name, the last slot of each purpose, and
what made the scores that hospitals keep.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from fl_liver.errors import ConfigError
from fl_liver.messages import Average, Combine, Score
from fl_liver.score_origin import followed_by, made_by, origin
from fl_liver.securesum.context import Slot
from fl_liver.whole_file import write_whole


class RunRecord:
    """`sums.json` in the run's folder. Hospitals answer a slot of a run once, so that a resumed run keeps its name."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where the file is there but is not a run record."""
        self._path = path
        try:
            self.run, self._begun, self._scores = _read(path) if path.is_file() else (secrets.token_hex(8), {}, {})
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

    def note_score(self, question: Score | Combine | Average) -> None:
        """Write down, before it is asked, which question makes (a part of) a score."""
        rows = question.rows if isinstance(question, Score) else "all"
        self._scores[question.name] = followed_by(
            self._scores.get(question.name, {}), rows, made_by(question, self.origins())
        )
        self._save()

    def origins(self) -> dict[str, str]:
        """Stored score → its origin, as every hospital has it."""
        return {name: origin(parts) for name, parts in self._scores.items()}

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        body = {"run": self.run, "begun": self._begun, "scores": self._scores}
        write_whole(self._path, json.dumps(body) + "\n", durable=True)


def _read(path: Path) -> tuple[str, dict[str, tuple[int, int]], dict[str, dict[str, str]]]:
    body = json.loads(path.read_text(encoding="utf-8"))
    begun = {str(purpose): (int(last[0]), int(last[1])) for purpose, last in body["begun"].items()}
    if not isinstance(body["run"], str) or not body["run"]:
        raise ValueError(body["run"])
    scores = {
        str(name): {str(rows): str(made) for rows, made in parts.items()}
        for name, parts in body.get("scores", {}).items()
    }
    return body["run"], begun, scores
