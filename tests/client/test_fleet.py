"""Flower's private Fleet API against a real SuperLink: a change of flwr shows here first."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fl_liver.client.connection import read_connection
from fl_liver.client.fleet import Fleet, Taken, answer, failure, unpacked
from fl_liver.errors import ConfigError, NodeRefusedError, RunOverError, UnreachableError
from fl_liver.messages import Done, Fit, SiteFailure, Totals
from fl_liver.wire import from_record, to_record
from tests.superlink import Authority, SuperLink, free_port, pem, write_connection

ASK = """
import time, hashlib, json
from pathlib import Path
import numpy as np
from flwr.app import Message
from fl_liver.messages import Fit, Prepare
from fl_liver.securesum.context import Slot
from fl_liver.wire import to_record
vector = np.arange(given["length"], dtype=np.float32)
slot = Slot("ab" * 32, "run", "training/train", 1, 0)
question = Fit(slot, vector, {}, {}) if given["length"] else Prepare("ab" * 32)
kind = "train" if given["length"] else "query"
sent = list(grid.push_messages([Message(to_record(question), given["node"], kind, ttl=given.get("ttl", 60.0))]))
until, got = time.time() + given.get("wait", 50), []
while not got and time.time() < until:
    got = list(grid.pull_messages(sent))
    time.sleep(0.05)
seen = {"replies": len(got)}
for reply in got:
    if reply.has_error():
        seen["error"] = reply.error.code
    else:
        arrays = [a for r in reply.content.array_records.values() for a in r.values()]
        seen["json"] = str(reply.content["message"]["json"])
        seen["sha256"] = [hashlib.sha256(a.data).hexdigest() for a in arrays]
out = Path(given["out"]); out.with_suffix(".part").write_text(json.dumps(seen)); out.with_suffix(".part").rename(out)
"""


def wait_for(fleet: Fleet, seconds: float = 40) -> Taken:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        taken = fleet.take()
        if taken is not None:
            return taken
        time.sleep(0.05)
    raise TimeoutError("no message came")


def result(path: Path, seconds: float = 40) -> dict[str, object]:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, "the server app wrote nothing"
        time.sleep(0.05)
    seen: dict[str, object] = json.loads(path.read_text())
    return seen


def test_a_message_goes_to_the_hospital_and_its_answer_comes_back_bit_for_bit(
    superlink: SuperLink, tmp_path: Path
) -> None:
    """12 MB: more than one of Flower's 5 MiB objects, there and back; an answer is a view of memory, not bytes."""
    connection = read_connection(superlink.hospital("H01"))
    with Fleet(connection) as fleet:
        superlink.run(ASK, node=fleet.node_id, length=3_000_000, out=str(tmp_path / "seen.json"))
        taken = wait_for(fleet)
        assert (taken.kind, taken.expires > time.time()) == ("train", True)
        message = unpacked(fleet.fetch(taken))
        words = np.arange(3_000_000, dtype=np.uint64)[::-1].copy()
        fleet.give(answer(message, to_record(Totals(words, "cd" * 32))), taken.run_id, 0.1)
        seen = result(tmp_path / "seen.json")
        assert fleet.clock_skew_s is not None
        assert abs(fleet.clock_skew_s) < 2
    fit: Fit = from_record(message.content, (Fit,))
    assert np.array_equal(fit.vector, np.arange(3_000_000, dtype=np.float32))
    assert seen["replies"] == 1
    assert hashlib.sha256(words.tobytes()).hexdigest() in seen["sha256"]  # type: ignore[operator]


def test_a_message_that_was_taken_is_not_handed_out_again_and_its_head_is_enough_to_answer_with_a_code(
    superlink: SuperLink, tmp_path: Path
) -> None:
    connection = read_connection(superlink.hospital("H02"))
    with Fleet(connection) as fleet:
        superlink.run(ASK, node=fleet.node_id, length=0, out=str(tmp_path / "seen.json"))
        taken = wait_for(fleet)
        assert fleet.take() is None
        fleet.give(failure(taken.head, SiteFailure.LOST), taken.run_id, 0.0)
        assert result(tmp_path / "seen.json") == {"replies": 1, "error": 14}


def test_an_answer_to_a_run_that_was_stopped_is_an_error_of_its_own(superlink: SuperLink, tmp_path: Path) -> None:
    connection = read_connection(superlink.hospital("H03"))
    with Fleet(connection) as fleet:
        run = superlink.run(ASK, node=fleet.node_id, length=0, out=str(tmp_path / "seen.json"))
        taken = wait_for(fleet)
        message = unpacked(fleet.fetch(taken))
        superlink.stop_run(run)
        with pytest.raises(RunOverError, match="the run has ended"):
            fleet.give(answer(message, to_record(Done(0))), taken.run_id, 0.0)


def test_a_second_daemon_with_the_same_key_is_refused_and_the_process_lives(superlink: SuperLink) -> None:
    connection = read_connection(superlink.hospital("H04"))
    with Fleet(connection), pytest.raises(NodeRefusedError, match=r"activate-node was refused with \d+ .*2004"):
        Fleet(connection).__enter__()
    with Fleet(connection) as again:
        assert again.take() is None


def test_a_hospital_that_is_not_registered_is_refused(superlink: SuperLink, tmp_path: Path) -> None:
    write_connection(tmp_path, superlink.address, (superlink.folder / "ca.crt").read_bytes())
    with pytest.raises(NodeRefusedError, match="was refused with 4"):
        Fleet(read_connection(tmp_path)).__enter__()


def test_a_server_of_another_authority_is_not_believed(superlink: SuperLink, tmp_path: Path) -> None:
    write_connection(tmp_path, superlink.address, Authority().certificate())
    with pytest.raises(UnreachableError, match=r"(?i)certificate verify failed"):
        Fleet(read_connection(tmp_path)).__enter__()


def test_a_server_that_is_not_there_is_an_error_and_no_exit(tmp_path: Path) -> None:
    write_connection(tmp_path, f"127.0.0.1:{free_port()}", Authority().certificate())
    with pytest.raises(UnreachableError, match="no answer"):
        Fleet(read_connection(tmp_path)).__enter__()


def test_a_proxy_of_the_environment_is_used(
    superlink: SuperLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is not there is the error: the request went to it and not around it."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    write_connection(tmp_path, superlink.address, (superlink.folder / "ca.crt").read_bytes())
    with pytest.raises(UnreachableError, match="no answer"):
        Fleet(read_connection(tmp_path)).__enter__()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda folder: (folder / "node.key").chmod(0o644), "node.key: others than its owner may read it"),
        (lambda folder: (folder / "ca.crt").write_text("no"), "ca.crt: no readable certificate"),
        (lambda folder: (folder / "consortium.toml").write_text('address = "x"'), "address is 'x', wanted"),
        (lambda folder: (folder / "node.key").unlink(), "node.key: cannot be read"),
    ],
)
def test_a_folder_that_is_not_whole_is_one_line(tmp_path: Path, change: object, match: str) -> None:
    write_connection(tmp_path, "127.0.0.1:1", Authority().certificate())
    change(tmp_path)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=match):
        Fleet(read_connection(tmp_path))


class Gateway:
    """A TLS server that wants a client certificate and refuses every request; it keeps whose certificates it saw."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / "gateway.crt").write_bytes(authority.issue("gateway", key))
        (folder / "gateway.key").write_bytes(pem(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "gateway.crt", folder / "gateway.key")
        context.load_verify_locations(cadata=authority.certificate().decode())
        context.verify_mode = ssl.CERT_REQUIRED
        self.seen: list[str] = []
        seen = self.seen

        class Refuses(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                subject = self.connection.getpeercert()["subject"]
                seen.append(subject[0][0][1])
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_the_hospitals_certificate_is_shown_to_a_gateway_that_wants_one(tmp_path: Path) -> None:
    authority, key = Authority(), ec.generate_private_key(ec.SECP384R1())
    gateway = Gateway(tmp_path, authority)
    try:
        write_connection(tmp_path, gateway.address, authority.certificate())
        with pytest.raises(UnreachableError, match="no answer"):
            Fleet(read_connection(tmp_path)).__enter__()
        (tmp_path / "client.crt").write_bytes(authority.issue("H01", key, client=True))
        (tmp_path / "client.key").touch(mode=0o600)
        (tmp_path / "client.key").write_bytes(pem(key))
        with pytest.raises(NodeRefusedError, match="activate-node was refused with 401"):
            Fleet(read_connection(tmp_path)).__enter__()
        assert gateway.seen == ["H01"]
    finally:
        gateway.close()


def test_a_certificate_without_its_key_is_one_line(tmp_path: Path) -> None:
    authority, key = Authority(), ec.generate_private_key(ec.SECP384R1())
    write_connection(tmp_path, "127.0.0.1:1", authority.certificate())
    (tmp_path / "client.crt").write_bytes(authority.issue("H01", key, client=True))
    (tmp_path / "client.key").touch(mode=0o600)
    (tmp_path / "client.key").write_bytes(pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(ConfigError, match=r"client.crt: does not go with client.key"):
        Fleet(read_connection(tmp_path))
