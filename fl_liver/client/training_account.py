"""What private training has spent at this hospital: a line a round begun, kept beside the study's other files.

A round is noted before it is trained, so that one that was interrupted, repeated or asked twice at once counts each
time: noise is drawn anew, and each answer tells something. A round that is refused stays noted too; ε is only ever
overstated. One file a study: a second study over the same patients spends its own ε, and whoever approves it knows.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from fl_liver.accountant import require_affordable, training_epsilon
from fl_liver.errors import PrivacyError
from fl_liver.study import Study


class TrainingAccount:
    """`training-account.jsonl` in a study's folder. Does nothing for a study without private training."""

    def __init__(self, study_folder: Path, study: Study) -> None:
        self._path, self._study = study_folder / "training-account.jsonl", study

    def begin(self, rows: str, round_number: int) -> None:
        """Note that a round on `rows` begins; call before training.

        Raises:
            PrivacyError: the study's plan, or all that was begun here with this round, is above `max_epsilon`.
        """
        if (private := self._study.privacy.training) is None:
            return
        require_affordable(self._study)
        self._append({"rows": rows, "round": round_number})
        rounds = self.rounds()
        spent = training_epsilon(self._study, rounds)
        if spent > private.max_epsilon:
            raise PrivacyError(
                f"round {round_number} on '{rows}': with it {sum(rounds.values())} rounds were begun here, epsilon"
                f" {spent:.3g} at delta {private.delta:g}; max_epsilon is {private.max_epsilon:g}, nothing is trained"
            )

    def rounds(self) -> dict[str, int]:
        """Federation → rounds begun. A line that a crash cut short is a round of no known federation."""
        text = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        return dict(Counter(_rows(line) for line in text.splitlines()))

    def _append(self, entry: dict[str, object]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = json.dumps(entry).encode() + b"\n"
        # One write in append mode: two rounds asked at once are both noted before either reads the sum.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line)
            os.fsync(file)
        finally:
            os.close(file)


def _rows(line: str) -> str:
    try:
        return str(json.loads(line)["rows"])
    except (ValueError, TypeError, KeyError):
        return "unreadable"
