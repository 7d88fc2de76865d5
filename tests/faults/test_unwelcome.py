"""Who is not let in, and what hospitals do not answer: on the real server, while another study goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fl_liver.consortium import authority as ca
from fl_liver.consortium.safe_file import SECRET, write_whole
from fl_liver.server.run_folder import RunFolder, find_run, read_progress
from simulation.deployed_hospital import edit_site
from tests.consortium.town import NOW
from tests.coordinator import command, until
from tests.faults.live import SITES, LiveRun, Stage, approve, clock, endless
from tests.faults.matrix import line_with
from tests.joined import Joined

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def launched(stage: Stage, source: Path) -> RunFolder:
    """Launched without waiting for anybody, and at its end."""
    at = stage.coordinator.folder
    said = command("study", "launch", source, "-C", at, "--wait-min", "0")
    run = find_run(at, said.split()[1].rstrip(":"))
    until(lambda: read_progress(run).over, "end of the run", 90, lambda: str(read_progress(run)))
    return run


def told(stage: Stage, run: RunFolder) -> str:
    said = command("study", "status", run.path.name, "-C", stage.coordinator.folder, status=75)
    return " ".join(said.split("hospital ")[0].split())


@contextmanager
def changed(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    """Inside: a file holds something else."""
    before = path.read_text(encoding="utf-8")
    path.write_text(change(before), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def test_hospitals_refuse_what_was_not_approved_changed_or_is_not_theirs_and_the_run_says_who_and_why(
    patient: LiveRun,
) -> None:
    """Four hospitals, four reasons: the code goes to the coordinator, the reason stays in the hospital's log."""
    stage = patient.stage
    study, source = endless(patient.study, "refused", 30.0, stage.folder)
    for name in SITES:
        if name != "H01":
            approve(stage.hospitals[name], study)
    folders = {name: one.folder for name, one in stage.hospitals.items()}
    approval = folders["H03"] / "work" / "approved" / f"{study.sha256}.json"
    approval.write_text(json.dumps({**json.loads(approval.read_text()), "version": "0.0.9"}))
    with changed(folders["H02"] / "cohort" / "clinical.csv", lambda text: text.replace("P000,0", "P000,1", 1)):
        edit_site(folders["H04"] / "site.toml", role="external")
        passed = clock()
        try:
            run = launched(stage, source)
        finally:
            edit_site(folders["H04"] / "site.toml", role="train")
        seconds = passed()
    line = told(stage, run)
    assert "1 of 5 training hospitals can take part, wanted at least 4" in line
    expected = {
        "H01": ("unapproved study", "NOT_APPROVED", "was not approved here"),
        "H02": ("changed cohort", "DATA", "is not what it was: 1 changed"),
        "H03": ("wrong package version", "NOT_APPROVED", "was approved for fl_liver 0.0.9"),
        "H04": ("server asks an external hospital to train", "ROLE", "the study wants it to train"),
    }
    for site, (fault, code, why) in expected.items():
        assert f"{site} (refused, {code})" in line
        read = line_with(why, (folders[site] / "work" / "site.log").read_text())
        patient.note(
            fault, f"refused with {code}; `study status` names the hospital and the code", seconds, read, "site.log"
        )


def test_a_study_that_is_run_a_second_time_gets_no_keys(patient: LiveRun) -> None:
    """A second run of an approved study would be a second look at the same patients."""
    passed = clock()
    run = launched(patient.stage, patient.source)
    seconds = passed()
    assert run.path != patient.folder.path
    assert "0 of 5 hospitals have keys" in told(patient.stage, run)
    hospital = patient.stage.hospitals["H01"].folder
    read = line_with("run", (hospital / "work" / "site.log").read_text())
    patient.note("a study replayed (launched a second time)", told(patient.stage, run), seconds, read, "site.log")
    patient.check()


def _other_authority(folder: Path) -> None:
    write_whole(folder / "ca.crt", ca.pem(ca.make_authority("elsewhere", NOW).certificate), 0o644)


def _other_node(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    write_whole(folder / "node.key", key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), SECRET)


@pytest.mark.parametrize(
    ("fault", "site", "spoil", "days_ago", "words"),
    [
        ("expired certificate of a hospital", "H06", None, ca.CERTIFICATE_DAYS + 2, "client.crt has expired"),
        ("wrong CA at a hospital", "H07", _other_authority, 0, "certificate verify failed"),
        ("node that the server does not know", "H08", _other_node, 0, "was refused with"),
    ],
)
def test_who_is_not_known_is_not_let_in_and_reads_why_in_seconds(
    patient: LiveRun, fault: str, site: str, spoil: Callable[[Path], None] | None, days_ago: int, words: str
) -> None:
    town = patient.stage.coordinator.town
    town.now = NOW - timedelta(days=days_ago)
    try:
        folder = town.let_in(site).path
    finally:
        town.now = NOW
    edit_site(folder / "site.toml", data="cohort", gpu="none")
    if spoil is not None:
        spoil(folder)
    stranger = Joined(site, folder)
    passed = clock()
    stranger.start()
    try:
        until(lambda: words in stranger.log(), words, 30, stranger.log)
        seconds = passed()
        assert stranger.registrations == 0
        assert stranger.process is not None
        assert stranger.process.poll() is None, "it goes on trying: what is wrong may be mended"
    finally:
        stranger.stop()
    happened = "not let in; it tries again every 5 s, and nobody else notices"
    patient.note(fault, happened, seconds, line_with(words, stranger.log()), "its log")
