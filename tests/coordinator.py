"""A coordinator as a person runs it, for tests: a consortium, its server as a process, hospitals that join it.

Everything goes through the command lines, in processes of their own, on loopback.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from fl_liver.consortium.folder import Consortium, make_consortium
from simulation.deployed_server import DeployedServer, free_port
from tests.consortium.town import NOW, Town
from tests.processes import Process
from tests.superlink import BIN


def command(*arguments: str | Path, status: int = 0, timeout_s: float = 120) -> str:
    """`fl-liver …` in a process of its own; what it said."""
    done = subprocess.run(
        [str(BIN / "fl-liver"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, (arguments, done.returncode, said)
    return said


def until(ready: Callable[[], Any], what: str, seconds: float, told: Callable[[], str] = str) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"no {what} within {seconds} s\n{told()}"
        time.sleep(0.1)


class Coordinator(DeployedServer):
    """A consortium on 127.0.0.1 and its server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "consortium")
        self.port = free_port()
        self.town = Town(folder, make_consortium(self.folder, "test", f"127.0.0.1:{self.port}", (), NOW))
        self._usual = self.arguments

    @property
    def consortium(self) -> Consortium:
        return self.town.reopened()

    def start(self, *options: str) -> float:  # type: ignore[override]
        """Seconds until everything is up and every hospital is registered."""
        started = time.monotonic()
        self.arguments = (*self._usual, *options)
        super().start()
        wanted = len(self.consortium.node_keys())
        self.until_line(lambda line: "NOT OK" not in line and f"{wanted} registered" in line, 90)
        return time.monotonic() - started

    def stop(self, patience_s: float = 40.0) -> float:  # type: ignore[override]
        """Seconds until SIGTERM has ended all of it."""
        started = time.monotonic()
        try:
            assert super().stop(patience_s) in (0, None)
        finally:
            self.process = None
        return time.monotonic() - started

    def child(self, name: str) -> Process:
        return Process(self.state()["processes"][name])

    def client(self, site: str) -> httpx.Client:
        """HTTPS as that hospital, as its folder has it."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        hospital = self.town.hospitals[site]
        context.load_cert_chain(str(hospital.at("client.crt")), str(hospital.at("client.key")))
        return httpx.Client(base_url=f"https://127.0.0.1:{self.port}", verify=context, trust_env=False, timeout=20)
