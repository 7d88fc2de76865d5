"""Local control of a daemon that really runs: what green means, and that pausing holds."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fl_liver.cli import app, run_app
from fl_liver.client.approval import write_approval
from fl_liver.client.control import call
from fl_liver.client.frozen import freeze
from fl_liver.client.site import load_site
from fl_liver.errors import ConfigError
from fl_liver.messages import Prepare
from fl_liver.study import Study
from tests.hospital import Hospital

MakeHospital = Callable[..., Hospital]


def failing(one: Hospital) -> dict[str, str]:
    status = call(one.folder / "work", "Status")
    return {check["name"]: check["found"] for check in status["checks"] if not check["ok"]}


def test_a_daemon_that_takes_part_is_green_and_opens_no_port(hospital: MakeHospital, plain_study: Study) -> None:
    one = hospital()
    site = load_site(one.folder / "site.toml")
    freeze(site, "spring")
    write_approval(site, plain_study, "spring")
    one.start()
    status = call(site.work, "Status")
    assert failing(one) == {}
    assert status["green"]
    assert {"registered", "certificates", "approved", "cohort spring", "last message", "not paused"} <= {
        check["name"] for check in status["checks"]
    }
    assert abs(status["clock_skew_s"]) < 2
    assert stat.S_IMODE((site.work / "control.sock").stat().st_mode) == 0o600
    assert one.process is not None
    assert one.process.pid == status["pid"]
    assert listening(one.process.pid) == []


def listening(pid: int) -> list[str]:
    """Inodes of TCP sockets of the process in state LISTEN."""
    from pathlib import Path

    inodes = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]


def test_health_and_metrics_say_the_same_as_the_status(hospital: MakeHospital) -> None:
    one = hospital()
    one.start()
    metrics = one.folder / "work" / "metrics.prom"
    one.until(lambda: metrics.exists() and "_green" in metrics.read_text(), "metrics", 20)
    one.until(lambda: 'fl_liver_site_green{site="H01"} 1' in metrics.read_text(), "green", 40)
    with grpc.insecure_channel(f"unix:{one.folder / 'work' / 'control.sock'}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service="fl_liver.Site"), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    text = metrics.read_text()
    assert 'fl_liver_site_check{site="H01",check="registered"} 1' in text
    assert 'fl_liver_site_certificate_days{site="H01",file="ca.crt"}' in text


def test_pausing_holds_over_a_restart_and_is_not_green(
    hospital: MakeHospital, capsys: pytest.CaptureFixture[str]
) -> None:
    one = hospital()
    one.start()
    at = ["--dir", str(one.folder)]
    assert run_app(app, ["site", "status", *at]) == 0
    assert "GREEN" in capsys.readouterr().out
    assert run_app(app, ["site", "pause", *at]) == 0
    one.stop()
    one.start()
    assert run_app(app, ["site", "status", *at]) == 75
    assert "NOT GREEN" in (said := capsys.readouterr().out)
    assert "paused here; `fl-liver site resume`" in said
    assert "BUSY" in one.said(one.ask(Prepare(one.study.sha256)))
    assert run_app(app, ["site", "resume", *at]) == 0
    assert run_app(app, ["site", "status", "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out.removeprefix("resumed\n"))["green"]


def test_what_is_wrong_is_named(hospital: MakeHospital, plain_study: Study) -> None:
    """A process that runs is not enough: no approval, a changed cohort, an answer that was lost."""
    one = hospital()
    site = load_site(one.folder / "site.toml")
    approval = site.approval_path(plain_study.sha256)
    text = approval.read_text()
    approval.unlink()
    one.start()
    assert failing(one) == {"approved": "no study was approved here; `fl-liver site requests`"}
    freeze(site, "spring")
    approval.write_text(text)
    write_approval(site, plain_study, "spring")
    assert failing(one) == {}
    table = site.data / "clinical.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-2]) + "\n")
    assert "DATA" in one.said(one.ask(Prepare(plain_study.sha256)))
    assert "2 gone" in failing(one)["cohort spring"]


def test_a_folder_without_a_daemon_says_so(hospital: MakeHospital) -> None:
    one = hospital()
    with pytest.raises(ConfigError, match="no daemon runs here"):
        call(one.folder / "work", "Status")


def test_a_second_daemon_on_one_folder_is_refused_and_the_first_goes_on(
    hospital: MakeHospital, capsys: pytest.CaptureFixture[str]
) -> None:
    one = hospital()
    one.start()
    assert one.process is not None
    assert run_app(app, ["site", "run", str(one.folder)]) == 78
    assert f"a daemon runs on this folder already (process {one.process.pid})" in capsys.readouterr().err
    assert call(one.folder / "work", "Status")["green"]


def test_the_audit_command_shows_and_verifies(hospital: MakeHospital, capsys: pytest.CaptureFixture[str]) -> None:
    one = hospital()
    one.start()
    one.said(one.ask(Prepare(one.study.sha256)))
    at = ["--dir", str(one.folder)]
    assert run_app(app, ["site", "audit", *at]) == 0
    said = capsys.readouterr().out
    assert "Ready" in said
    assert "1 entries, whole. Head to note elsewhere: 1:" in said
    path = one.folder / "work" / "audit.jsonl"
    path.write_text(path.read_text().replace('"Ready"', '"Reedy"'))
    assert run_app(app, ["site", "audit", "verify", *at]) == 74
