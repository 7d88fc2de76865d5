"""A hospital that joined a consortium through the command lines, with its daemon as a process. For tests."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import write_table
from tests.coordinator import Coordinator, command, until
from tests.superlink import BIN

_WORDS = re.compile(r"^\s*identity\s+(.+)$", re.MULTILINE)


@dataclass
class Joined:
    """Folder, the eight words of its identity, and the daemon."""

    name: str
    folder: Path
    words: str
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "fl-liver"), "site", "run", str(self.folder)],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text(encoding="utf-8")

    def until_registered(self, times: int = 1) -> None:
        until(lambda: self.log().count("registered as node") >= times, "registration", 90, self.log)

    def until_asked(self, study: str) -> None:
        """The study lies in its folder of requests."""
        path = self.folder / "work" / "requests" / f"{study}.toml"
        until(path.exists, f"request at {self.name}", 90, self.log)

    def approve(self, study: str) -> None:
        command("site", "approve", study[:12], "--dir", self.folder, "--yes")


def joined(coordinator: Coordinator, names: tuple[str, ...], patients: int = 40, **keys: str) -> dict[str, Joined]:
    """Every step of `docs/coordinator.md` and `docs/hospital-it.md`, as people take them; cohorts are frozen."""
    at, found = coordinator.folder, dict[str, Joined]()
    for name in names:
        command("coordinator", "enrol", name, "-C", at)
        folder = at.parent / name
        command("site", "init", at / f"{name}.invitation.toml", folder)
        match = _WORDS.search(command("coordinator", "roster", "-C", at) and (folder / "site.toml").read_text() and "")
        del match
        found[name] = Joined(name, folder, "")
    return found
