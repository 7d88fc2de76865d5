"""Local control of a running daemon: gRPC on the Unix socket `work/control.sock`, mode 0600. No port is opened.

Calls take and give JSON: `/fl_liver.Site/Status`, `/Pause`, `/Resume`; and `grpc.health.v1` is there for what watches
services. The same figures stand in `work/metrics.prom`, in Prometheus' text format, for a node exporter to pick up.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fl_liver import __version__
from fl_liver.client.daemon import PAUSE_FILE, Daemon
from fl_liver.client.health import Check, checks
from fl_liver.errors import ConfigError, FLLiverError
from fl_liver.whole_file import READABLE, write_whole

log = logging.getLogger("fl_liver.daemon")
SOCKET = "control.sock"
METRICS = "metrics.prom"
_SERVICE = "fl_liver.Site"
_LONGEST_PATH = 100
"""A Unix socket's path may have 107 bytes."""
_EVERY_S = 15.0


class Control:
    """The server's side; a context manager around `Daemon.run`."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon, self._work = daemon, daemon.site.work
        self._health = health.HealthServicer()
        self._leave = threading.Event()
        self._server: grpc.Server | None = None

    def __enter__(self) -> Control:
        path = self._work / SOCKET
        self._work.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        calls = {"Status": self.status, "Pause": self._pause, "Resume": self._resume}
        handlers = {name: grpc.unary_unary_rpc_method_handler(_as_json(call)) for name, call in calls.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        with _private_files(), _short(path) as short:
            server.add_insecure_port(f"unix:{short}")
        server.start()
        self._server = server
        threading.Thread(target=self._watch, name="health", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        if self._server is not None:
            self._server.stop(0.5)
        (self._work / SOCKET).unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        """Everything that `fl-liver site status` shows."""
        daemon, found = self._daemon, checks(self._daemon)
        return {
            "site": daemon.site.site,
            "green": all(check.ok for check in found),
            "checks": [asdict(check) for check in found],
            "version": __version__,
            "pid": os.getpid(),
            "compute_pid": daemon.compute_pid,
            "server": daemon.connection.address,
            "clock_skew_s": daemon.fleet.clock_skew_s if daemon.fleet else None,
            "certificate_days": daemon.connection.days_left(),
            **asdict(daemon.state),
        }

    def _pause(self) -> dict[str, Any]:
        (self._work / PAUSE_FILE).touch(mode=0o600)
        log.info("site %s: paused by an operator", self._daemon.site.site)
        return self.status()

    def _resume(self) -> dict[str, Any]:
        (self._work / PAUSE_FILE).unlink(missing_ok=True)
        log.info("site %s: resumed by an operator", self._daemon.site.site)
        return self.status()

    def _watch(self) -> None:
        while True:
            try:
                status = self.status()
                green = health_pb2.HealthCheckResponse.SERVING
                red = health_pb2.HealthCheckResponse.NOT_SERVING
                for service in ("", _SERVICE):
                    self._health.set(service, green if status["green"] else red)
                write_metrics(self._work / METRICS, status)
            except (FLLiverError, OSError) as error:
                log.warning("site %s: the status cannot be written: %s", self._daemon.site.site, error)
            if self._leave.wait(_EVERY_S):
                return


def _as_json(do: Callable[[], dict[str, Any]]) -> Callable[[bytes, Any], bytes]:
    return lambda request, context: json.dumps(do()).encode()  # noqa: ARG005 - as gRPC calls it


def call(work: Path, name: str, timeout_s: float = 5.0) -> dict[str, Any]:
    """Ask the daemon that runs on `work`: Status, Pause or Resume.

    Raises:
        ConfigError: no daemon answers there.
    """
    path = work / SOCKET
    if not path.exists():
        raise ConfigError(f"{path}: no daemon runs here; start it with `fl-liver site run`, or look at its unit's log")
    with _short(path) as short, grpc.insecure_channel(f"unix:{short}") as channel:
        do: Callable[..., bytes] = channel.unary_unary(f"/{_SERVICE}/{name}")
        try:
            answer: dict[str, Any] = json.loads(do(b"", timeout=timeout_s))
        except grpc.RpcError as error:
            raise ConfigError(
                f"{path}: no answer ({error.code().name}); is it your daemon? run this as its user"
            ) from error
    return answer


def write_metrics(path: Path, status: dict[str, Any]) -> None:
    """Prometheus' text format, written whole. Nothing in it tells of a patient."""
    site = f'site="{status["site"]}"'
    now = time.time()
    rows: list[tuple[str, str, str, float]] = [
        ("fl_liver_site_green", "1 if every check holds", site, status["green"]),
        ("fl_liver_site_answered_total", "messages answered since the daemon started", site, status["answered"]),
        ("fl_liver_site_failed_total", "messages that got a code instead", site, status["failed"]),
        ("fl_liver_site_computing_seconds_total", "seconds spent on messages", site, status["seconds_computing"]),
        ("fl_liver_site_written_seconds", "when this file was written", site, now),
    ]
    rows += [
        ("fl_liver_site_check", "1 if the check holds", f'{site},check="{check["name"]}"', check["ok"])
        for check in status["checks"]
    ]
    rows += [
        ("fl_liver_site_certificate_days", "days until it ends", f'{site},file="{name}"', days)
        for name, days in status["certificate_days"].items()
    ]
    if status["clock_skew_s"] is not None:
        rows.append(("fl_liver_site_clock_skew_seconds", "ahead of the server", site, status["clock_skew_s"]))
    lines: list[str] = []
    for name, about, labels, value in rows:
        if f"# HELP {name} {about}" not in lines:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        lines.append(f"{name}{{{labels}}} {float(value):.12g}")
    write_whole(path, "\n".join(lines) + "\n", mode=READABLE)


def as_checks(status: dict[str, Any]) -> list[Check]:
    """The checks of a status that came over the socket."""
    return [Check(**check) for check in status["checks"]]


@contextlib.contextmanager
def _private_files() -> Any:
    """What is made meanwhile belongs to the owner alone: a socket gets its mode when it is bound."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _short(path: Path) -> Any:
    """The socket's path, by way of /proc where it is too long for the kernel."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{folder}") / path.name
    finally:
        os.close(folder)
