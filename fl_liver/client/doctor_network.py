"""The way from here to the coordinator, in the order in which it is gone: proxy, name, port, TLS, answer, clock."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx

from fl_liver.client.connection import Connection
from fl_liver.client.finding import Found

_TIMEOUT_S = 10.0
_AHEAD_S = 5.0
"""The server refuses a clock that is further ahead."""
_BEHIND_S = 300.0


def network(connection: Connection) -> Iterator[Found]:
    """Checks until one fails that the rest rests on."""
    host, _, port = connection.address.rpartition(":")
    proxy = _proxy(host)
    if proxy:
        yield Found("proxy", "ok", f"goes through {proxy} (HTTPS_PROXY)")
    else:
        yield Found("proxy", "ok", "none: goes straight to the server")
        name = _named(host)
        yield name
        if name.state == "fail":
            return
        port_open = _connects(host, int(port))
        yield port_open
        if port_open.state == "fail":
            return
    yield from _answer(connection)


def _proxy(host: str) -> str:
    if urllib.request.proxy_bypass(host):
        return ""
    return urllib.request.getproxies().get("https", "").rpartition("@")[2]


def _named(host: str) -> Found:
    try:
        ipaddress.ip_address(host)
        return Found("DNS", "ok", f"{host} is an address")
    except ValueError:
        pass
    try:
        return Found("DNS", "ok", f"{host} is {socket.getaddrinfo(host, None)[0][4][0]}")
    except OSError as error:
        return Found("DNS", "fail", f"{host}: {error.strerror}", "ask for the name to be resolved here, or a proxy")


def _connects(host: str, port: int) -> Found:
    try:
        with socket.create_connection((host, port), _TIMEOUT_S):
            return Found("port", "ok", f"TCP {port} answers")
    except OSError as error:
        why = error.strerror or type(error).__name__
        return Found("port", "fail", f"TCP {host}:{port}: {why}", f"have the firewall let out TCP {port} to {host}")


def _answer(connection: Connection) -> Iterator[Found]:
    try:
        sent = time.time()
        with httpx.Client(verify=connection.tls(), timeout=_TIMEOUT_S) as client:
            response = client.get(f"https://{connection.address}/health")
        half = (time.time() - sent) / 2
    except (httpx.TransportError, ssl.SSLError) as error:
        yield Found("TLS", "fail", f"{type(error).__name__}: {error}", _tls_remedy(str(error)))
        return
    yield Found("TLS", "ok", "the server's certificate is of the consortium's authority")
    if response.is_success:
        yield Found("server", "ok", "healthy")
    else:
        yield Found("server", "fail", f"/health answered {response.status_code}", "ask the coordinator")
    yield _clock(response.headers.get("date"), sent + half)


def _clock(date: str | None, here: float) -> Found:
    if date is None:
        return Found("clock", "warn", "the server does not tell the time", "compare with a time server")
    skew = here - parsedate_to_datetime(date).timestamp() - 0.5
    said = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server"
    if -_BEHIND_S < skew < _AHEAD_S:
        near = abs(skew) > 2
        return Found("clock", "warn" if near else "ok", said, "keep time with chrony or ntpd" if near else "")
    return Found("clock", "fail", said, "it would be refused: set the clock; keep time with chrony or ntpd")


def _tls_remedy(said: str) -> str:
    lower = said.lower()
    if "certificate verify failed" in lower:
        return "another server, an old ca.crt, or a proxy that opens TLS: then ask for an exception for this host"
    if "alert" in lower:
        return "the server refuses this hospital's certificate: not admitted, ended or revoked; ask the coordinator"
    return "ask the network team what stands between"
