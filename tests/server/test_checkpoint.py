"""Checkpoints: the last whole round is always readable, whenever the process dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.errors import ConfigError
from fl_liver.parameters import Entry, Layout
from fl_liver.server import checkpoint
from fl_liver.server.checkpoint import Checkpoints, RoundRecord

LAYOUT = Layout((Entry("w", (2, 2)), Entry("b", (1,))))
STUDY = "ab" * 32


def record(number: int, missing: tuple[str, ...] = ()) -> RoundRecord:
    return RoundRecord(number, 1.5, 5, 5 - len(missing), 0.5 / number, 0.8 if number > 1 else None, missing)


def vector(number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(5, number, np.float32)


def save_rounds(checkpoints: Checkpoints, last: int) -> list[RoundRecord]:
    history = [record(number) for number in range(1, last + 1)]
    for number in range(1, last + 1):
        checkpoints.save(vector(number), LAYOUT, history[:number])
    return history


def test_before_the_first_round_there_is_nothing(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", STUDY).latest() is None


def test_the_last_round_comes_back_with_its_history(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "train", STUDY)
    history = [record(1), record(2, ("H03", "H05"))]
    checkpoints.save(vector(1), LAYOUT, history[:1])
    checkpoints.save(vector(2) / np.float32(3), LAYOUT, history)
    found = Checkpoints(tmp_path / "train", STUDY).latest()
    assert found is not None
    assert found[0].tobytes() == (vector(2) / np.float32(3)).tobytes()
    assert found[1] == history


def test_a_round_that_was_lost_comes_back_as_one_without_a_loss(tmp_path: Path) -> None:
    """It is not asked again, and its number stays in the history, so that the next round is the next number."""
    checkpoints = Checkpoints(tmp_path, STUDY)
    history = [record(1), RoundRecord(2, 0.0, 2, 0, None, None, ("H01", "H02"))]
    checkpoints.save(vector(1), LAYOUT, history[:1])
    checkpoints.save(vector(1), LAYOUT, history)
    found = Checkpoints(tmp_path, STUDY).latest()
    assert found is not None
    assert found[0].tobytes() == vector(1).tobytes()
    assert found[1] == history


def test_only_the_newest_two_models_are_kept(tmp_path: Path) -> None:
    save_rounds(Checkpoints(tmp_path, STUDY), 5)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "round-0004.safetensors",
        "round-0005.safetensors",
    ]


@pytest.mark.parametrize("moment", ["before the history is written", "before the history is renamed"])
def test_a_crash_between_the_two_writes_leaves_the_previous_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The model of round 3 lies there already, the history does not know it: the run goes on after round 2."""
    checkpoints = Checkpoints(tmp_path, STUDY)
    history = save_rounds(checkpoints, 2)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before the history is written":
            patch.setattr(checkpoint, "write_whole", dies)
        else:
            replace = Path.replace
            patch.setattr(
                Path, "replace", lambda self, to: dies() if Path(to).name == "rounds.json" else replace(self, to)
            )
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(vector(3), LAYOUT, [*history, record(3)])
    assert (tmp_path / "round-0003.safetensors").is_file()
    found = Checkpoints(tmp_path, STUDY).latest()
    assert found is not None
    assert found[0].tobytes() == vector(2).tobytes()
    assert found[1] == history
    checkpoints.save(vector(3) * 2, LAYOUT, [*history, record(3)])
    again = checkpoints.latest()
    assert again is not None
    assert again[0].tobytes() == (vector(3) * 2).tobytes()


def test_a_crash_while_the_model_is_written_leaves_the_previous_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, STUDY)
    history = save_rounds(checkpoints, 2)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space left"):
            checkpoints.save(vector(3), LAYOUT, [*history, record(3)])
    found = checkpoints.latest()
    assert found is not None
    assert found[1] == history


def test_another_studys_checkpoints_are_refused(tmp_path: Path) -> None:
    save_rounds(Checkpoints(tmp_path, STUDY), 1)
    with pytest.raises(ConfigError, match=r"checkpoints of study abababababab, this is cdcdcdcdcdcd; resume with the"):
        Checkpoints(tmp_path, "cd" * 32).latest()


def test_a_damaged_model_is_refused_and_not_taken_for_nothing(tmp_path: Path) -> None:
    save_rounds(Checkpoints(tmp_path, STUDY), 2)
    path = tmp_path / "round-0002.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ConfigError, match=r"round-0002\.safetensors: no safetensors file that can be read"):
        Checkpoints(tmp_path, STUDY).latest()
