"""A hospital as its IT runs it: a folder with keys and site.toml, a frozen cohort, a daemon, a person who approves."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import tomli_w

from fl_liver.client.approval import write_approval
from fl_liver.client.frozen import freeze, frozen_names, read_frozen, require_unchanged
from fl_liver.client.requests import FOLDER as REQUESTS
from fl_liver.client.requests import read_request
from fl_liver.client.site import load_site
from fl_liver.consortium.pinned import require_confirmed
from fl_liver.errors import ConfigError, FleetError
from simulation.program import Program

COHORT = "rehearsal"
WAIT_S = 120.0


class DeployedHospital(Program):
    """`fl-liver site run` on `folder`, which the hospital has made and in which it was admitted."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(f"{name}: its daemon", ("site", "run", str(folder)), folder / "daemon.log")
        self.name, self.folder = name, folder

    @property
    def registrations(self) -> int:
        """How often the server let it in since its log was begun."""
        return self.said().count("registered as node")

    def freeze_cohort(self) -> None:
        """Every patient of now; one that was frozen before an interruption is kept."""
        site = load_site(self.folder / "site.toml")
        if COHORT not in frozen_names(site):
            freeze(site, COHORT)

    def until_registered(self, times: int = 1, timeout_s: float = WAIT_S) -> None:
        """Until the server let it in so many times. Raises FleetError: what the daemon said last, and its log."""
        self.until(lambda: self.registrations >= times, "registration at the server", timeout_s, FleetError)

    def until_asked(self, study_sha256: str, timeout_s: float = WAIT_S) -> None:
        """Until the coordinator's question for the study is there. Raises FleetError."""
        path = self.folder / "work" / REQUESTS / f"{study_sha256}.toml"
        self.until(path.exists, f"request for study {study_sha256[:12]}", timeout_s, FleetError)

    def approved(self, study_sha256: str) -> bool:
        """Whether a person here approved it already."""
        return load_site(self.folder / "site.toml").approval_path(study_sha256).is_file()

    def decide(self, study_sha256: str) -> None:
        """As `fl-liver site approve --yes`.

        Raises:
            PrivacyError: too few hospitals were confirmed by telephone. DataError: the cohort is not what was frozen.
        """
        site = load_site(self.folder / "site.toml")
        study = read_request(site, study_sha256).study
        require_confirmed(site.connection, study.privacy.min_sites, study.every_site)
        frozen = read_frozen(site, COHORT)
        require_unchanged(site, frozen, frozen.digest)
        write_approval(site, study, COHORT, who="simulation")


def edit_site(path: Path, **values: str | bool | int) -> None:
    """Change keys of a site.toml as a person does: its explanations stay.

    Raises:
        ConfigError: the file has no line for a key.
    """
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        line = tomli_w.dumps({key: value}).strip()
        text, times = re.subn(rf"(?m)^{key} = .*$", lambda _, line=line: line, text)  # type: ignore[misc]
        if times != 1 or tomllib.loads(text)[key] != value:
            raise ConfigError(f"{path}: has {times} lines '{key} = …', wanted one; begin with `fl-liver site init`")
    path.write_text(text, encoding="utf-8")
