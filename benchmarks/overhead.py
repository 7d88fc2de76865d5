"""What federation costs beside training: the default study's rounds with and without local training, 13 hospitals.

Busy time over workers × wall would count waiting for the largest hospital as overhead. So the same messages are sent
twice: once to the real ClientApp, once to one that returns the vector; the quotient of the rounds' times is the share.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from benchmarks.workload import CLIENTS, weight
from fl_liver.messages import Fit, Update, from_record, to_record
from fl_liver.server.exchange import Exchange
from fl_liver.server.rounds import Round
from fl_liver.server.run import load_checked
from fl_liver.study import Study
from simulation.carrier import SharedFiles
from simulation.engine import Engine, make_engine
from simulation.grid import SimulationGrid
from simulation.hospitals import approve_everywhere, make_hospitals
from simulation.options import Options, resolve_study
from simulation.tasks import check_study_in_worker
from simulation.worker import HOSPITAL_APP, VirtualSite, pack, unpack

EXTERNAL, REAL_ROUNDS, EMPTY_ROUNDS, REPEATS = 2, 3, 10, 20
NO_TRAINING_APP = "benchmarks.client_apps:echo"
Vector = NDArray[np.float32]


def measure(workers: int) -> dict[str, Any]:
    """Seconds of a real and of an empty round (medians without the first), and of the steps of one message."""
    options = Options(hospitals=CLIENTS + EXTERNAL, external=EXTERNAL)
    with tempfile.TemporaryDirectory() as place:
        hospitals = make_hospitals(resolve_study(options), options, Path(place) / "hospitals", lambda *_: None)
        engine = make_engine("processes", workers)
        try:
            folder = Path(place) / "study"
            engine.submit(check_study_in_worker, hospitals.study.to_toml(), str(folder)).result()
            study, (vector, _) = load_checked(folder / "study.toml")
            approve_everywhere(study, hospitals.folders)
            real = _rounds(engine, HOSPITAL_APP, study, hospitals.folders, vector, REAL_ROUNDS)
            empty = _rounds(engine, NO_TRAINING_APP, study, hospitals.folders, vector, EMPTY_ROUNDS)
        finally:
            engine.close()
    return {"real_s": real, "empty_s": empty, "floats": len(vector), "steps_ms": steps_ms(vector)}


def _rounds(
    engine: Engine, app: str, study: Study, folders: dict[str, Path], vector: Vector, rounds: int
) -> list[float]:
    """Seconds of each round. All rounds bear a number that the study has."""
    nodes = {name: node for node, name in enumerate(folders)}
    grid = SimulationGrid(engine, [VirtualSite(nodes[name], str(folders[name]), "cpu", app) for name in nodes])
    exchange = Exchange(grid, nodes, poll_s=0.0)
    seconds: list[float] = []
    for number in range(1, rounds + 1):
        began = time.perf_counter()
        current = Round(number, study.sites.train, len(vector), study.privacy.min_sites)
        fit = Fit(study.sha256, number, "train", vector)
        exchange.ask(fit, study.sites.train, Update, timeout_s=3600, on_answer=current.receive)
        vector = current.close().vector
        seconds.append(time.perf_counter() - began)
    return seconds


def steps_ms(vector: Vector) -> dict[str, float]:
    """Median milliseconds of one update's way: made a message, put into shared memory, taken out, added."""
    carrier = SharedFiles()
    steps: list[list[float]] = []
    try:
        for _ in range(REPEATS):
            current, ends = Round(1, ("H01",), len(vector), 1), [time.perf_counter()]
            message = Message(to_record(Update(1, vector, weight(0), 0.0)), 1, "train", ttl=60.0)
            ends.append(time.perf_counter())
            parcel = pack(message.content, message.metadata, carrier)
            ends.append(time.perf_counter())
            update = from_record(unpack(parcel, carrier, last=True), (Update,))
            ends.append(time.perf_counter())
            current.receive("H01", update)
            steps.append(list(1e3 * np.diff([*ends, time.perf_counter()])))
            del message, parcel, update
    finally:
        carrier.close()
    medians = (statistics.median(values) for values in zip(*steps, strict=True))
    return dict(zip(("pack", "transfer", "unpack", "add"), medians, strict=True))
