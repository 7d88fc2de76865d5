"""`fl-liver coordinator up` as a person starts it: what comes up, what is put right, what is left when it stops."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fl_liver.client.connection import read_connection
from fl_liver.client.fleet import Fleet
from fl_liver.consortium.keeping import revoke
from fl_liver.errors import NodeRefusedError
from tests.consortium.town import NOW
from tests.coordinator import Coordinator, command, until
from tests.processes import Process


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    one = Coordinator(tmp_path_factory.mktemp("up"))
    for site in ("H01", "H02"):
        one.town.let_in(site)
    try:
        one.start()
        yield one
    finally:
        one.stop()


def nodes(coordinator: Coordinator) -> dict[str, int]:
    body = json.loads((coordinator.folder / "up" / "nodes.json").read_text())
    return {site: one["node"] for site, one in body.items()}


def test_hospitals_are_registered_and_reach_the_server_through_the_gateway(coordinator: Coordinator) -> None:
    assert set(nodes(coordinator)) >= {"H01"}
    with Fleet(read_connection(coordinator.town.hospitals["H01"].path)) as fleet:
        assert fleet.node_id == nodes(coordinator)["H01"]


def test_only_the_gateway_can_be_reached_from_outside(coordinator: Coordinator) -> None:
    """Every other port that its processes listen on is on loopback."""
    state = coordinator.state()
    mine = {Process(pid) for pid in state["processes"].values()}
    inodes = set()
    for process in mine:
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    lines += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    listening = {line[1] for line in lines if line[3] == "0A" and line[9] in inodes}
    ports = {int(where.rpartition(":")[2], 16) for where in listening if not where.startswith("0100007F")}
    assert ports <= {state["ports"]["gateway"]}
    assert state["ports"]["superlink"] in {int(where.rpartition(":")[2], 16) for where in listening}


def test_nothing_that_is_secret_can_be_read_by_others(coordinator: Coordinator) -> None:
    up = coordinator.folder / "up"
    assert up.stat().st_mode & 0o777 == 0o700
    for name in ("superexec.secret", "loopback.key", "state.db", "superlink.log"):
        assert (up / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.parametrize("name", ["superlink", "superexec", "gateway"])
def test_a_part_that_is_killed_is_started_again(coordinator: Coordinator, name: str) -> None:
    before = coordinator.child(name)
    before.kill()
    coordinator.until_line(lambda line: f"{name} ok, 1 restarts" in line, 60)
    assert coordinator.child(name).pid != before.pid
    with coordinator.client("H01") as client:
        until(lambda: client.get("/health").status_code == 200, "health", 30, coordinator.said)
    assert f"{name}: killed by SIGKILL; started again in 0.5 s" in coordinator.said()


def test_a_second_server_on_the_same_folder_is_refused(coordinator: Coordinator) -> None:
    said = command("coordinator", "up", "-C", coordinator.folder, "--port", "1", status=78)
    assert "a server runs on this folder already; stop it first" in said


def test_a_hospital_that_is_revoked_is_put_out_and_a_new_one_comes_in_without_a_restart(
    coordinator: Coordinator,
) -> None:
    coordinator.town.consortium = coordinator.consortium
    coordinator.town.let_in("H03")
    until(lambda: "H03" in nodes(coordinator), "registration of H03", 60, coordinator.said)
    revoke(coordinator.consortium, "H02", "its laptop was stolen", NOW)
    until(lambda: "H02" not in nodes(coordinator), "H02 put out", 60, coordinator.said)
    with pytest.raises(NodeRefusedError, match="activate-node was refused with 403"):
        Fleet(read_connection(coordinator.town.hospitals["H02"].path)).__enter__()
    with Fleet(read_connection(coordinator.town.hospitals["H03"].path)) as fleet:
        assert fleet.take() is None


def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    one = Coordinator(tmp_path)
    with socket.create_server(("127.0.0.1", one.port)):
        said = command("coordinator", "up", "-C", one.folder, "--host", "127.0.0.1", status=78)
    assert f"127.0.0.1:{one.port} cannot be listened on (Address already in use); name another --port" in said
    assert not (one.folder / "up").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_server_ends_however_it_ends(tmp_path: Path, how: signal.Signals) -> None:
    one = Coordinator(tmp_path)
    one.town.let_in("H01")
    one.start()
    children = [one.child(name) for name in ("superlink", "superexec", "gateway")]
    children += [grandchild for child in list(children) for grandchild in child.children]
    assert one.process is not None
    one.process.send_signal(how)
    one.process.wait(30)
    until(lambda: not any(child.alive for child in children), "end of the children", 20, one.said)
    with pytest.raises(httpx.TransportError), one.client("H01") as client:
        client.get("/health")
    known = nodes(one)
    one.start()  # what was registered is known again
    assert nodes(one) == known
    one.stop()
