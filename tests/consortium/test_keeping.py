"""The coordinator's folder over the years: versions, renewals, revocations, crashes, two commands at once."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE

import pytest
from cryptography import x509

from fl_liver.consortium import authority as ca
from fl_liver.consortium.admitted import install, read_admission
from fl_liver.consortium.admitting import examine
from fl_liver.consortium.folder import changing, make_consortium, open_consortium
from fl_liver.consortium.joining import filled_template
from fl_liver.consortium.keeping import certificate_days, renew, renew_server, revoke, rows
from fl_liver.consortium.safe_file import locked, private_folder, write_whole
from fl_liver.errors import ConfigError, ProtocolError
from tests.consortium.town import NOW, Town, gateway_tls, handshake, site_tls


def test_every_hospital_has_a_row(three: Town) -> None:
    three.invited("H04")
    revoke(three.consortium, "H03", "left", NOW)
    found = {row.site: row for row in rows(three.reopened(), NOW)}
    assert {site: row.status for site, row in found.items()} == {
        "H01": "approved",
        "H02": "approved",
        "H03": "revoked",
        "H04": "invited",
    }
    assert found["H01"].words == three.words_of("H01")
    assert found["H01"].certificate_days == ca.CERTIFICATE_DAYS
    assert (found["H04"].words, found["H04"].certificate_days) == (None, None)


@pytest.mark.parametrize(("after_days", "soon"), [(335, False), (336, True), (400, True)])
def test_less_than_thirty_days_are_soon(three: Town, after_days: int, soon: bool) -> None:
    row = rows(three.consortium, NOW + timedelta(days=after_days))[0]
    assert (row.ends_soon, row.certificate_days) == (soon, 365 - after_days)


def test_a_roster_gets_a_number_only_when_it_says_something_new(three: Town) -> None:
    first = three.consortium.roster(NOW)
    assert three.consortium.roster(NOW + timedelta(days=9)) == first
    three.invited("H04")
    assert three.consortium.roster(NOW) == first
    revoke(three.consortium, "H03", "left", NOW)
    assert three.consortium.roster(NOW).version == first.version + 1


def test_a_version_is_never_given_twice(three: Town) -> None:
    """Neither when the file is lost, nor when a crash comes between number and signature."""
    before = three.consortium.roster(NOW).version
    three.consortium.roster_file.unlink()
    assert three.reopened().roster(NOW).version == before + 1
    three.consortium = three.reopened()
    three.consortium.save(three.consortium.register.model_copy(update={"roster_version": before + 5}), NOW)
    revoke(three.consortium, "H03", "left", NOW)
    assert three.consortium.roster(NOW).version == before + 6


def test_a_roster_edited_by_hand_is_not_taken_for_the_last_one(three: Town) -> None:
    path = three.consortium.roster_file
    path.write_text(path.read_text().replace("version = 3", "version = 4"))
    with pytest.raises(ConfigError, match=r"was changed by hand, its signature is wrong"):
        three.consortium.roster(NOW)


def test_a_renewed_certificate_is_for_the_same_key_and_both_are_good(three: Town) -> None:
    """A renewal must not put a hospital out that has not installed it yet."""
    hospital, later = three.hospitals["H02"], NOW + timedelta(minutes=30)
    old = x509.load_pem_x509_certificate(hospital.at("client.crt").read_bytes())
    path, days = renew(three.consortium, "H02", later)
    assert days == ca.CERTIFICATE_DAYS
    assert handshake(gateway_tls(three.consortium, crl=True), site_tls(hospital)).serial == old.serial_number
    paper, news = read_admission(hospital, path, later)
    install(hospital, news, paper.certificate)
    new = x509.load_pem_x509_certificate(hospital.at("client.crt").read_bytes())
    assert new.serial_number != old.serial_number
    assert new.public_key() == old.public_key()
    revoke(three.consortium, "H02", "left", later)
    assert three.reopened().revoked_serials() == {old.serial_number, new.serial_number}


def test_a_renewed_server_keeps_its_key(three: Town) -> None:
    before = three.consortium.server_key.read_bytes()
    later = NOW + timedelta(days=200)
    assert certificate_days(three.consortium, later)["server"] == 165
    assert renew_server(three.consortium, later)[1] == 365
    assert three.consortium.server_key.read_bytes() == before


@pytest.mark.parametrize("status", ["invited", "revoked"])
def test_only_an_approved_hospital_is_renewed(town: Town, status: str) -> None:
    town.invited("H02")
    if status == "revoked":
        revoke(town.consortium, "H02", "left", NOW)
    with pytest.raises(ConfigError, match=f"H02 is {status}, wanted approved"):
        renew(town.consortium, "H02", NOW)


def test_a_revoked_hospital_is_out_of_everything(three: Town) -> None:
    assert revoke(three.consortium, "H02", "laptop stolen", NOW) == 2
    assert three.hospitals["H02"].own() not in three.consortium.roster_file.read_text()  # signed there and then
    again = three.reopened()
    assert set(again.node_keys()) == {"H01", "H03"}
    assert not (again.folder / "nodes/H02.pub").exists()
    assert again.register.revoked[0].reason == "laptop stolen"
    assert three.hospitals["H02"].own() in again.register.spent


def test_a_revoked_invitation_is_worth_nothing(town: Town) -> None:
    reply = town.joined("H02")
    revoke(town.consortium, "H02", "wrong address", NOW)
    assert not town.consortium.secret_path("H02").exists()
    with pytest.raises(ProtocolError, match=r"the hospital is revoked; a reply counts once, .*invites it again"):
        examine(town.consortium, "H02", reply, NOW)


def test_a_revoked_identity_does_not_come_back(three: Town) -> None:
    """The hospital that is invited again with its old folder is told to make a new one."""
    from fl_liver.consortium.invitation import read_invitation
    from fl_liver.consortium.joining import join

    revoke(three.consortium, "H02", "key lost", NOW)
    joined = join(read_invitation(three.invited("H02"), NOW), three.folder / "H02")
    with pytest.raises(ProtocolError, match=r"this identity was revoked or replaced before; run .* in a new folder"):
        examine(three.consortium, "H02", joined.reply_file, NOW)


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines"])
def test_a_reason_is_wanted(three: Town, reason: str) -> None:
    with pytest.raises(ConfigError, match=r"H02: a reason in one line is wanted"):
        revoke(three.consortium, "H02", reason, NOW)


def test_a_consortium_is_made_once(town: Town) -> None:
    before = town.consortium.words
    with pytest.raises(ConfigError, match=r"exists already; a consortium is made once"):
        make_consortium(town.consortium.folder, "Other", "127.0.0.1:8443", (), NOW)
    assert town.reopened().words == before


@pytest.mark.parametrize(
    ("name", "address", "also", "match"),
    [
        ("L", "fl:8443", (), "'name'"),
        ("Liver\x1b[2J", "fl:8443", (), "printable"),
        ("Liver", "fl", (), "not host:port"),
        ("Liver", "fl:8443", ("a b",), "--also: 'a b' is no host name"),
    ],
)
def test_what_is_of_no_use_makes_nothing(tmp_path: Path, name: str, address: str, also: tuple[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make_consortium(tmp_path / "liver", name, address, also, NOW)
    assert not (tmp_path / "liver").exists()


def test_a_hospitals_folder_is_not_taken_for_the_coordinators(town: Town) -> None:
    hospital = town.let_in("H02")
    with pytest.raises(ConfigError, match=r"this is a hospital's folder"):
        open_consortium(hospital.path)
    with pytest.raises(ConfigError, match=r"no consortium here"), changing(town.folder):
        raise AssertionError("opened")
    assert not (town.folder / ".lock").exists()


@pytest.mark.parametrize("name", ["ca.key", "coordinator.pem"])
def test_a_key_that_others_may_read_is_not_used(town: Town, name: str) -> None:
    (town.consortium.folder / name).chmod(0o640)
    with pytest.raises(ConfigError, match=f"{name}: others than its owner may read it; run `chmod 600`"):
        town.invited("H02")


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match=r"cannot be written .No space left on device"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_after_the_register_is_made_good_by_the_next_command(
    three: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The register is the truth: a revocation that reached it is complete after any later change."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ca, "revocation_list", crash)
        with pytest.raises(KeyboardInterrupt):
            revoke(three.consortium, "H02", "key lost", NOW)
    again = three.reopened()
    assert "H02" not in again.roster(NOW).identity
    listed = x509.load_pem_x509_crl(again.revocation_list.read_bytes())
    assert {entry.serial_number for entry in listed} == again.revoked_serials() != set()


def test_a_folder_with_files_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    for folder in (empty, full):
        folder.mkdir(mode=0o755)
    (full / "clinical.csv").write_text("patient_id\n")
    private_folder(empty)
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    with pytest.raises(ConfigError, match=r"others than its owner may enter; run `chmod 700`"):
        private_folder(full)
    assert stat.S_IMODE(full.stat().st_mode) == 0o755


def test_two_commands_at_once_lose_nothing(town: Town) -> None:
    """Without the lock the last of four commands to write would be alone in the register."""
    folder, names = town.consortium.folder, ["H01", "H02", "H03", "H04"]
    command = [sys.executable, "-m", "fl_liver.cli", "coordinator", "enrol"]
    with locked(folder):
        running = [subprocess.Popen([*command, name, "--folder", str(folder)], stdout=PIPE) for name in names]
        with pytest.raises(subprocess.TimeoutExpired):
            running[0].wait(4)
    assert [process.wait(60) for process in running] == [0] * 4
    for process in running:
        process.communicate()
    assert sorted(town.reopened().register.hospitals) == names


def test_the_packages_template_is_the_one_in_sites() -> None:
    """One file: a link in the package, which a wheel holds as a copy (`test_wheel`)."""
    root = Path(__file__).parents[2]
    assert (root / "fl_liver/consortium/site_template.toml").resolve() == root / "sites/template.toml"
    assert 'role = "external"' in filled_template("H05", "external")
