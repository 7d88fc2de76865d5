"""The best round of each endpoint is kept, and found again after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fl_liver.parameters import Entry, Layout
from fl_liver.server.snapshots import Snapshots

LAYOUT = Layout((Entry("w", (2,)),))


def vector(value: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full(2, value, np.float32)


def test_each_endpoint_keeps_its_own_best_round(tmp_path: Path) -> None:
    kept = Snapshots(tmp_path / "s", "ab")
    for number, (main, kind) in enumerate([(0.6, 0.9), (0.8, 0.7), (0.7, 0.8)], start=1):
        kept.offer("", number, main, vector(number), LAYOUT)
        kept.offer("type", number, kind, vector(number), LAYOUT)
    assert kept.best == {"": (2, 0.8), "type": (1, 0.9)}
    assert kept.model("", vector(9))[0] == 2
    assert kept.model("type", vector(9))[0] == 1


def test_of_rounds_that_chance_cannot_tell_apart_the_newest_stays(tmp_path: Path) -> None:
    """Beside the highest AUC of all, not beside the one that is kept: it must not creep down."""
    kept = Snapshots(tmp_path, "ab")
    for number, auc in enumerate([0.90, 0.88, 0.86], start=1):
        kept.offer("", number, auc, vector(number), LAYOUT)
    assert kept.best == {"": (2, 0.88)}
    assert kept.model("", vector(9))[0] == 2


def test_a_resumed_run_finds_what_was_best_before(tmp_path: Path) -> None:
    before = Snapshots(tmp_path, "ab")
    before.offer("", 3, 0.7, vector(3), LAYOUT)
    before.offer("", 4, 0.68, vector(4), LAYOUT)
    again = Snapshots(tmp_path, "ab")
    again.offer("", 5, 0.66, vector(5), LAYOUT)
    assert again.best == {"": (4, 0.68)}, "0.66 is beside 0.68, but not beside 0.7"
    assert again.model("", vector(9))[0] == 4


def test_without_an_offer_the_last_model_answers(tmp_path: Path) -> None:
    assert Snapshots(tmp_path, "ab").model("type", vector(5))[0] == 5
