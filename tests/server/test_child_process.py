"""A supervised process: killed, hung, stopped by a signal."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fl_liver.server import child_process
from fl_liver.server.child_process import ChildProcess, stopped

Make = Callable[..., ChildProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[ChildProcess] = []

    def start(healthy: Callable[[], bool] = lambda: True) -> ChildProcess:
        one = ChildProcess("part", ["sleep", "60"], dict(os.environ), tmp_path / "part.log", healthy)
        made.append(one)
        one.start()
        return one

    yield start
    for one in made:
        one.stop()


def until_looked(one: ChildProcess, good: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end
        one.look()
        time.sleep(0.02)


def test_a_process_that_was_killed_is_started_again(make: Make) -> None:
    one = make()
    before = one.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until_looked(one, lambda: one.pid not in (None, before) and one.ok)
    assert one.restarts == 1


def test_a_process_that_was_stopped_by_a_signal_is_told_to_go_on_and_not_killed(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_process, "_STILL_S", 0.3)
    one = make()
    before = one.pid
    assert before is not None
    os.kill(before, signal.SIGSTOP)
    until_looked(one, lambda: stopped(before) and not one.ok)
    until_looked(one, lambda: not stopped(before) and one.ok)
    assert (one.pid, one.restarts) == (before, 0)
    assert "was stopped by a signal; it is told to go on" in caplog.text


def test_a_process_that_does_not_answer_is_killed_and_started_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_process, "_HUNG_S", 0.3)
    answers = [False]
    one = make(lambda: answers[0])
    before = one.pid
    until_looked(one, lambda: one.pid != before)
    answers[0] = True
    until_looked(one, lambda: one.ok)
    assert "does not answer" in caplog.text


def test_a_server_that_a_script_started_in_the_background_leaves_its_parts_their_sigint(make: Make) -> None:
    """Such a shell has it ignored; Flower ends a run by it, whose executor is gone."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        one = make()
    finally:
        signal.signal(signal.SIGINT, before)
    status = Path(f"/proc/{one.pid}/status").read_text()
    (ignored,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:")]
    assert not ignored >> (signal.SIGINT - 1) & 1
