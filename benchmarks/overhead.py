"""What federation costs beside training: the default study's masked rounds with and without it, 13 hospitals.

Busy time over workers × wall would count waiting for the largest hospital as overhead. So the same messages are sent
twice: once to the real ClientApp, once to one that does all but train; the quotient of the rounds' times is the share.
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
from fl_liver.messages import Update
from fl_liver.securesum.encoding import UpdateCode
from fl_liver.securesum.keystream import add_keystreams
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.run import load_checked
from fl_liver.server.sums import Sums
from fl_liver.study import Study
from fl_liver.update_code import update_code
from fl_liver.wire import from_record, to_record
from simulation.carrier import SharedFiles
from simulation.engine import Engine, make_engine
from simulation.grid import SimulationGrid
from simulation.hospitals import approve_everywhere, introduce, make_hospitals
from simulation.options import Options, resolve_study
from simulation.tasks import check_study_in_worker
from simulation.worker import HOSPITAL_APP, VirtualSite, pack, unpack

EXTERNAL, REPEATS = 2, 20
REAL, EMPTY = range(1, 4), range(4, 14)
"""Rounds of one run: a hospital answers each once, and lets a study be run once."""
NO_TRAINING_APP = "benchmarks.client_apps:untrained"
STEPS = ("encode", "mask", "pack", "transfer", "unpack", "add")
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
            study, (vector, layout) = load_checked(folder / "study.toml")
            introduce(hospitals.folders, folder / "roster.toml")
            approve_everywhere(study, hospitals.folders)
            code = update_code(study, layout)
            real = _rounds(engine, HOSPITAL_APP, study, hospitals.folders, (vector, code), REAL, folder)
            empty = _rounds(engine, NO_TRAINING_APP, study, hospitals.folders, (vector, code), EMPTY, folder)
        finally:
            engine.close()
    return {"real_s": real, "empty_s": empty, "floats": len(vector), "steps_ms": steps_ms(vector, code, study)}


def _rounds(
    engine: Engine,
    app: str,
    study: Study,
    folders: dict[str, Path],
    start: tuple[Vector, UpdateCode],
    numbers: range,
    place: Path,
) -> list[float]:
    """Seconds of each round. All rounds bear a number that the study has."""
    nodes = {name: node for node, name in enumerate(folders)}
    grid = SimulationGrid(engine, [VirtualSite(nodes[name], str(folders[name]), "cpu", app) for name in nodes])
    sums = Sums.of_run(Exchange(grid, nodes, poll_s=0.0), study, place, place / "roster.toml")
    masked = sums.rounds(study.sites.train, "train", Journal(place / "journal.jsonl"))
    (vector, code), seconds = start, list[float]()
    for number in numbers:
        began = time.perf_counter()
        opened = masked.ask(number, vector, code, lambda _: None)
        vector, _ = code.decode(opened.total, vector, len(opened.answered))
        seconds.append(time.perf_counter() - began)
    return seconds


def steps_ms(vector: Vector, code: UpdateCode, study: Study) -> dict[str, float]:
    """Median milliseconds of one update's way: encoded, masked, made a message, carried, taken out, added."""
    carrier = SharedFiles()
    steps: list[list[float]] = []
    total = np.zeros(code.length + 2, np.uint32)
    seeds = [(bytes([number]) * 32, 1) for number in range(len(study.sites.train))]  # the other hospitals' and its own
    try:
        for _ in range(REPEATS):
            ends = [time.perf_counter()]
            coded, _ = code.encode(vector, vector, weight(0), 0.0)
            ends.append(time.perf_counter())
            add_keystreams(coded, seeds, study.privacy.keystream)
            ends.append(time.perf_counter())
            message = Message(to_record(Update(1, coded, b"")), 1, "train", ttl=60.0)
            ends.append(time.perf_counter())
            parcel = pack(message.content, message.metadata, carrier)
            ends.append(time.perf_counter())
            update = from_record(unpack(parcel, carrier, last=True), (Update,))
            ends.append(time.perf_counter())
            np.add(total, update.vector, out=total)
            steps.append(list(1e3 * np.diff([*ends, time.perf_counter()])))
            del message, parcel, update
    finally:
        carrier.close()
    medians = (statistics.median(values) for values in zip(*steps, strict=True))
    return dict(zip(STEPS, medians, strict=True))
