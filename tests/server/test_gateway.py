"""The coordinator's door, with a real SuperLink behind it: who is let in, to what, how much and how often."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fl_liver.client.connection import read_connection
from fl_liver.client.fleet import Fleet
from fl_liver.consortium.keeping import renew, revoke
from fl_liver.server.gateway import BODY_BYTES
from fl_liver.server.guests import BURST, Bucket
from fl_liver.server.shortcuts import HOLD_S
from tests.consortium.town import NOW
from tests.coordinator import Coordinator, until
from tests.superlink import SuperLink

PROTOBUF = {"content-type": "application/protobuf"}


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    one = SuperLink(tmp_path_factory.mktemp("behind"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def door(tmp_path: Path, link: SuperLink) -> Iterator[Coordinator]:
    """A consortium of two hospitals with its gateway in front of the SuperLink."""
    one = Coordinator(tmp_path)
    for site in ("H01", "H02"):
        one.town.let_in(site)
    arguments = [str(one.folder), "127.0.0.1", str(one.port), str(link.port), str(link.folder / "ca.crt")]
    with (one.folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "fl_liver.server.gateway", *arguments], stderr=log)
    until(lambda: _listens(one.port), "gateway", 20, (one.folder / "gateway.log").read_text)
    yield one
    process.terminate()
    process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_hospital_reaches_the_fleet_and_health_and_nothing_else(door: Coordinator) -> None:
    """What the SuperLink has besides would start runs, register nodes, or show how."""
    with door.client("H01") as client:
        assert client.get("/health").status_code == 200
        # The SuperLink itself refuses: the request bears no node's signature.
        assert client.post("/v1/fleet/pull-messages", content=b"", headers=PROTOBUF).status_code == 401
        for path in (
            "/docs",
            "/openapi.json",
            "/v1/control/start-run",
            "/v1/runtime/get-nodes",
            "/v1/fleet",
            "/v1/fleet/register-node",
            "/v1/fleet/get-fab",
            "/v1/fleet/pull-messages/",
            "/v1/fleet/../control/list-runs",
            "/v1/fleet/%2e%2e/control/list-runs",
            "/v1/fleet//control",
            "/V1/fleet/pull-messages",
        ):
            assert client.post(path, content=b"").status_code == 404, path
        assert client.get("/v1/fleet/pull-messages").status_code == 405


def test_a_path_is_not_tidied_on_its_way(door: Coordinator) -> None:
    """httpx tidies a path before it is sent; a socket does not."""
    context = ssl.create_default_context(cafile=str(door.folder / "ca.crt"))
    hospital = door.town.hospitals["H01"]
    context.load_cert_chain(str(hospital.at("client.crt")), str(hospital.at("client.key")))
    for path in ("/v1/fleet/../control/list-runs", "/v1/fleet/%2e%2e/control/list-runs", "/health/../v1/control/x"):
        with (
            socket.create_connection(("127.0.0.1", door.port), 10) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as channel,
        ):
            channel.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
            assert channel.recv(100).startswith(b"HTTP/1.1 404"), path


def test_nobody_comes_in_without_a_certificate_of_this_consortium(door: Coordinator, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=str(door.folder / "ca.crt"))
    with httpx.Client(verify=context, trust_env=False) as client, pytest.raises(httpx.TransportError):
        client.get(f"https://127.0.0.1:{door.port}/health")
    other = Coordinator(tmp_path / "other")
    stranger = other.town.let_in("H01")
    context.load_cert_chain(str(stranger.at("client.crt")), str(stranger.at("client.key")))
    with httpx.Client(verify=context, trust_env=False) as client, pytest.raises(httpx.TransportError):
        client.get(f"https://127.0.0.1:{door.port}/health")


def test_a_revoked_hospital_is_refused_within_seconds_also_on_an_open_connection(door: Coordinator) -> None:
    with door.client("H01") as one, door.client("H02") as two:
        assert two.get("/health").status_code == 200
        revoke(door.consortium, "H02", "its laptop was stolen", NOW)
        until(lambda: two.get("/health").status_code == 403, "refusal", 5)
        assert "revoked" in two.get("/health").text
        assert one.get("/health").status_code == 200
    assert "its certificate is revoked" in (door.folder / "gateway.log").read_text()


def test_the_certificate_before_a_renewal_stays_good(door: Coordinator) -> None:
    renew(door.consortium, "H01", NOW)
    time.sleep(1.5)
    with door.client("H01") as client:
        assert client.get("/health").status_code == 200


def test_a_request_that_is_too_large_is_refused_whatever_length_it_names(door: Coordinator) -> None:
    with door.client("H01") as client:
        answer = client.post("/v1/fleet/push-object", content=bytes(BODY_BYTES + 1))
        assert answer.status_code == 413
        endless = client.post("/v1/fleet/push-object", content=(bytes(1 << 20) for _ in range(10)))
        assert endless.status_code == 413
        assert client.post("/v1/fleet/push-object", content=bytes(BODY_BYTES), headers=PROTOBUF).status_code != 413


def test_a_hospital_that_asks_too_often_waits_and_the_others_do_not() -> None:
    bucket = Bucket()
    assert all(bucket.take() for _ in range(int(BURST)))
    assert not all(bucket.take() for _ in range(50))
    bucket.filled -= 1.0
    assert sum(bucket.take() for _ in range(200)) in range(100, 130)
    assert Bucket().take()


def test_a_daemons_connection_goes_through(door: Coordinator, link: SuperLink) -> None:
    """The hospital's own node key, registered with the SuperLink; messages, heartbeats and the server's clock pass."""
    hospital = door.town.hospitals["H01"]
    link._flwr("supernode", "register", str(door.folder / "nodes" / "H01.pub"), "--name", "H01", "test")
    with Fleet(read_connection(hospital.path)) as fleet:
        assert fleet.take() is None
        assert fleet.clock_skew_s is not None
        assert abs(fleet.clock_skew_s) < 2


ASK = """
import time
from pathlib import Path
from flwr.app import Message
from fl_liver.messages import Prepare
from fl_liver.wire import to_record
time.sleep(max(0.0, given["at"] - time.time()))
Path(given["sent"]).write_text(str(time.time()))
sent = list(grid.push_messages([Message(to_record(Prepare("ab" * 32)), given["node"], "query", ttl=60.0)]))
time.sleep(5)
"""


@pytest.fixture
def near_door(tmp_path: Path, link: SuperLink) -> Iterator[Coordinator]:
    """As `door`, with the SuperLink's database where the gateway looks for it."""
    one = Coordinator(tmp_path)
    one.town.let_in("H01")
    (one.folder / "up").mkdir()
    (one.folder / "up" / "state.db").symlink_to(link.folder / "state.db")
    arguments = [str(one.folder), "127.0.0.1", str(one.port), str(link.port), str(link.folder / "ca.crt")]
    with (one.folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "fl_liver.server.gateway", *arguments], stderr=log)
    until(lambda: _listens(one.port), "gateway", 20, (one.folder / "gateway.log").read_text)
    yield one
    process.terminate()
    process.wait(10)


def test_a_question_for_work_is_held_until_there_is_some(near_door: Coordinator, link: SuperLink) -> None:
    """With Flower's own tables: what `shortcuts` reads of them is private to it."""
    link._flwr("supernode", "register", str(near_door.folder / "nodes" / "H01.pub"), "--name", "H01", "test")
    with Fleet(read_connection(near_door.town.hospitals["H01"].path)) as fleet:
        began = time.monotonic()
        assert fleet.take() is None
        assert HOLD_S - 0.5 < time.monotonic() - began < HOLD_S + 3
        sent = near_door.folder / "sent"
        at = time.time() + 8
        link.run(ASK, node=fleet.node_id, at=at, sent=str(sent))
        while (taken := fleet.take()) is None:
            assert time.time() < at + 20
        assert time.time() - float(sent.read_text()) < 2, "asking again every two seconds, or not held, takes longer"
        assert fleet.fetch(taken).bytes > 100


def test_the_gateway_says_so_while_the_server_behind_it_is_away(tmp_path: Path, link: SuperLink) -> None:
    one = Coordinator(tmp_path)
    one.town.let_in("H01")
    arguments = [str(one.folder), "127.0.0.1", str(one.port), "1", str(link.folder / "ca.crt")]
    process = subprocess.Popen([sys.executable, "-m", "fl_liver.server.gateway", *arguments], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(one.port), "gateway", 20)
        with one.client("H01") as client:
            assert client.get("/health").status_code == 502
    finally:
        process.terminate()
        process.wait(10)
