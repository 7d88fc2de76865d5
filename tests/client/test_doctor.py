"""The doctor finds each thing that is wrong, names the remedy, and does not stop at the first."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fl_liver.cli import app, run_app
from fl_liver.client.audit import append
from fl_liver.client.doctor import examine
from fl_liver.client.doctor_network import _clock
from fl_liver.client.finding import Found
from tests.hospital import Hospital
from tests.superlink import Authority, SuperLink, pem

MakeHospital = Callable[..., Hospital]


def found(one: Hospital) -> dict[str, Found]:
    return {line.name: line for line in examine(one.folder / "site.toml")}


def test_a_whole_folder_has_no_failure(hospital: MakeHospital, capsys: pytest.CaptureFixture[str]) -> None:
    one = hospital()
    (one.folder / "work").chmod(0o700)
    states = {name: line.state for name, line in found(one).items()}
    assert "fail" not in states.values()
    assert {"site.toml", "connection", "permissions", "data", "disk", "ca.crt", "DNS", "port", "TLS", "server"} <= set(
        states
    )
    assert run_app(app, ["site", "doctor", "--json", "--dir", str(one.folder)]) == 1
    lines = json.loads(capsys.readouterr().out)
    assert {line["name"] for line in lines if line["state"] == "warn"} - {"disk"} == {"sums", "client.crt"}


def test_a_key_that_others_can_read_is_a_failure(hospital: MakeHospital) -> None:
    one = hospital()
    (one.folder / "node.key").chmod(0o644)
    lines = found(one)
    assert lines["permissions"].state == "fail"
    assert "node.key" in lines["permissions"].found
    assert lines["connection"].state == "fail"
    assert lines["disk"].state == "ok"


def test_another_authority_is_told_from_a_closed_port(hospital: MakeHospital) -> None:
    one = hospital()
    (one.folder / "ca.crt").write_bytes(Authority().certificate())
    assert found(one)["TLS"].state == "fail"
    assert "opens TLS" in found(one)["TLS"].remedy
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        (one.folder / "consortium.toml").write_text(f'address = "127.0.0.1:{port}"\n')
        lines = found(one)
    assert lines["port"].state == "fail"
    assert f"let out TCP {port}" in lines["port"].remedy
    assert "TLS" not in lines


def test_a_name_that_does_not_resolve_is_a_failure_of_its_own(hospital: MakeHospital) -> None:
    one = hospital()
    (one.folder / "consortium.toml").write_text('address = "nowhere.invalid:443"\n')
    assert found(one)["DNS"].state == "fail"


@pytest.mark.parametrize(("days", "state"), [(-1, "fail"), (10, "warn"), (200, "ok")])
def test_days_of_a_certificate_are_counted(
    hospital: MakeHospital, superlink: SuperLink, days: float, state: str
) -> None:
    one, key = hospital(), ec.generate_private_key(ec.SECP384R1())
    (one.folder / "client.crt").write_bytes(superlink.authority.issue("H01", key, days, client=True))
    (one.folder / "client.key").touch(mode=0o600)
    (one.folder / "client.key").write_bytes(pem(key))
    assert found(one)["client.crt"].state == state


@pytest.mark.parametrize(
    ("ahead", "state", "said"),
    [(0.0, "ok", "0 s"), (3.0, "warn", "3 s ahead"), (9.0, "fail", "9 s ahead"), (-400.0, "fail", "400 s behind")],
)
def test_a_clock_that_would_be_refused_is_a_failure(ahead: float, state: str, said: str) -> None:
    line = _clock("Sat, 21 Nov 2026 05:00:00 GMT", 1795237200.5 + ahead)
    assert line.state == state
    assert said in line.found


def test_a_changed_audit_log_is_a_failure(hospital: MakeHospital) -> None:
    one = hospital()
    append(one.folder / "work", kind="Done", bytes=0)
    path = one.folder / "work" / "audit.jsonl"
    path.write_text(path.read_text().replace("Done", "Dome"))
    assert found(one)["audit"].state == "fail"


def test_a_gpu_that_is_named_and_not_there_is_a_failure(
    hospital: MakeHospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = hospital(gpu="GPU-12345678-1234-1234-1234-123456789abc")
    monkeypatch.setenv("PATH", "/nowhere")
    assert found(one)["GPU"].state == "fail"


def test_a_site_file_that_cannot_be_read_is_the_only_finding(tmp_path: Path) -> None:
    (line,) = examine(tmp_path / "site.toml")
    assert (line.state, line.name) == ("fail", "site.toml")
