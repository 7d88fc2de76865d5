"""Engines: the same results, urgent work first, and a worker that dies costs its own task at most."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fl_liver.errors import ConfigError, DataError, FLLiverError
from simulation.carrier import SameProcess, SharedFiles
from simulation.engine import ProcessEngine, SerialEngine, make_engine, share_gpu, start_worker
from tests.simulation import worker_tasks as tasks

LONG_S = 60


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessEngine]:
    engine = ProcessEngine(2)
    yield engine
    engine.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_serial_and_processes_give_the_same_bits(pool: ProcessEngine) -> None:
    serial = SerialEngine()
    here = [serial.submit(tasks.draw, seed).result() for seed in range(6)]
    there = [future.result(LONG_S) for future in [pool.submit(tasks.draw, seed) for seed in range(6)]]
    assert there == here
    assert len(set(here)) == 6


def test_processes_work_elsewhere_and_serial_here(pool: ProcessEngine) -> None:
    assert pool.submit(tasks.own_pid).result(LONG_S) != os.getpid()
    assert SerialEngine().submit(tasks.own_pid).result() == os.getpid()


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_a_tasks_own_error_comes_back_as_it_was_raised(name: str, pool: ProcessEngine) -> None:
    engine = pool if name == "processes" else SerialEngine()
    with pytest.raises(DataError, match=r"^H03: no DICOM$"):
        engine.submit(tasks.refuse, "H03: no DICOM").result(LONG_S)
    assert engine.submit(tasks.draw, 1).result(LONG_S) == tasks.draw(1)


def test_ctrl_c_is_not_taken_for_a_tasks_error() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SerialEngine().submit(interrupted)


def test_urgent_work_does_not_wait_for_background_work(pool: ProcessEngine, tmp_path: Path) -> None:
    """A sum of a millisecond must not stand behind a baseline's minute, however many of those are queued."""
    gate, log = tmp_path / "gate", tmp_path / "log"
    background = [pool.submit(tasks.wait_for, str(gate), str(log), str(i), priority=1) for i in range(4)]
    until(lambda: len(lines(log)) == 2)
    assert pool.submit(tasks.draw, 1).result(20) == tasks.draw(1)
    assert not any(future.done() for future in background)
    assert len(lines(log)) == 2, "background work took the place kept for messages"
    gate.touch()
    for future in background:
        future.result(LONG_S)


def test_the_smallest_priority_is_served_first_and_equal_ones_in_order(tmp_path: Path) -> None:
    engine = ProcessEngine(1)
    try:
        gate, log = tmp_path / "gate", tmp_path / "log"
        futures = [engine.submit(tasks.wait_for, str(gate), str(log), "first", priority=3)]
        until(lambda: len(lines(log)) == 1)
        futures += [
            engine.submit(tasks.wait_for, str(gate), str(log), word, priority=priority)
            for word, priority in (("late", 2), ("early", 1), ("later", 2))
        ]
        gate.touch()
        for future in futures:
            future.result(LONG_S)
        assert [word for _, word in lines(log)] == ["first", "early", "late", "later"]
    finally:
        engine.close()


def test_a_killed_worker_costs_nobody_a_result(pool: ProcessEngine, tmp_path: Path) -> None:
    """SIGKILL, as the kernel does where memory is short: the task is run again, those beside it too."""
    gate, log = tmp_path / "gate", tmp_path / "log"
    blocked = [pool.submit(tasks.wait_for, str(gate), str(log), str(i), priority=1) for i in range(2)]
    until(lambda: len(lines(log)) == 2)
    waiting = [pool.submit(tasks.draw, seed, priority=1) for seed in range(3)]
    os.kill(int(lines(log)[0][0]), signal.SIGKILL)
    until(lambda: len(lines(log)) >= 3)
    gate.touch()
    pids = {future.result(LONG_S) for future in blocked}
    assert int(lines(log)[0][0]) not in pids, "the killed worker cannot have answered"
    assert sorted(word for _, word in lines(log)) == ["0", "0", "1", "1"]
    assert [future.result(LONG_S) for future in waiting] == [tasks.draw(seed) for seed in range(3)]


def test_a_task_that_always_kills_its_worker_is_given_up_and_the_others_finish(
    pool: ProcessEngine, tmp_path: Path
) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    beside = pool.submit(tasks.wait_for, str(gate), str(log), "beside")
    until(lambda: len(lines(log)) == 1)
    deadly = pool.submit(tasks.kill_own_worker)
    after = [pool.submit(tasks.draw, seed) for seed in range(4)]
    until(lambda: len(lines(log)) == 2 or deadly.done())
    gate.touch()
    with pytest.raises(FLLiverError, match="a worker died twice at this task; it is given up, the others go on"):
        deadly.result(LONG_S)
    beside.result(LONG_S)
    assert [future.result(LONG_S) for future in after] == [tasks.draw(seed) for seed in range(4)]


def test_an_idle_worker_that_was_killed_is_replaced(pool: ProcessEngine) -> None:
    os.kill(pool.submit(tasks.own_pid).result(LONG_S), signal.SIGKILL)
    time.sleep(0.5)
    futures = [pool.submit(tasks.draw, seed) for seed in range(5)]
    assert [future.result(LONG_S) for future in futures] == [tasks.draw(seed) for seed in range(5)]


def test_all_places_are_used_again_after_a_death(pool: ProcessEngine, tmp_path: Path) -> None:
    """After suspects have been run one at a time the pool must be wide again."""
    with pytest.raises(FLLiverError, match="died twice"):
        pool.submit(tasks.kill_own_worker).result(LONG_S)
    gate, log = tmp_path / "gate", tmp_path / "log"
    futures = [pool.submit(tasks.wait_for, str(gate), str(log)) for _ in range(3)]
    until(lambda: len(lines(log)) == 3)
    gate.touch()
    assert len({future.result(LONG_S) for future in futures}) == 3


def test_close_is_prompt_and_leaves_nothing(tmp_path: Path) -> None:
    """As at a site that is switched off: what runs is abandoned, no process and no shared memory stays."""
    engine, log = ProcessEngine(2), tmp_path / "log"
    shared = engine.carrier
    assert isinstance(shared, SharedFiles)
    shared.put(b"x" * 100)
    for _ in range(4):
        engine.submit(tasks.wait_for, str(tmp_path / "never"), str(log), "stuck", priority=1)
    until(lambda: len(lines(log)) == 2)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 5
    pids = {int(pid) for pid, _ in lines(log)}
    until(lambda: not pids & {child.pid for child in multiprocessing.active_children()})
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not shared.folder.exists()


@pytest.mark.parametrize(("device", "number"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_workers_divide_the_memory_of_a_gpu(device: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several virtual hospitals train at once on it, and must not exceed it together."""
    caps: dict[int, float] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, gpu: caps.update({gpu: share}))
    share_gpu(device, 5)
    assert caps == {number: pytest.approx(0.18)}


def test_a_worker_is_told_the_device_and_how_many_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, object]] = []

    def pool_of(*given: Any, initializer: object, initargs: object, **more: Any) -> ProcessPoolExecutor:
        told.append((initializer, initargs))
        return ProcessPoolExecutor(*given, **more)

    monkeypatch.setattr("simulation.engine.ProcessPoolExecutor", pool_of)
    make_engine("processes", 1, "auto").close()
    assert told == [(start_worker, ("auto", 2))], "one worker more than asked waits for messages"


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="engine 'threads' is not known; one of serial, processes, ray"):
        make_engine("threads")


@pytest.mark.parametrize("workers", [0, -3])
def test_fewer_than_one_worker_is_refused(workers: int) -> None:
    with pytest.raises(ConfigError, match=f"{workers}"):
        make_engine("processes", workers)


@pytest.fixture
def shared() -> Iterator[SharedFiles]:
    carrier = SharedFiles()
    yield carrier
    carrier.close()
    assert not carrier.folder.exists()


def test_small_shared_files_are_gone_after_their_last_reader(shared: SharedFiles) -> None:
    handle, other = shared.put(b"abc" * 1000), shared.put(b"x")
    assert bytes(shared.get(handle, last=False)) == b"abc" * 1000
    view = shared.get(handle, last=True)
    assert bytes(view) == b"abc" * 1000
    assert [path for path in shared.folder.iterdir() if path.is_file()] == [shared.folder / other]
    shared.drop(other)
    shared.drop(other)
    assert not [path for path in shared.folder.rglob("*") if path.is_file()]
    assert shared.folder.stat().st_mode & 0o777 == 0o700


def test_a_large_shared_file_is_used_again_only_when_nobody_reads_it(shared: SharedFiles) -> None:
    """An update that waits in a round must not turn into the next round's."""
    first, second, third = (bytes([number]) * (1 << 20) for number in (1, 2, 3))
    kept = np.frombuffer(shared.get(shared.put(first), last=True), np.uint8)
    again = np.frombuffer(shared.get(shared.put(second), last=True), np.uint8)
    assert kept.tobytes() == first
    assert again.tobytes() == second
    assert len([path for path in shared.folder.rglob("*") if path.is_file()]) == 2
    del again
    gc.collect()
    assert np.frombuffer(shared.get(shared.put(third), last=True), np.uint8).tobytes() == third
    assert kept.tobytes() == first
    assert len([path for path in shared.folder.rglob("*") if path.is_file()]) == 2, "a new file was made"


def test_a_worker_that_gets_the_carrier_reads_what_was_put(shared: SharedFiles) -> None:
    handle = shared.put(b"abc")
    assert bytes(pickle.loads(pickle.dumps(shared)).get(handle, last=False)) == b"abc"  # noqa: S301 - our own bytes


def test_in_one_process_nothing_is_carried() -> None:
    data = bytearray(b"abc")
    carrier = SameProcess()
    assert carrier.get(carrier.put(data), last=True) is data
