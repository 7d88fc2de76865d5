"""A deployment on loopback for `deployment.py`: consortium, server, daemons, and runs whose every step is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.deployed_site import STEPS
from benchmarks.process import Sampler, cpu_s, own_mb, together
from fl_liver.client.approval import write_approval
from fl_liver.client.site import load_site
from fl_liver.consortium.folder import make_consortium
from fl_liver.errors import FLLiverError
from fl_liver.server.child_process import die_with_parent
from fl_liver.server.launch import launch
from fl_liver.server.run_folder import RunFolder
from fl_liver.server.server_folder import ServerFolder
from fl_liver.study import Study
from simulation.deployed_hospital import DeployedHospital, edit_site
from simulation.deployed_server import LOOPBACK, DeployedServer, free_port
from simulation.program import stop_together
from simulation.town import Town, this_second

_UP_S = 30.0
_UP_EACH_S = 10.0


class TimedHospital(DeployedHospital):
    """Its daemon is `deployed_site`: nothing is trained, every step is written down."""

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "benchmarks.deployed_site", str(self.folder)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def steps(self) -> list[dict[str, Any]]:
        """See `deployed_site.STEPS`."""
        path = self.folder / STEPS
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@dataclass
class RunSeen:
    """A run's journal and what was sampled beside it: memory of the processes and bytes of the database."""

    events: list[dict[str, Any]]
    sampler: Sampler
    cpu_s: dict[str, float]
    """Processor seconds of SuperLink and gateway during the run."""
    seconds: dict[str, float]
    """Of each phase, where the run came to its end."""

    def times(self, event: str, round_number: int | None = None) -> list[float]:
        """When an event of the training on all rows was written, s since 1970."""
        return [
            float(line["time"])
            for line in self.events
            if line["event"] == event
            and line.get("rows", "train") == "train"
            and (round_number is None or line.get("round") == round_number)
        ]

    @property
    def rounds(self) -> int:
        """Whole rounds."""
        return len(self.times("checkpoint"))


@dataclass
class DeployedTown:
    """`with DeployedTown(folder, names):` the server is up; `start_daemons` starts the hospitals'.

    data: hospital → folder of its patients; without it the hospitals have none.
    """

    folder: Path
    names: tuple[str, ...]
    external: tuple[str, ...] = ()
    data: dict[str, Path] = field(default_factory=dict)
    timed: bool = True
    hospitals: dict[str, DeployedHospital] = field(default_factory=dict)

    def __enter__(self) -> DeployedTown:
        with ExitStack() as undo:
            undo.callback(self.close)
            consortium = make_consortium(
                self.folder / "consortium", "Benchmark", f"{LOOPBACK}:{free_port()}", (), this_second()
            )
            self.server = DeployedServer(consortium.folder)
            town = Town(self.folder, consortium)
            kind = TimedHospital if self.timed else DeployedHospital
            for name in self.names:
                role = "external" if name in self.external else "train"
                self.hospitals[name] = kind(name, town.let_in(name, role).path)
            if self.data:
                town.spread_roster()
                town.conference()
            for name, one in self.hospitals.items():
                where = os.path.relpath((self.data.get(name) or one.folder).resolve(), one.folder.resolve())
                edit_site(
                    one.folder / "site.toml", data=where, release="named", gpu="none", decoders=0, plain_sums=True
                )
            self.server.start()
            self.server.until_line(
                lambda line: "NOT OK" not in line and f"{len(self.names)} registered" in line,
                _UP_S + _UP_EACH_S * len(self.names),
            )
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Every process is ended."""
        stop_together(self.hospitals.values())
        if hasattr(self, "server"):
            self.server.stop()

    def start_daemons(self) -> float:
        """Seconds until all are registered."""
        began = time.monotonic()
        for one in self.hospitals.values():
            one.start()
        for one in self.hospitals.values():
            one.until_registered(one.said().count("stopped") + 1, _UP_S + _UP_EACH_S * len(self.hospitals))
        return time.monotonic() - began

    def stop_daemons(self) -> None:
        stop_together(self.hospitals.values())

    def pid(self, name: str) -> int:
        """Of "superlink", "superexec" or "gateway"."""
        return int(self.server.state()["processes"][name])

    def flower(self) -> ServerFolder:
        return ServerFolder.of(self.server.folder)

    def run(self, checked: Path, study: Study, timeout_s: float, last_round: int | None = None) -> RunSeen:
        """Have every hospital approve a checked study, launch it, and watch it to its end, or stop it after a round.

        Raises:
            FLLiverError: it failed, or did not end within `timeout_s`.
        """
        for name in study.every_site:
            write_approval(load_site(self.hospitals[name].folder / "site.toml"), study, who="benchmark")
        pids = {name: self.pid(name) for name in ("superlink", "gateway")}
        before = {name: together(cpu_s, pid) for name, pid in pids.items()}
        with Sampler(lambda: self._look(pids)) as sampler:
            run = launch(self.server.folder, checked, 60.0)
            deadline = time.monotonic() + timeout_s
            while not _over(events := _events(run)):
                if any(line["event"] == "round_started" and line["round"] == last_round for line in events):
                    run.stop_file.touch()
                if time.monotonic() > deadline:
                    raise FLLiverError(f"{run.path}: the run did not end within {timeout_s:.0f} s")
                time.sleep(0.5)
        if events[-1]["event"] == "failed" and "stopped as asked" not in events[-1]["error"]:
            raise FLLiverError(f"{run.path}: {events[-1]['error']}")
        used = {name: together(cpu_s, pid) - before[name] for name, pid in pids.items()}
        return RunSeen(events, sampler, used, (run.summary() or {}).get("seconds", {}))

    def _look(self, pids: dict[str, int]) -> dict[str, float]:
        database = self.flower().database
        files = (database, *(database.with_name(database.name + end) for end in ("-wal", "-shm")))
        size = sum(path.stat().st_size for path in files if path.exists())
        return {name: together(own_mb, pid) for name, pid in pids.items()} | {"database": size / 1e6}


def _events(run: RunFolder) -> list[dict[str, Any]]:
    path = run.path / "journal.jsonl"
    lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    return [json.loads(line) for line in lines if line.endswith("}")]


def _over(events: list[dict[str, Any]]) -> bool:
    return bool(events) and events[-1]["event"] in ("done", "failed")
