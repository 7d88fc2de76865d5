"""The people of a consortium and their files, in folders of the test; and TLS connections between them on loopback."""

from __future__ import annotations

import socket
import ssl
import threading
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
from cryptography import x509

from fl_liver.consortium.authority import site_of
from fl_liver.consortium.folder import Consortium
from fl_liver.consortium.hospital_folder import HospitalFolder
from simulation.town import Town as PeopleOfTheTown

NOW = datetime.now(UTC).replace(microsecond=0)
"""The real clock: TLS looks at it too."""


@dataclass
class Town(PeopleOfTheTown):
    """The people of a test; the clock is that of the test's begin."""

    now: datetime = NOW


@dataclass(frozen=True)
class Met:
    """How a TLS connection went: what either side says, and the serial number and name that the server saw."""

    client: str
    server: str
    serial: int | None
    name: str | None

    @property
    def open(self) -> bool:
        return not self.client and not self.server


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "127.0.0.1") -> Met:
    """A byte goes over loopback each way, or either side says why not."""
    seen: dict[str, object] = {}

    def serve(listener: socket.socket) -> None:
        raw, _ = listener.accept()
        raw.settimeout(10)
        try:
            with server.wrap_socket(raw, server_side=True) as channel:
                peer = channel.getpeercert() or {}
                seen["serial"] = int(str(peer["serialNumber"]), 16)
                cert = channel.getpeercert(binary_form=True) or b""
                seen["name"] = site_of(x509.load_der_x509_certificate(cert))
                channel.sendall(channel.recv(1))
        except (OSError, KeyError) as error:
            seen["error"] = str(error)
            raw.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        said = ""
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as raw,
                client.wrap_socket(raw, server_hostname=host) as channel,
            ):
                channel.sendall(b"?")
                # In TLS 1.3 a refused client certificate shows at the first read.
                said = "" if channel.recv(1) == b"?" else "closed"
        except OSError as error:
            said = str(error) or type(error).__name__
        thread.join(20)
    serial, name = seen.get("serial"), seen.get("name")
    return Met(
        said,
        str(seen.get("error", "")),
        serial if isinstance(serial, int) else None,
        name if isinstance(name, str) else None,
    )


def gateway_tls(consortium: Consortium, *, crl: bool = False) -> ssl.SSLContext:
    """A server that wants client certificates of the consortium's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(consortium.server_certificate), str(consortium.server_key))
    context.load_verify_locations(cafile=str(consortium.authority_certificate))
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if crl:
        context.load_verify_locations(cafile=str(consortium.revocation_list))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def site_tls(hospital: HospitalFolder, *, authority: Path | None = None) -> ssl.SSLContext:
    """A client that believes the consortium's authority alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(authority or hospital.at("ca.crt")))
    context.load_cert_chain(str(hospital.at("client.crt")), str(hospital.at("client.key")))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def changed(path: Path, key: str, value: Any) -> Path:
    """A copy of a paper with one key changed by hand; `key` may be a path with dots."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    *above, last = key.split(".")
    table = raw
    for part in above:
        table = table[part]
    assert last in table, f"{last} is not in {path.name}"
    table[last] = value(table[last]) if callable(value) else value
    forged = path.with_name(f"changed.{path.name}")
    forged.write_text(tomli_w.dumps(raw, multiline_strings=True), encoding="utf-8")
    return forged


def other_hex(text: str) -> str:
    return ("1" if text[0] == "0" else "0") + text[1:]
