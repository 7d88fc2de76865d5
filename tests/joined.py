"""Hospitals that joined a consortium, each with its daemon as a process. For tests.

Joining goes through the functions behind the command lines (`tests/test_trust_cli.py` has those); the daemon, the
approval and everything after it are processes, as people start them.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fl_liver.client.frozen import freeze
from fl_liver.client.site import load_site
from tests.conftest import write_table
from tests.coordinator import Coordinator, command, until
from tests.superlink import BIN


@dataclass
class Joined:
    """A hospital's folder and its daemon."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

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

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        path = self.folder / "daemon.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def until_registered(self, times: int = 1) -> None:
        until(lambda: self.log().count("registered as node") >= times, f"registration of {self.name}", 90, self.log)

    def until_asked(self, study: str) -> None:
        path = self.folder / "work" / "requests" / f"{study}.toml"
        until(path.exists, f"request at {self.name}", 90, self.log)

    def approve(self, study: str) -> str:
        return command("site", "approve", study[:12], "--dir", self.folder, "--yes")


def join(coordinator: Coordinator, *names: str, patients: int = 40) -> dict[str, Joined]:
    """Invited, admitted, confirmed with each other by telephone, with a frozen cohort; no daemon runs yet."""
    town, found = coordinator.town, dict[str, Joined]()
    for name in names:
        found[name] = Joined(name, town.let_in(name).path)
    town.spread_roster()
    for listener in names:
        for speaker in names:
            if listener != speaker:
                town.telephone(listener, speaker)
    for name, one in found.items():
        write_table(one.folder / "cohort", patients, seed=int(name[1:]))
        _set(one.folder / "site.toml", data="cohort", release="named", gpu="none")
        freeze(load_site(one.folder / "site.toml"), "first")
    return found


def _set(path: Path, **values: str) -> None:
    """As a person edits the file: its explanations stay."""
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        text, times = re.subn(rf'(?m)^{key} = ".*"$', f'{key} = "{value}"', text)
        assert times == 1, key
    path.write_text(text, encoding="utf-8")
