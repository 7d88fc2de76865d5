"""What our engines are compared with: a plain loop in one process, and a plain pool of forked ones. No framework."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.workload import CLIENTS, Tensors, add_weighted, divide, weight

Job = tuple[Tensors, int, int]
Work = Callable[[Job], tuple[int, Tensors]]
Map = Callable[[Work, Iterable[Job]], Iterable[tuple[int, Tensors]]]


def echo(job: Job) -> tuple[int, Tensors]:
    """Return what came."""
    tensors, client, _ = job
    return client, tensors


def train(job: Job) -> tuple[int, Tensors]:
    """Train the small CNN."""
    from benchmarks import small_cnn

    tensors, client, number = job
    return client, small_cnn.train(tensors, client, number)[0]


@contextmanager
def plain_loop() -> Iterator[Map]:
    """One client after the other."""
    yield map


@contextmanager
def fork_pool(workers: int) -> Iterator[Map]:
    """`workers` forked processes; results in the order of clients, one at a time."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield pool.imap


def run(work: Work, tensors: Tensors, rounds: int, clients_map: Map) -> tuple[list[float], Tensors]:
    """FedAvg; seconds of each round and the last mean."""
    seconds: list[float] = []
    for number in range(1, rounds + 1):
        began = time.perf_counter()
        total = [np.zeros_like(tensor) for tensor in tensors]
        jobs = ((tensors, client, number) for client in range(CLIENTS))
        for client, trained in clients_map(work, jobs):
            add_weighted(total, trained, weight(client))
        tensors = divide(total, sum(map(weight, range(CLIENTS))))
        seconds.append(time.perf_counter() - began)
    return seconds, tensors


def prepare(kind: str) -> tuple[Work, Tensors]:
    """Work and first tensors of "echo" or "cnn". For the CNN torch is imported before anything is forked."""
    if kind == "echo":
        from benchmarks.workload import echo_tensors

        return echo, echo_tensors()
    from benchmarks import small_cnn

    return train, small_cnn.initial()


def measure(kind: str, workers: int) -> dict[str, Any]:
    """`workers` 0: the plain loop."""
    work, tensors = prepare(kind)
    from benchmarks.workload import ROUNDS

    with fork_pool(workers) if workers else plain_loop() as clients_map:
        seconds, last = run(work, tensors, ROUNDS, clients_map)
    return {"rounds_s": seconds, "checksum": float(sum(np.abs(tensor).sum(dtype=np.float64) for tensor in last))}
