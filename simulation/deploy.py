"""The real thing on loopback: consortium, server, gateway, and a daemon for each hospital; one study; all of it ended.

`folder`/consortium is the coordinator's, `folder`/NAME each hospital's: keys and certificates are made on the spot,
patients stay where the simulation wrote them. Joining goes through the functions behind the commands (`town`); server
and daemons are processes as people start them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fl_liver.consortium.folder import REGISTER, make_consortium, open_consortium
from fl_liver.server.journal import Journal, Listener
from fl_liver.server.launch import launch, resume
from fl_liver.server.run import Seconds
from fl_liver.server.run_folder import RUNS, RunFolder, find_run
from fl_liver.study import Study
from simulation.deployed_hospital import WAIT_S, DeployedHospital, edit_site
from simulation.deployed_run import follow
from simulation.deployed_server import LOOPBACK, DeployedServer, free_port
from simulation.display import Display
from simulation.program import stop_together
from simulation.town import Town, this_second

CONSORTIUM = "consortium"
_WAIT_EACH_S = 15.0
"""Beside `WAIT_S`, for each hospital: they start together on the cores of one machine."""
Handler = Callable[..., object] | int
_ANALYSIS = {"fuse": "analysis: score and clinical factors", "evaluate": "analysis: figures of every model"}
_RESULTS = ("model.safetensors", "summary.json", "sums.json")


class Deployment:
    """One study in a deployment of its own. `run` may be called on the folder of an interrupted one."""

    def __init__(self, folder: Path, display: Display) -> None:
        self.folder, self._display = folder, display
        self.server = DeployedServer(folder / CONSORTIUM)
        self.hospitals: dict[str, DeployedHospital] = {}

    @property
    def folders(self) -> dict[str, Path]:
        """Each hospital's own."""
        return {name: hospital.folder for name, hospital in self.hospitals.items()}

    def run(
        self, study: Study, data: dict[str, Path], checked: Path, out: Path, journal: Journal, seconds: Seconds
    ) -> dict[str, Any]:
        """From nothing to the result in `out`; no process is left, whatever happens.

        Args:
            data: hospital → the folder of its patients.
            checked: folder that `fl-liver study check` wrote; gets the roster.
            out: the run's folder; gets model, summary and the run's record.
        Raises:
            FleetError: a hospital's daemon did not register, or was not asked. FLLiverError: a process ended, or the
                run stopped; says which, and where its log is.
        """
        try:
            with seconds.phase("consortium", journal):
                self._join(study, data)
            with seconds.phase("server", journal):
                self._start_server()
            with seconds.phase("daemons", journal):
                self._start_daemons()
            with seconds.phase("approvals", journal):
                run, seen_bytes = self._launch(study, checked)
                self._approve(study)
            with seconds.phase("study", journal):
                follow(run, seen_bytes, self._show(journal), self._require_alive)
        finally:
            with undisturbed(), seconds.phase("stopping", journal):
                self.stop()
        for name in _RESULTS:
            shutil.copyfile(run.path / name, out / name)
        shutil.copyfile(run.path / "roster.toml", checked / "roster.toml")
        return run.summary() or {}

    def stop(self) -> None:
        """End every process: daemons say goodbye while the server is there."""
        stop_together(self.hospitals.values())
        self.server.stop_all_below()

    @property
    def _patience_s(self) -> float:
        return WAIT_S + _WAIT_EACH_S * len(self.hospitals)

    def _join(self, study: Study, data: dict[str, Path]) -> None:
        """A consortium in which every hospital is admitted, has confirmed all others and has frozen its cohort."""
        place, now = self.folder / CONSORTIUM, this_second()
        self.folder.mkdir(parents=True, exist_ok=True)
        if (place / REGISTER).exists():
            consortium = open_consortium(place)
        else:
            consortium = make_consortium(place, "Rehearsal", f"{LOOPBACK}:{free_port()}", (), now)
        town = Town(self.folder, consortium, now)
        for name in study.every_site:
            self.hospitals[name] = DeployedHospital(name, town.let_in(name, study.role_of(name)).path)
        town.spread_roster()
        town.conference()
        for name, hospital in self.hospitals.items():
            self._decide_for_itself(hospital, data[name], study)
        self._display.say(f"consortium at {consortium.register.address}: {len(data)} hospitals, all confirmed")

    def _decide_for_itself(self, hospital: DeployedHospital, data: Path, study: Study) -> None:
        edit_site(
            hospital.folder / "site.toml",
            data=os.path.relpath(data.resolve(), hospital.folder.resolve()),
            release="named",
            decoders=0,  # the phantom made these images, and thirteen hospitals share one machine
            gpu="none",  # many daemons cannot share one; and the same bits as the simulation on processors
            plain_sums=study.privacy.secure_sum == "plain",
        )
        hospital.freeze_cohort()

    def _start_server(self) -> None:
        began = time.monotonic()
        self.server.start()
        self.server.until_up()
        self._display.say(f"server up in {time.monotonic() - began:.1f} s")

    def _start_daemons(self) -> None:
        """The server registers one hospital after the other; daemons try again until it is their turn."""
        before = {name: hospital.registrations for name, hospital in self.hospitals.items()}
        for hospital in self.hospitals.values():
            hospital.start()
        for done, hospital in enumerate(self.hospitals.values(), start=1):
            self._require_alive()
            hospital.until_registered(before[hospital.name] + 1, self._patience_s)
            self._display.bar("daemons registered", done, len(self.hospitals), hospital.name)

    def _launch(self, study: Study, checked: Path) -> tuple[RunFolder, int]:
        """The run, and how many bytes of its journal were shown before an interruption."""
        consortium = self.server.folder
        if not any((consortium / RUNS).glob("*/launch.json")):
            return launch(consortium, checked, self._patience_s), 0
        run = find_run(consortium, f"{study.name}-{study.sha256[:8]}")
        seen_bytes = (run.path / "journal.jsonl").stat().st_size
        if not run.summary_file.is_file():
            resume(consortium, run, self._patience_s)
        return run, seen_bytes

    def _approve(self, study: Study) -> None:
        """Every hospital sees the study when the server asks for it, and a person there approves."""
        for done, hospital in enumerate(self.hospitals.values(), start=1):
            self._require_alive()
            if not hospital.approved(study.sha256):
                hospital.until_asked(study.sha256, self._patience_s)
                hospital.decide(study.sha256)
            self._display.bar("approvals", done, len(self.hospitals), hospital.name)

    def _show(self, journal: Journal) -> Listener:
        """Events of the run go into the simulation's journal; beside its bars, what a person would wait for."""

        def show(event: str, details: dict[str, Any]) -> None:
            journal.write(event, **details)
            if event == "site_waiting" and "NOT_APPROVED" not in details["reason"]:
                self._display.say(f"{details['site']} is not ready yet: {details['reason']}")
            elif event == "phase" and details["name"] in _ANALYSIS:
                self._display.say(_ANALYSIS[details["name"]])

        return show

    def _require_alive(self) -> None:
        for program in (self.server, *self.hospitals.values()):
            program.require_alive()


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does, so that its processes are stopped. Of use in the main thread alone."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _signals({signal.SIGTERM: interrupt}):
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not leave processes behind; what is done here takes seconds."""
    with _signals({signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_IGN}):
        yield


@contextlib.contextmanager
def _signals(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
