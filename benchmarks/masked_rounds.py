"""What masks add to a round of the default simulation: same hospitals and workers, one round masked, one in the clear.

Rounds with training, masked and in the clear in turn, give the share; one without training takes the processors' idle
time away in which hospitals mask while the largest one still trains, and shows what masks add at most.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.overhead import NO_TRAINING_APP
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.run import load_checked
from fl_liver.server.sums import Sums
from fl_liver.study import Study
from fl_liver.update_code import update_code
from simulation.engine import Engine, make_engine
from simulation.grid import SimulationGrid
from simulation.hospitals import Hospitals, approve_everywhere, introduce, make_hospitals
from simulation.options import Options, resolve_study
from simulation.tasks import check_study_in_worker
from simulation.worker import HOSPITAL_APP, VirtualSite

WARM_UP = 2
"""Rounds at the beginning in which workers read their cohorts."""


@dataclass(frozen=True, slots=True)
class RoundTimes:
    """(masked, plain) seconds of pairs of rounds, with training and without."""

    trained: list[tuple[float, float]]
    empty: list[tuple[float, float]]

    @property
    def share(self) -> float:
        """What masks add, of a round in the clear: the median over pairs."""
        return statistics.median(masked / plain for masked, plain in self.trained) - 1

    @property
    def at_most_s(self) -> float:
        return statistics.median(masked - plain for masked, plain in self.empty)


def measure(workers: int, options: Options, *, empty: int = 9, trained: int = 15) -> RoundTimes:
    """Rounds of both kinds in turn: `trained` pairs with training and `empty` pairs without, after those to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        hospitals = make_hospitals(resolve_study(options), options, place / "hospitals", lambda *_: None)
        introduce(hospitals.folders, place / "roster.toml")
        engine = make_engine("processes", workers)
        try:
            return RoundTimes(
                _in_turn(engine, HOSPITAL_APP, hospitals, trained, place / "trained"),
                _in_turn(engine, NO_TRAINING_APP, hospitals, empty, place / "empty"),
            )
        finally:
            engine.close()


class _Federation:
    """One federation's rounds, each timed. A hospital lets a study be run once, so that each has a study of its own."""

    def __init__(self, engine: Engine, app: str, hospitals: Hospitals, changed: Study, folder: Path) -> None:
        engine.submit(check_study_in_worker, changed.to_toml(), str(folder)).result()
        study, (self._vector, layout) = load_checked(folder / "study.toml")
        approve_everywhere(study, hospitals.folders)
        self._code = update_code(study, layout)
        nodes = {name: node for node, name in enumerate(hospitals.folders)}
        sites = [VirtualSite(nodes[name], str(at), "cpu", app) for name, at in hospitals.folders.items()]
        exchange = Exchange(SimulationGrid(engine, sites), nodes, poll_s=0.0)
        sums = Sums.of_run(exchange, study, folder, folder.parents[1] / "roster.toml")
        self._rounds = sums.rounds(study.sites.train, "train", Journal(folder / "journal.jsonl"))

    def round_s(self, number: int) -> float:
        began = time.perf_counter()
        opened = self._rounds.ask(number, self._vector, self._code, lambda _: None)
        self._vector, _ = self._code.decode(opened.total, self._vector, len(opened.answered))
        return time.perf_counter() - began


def _in_turn(engine: Engine, app: str, hospitals: Hospitals, pairs: int, place: Path) -> list[tuple[float, float]]:
    """(masked, plain) seconds of each pair of rounds, those to warm up left out."""
    study = hospitals.study.with_top(name=place.name).changed(training={"rounds": WARM_UP + pairs + 1})
    masked, plain = (
        _Federation(engine, app, hospitals, study.changed(privacy={"secure_sum": how}), place / how)
        for how in ("masked", "plain")
    )
    found: list[tuple[float, float]] = []
    for number in range(1, WARM_UP + pairs + 1):
        if number % 2:
            found.append((masked.round_s(number), plain.round_s(number)))
        else:
            second = plain.round_s(number)
            found.append((masked.round_s(number), second))
    return found[WARM_UP:]
