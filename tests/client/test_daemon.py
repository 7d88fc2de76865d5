"""The daemon as hospital IT starts it, against a real SuperLink: answers, crashes, restarts, goodbyes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_liver.client import audit
from fl_liver.messages import Fit, Prepare
from fl_liver.models.registry import initial_vector
from fl_liver.securesum.context import Slot
from fl_liver.study import Study
from tests.hospital import Hospital
from tests.processes import Process
from tests.superlink import SuperLink


@pytest.fixture(scope="module")
def endless(plain_study: Study) -> Study:
    """Trains for hours unless it is stopped."""
    return plain_study.changed(training={"local_epochs": 1_000_000})


def fit_of(study: Study) -> Fit:
    return Fit(Slot(study.sha256, "run", "training/train", 1, 0), initial_vector(study)[0], {}, {})


MakeHospital = Callable[..., Hospital]


def test_a_study_is_prepared_and_trained_and_the_servers_code_never_runs(
    hospital: MakeHospital, plain_study: Study
) -> None:
    one, study = hospital(), plain_study
    one.start()
    answers = one.ask(Prepare(study.sha256), fit_of(study), Prepare("cd" * 32))
    assert one.said(answers, 0).startswith("Ready")
    assert '"patients": 40' in one.said(answers, 0)
    assert one.said(answers, 1).startswith("Update")
    assert "NOT_APPROVED" in one.said(answers, 2)
    assert "code of the server ran" not in one.log() + one.link.log()
    work = one.folder / "work"
    kinds = [(line["kind"], line.get("round")) for line in audit.entries(work)]
    assert kinds == [("Ready", None), ("Update", 1), ("Refusal", None)]
    assert audit.verify(work).entries == 3
    journal = [json.loads(line)["event"] for line in (work / "daemon.jsonl").read_text().splitlines()]
    assert journal == ["taken", "closed"] * 3


def test_a_compute_process_that_is_killed_costs_its_message_and_not_the_daemon(hospital: MakeHospital) -> None:
    """As the kernel does when memory runs out. A table that is a pipe makes reading it last."""
    one = hospital()
    table = one.folder / "cohort" / "clinical.csv"
    content = table.read_bytes()
    table.unlink()
    os.mkfifo(table)
    one.start()
    answers = one.ask(Prepare(one.study.sha256))
    child = one.child()
    one.until(lambda: child.cpu_s > 1, "child at work", 30)
    child.kill()
    assert one.said(answers) == "error 13"
    assert "was killed, as a rule because memory ran out" in one.log()
    table.unlink()
    table.write_bytes(content)
    assert one.said(one.ask(Prepare(one.study.sha256))).startswith("Ready")
    assert one.child().pid != child.pid
    assert [line["kind"] for line in audit.entries(one.folder / "work")] == ["Failure", "Ready"]


def test_a_daemon_that_is_told_to_stop_abandons_its_round_and_says_goodbye(
    hospital: MakeHospital, endless: Study
) -> None:
    """The coordinator hears it at once and goes on without it: BUSY, or LOST where a batch takes too long.

    The SuperLink forgets at the goodbye what was not fetched: the daemon leaves time to look.
    """
    one = hospital(study=endless)
    one.start()
    answers = one.ask(fit_of(endless), look_s=1.0)
    child = one.child()
    one.until(lambda: child.cpu_s > 3, "training", 40)
    assert one.stop() < 12
    assert one.said(answers) in ('Refusal {"code": "BUSY", "count": 0}', "error 14")
    assert not child.alive
    # Goodbye was said: it is let in again at once.
    assert one.start() < 5


@pytest.mark.slow
def test_a_daemon_that_was_killed_answers_lost_when_it_is_back(hospital: MakeHospital, endless: Study) -> None:
    """Killed in the middle: nothing is said, the server keeps it registered, and lets it in again within 40 s."""
    one = hospital(study=endless)
    one.start()
    answers = one.ask(fit_of(endless), ttl=75.0)
    child = one.child()
    one.until(lambda: child.cpu_s > 2, "training", 40)
    one.kill()
    one.until(lambda: not child.alive, "end of the child", 5)
    assert one.start() < 50
    # The server may have noticed first (5: node unavailable); a code comes either way.
    assert one.said(answers) in ("error 14", "error 5")
    journal = one.folder / "work" / "daemon.jsonl"
    one.until(lambda: '"closed"' in journal.read_text(), "end in the journal", 20)
    taken, closed = [json.loads(line) for line in journal.read_text().splitlines()]
    assert (closed["message"], closed["how"]) == (taken["message"], "LOST")


@pytest.mark.slow
def test_nothing_leaves_while_the_audit_log_cannot_be_written(hospital: MakeHospital) -> None:
    one = hospital()
    (one.folder / "work").mkdir(exist_ok=True)
    (one.folder / "work" / "audit.jsonl").symlink_to("/dev/full")
    one.start()
    assert one.said(one.ask(Prepare(one.study.sha256))) == "error 16"
    assert "No space left on device" in (one.folder / "work" / "site.log").read_text()


@pytest.mark.slow
def test_a_paused_hospital_and_one_outside_its_hours_are_busy(hospital: MakeHospital) -> None:
    now = time.localtime()
    closed = f"{(now.tm_hour + 12) % 24:02d}:00-{(now.tm_hour + 13) % 24:02d}:00"
    one = hospital(allowed_hours=[closed])
    one.start()
    assert "BUSY" in one.said(one.ask(Prepare(one.study.sha256)))
    assert "outside the allowed hours" in (one.folder / "work" / "site.log").read_text()
    path = one.folder / "site.toml"
    path.write_text(path.read_text().replace(closed, "00:00-00:00"))
    assert one.said(one.ask(Prepare(one.study.sha256))).startswith("Ready")
    (one.folder / "work" / "paused").touch()
    assert "BUSY" in one.said(one.ask(Prepare(one.study.sha256)))


@pytest.mark.slow
def test_a_site_file_that_is_broken_while_it_runs_costs_messages_and_not_the_daemon(hospital: MakeHospital) -> None:
    one = hospital()
    one.start()
    path = one.folder / "site.toml"
    whole = path.read_text()
    path.write_text(whole + "min_patient = 3\n")
    assert one.said(one.ask(Prepare(one.study.sha256))) == "error 17"
    assert "did you mean 'min_patients'" in one.log()
    path.write_text(whole)
    assert one.said(one.ask(Prepare(one.study.sha256))).startswith("Ready")


@pytest.mark.slow
def test_a_hospital_that_only_tests_refuses_to_train_whatever_the_server_says(
    hospital: MakeHospital, endless: Study
) -> None:
    one = hospital(study=endless, role="external")
    one.start()
    assert "ROLE" in one.said(one.ask(fit_of(endless)))


@pytest.mark.slow
def test_a_server_that_is_away_is_waited_for(superlink: SuperLink, hospital: MakeHospital) -> None:
    """Killed and started again with its database: the daemon goes on by itself."""
    one = hospital()
    one.start()
    superlink.kill()
    one.until(lambda: "no answer" in one.log(), "notice that the server is away", 30)
    superlink.start()
    # It says goodbye and hello, so that whatever was lost is asked again; a question asked before that is lost too.
    one.until(lambda: "registered as node" in one.log().partition("the network is back")[2], "goodbye and hello", 60)
    assert one.said(one.ask(Prepare(one.study.sha256))).startswith("Ready")


@pytest.mark.slow
def test_a_message_whose_run_was_stopped_is_dropped_and_the_next_is_answered(
    hospital: MakeHospital, endless: Study
) -> None:
    one = hospital(study=endless)
    one.start()
    one.ask(fit_of(endless), ttl=6.0)
    journal = one.folder / "work" / "daemon.jsonl"
    one.until(lambda: '"closed"' in journal.read_text(), "end", 40)
    assert one.process is not None
    assert one.process.poll() is None
    assert one.said(one.ask(Prepare(endless.sha256))).startswith("Ready")


def test_the_daemon_is_small_and_loads_no_torch(hospital: MakeHospital) -> None:
    one = hospital()
    one.start()
    assert one.process is not None
    maps = Path(f"/proc/{one.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert Process(one.process.pid).rss_bytes < 150e6
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(10) == 0


@pytest.mark.slow
def test_no_patient_is_in_a_log_on_the_wire_or_at_the_server(hospital: MakeHospital, superlink: SuperLink) -> None:
    """A planted id stands in a good row, a bad one and a table that cannot be read."""
    one, canary = hospital(), "Nimmerlein-4711"
    table = one.folder / "cohort" / "clinical.csv"
    whole = table.read_text()
    table.write_text(whole + f"{canary},1,61.0,1,20.0\n{canary}2,9,?,7,x\n")
    one.start()
    answers = one.ask(Prepare(one.study.sha256), fit_of(one.study))
    assert one.said(answers, 0).startswith("Ready")
    assert one.said(answers, 1).startswith("Update")
    table.write_text(whole.replace("malignant", canary))
    assert "DATA" in one.said(one.ask(Prepare(one.study.sha256)))
    one.stop()
    kept = [path for path in (one.folder / "work").rglob("*") if path.is_file()]
    read = [*kept, one.folder / "daemon.log", *superlink.folder.glob("state.db*"), superlink.folder / "superlink.log"]
    assert len(read) > 5
    assert not [path.name for path in read if b"Nimmerlein" in path.read_bytes()]
