"""A hospital that dies or stands still before, in and after its part of a round. The study waits 12 s a round."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from fl_liver.client import audit
from tests.coordinator import until
from tests.faults.live import SITES, LiveRun, clock
from tests.faults.matrix import line_with
from tests.faults.small_disk import full

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
_LET_IN_S = 75.0
"""Flower calls a hospital that says nothing offline after 40 s, and lets it in again."""


@pytest.fixture(autouse=True)
def whole(hurried: LiveRun) -> Iterator[None]:
    """All five take part when a fault begins, and the model is right when it is over."""
    hurried.revive()
    yield
    hurried.check()


def hit(run: LiveRun, site: str, how: signal.Signals, moment: str) -> int:
    """Let the fault strike this hospital in its part of a round or after it; returns the round."""
    daemon = run.stage.hospitals[site].process
    assert daemon is not None
    other = "H01"  # in which the round is held open until this one has answered
    with run.held(site if moment == "in" else other) as number:
        os.kill(daemon.pid, how)
    return number


def warning(run: LiveRun, number: int, site: str) -> str:
    """What `study watch` shows of a round."""
    return line_with(f"round {number}: {site}", "\n".join(run.progress().warnings))


def closed_without(run: LiveRun, number: int, site: str, moment: str, fault: str) -> None:
    """The round goes on, and so does the one that begins while the hospital is away."""
    passed = clock()
    record = run.record_of(number, 4 * run.deadline_s + 30)
    assert record["missing"] == ([] if moment == "after" else [site])
    assert passed() < (2 if moment == "after" else 1) * run.deadline_s + 20
    happened = "its update is in the sum" if moment == "after" else "the sum is over the other 4 at the deadline"
    read = warning(run, number, site)
    run.note(f"hospital: {fault} {moment} its part of the round", happened, passed(), read, "study watch")
    if moment == "in":
        return
    passed = clock()
    record = run.record_of(number + 1, 4 * run.deadline_s + 30)
    assert record["missing"] == [site]
    assert passed() < 2 * run.deadline_s + 20
    happened, read = "the sum is over the other 4 at the deadline", warning(run, number + 1, site)
    run.note(f"hospital: {fault} before its part of the round", happened, passed(), read, "study watch")


@pytest.mark.parametrize(("moment", "site"), [("in", "H03"), ("after", "H04")])
def test_a_killed_hospital_costs_its_own_part_of_the_round_and_is_back_within_a_minute(
    hurried: LiveRun, moment: str, site: str
) -> None:
    """Killed after its part of one round, it is away before its part of the next."""
    hospital = hurried.stage.hospitals[site]
    number, times = hit(hurried, site, signal.SIGKILL, moment), hospital.registrations
    passed = clock()
    hospital.kill()
    if moment == "in":
        hospital.start()
    closed_without(hurried, number, site, moment, "SIGKILL")
    if moment == "after":
        hospital.start()
    hospital.until_registered(times + 1)
    back = passed()
    assert back < _LET_IN_S
    hurried.until_whole_round(_LET_IN_S)
    if moment == "in":
        refused = line_with("2004", hospital.log())
        happened = "refused until Flower calls it offline, then let in by itself; takes part in the next round"
        hurried.note("hospital: restart inside the 60 s window", happened, back, refused, "its log")


@pytest.mark.parametrize(("moment", "site"), [("in", "H02"), ("after", "H03")])
def test_a_hospital_that_stands_still_is_not_waited_for_and_its_late_answer_is_not_added(
    hurried: LiveRun, moment: str, site: str
) -> None:
    daemon = hurried.stage.hospitals[site].process
    assert daemon is not None
    try:
        number = hit(hurried, site, signal.SIGSTOP, moment)
        closed_without(hurried, number, site, moment, "SIGSTOP")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    hurried.until_whole_round(_LET_IN_S)


def test_a_hospital_with_a_full_disk_lets_nothing_leave_and_takes_part_again_when_there_is_room(
    hurried: LiveRun,
) -> None:
    site, hospital = "H04", hurried.stage.hospitals["H04"]
    if not hurried.stage.small_disks:
        pytest.skip("needs the right to mount a small disk")
    with full(hospital.folder):
        before, passed = audit.verify(hospital.folder / "work").entries, clock()
        number = hurried.until_checkpoint() + 1
        record = hurried.record_of(number, 60)
        closed = passed()
        assert record["missing"] == [site]
        assert record["sites_answered"] == len(SITES) - 1
        assert audit.verify(hospital.folder / "work").entries - before <= 4, "what was on its way when it became full"
        assert hospital.process is not None
        assert hospital.process.poll() is None
        told = warning(hurried, number, site)
    read = line_with("No space left on device", hospital.log())
    hurried.until_whole_round(60)
    audit.verify(hospital.folder / "work")
    until(lambda: hurried.progress().sites[site].last_round > number, "answer", 30)
    happened = f"nothing leaves; the sum is over the other 4 (`{told}`); with room it takes part again by itself"
    hurried.note("hospital: disk full at its audit log", happened, closed, read, "its log")
