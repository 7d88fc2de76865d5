"""A study that goes on while things break: the real thing on loopback, five hospitals, a thousand short rounds."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fl_liver.client.approval import write_approval
from fl_liver.client.frozen import frozen_names
from fl_liver.client.site import load_site
from fl_liver.first_weights import check_study
from fl_liver.server.app_process import AppProcess
from fl_liver.server.run_folder import Progress, RunFolder, find_run, read_progress
from fl_liver.study import Study
from tests.coordinator import Coordinator, command, until
from tests.faults.cable import Cable
from tests.faults.matrix import Row, note
from tests.faults.replay import Replay, checkpoint
from tests.faults.small_disk import mounted, unmount
from tests.joined import Joined, join
from tests.processes import Process

ROUNDS = 2000
SITES = ("H01", "H02", "H03", "H04", "H05")


class Stage:
    """SuperLink, SuperExec, gateway and five daemons, each a process of its own; made once for all faults.

    H05 reaches the gateway through `cable`; the runs of the coordinator and the folder of H04 are on small disks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.coordinator = Coordinator(folder)
        self.runs, at_h04 = self.coordinator.folder / "runs", folder / "H04"
        self.small_disks = mounted(self.runs, "16m") and mounted(at_h04, "64m")
        self.hospitals = join(self.coordinator, *SITES)
        for name, one in self.hospitals.items():
            one.log_file = folder / f"{name}.log"  # as the journal of the system, on another disk
        self.cable = Cable(self.coordinator.port)
        about = self.hospitals["H05"].folder / "consortium.toml"
        about.write_text(about.read_text().replace(f":{self.coordinator.port}", f":{self.cable.port}"))

    def start(self) -> None:
        self.coordinator.start()
        for one in self.hospitals.values():
            one.start()
        for one in self.hospitals.values():
            one.until_registered()

    def stop(self) -> None:
        for one in self.hospitals.values():
            one.stop()
        self.cable.close()
        try:
            self.coordinator.stop()
        finally:
            for disk in (self.runs, self.folder / "H04"):
                unmount(disk)


def endless(study: Study, name: str, deadline_s: float, folder: Path) -> tuple[Study, Path]:
    """A study of that name, checked, which would run for hours, and the folder that `study check` wrote."""
    changed = study.with_top(name=name, initial=None).changed(
        sites={"train": list(SITES), "external": []},
        training={"rounds": ROUNDS, "learning_rate": 0.05, "round_timeout_s": deadline_s},
        analysis={"curve_every": ROUNDS},
    )
    return check_study(changed, folder / name), folder / name


def approve(hospital: Joined, study: Study) -> None:
    site = load_site(hospital.folder / "site.toml")
    write_approval(site, study, frozen_names(site)[0], who="test")


class LiveRun:
    """One study on the stage, far from its last round, and what it must have come to."""

    def __init__(self, stage: Stage, study: Study, name: str, deadline_s: float) -> None:
        """See `endless`; every hospital has approved it."""
        self.stage = stage
        self.study, self.source = endless(study, name, deadline_s, stage.folder)
        self._folder: RunFolder | None = None
        tables = {name: one.folder / "cohort" for name, one in stage.hospitals.items()}
        self._replay = Replay(self.study, self.source, tables, self.source / "replay")
        for one in stage.hospitals.values():
            approve(one, self.study)

    @property
    def deadline_s(self) -> float:
        return self.study.training.round_timeout_s

    @property
    def folder(self) -> RunFolder:
        assert self._folder is not None
        return self._folder

    def launch(self) -> None:
        command("study", "launch", self.source, "-C", self.stage.coordinator.folder, "--wait-min", "2")
        self._folder = find_run(self.stage.coordinator.folder, self.study.name)
        self.until_round(1, 120)

    def end(self) -> None:
        with contextlib.suppress(AssertionError):
            command("study", "stop", "--now", "-C", self.stage.coordinator.folder)

    def revive(self) -> None:
        """Before the next fault: the run goes on, whatever the last one left behind, with all five."""
        for one in self.stage.hospitals.values():
            if one.process is None or one.process.poll() is not None:
                one.start()
        progress = self.progress()
        if progress.over or progress.process is None or progress.process.state != "running":
            self.resume()
        elif self.records() and not self.records()[-1]["missing"]:
            return
        self.until_whole_round(120)

    def resume(self) -> str:
        return command("study", "resume", "-C", self.stage.coordinator.folder, "--wait-min", "2")

    def progress(self) -> Progress:
        return read_progress(self.folder)

    def journal(self) -> list[dict[str, Any]]:
        lines = (self.folder.path / "journal.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def records(self) -> list[dict[str, Any]]:
        path = self.folder.path / "checkpoints" / "train" / "rounds.json"
        records: list[dict[str, Any]] = json.loads(path.read_text())["rounds"] if path.exists() else []
        return records

    def until_round(self, number: int, seconds: float) -> None:
        """Until so many rounds are whole and on disk."""
        until(lambda: len(self.records()) >= number, f"round {number}", seconds, self.told)

    def until_whole_round(self, seconds: float) -> dict[str, Any]:
        """Until a round that began after this moment was answered by all."""
        after = len(self.records()) + 1

        def good() -> list[dict[str, Any]]:
            return [one for one in self.records()[after:] if not one["missing"] and one["sites_answered"]]

        until(good, f"round with {len(SITES)} hospitals after {after}", seconds, self.told)
        return good()[0]

    def until_checkpoint(self) -> int:
        """Until a round has just been closed; returns its number. The next one is asked for at this moment."""
        number = len(self.records()) + 1
        self.until_round(number, self.deadline_s + 60)
        return number

    def watched(self, status: int = 0) -> str:
        """The first line of `study status`."""
        said = command("study", "status", "-C", self.stage.coordinator.folder, status=status)
        return " ".join(said.split("hospital ")[0].split())

    @property
    def app(self) -> AppProcess:
        found = self.progress().process
        assert found is not None
        return found

    @contextlib.contextmanager
    def held(self, site: str) -> Iterator[int]:
        """Inside: a round is open in which every hospital but this one has answered; this one computes and computes.

        Its compute process is stopped (SIGSTOP) once it has the message; the daemon lives.
        """
        child = self.compute(site)
        try:
            self._stop_in_training(site, child)
            number = self.progress().round
            others = {one for one in SITES if one != site}
            until(lambda: others <= self.answered(number), f"answers of the others in round {number}", 60, self.told)
            yield number
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGCONT)

    def at(self, moment: str) -> contextlib.AbstractContextManager[int]:
        """Inside: "in" a round that is held open (`held`), or "between" two; the number of the open, or next, round."""
        return self.held("H04") if moment == "in" else contextlib.nullcontext(self.until_checkpoint() + 1)

    def _stop_in_training(self, site: str, child: Process) -> None:
        """Keys and signatures go on; what is stopped is stopped with a message to train in hand."""

        def stopped_with_it() -> bool:
            kind = self.in_hand(site)
            os.kill(child.pid, signal.SIGCONT if kind == "query" else signal.SIGSTOP)
            if kind != "train":
                return False
            time.sleep(0.5)  # an answer that was on its way is gone by now
            return self.in_hand(site) == "train"

        until(stopped_with_it, f"a message to train at {site}", 90, self.told)

    def in_hand(self, site: str) -> str:
        """The kind of message that a hospital's daemon took and has not answered; "" where it has none."""
        path = self.stage.hospitals[site].folder / "work" / "daemon.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        return str(lines[-1]["kind"]) if lines and lines[-1]["event"] == "taken" else ""

    def answered(self, number: int) -> set[str]:
        """Whose updates of a round came, in its newest attempt."""
        came: set[str] = set()
        for line in self.journal():
            if line["event"] == "round_started" and line["round"] == number:
                came = set()
            if line["event"] == "site_answered" and line["round"] == number:
                came.add(line["site"])
        return came

    def compute(self, site: str) -> Process:
        """A hospital's compute process."""
        daemon = self.stage.hospitals[site].process
        assert daemon is not None
        until(lambda: bool(Process(daemon.pid).children), f"compute process of {site}", 60, self.told)
        return Process(daemon.pid).children[0]

    def record_of(self, number: int, seconds: float) -> dict[str, Any]:
        """The round's line in the history, once it is closed."""
        self.until_round(number, seconds)
        return self.records()[number - 1]

    def check(self) -> None:
        """The newest checkpoint is the sum over those who answered, in every round so far, to the last bit."""
        records, model = checkpoint(self.folder.path)
        np.testing.assert_array_equal(model, self._replay.follow(records))

    def told(self) -> str:
        progress = self.progress() if self._folder is not None else None
        said = [self.stage.coordinator.said()[-1500:], str(progress)[-1500:]]
        return "\n".join([*said, *(f"{name}: {one.log()[-600:]}" for name, one in self.stage.hospitals.items())])

    def note(self, fault: str, happened: str, seconds: float, read: str, where: str) -> None:
        note(Row(fault, happened, round(seconds, 1), read, where), self.stage.folder)


def clock() -> Callable[[], float]:
    """clock() → a function that tells the seconds since."""
    began = time.monotonic()
    return lambda: time.monotonic() - began
