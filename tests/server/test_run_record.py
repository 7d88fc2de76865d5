"""What a run remembers of its sums: its name, the slots that it began, through interruptions and damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fl_liver.errors import ConfigError
from fl_liver.messages import Combine, Score
from fl_liver.securesum.context import Slot
from fl_liver.server.run_record import RunRecord


def slot(number: int, attempt: int = 0, rows: str = "train") -> Slot:
    return Slot("s", "run-1", f"training/{rows}", number, 0, attempt)


def test_a_resumed_run_keeps_its_name_and_another_run_has_another(tmp_path: Path) -> None:
    """Hospitals answer a slot of a run once: under a new name they would mask the same round anew."""
    first = RunRecord(tmp_path / "one" / "sums.json")
    assert len(first.run) == 16
    assert RunRecord(tmp_path / "one" / "sums.json").run == first.run
    assert RunRecord(tmp_path / "two" / "sums.json").run != first.run


def test_the_last_slot_of_every_purpose_is_remembered(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "sums.json")
    assert record.begun("training/train") is None
    for begun in (slot(1), slot(2), slot(2, 1), slot(1, 0, "not-fold-0")):
        record.begin(begun)
    again = RunRecord(tmp_path / "sums.json")
    assert again.begun("training/train") == (2, 1)
    assert again.begun("training/not-fold-0") == (1, 0)
    assert again.begun("training/not-fold-1") is None


def test_a_slot_is_on_disk_before_anybody_is_asked(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "sums.json")
    record.begin(slot(3))
    assert json.loads((tmp_path / "sums.json").read_text())["begun"] == {"training/train": [3, 0]}
    assert [path.name for path in tmp_path.iterdir()] == ["sums.json"]


def test_what_made_a_score_is_remembered_through_an_interruption(tmp_path: Path) -> None:
    """A run that goes on asks about scores that hospitals made before: in the same words, or in no masked sum."""
    record = RunRecord(tmp_path / "sums.json")
    vector = np.arange(3, dtype=np.float32)
    record.note_score(Score("s", "federated", "train", "", vector))
    before = record.origins()
    record.note_score(Score("s", "federated", "external", "", vector))
    record.note_score(Combine("s", "fusion", "federated", 1.0, 0.5, {"age": 0.25}))
    again = RunRecord(tmp_path / "sums.json")
    assert again.origins() == record.origins()
    assert set(again.origins()) == {"federated", "fusion"}
    assert again.origins()["federated"] != before["federated"], "all its parts count"
    again.note_score(Combine("s", "fusion", "federated", 1.0, 0.75, {"age": 0.25}))
    assert again.origins()["fusion"] != record.origins()["fusion"]


def test_a_crash_while_it_is_written_leaves_the_slot_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = RunRecord(tmp_path / "sums.json")
    record.begin(slot(1))

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            record.begin(slot(2))
    assert RunRecord(tmp_path / "sums.json").begun("training/train") == (1, 0)


DAMAGED = (
    "",
    "nonsense",
    "[1]",
    "{}",
    '{"run": "a"}',
    '{"begun": {}}',
    '{"run": "", "begun": {}}',
    '{"run": null, "begun": {}}',
    '{"run": "a", "begun": []}',
    '{"run": "a", "begun": {}, "scores": []}',
    '{"run": "a", "begun": {"training/train": 3}}',
    '{"run": "a", "begun": {"training/train": [1]}}',
    '{"run": "a", "begun": {"training/train": ["x", 0]}}',
)


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_is_refused_and_not_taken_for_a_new_run(tmp_path: Path, text: str) -> None:
    """A new name would have every hospital answer rounds that it answered before."""
    (tmp_path / "sums.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sums\.json: no run record \(\w+\); resume from an undamaged folder"):
        RunRecord(tmp_path / "sums.json")
