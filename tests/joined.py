"""Hospitals that joined a consortium, each with its daemon as a process. For tests.

Joining goes through the functions behind the command lines (`tests/test_trust_cli.py` has those); the daemon, the
approval and everything after it are processes, as people start them.
"""

from __future__ import annotations

import os
from pathlib import Path

from simulation.deployed_hospital import DeployedHospital, edit_site
from tests.conftest import write_table
from tests.coordinator import Coordinator, command


class Joined(DeployedHospital):
    """A hospital's folder and its daemon."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def log(self) -> str:
        return self.said()

    def approve(self, study: str) -> str:
        return command("site", "approve", study[:12], "--dir", self.folder, "--yes")


def join(coordinator: Coordinator, *names: str, patients: int = 40) -> dict[str, Joined]:
    """Invited, admitted, confirmed with each other by telephone, with a frozen cohort; no daemon runs yet."""
    town = coordinator.town
    found = {name: Joined(name, town.let_in(name).path) for name in names}
    town.spread_roster()
    town.conference()
    for name, one in found.items():
        write_table(one.folder / "cohort", patients, seed=int(name[1:]))
        edit_site(one.folder / "site.toml", data="cohort", release="named", gpu="none")
        one.freeze_cohort()
    return found
