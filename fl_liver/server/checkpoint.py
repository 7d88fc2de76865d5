"""The state after each whole round, on disk before the next one starts: temporary file, fsync, rename."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fl_liver.errors import ConfigError
from fl_liver.messages import Vector
from fl_liver.parameters import Layout, load_vector, save_vector
from fl_liver.whole_file import write_whole


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One line of the learning curve, as it stands in `summary.json`."""

    round: int
    seconds: float
    sites_expected: int
    sites_answered: int
    loss: float | None
    """None where the round was lost."""
    internal_auc: float | None
    missing: tuple[str, ...] = ()


class Checkpoints:
    """`round-NNNN.safetensors` with the model, `rounds.json` with the history. The newest two models are kept."""

    def __init__(self, folder: Path, study_sha256: str) -> None:
        self._folder = folder
        self._study_sha256 = study_sha256

    def save(self, vector: Vector, layout: Layout, history: list[RoundRecord]) -> None:
        number = history[-1].round
        self._folder.mkdir(parents=True, exist_ok=True)
        save_vector(self._path(number), vector, layout, {"study_sha256": self._study_sha256})
        body = {"study_sha256": self._study_sha256, "rounds": [asdict(record) for record in history]}
        write_whole(self._folder / "rounds.json", json.dumps(body), durable=True)
        for old in self._folder.glob("round-*.safetensors"):
            if old not in (self._path(number), self._path(number - 1)):
                old.unlink()

    def latest(self) -> tuple[Vector, list[RoundRecord]] | None:
        """The model after the last whole round and the history up to it; None before the first.

        Raises:
            ConfigError: the checkpoints belong to another study.
        """
        history_file = self._folder / "rounds.json"
        if not history_file.is_file():
            return None
        body = json.loads(history_file.read_text())
        if body["study_sha256"] != self._study_sha256:
            raise ConfigError(
                f"{self._folder}: checkpoints of study {body['study_sha256'][:12]}, this is {self._study_sha256[:12]};"
                " resume with the study that began the run"
            )
        history = [RoundRecord(**{**record, "missing": tuple(record["missing"])}) for record in body["rounds"]]
        vector, _ = load_vector(self._path(history[-1].round))
        return vector, history

    def _path(self, number: int) -> Path:
        return self._folder / f"round-{number:04d}.safetensors"
