"""What the gateway notes of hospitals' clocks, and what `study watch` reads of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fl_liver.server.clocks import FILE, Clocks, read_clocks


@pytest.mark.parametrize("ahead_s", [10.0, -10.0, 0.0])
def test_a_clock_is_known_within_a_tenth_of_a_second(tmp_path: Path, ahead_s: float) -> None:
    clocks = Clocks(tmp_path / FILE)
    found = clocks.note("H05", (datetime.now(UTC) + timedelta(seconds=ahead_s)).isoformat())
    assert found == pytest.approx(ahead_s, abs=0.1)
    assert read_clocks(tmp_path) == {"H05": pytest.approx(ahead_s, abs=0.1)}


@pytest.mark.parametrize("stamp", [None, "", "yesterday"])
def test_a_question_without_its_time_says_nothing(tmp_path: Path, stamp: str | None) -> None:
    assert Clocks(tmp_path / FILE).note("H05", stamp) is None
    assert read_clocks(tmp_path) == {}


def test_a_door_that_is_not_ours_leaves_the_column_empty(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[")
    assert read_clocks(tmp_path) == {}
