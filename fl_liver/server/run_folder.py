"""A run's folder at the coordinator, `runs/NAME-HASH/`: what it was started with, and how far it is.

study.toml initial.safetensors roster.toml   what hospitals approve, and with whose identities
launch.json                                  every submission to Flower: its run id and when
stop                                         there while the run is asked to end after its round
journal.jsonl checkpoints/ sums.json         written by the run while it goes on (`journal`, `checkpoint`, `run_record`)
summary.json model.safetensors               there when it is done
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fl_liver.consortium.safe_file import PUBLIC, write_whole
from fl_liver.errors import ConfigError, IncompleteError
from fl_liver.server.app_process import AppProcess
from fl_liver.server.journal import Listener
from fl_liver.study import Study
from fl_liver.toml_file import read_toml

RUNS = "runs"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and what was submitted."""

    path: Path

    @property
    def study_file(self) -> Path:
        return self.path / "study.toml"

    @property
    def summary_file(self) -> Path:
        return self.path / "summary.json"

    @property
    def stop_file(self) -> Path:
        """There while the run is asked to end after its round: `stop_after_round` looks for it."""
        return self.path / "stop"

    def study(self) -> Study:
        return read_toml(self.study_file, Study)

    def submissions(self) -> list[dict[str, Any]]:
        """[{run, time}], the newest last."""
        path = self.path / "launch.json"
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        return found

    def note_submission(self, run: int) -> None:
        body = [*self.submissions(), {"run": str(run), "time": round(time.time(), 3)}]
        write_whole(self.path / "launch.json", json.dumps(body) + "\n", PUBLIC)

    @property
    def last_run(self) -> int:
        """Flower's id of the newest submission. Raises ConfigError where there is none."""
        submitted = self.submissions()
        if not submitted:
            raise ConfigError(f"{self.path}: was never submitted; run `fl-liver study resume {self.path.name}`")
        return int(submitted[-1]["run"])

    def summary(self) -> dict[str, Any] | None:
        if not self.summary_file.is_file():
            return None
        body: dict[str, Any] = json.loads(self.summary_file.read_text(encoding="utf-8"))
        return body


def stop_after_round(folder: RunFolder) -> Listener:
    """A listener of the journal that ends the run between two rounds, where nothing is lost.

    A round that is cut off while it is opened is lost: hospitals never open one twice.
    """

    def listen(event: str, details: dict[str, Any]) -> None:
        if event == "checkpoint" and folder.stop_file.exists():
            folder.stop_file.unlink()
            raise IncompleteError(f"stopped as asked after round {details['round']}; `fl-liver study resume` goes on")

    return listen


def new_run_folder(consortium: Path, study: Study) -> RunFolder:
    """A new one; a second run of a study gets a number."""
    name = f"{study.name}-{study.sha256[:8]}"
    number, path = 1, consortium.resolve() / RUNS / name
    while path.exists():
        number += 1
        path = path.with_name(f"{name}-{number}")
    path.mkdir(parents=True, mode=0o700)
    return RunFolder(path)


def find_run(consortium: Path, name: str | None) -> RunFolder:
    """A run by its folder's name or the beginning of it, or by path; the newest without a name.

    Raises:
        ConfigError: none, or several begin so.
    """
    if name and (Path(name) / "study.toml").is_file():
        return RunFolder(Path(name).resolve())
    found = [path for path in (consortium.resolve() / RUNS).glob("*/") if (path / "study.toml").is_file()]
    chosen = [path for path in found if name is None or path.name.startswith(name)]
    if name is None and chosen:
        return RunFolder(max(chosen, key=lambda path: (path / "study.toml").stat().st_mtime_ns))
    exact = [path for path in chosen if path.name == name]
    if len(exact or chosen) != 1:
        there = ", ".join(sorted(path.name for path in found)) or "none"
        raise ConfigError(f"'{name or ''}' names {len(chosen)} runs in {consortium / RUNS}, wanted one of: {there}")
    return RunFolder((exact or chosen)[0])


@dataclass(slots=True)
class SiteProgress:
    """One hospital as the journal has it."""

    role: str
    state: str = "not asked yet"
    patients: int | None = None
    version: str = ""
    last_round: int = 0


@dataclass(slots=True)
class Progress:
    """How far a run is, from its journal alone."""

    sites: dict[str, SiteProgress]
    phase: str = "submitted"
    rows: str = ""
    round: int = 0
    rounds: int = 0
    answered: int = 0
    updates: int = 0
    losses: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed: str = ""
    exit_code: int = 0
    done: bool = False
    incomplete: str | None = None
    last_time: float = 0.0
    process: AppProcess | None = None
    """The newest server app; None before it has started."""

    @property
    def over(self) -> bool:
        """It said itself how it ended."""
        return self.done or bool(self.failed)

    def take(self, line: dict[str, Any]) -> None:
        """One event of the journal."""
        self.last_time = float(line.get("time", 0.0))
        event, site = str(line.get("event")), self.sites.get(str(line.get("site")))
        if event == "submitted":
            self.phase, self.failed, self.exit_code, self.done, self.process = event, "", 0, False, None
        elif event == "started":
            self.process = AppProcess.of(line)
        elif event == "phase":
            self.phase = str(line["name"])
        elif event in ("site_waiting", "site_out") and site is not None:
            site.state = f"waiting: {line['reason']}" if event == "site_waiting" else f"out: {line['reason']}"
        elif event == "site_ready" and site is not None:
            site.state, site.version = "ready", str(line.get("version", ""))
            site.patients = (line.get("figures") or {}).get("patients")
        elif event == "round_started":
            self.rows, self.round, self.rounds, self.answered = line["rows"], line["round"], line["rounds"], 0
        elif event == "site_answered":
            self.answered += 1
            self.updates += 1
            if site is not None:
                site.last_round = int(line["round"])
        elif event == "round_done" and line.get("loss") is not None:
            self.losses.append(float(line["loss"]))
        elif event == "warning":
            self.warnings.append(str(line["text"]))
        elif event == "failed":
            self.failed, self.exit_code = str(line["error"]), int(line["exit_code"])
        elif event == "done":
            self.done, self.incomplete = True, line.get("incomplete")


def read_progress(folder: RunFolder) -> Progress:
    """From the whole lines of the journal; half a line is one that is being written."""
    study = folder.study()
    progress = Progress({site: SiteProgress(study.role_of(site)) for site in study.every_site})
    path = folder.path / "journal.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            progress.take(json.loads(line))
        except ValueError:
            continue
    return progress
