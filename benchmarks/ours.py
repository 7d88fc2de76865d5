"""The benchmark's rounds on our own path: Exchange, SimulationGrid, engine, PlainRounds; real Fit and Update."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workload import CLIENTS, ROUNDS
from simulation.engine import Engine, ProcessEngine, SerialEngine

TIMEOUT_S = 600.0


def make_engine(name: str, workers: int) -> Engine:
    """An engine whose workers hold the benchmark's ClientApps ready, as a user's would hold the user's."""
    if name == "serial":
        return SerialEngine()
    return ProcessEngine(workers, ("simulation.worker", "benchmarks.client_apps", "simulation.torch_ready"))


def measure(kind: str, engine_name: str, workers: int, clients: int = CLIENTS, floats: int = 0) -> dict[str, Any]:
    """Rounds of "echo" or "cnn". `floats`: length of the echoed vector, 0 for the 45 MB one.

    The engine is made before the rest is imported, so that its processes start meanwhile.
    """
    engine = make_engine(engine_name, workers)
    try:
        with tempfile.TemporaryDirectory() as folder:
            seconds, vector = run(engine, f"benchmarks.client_apps:{kind}", _first(kind, floats), clients, Path(folder))
    finally:
        engine.close()
    return {"rounds_s": seconds, "checksum": float(np.abs(vector).sum(dtype=np.float64))}


def run(
    engine: Engine, app: str, vector: np.ndarray[Any, np.dtype[np.float32]], clients: int, folder: Path
) -> tuple[list[float], np.ndarray[Any, np.dtype[np.float32]]]:
    """Seconds of each round and the last mean."""
    from benchmarks.encoded import code_of, study_of
    from fl_liver.server.exchange import Exchange
    from fl_liver.server.journal import Journal
    from fl_liver.server.rounds import PlainRounds
    from simulation.grid import SimulationGrid
    from simulation.worker import VirtualSite

    names = [f"H{client:03d}" for client in range(clients)]
    sites = [VirtualSite(client, str(folder / name), "cpu", app) for client, name in enumerate(names)]
    exchange = Exchange(SimulationGrid(engine, sites), dict(zip(names, range(clients), strict=True)), poll_s=0.0)
    journal = Journal(folder / "journal.jsonl")
    rounds = PlainRounds(exchange, study_of(names, ROUNDS, TIMEOUT_S), names, "train", "benchmark", journal)
    code = code_of(len(vector))
    seconds: list[float] = []
    for number in range(1, ROUNDS + 1):
        began = time.perf_counter()
        opened = rounds.ask(number, vector, code, lambda _: None)
        vector, _ = code.decode(opened.total, vector, clients)
        seconds.append(time.perf_counter() - began)
    return seconds, vector


def _first(kind: str, floats: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    if kind == "cnn":
        from benchmarks import small_cnn

        return small_cnn.flat(small_cnn.initial())
    from benchmarks.workload import echo_tensors

    return np.concatenate(echo_tensors()) if not floats else echo_tensors(4e-6 * floats, 1)[0]
