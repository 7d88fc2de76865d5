"""The network between one hospital and the gateway is cut or loses a message; a clock is wrong. Rounds wait long."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_liver.server.clocks import read_clocks
from tests.coordinator import until
from tests.faults.live import LiveRun, clock
from tests.faults.matrix import line_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
_CUT_S = 20.0
_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None) if shutil.which("faketime") else None

_ONLY_THE_DATE = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
"""Waiting must not go wrong, which it does not where a clock is wrong."""


@pytest.fixture(autouse=True)
def whole(patient: LiveRun) -> Iterator[None]:
    """All five take part when a fault begins; when it is over the model is right and no round or hospital was lost."""
    patient.revive()
    before = len(patient.records())
    yield
    patient.check()
    assert [one["round"] for one in patient.records()[before:] if one["missing"]] == []


def test_a_network_that_is_cut_for_20_s_in_a_round_costs_20_s_and_nobody(patient: LiveRun) -> None:
    cable, hospital = patient.stage.cable, patient.stage.hospitals["H05"]
    with patient.held("H05") as number:
        passed = clock()
        cable.cut()
    time.sleep(_CUT_S)
    assert len(patient.records()) < number
    assert hospital.process is not None
    assert hospital.process.poll() is None
    cable.mend()
    patient.until_round(number, 60)
    seconds = passed()
    assert seconds < _CUT_S + 30
    happened = "what was on its way waits and arrives when the network is back; the round is closed with all 5"
    read = f"round {number} of 2000"
    patient.note("network of one hospital cut for 20 s", happened, seconds, read, "study watch")


def test_a_message_that_is_lost_on_its_way_is_asked_again_in_seconds_and_not_at_the_deadline(patient: LiveRun) -> None:
    """Flower hands a message out once, and never again; the hospital cannot know that there was one."""
    cable, hospital = patient.stage.cable, patient.stage.hospitals["H05"]
    before = hospital.log().count("what was lost meanwhile")
    patient.until_checkpoint()
    until(lambda: not patient.in_hand("H05"), "an idle hospital", 30, patient.told)
    cable.lose_answer(longer_than_bytes=300)
    until(cable.lost.is_set, "a message on its way", 60, patient.told)
    number = patient.progress().round
    passed = clock()
    patient.until_round(number, 60)
    seconds = passed()
    assert seconds < 40
    assert hospital.log().count("what was lost meanwhile") == before + 1
    read = line_with("what was lost meanwhile", hospital.log())
    happened = "the hospital says goodbye and hello, the message is asked again; the round is closed with all 5"
    patient.note("a message lost between gateway and hospital", happened, seconds, read, "its log")


@pytest.mark.skipif(_FAKETIME is None, reason="needs libfaketime (Debian package faketime)")
def test_a_clock_10_s_ahead_is_refused_with_its_reason_and_one_10_s_behind_takes_part(patient: LiveRun) -> None:
    hospital = patient.stage.hospitals["H03"]
    usual = dict(hospital.environment)
    try:
        hospital.stop()
        passed = clock()
        hospital.environment = {**usual, "LD_PRELOAD": str(_FAKETIME), **_ONLY_THE_DATE, "FAKETIME": "+10s"}
        hospital.start()
        until(lambda: "at most 5 s ahead is let in" in hospital.log(), "refusal", 40, hospital.log)
        seconds = passed()
        read = line_with("at most 5 s ahead is let in", hospital.log())
        log = patient.stage.coordinator.folder / "up" / "gateway.log"
        until(lambda: "H03" in log.read_text(), "word at the coordinator", 10, log.read_text)
        at_coordinator = line_with("its clock is", log.read_text())
        hospital.stop()
        times = hospital.registrations
        hospital.environment["FAKETIME"] = "-10s"
        hospital.start()
        hospital.until_registered(times + 1)
        until(lambda: read_clocks(log.parent).get("H03", 0.0) < -9, "clock in `study watch`", 20)
        patient.until_whole_round(90)
    finally:
        hospital.stop()
        hospital.environment = usual
        hospital.start()
    happened = "10 s ahead: not let in, a round waits for it; 10 s behind: takes part; `study watch` shows each clock"
    patient.note("clock of one hospital 10 s off", happened, seconds, read, "its log")
    patient.note("the same, at the coordinator", happened, seconds, at_coordinator, "gateway.log")
