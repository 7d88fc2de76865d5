"""A part of the server that dies or stands still, in a round or between two. Rounds wait long: nobody may be lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.coordinator import until
from tests.faults.live import LiveRun, clock
from tests.faults.matrix import line_with
from tests.faults.small_disk import full
from tests.processes import Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def whole(patient: LiveRun) -> Iterator[None]:
    """All five take part when a fault begins; when it is over the model is right and no round had fewer of them.

    A sum that was opened and could not be kept is none of theirs: nobody answered it, the model before it stands.
    """
    patient.revive()
    before = len(patient.records())
    yield
    patient.check()
    assert [one["round"] for one in patient.records()[before:] if one["missing"] and one["sites_answered"]] == []


@pytest.mark.parametrize("part", ["gateway", "superlink"])
def test_a_part_of_the_server_that_is_killed_is_started_again_and_nobody_is_lost(patient: LiveRun, part: str) -> None:
    """Once while hospitals train, once when a round has just been closed and the next is asked for."""
    coordinator, worst = patient.stage.coordinator, 0.0
    logs = [(one, len(one.log())) for one in patient.stage.hospitals.values()]
    for moment in ("in", "between"):
        before = coordinator.child(part).pid
        with patient.at(moment) as number:
            passed = clock()
            coordinator.child(part).kill()
        until(lambda: coordinator.state()["processes"][part] not in (before, None), part, 30, coordinator.said)  # noqa: B023
        patient.until_round(number, 90)
        worst = max(worst, passed())
    out = [one.name for one, length in logs if "refused with 412" in one.log()[length:]]
    assert not out, "a goodbye that nobody heard kept it out for 40 s"
    read = line_with(f"{part}: killed by SIGKILL", coordinator.said())
    happened = "started again by itself; the round is closed with all 5"
    patient.note(f"{part}: SIGKILL in and between rounds", happened, worst, read, "coordinator up")


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_one_of_the_superlinks_processes_that_dies_or_stands_still_is_replaced_and_nobody_is_lost(
    patient: LiveRun, how: str
) -> None:
    """The others answer meanwhile; uvicorn, in the first one, kills what stands still for 15 s."""
    coordinator = patient.stage.coordinator
    first, beside = coordinator.child("superlink"), set(coordinator.child("superlink").children)
    victim = next(one for one in sorted(beside, key=lambda one: one.pid) if "spawn_main" in one.command)
    with patient.at("in") as number:
        passed = clock()
        os.kill(victim.pid, signal.Signals[how])
    until(lambda: not victim.alive, "its end", 40, coordinator.said)
    patient.until_round(number, 90)
    seconds = passed()
    assert coordinator.child("superlink").pid == first.pid
    log, words = coordinator.folder / "up" / "superlink.log", f"Child process [{victim.pid}] died"
    # A dead child is its parent's until uvicorn, which looks every half second or after a ping's timeout, speaks of it.
    until(lambda: words in log.read_text(errors="replace"), words, 30, coordinator.said)
    until(lambda: len(first.children) == len(beside), "another in its place", 30, coordinator.said)
    happened = "another takes its place; the round is closed with all 5"
    read = line_with(words, log.read_text(errors="replace"))
    patient.note(f"one of superlink's processes: {how} in a round", happened, seconds, read, "superlink.log")


@pytest.mark.parametrize("moment", ["in", "between"])
def test_parts_of_the_server_that_stand_still_are_told_to_go_on_and_nobody_is_lost(
    patient: LiveRun, moment: str
) -> None:
    coordinator, worst = patient.stage.coordinator, 0.0
    with patient.at(moment) as number:
        for part in ("gateway", "superlink", "superexec"):
            before = coordinator.child(part).pid
            word = f"{part}: process {before} was stopped"
            told = coordinator.said().count(word)
            passed = clock()
            os.kill(before, signal.SIGSTOP)
            until(lambda: coordinator.said().count(word) > told, "word of it", 20, coordinator.said)  # noqa: B023
            worst = max(worst, passed())
            assert coordinator.child(part).pid == before
    patient.until_round(number, 60)
    read = line_with("was stopped by a signal", coordinator.said())
    happened = "each is told to go on after 5 s, without a restart; the round is closed with all 5"
    where = "in a round" if moment == "in" else "between rounds"
    patient.note(f"gateway, superlink, superexec: SIGSTOP {where}", happened, worst, read, "coordinator up")


@pytest.mark.parametrize(
    ("fault", "moment"),
    [
        ("server app: SIGKILL", "in"),
        ("server app: SIGKILL", "between"),
        ("server app: SIGSTOP", "in"),
        ("superexec: SIGKILL", "in"),
        ("superexec: SIGKILL", "between"),
    ],
)
def test_a_server_app_that_dies_or_stands_still_is_told_in_seconds_and_resumed_after_its_last_whole_round(
    patient: LiveRun, fault: str, moment: str
) -> None:
    """SuperExec is the parent of the server app, which Flower ends with it."""
    with patient.at(moment):
        before, process = len(patient.records()), patient.app
        victim = patient.stage.coordinator.child("superexec") if "superexec" in fault else Process(process.process)
        passed = clock()
        os.kill(victim.pid, signal.SIGSTOP if "STOP" in fault else signal.SIGKILL)
        until(lambda: process.state != "running", "end of the server app", 10)
        told = patient.watched(0 if "STOP" in fault else 75)
        seconds = passed()
        if "STOP" in fault:
            patient.end()
            passed = clock()
            until(lambda: not patient.in_hand("H04"), "end of training for a run that was stopped", 40)
            dropped = passed()
            read = line_with("the run was stopped", patient.stage.hospitals["H04"].log())
            happened = "the hospital looks every 5 s, abandons its training at the next batch, or after 5 s more"
            patient.note("`study stop --now` while a hospital trains", happened, dropped, read, "its log")
    patient.resume()
    patient.until_whole_round(120)
    assert process.state == "gone"
    resumed = [line["round"] for line in patient.journal() if line["event"] == "resumed"][-1]
    assert resumed in ((before,) if moment == "in" else (before, before + 1)), (
        "a round may be closed as the fault strikes"
    )
    happened = "`study resume` goes on after the last whole round"
    where = "in a round" if moment == "in" else "between rounds"
    patient.note(f"{fault} {where}", happened, seconds, told, "study status")


def test_a_run_whose_disk_is_full_says_so_and_goes_on_after_its_last_whole_round(patient: LiveRun) -> None:
    if not patient.stage.small_disks:
        pytest.skip("needs the right to mount a small disk")
    number = patient.until_checkpoint()
    with full(patient.stage.runs):
        passed = clock()
        until(lambda: bool(patient.progress().failed), "word of it", 60, patient.told)
        told = patient.watched(75)
        seconds = passed()
        assert len(patient.records()) in (number, number + 1)
        patient.check()
    assert "No space left on device" in told
    patient.resume()
    patient.until_whole_round(120)
    lost = [one["round"] for one in patient.records()[number:] if not one["sites_answered"]]
    assert len(lost) <= 1
    happened = (
        "the run ends, the last whole round stands (a sum that was opened but not kept is lost); make room, resume"
    )
    patient.note("disk full at the coordinator's checkpoint", happened, seconds, told, "study status")
