"""The coordinator's server as people start it: `fl-liver coordinator up` on loopback, a process of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fl_liver.consortium.folder import open_consortium
from fl_liver.server.registrations import read_registrations
from fl_liver.server.server_folder import ServerFolder
from simulation.program import Program

LOOPBACK = "127.0.0.1"
_UP_S = 120.0


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class DeployedServer(Program):
    """SuperLink, SuperExec and gateway of the consortium in `folder`."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` are further ones of `fl-liver coordinator up`."""
        command = ("coordinator", "up", "--folder", str(folder), "--host", LOOPBACK, *options)
        super().__init__("the coordinator's server", command, folder / "said.log")
        self.folder = folder
        self._before = 0

    def start(self) -> None:
        self._before = len(self.said())
        super().start()

    def until_up(self, timeout_s: float = _UP_S) -> None:
        """Until every part answers. Raises FLLiverError as `Program.until`."""
        self.until_line(lambda line: "NOT OK" not in line, timeout_s)

    def until_line(self, good: Callable[[str], bool], timeout_s: float) -> None:
        """Until its status line is as wanted."""
        self.until(lambda: self.lines() and good(self.lines()[-1]), "such status line", timeout_s)

    def lines(self) -> list[str]:
        """Status lines since the last start."""
        return [line for line in self.said()[self._before :].splitlines() if " · " in line]

    def registered(self) -> int:
        """Hospitals that the SuperLink knows."""
        return len(read_registrations(ServerFolder.of(self.folder)))

    def wanted(self) -> int:
        """Hospitals that it shall know."""
        return len(open_consortium(self.folder).node_keys())

    def state(self) -> dict[str, Any]:
        """Processes and ports. Raises ConfigError where it is not up."""
        return ServerFolder.of(self.folder).state()
