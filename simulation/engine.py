"""Engines run the virtual hospitals' work: `serial` in this process, `processes` on every core, `ray` on a cluster.

All three take the same tasks and give the same bits: a task draws everything random from seeds of its own.
"""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import forkserver
from typing import Any, Protocol

from fl_liver.errors import ConfigError, FLLiverError
from simulation.carrier import Carrier, SameProcess, SharedFiles

ENGINES = ("serial", "processes", "ray")


URGENT = 0
"""Priority of a round's messages. Background work (baselines) has larger numbers, and runs in their order."""
PRELOAD = ("simulation.worker", "fl_liver.client.app", "simulation.torch_ready")
"""What every worker needs: imported once, by the fork server, and shared by all."""
GPU_SHARE = 0.9
"""Of a GPU's memory, what torch's allocators in all workers may take; the rest is for their contexts."""


class Engine(Protocol):
    """Runs functions, those with the smallest `priority` first and equal ones in the order they came."""

    carrier: Carrier
    workers: int

    def submit(self, function: Callable[..., Any], *arguments: Any, priority: int = URGENT) -> Future[Any]: ...

    def close(self) -> None: ...


def make_engine(name: str, workers: int | None = None, device: str = "cpu") -> Engine:
    """An engine by name, with one worker a core unless told otherwise.

    Args:
        device: what the tasks compute on; workers divide the memory of a GPU among them.
    Raises:
        ConfigError: unknown name, or `ray` without the extra.
    """
    count = available_cores() if workers is None else workers
    if count < 1:
        raise ConfigError(f"--workers {count}: at least 1 is wanted")
    if name == "serial":
        return SerialEngine()
    if name == "processes":
        return ProcessEngine(count, device=device)
    if name == "ray":
        try:
            from simulation.ray_engine import RayEngine
        except ImportError as error:
            raise ConfigError("engine 'ray' needs the extra: pip install 'fl_liver[ray]'") from error
        return RayEngine(count, device)
    raise ConfigError(f"engine '{name}' is not known; one of {', '.join(ENGINES)}")


def available_cores() -> int:
    """Cores that this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def start_worker(device: str = "cpu", workers: int = 1) -> None:
    """One torch thread a worker: four processes of one thread do 2.7 times the work of one process with four."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which tells its workers
    use_one_thread()
    if device != "cpu":
        share_gpu(device, workers)


def share_gpu(device: str, workers: int) -> None:
    """Keep this process to its part of the GPU's memory, so that its round fails in the place of another's.

    Nothing on a machine without a GPU, where "auto" is the processor.
    """
    import torch

    if torch.cuda.is_available():
        number = 0 if device == "auto" else torch.device(device).index or 0
        torch.cuda.set_per_process_memory_fraction(GPU_SHARE / workers, number)


def use_one_thread() -> None:
    """Torch computes with one thread in this process, also where it is imported later: it takes 165 MB and seconds."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"


class SerialEngine:
    """Everything here and now, in the order asked."""

    def __init__(self) -> None:
        use_one_thread()
        self.carrier: Carrier = SameProcess()
        self.workers = 1

    def submit(self, function: Callable[..., Any], *arguments: Any, priority: int = URGENT) -> Future[Any]:  # noqa: ARG002
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing runs."""


@dataclass(slots=True, order=True)
class _Task:
    priority: int
    number: int
    function: Callable[..., Any] = field(compare=False)
    arguments: tuple[Any, ...] = field(compare=False)
    future: Future[Any] = field(compare=False)
    suspect: bool = field(default=False, compare=False)


class ProcessEngine:
    """A pool of single-threaded workers. A worker that dies costs its own task and nobody else's.

    Background work never takes the last place: one worker more than cores waits for messages, so that a sum of a
    millisecond does not stand behind a baseline's minute.

    When a worker is killed the pool breaks and every task in flight is a suspect; suspects are run again one at a time
    in a new pool, and the one that kills its worker again fails with a typed error.
    """

    def __init__(self, workers: int, preload: Sequence[str] = PRELOAD, device: str = "cpu") -> None:
        self.workers = workers
        self._device = device
        self.carrier: Carrier = SharedFiles()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        forkserver.ensure_running()  # its imports take seconds; they need not wait for the first task
        self._pool = self._new_pool()
        self._waiting: list[_Task] = []
        self._numbers = itertools.count()
        self._suspects: deque[_Task] = deque()
        self._running = 0
        self._alone = False
        self._events: queue.SimpleQueue[tuple[_Task, Future[Any] | None] | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._dispatch, name="engine", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], *arguments: Any, priority: int = URGENT) -> Future[Any]:
        task = _Task(priority, next(self._numbers), function, arguments, Future())
        self._events.put((task, None))
        return task.future

    def close(self) -> None:
        """Stop at once: what runs is abandoned, as at a site that is switched off."""
        self._closing = True
        self._events.put(None)
        self._thread.join()
        workers = list(getattr(self._pool, "_processes", None) or {})
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child.pid in workers:
                child.terminate()
                child.join(5)
        self.carrier.close()

    def _new_pool(self) -> ProcessPoolExecutor:
        count = self.workers + 1
        return ProcessPoolExecutor(
            count, mp_context=self._context, initializer=start_worker, initargs=(self._device, count)
        )

    def _dispatch(self) -> None:
        while (event := self._events.get()) is not None:
            task, ended = event
            if ended is None:
                heapq.heappush(self._waiting, task)
            else:
                self._running -= 1
                self._end(task, ended)
            self._start_tasks()

    def _start_tasks(self) -> None:
        while not self._closing:
            if self._suspects:
                if self._running:
                    return
                task, self._alone = self._suspects.popleft(), True
            elif self._waiting and self._running < self._places(self._waiting[0]):
                task = heapq.heappop(self._waiting)
            else:
                return
            self._running += 1
            try:
                started = self._pool.submit(task.function, *task.arguments)
            except BrokenProcessPool as error:
                started = Future()
                started.set_exception(error)
            started.add_done_callback(lambda ended, task=task: self._events.put((task, ended)))  # type: ignore[misc]

    def _places(self, task: _Task) -> int:
        if self._alone:
            return 1
        return self.workers + (task.priority == URGENT)

    def _end(self, task: _Task, ended: Future[Any]) -> None:
        error = ended.exception()
        if not isinstance(error, BrokenProcessPool):
            self._alone = bool(self._suspects)
            if error is not None:
                task.future.set_exception(error)
            else:
                task.future.set_result(ended.result())
            return
        if not self._running or task.suspect:
            self._pool.shutdown(wait=False)
            self._pool = self._new_pool()
        if task.suspect:
            self._alone = bool(self._suspects)
            task.future.set_exception(
                FLLiverError("a worker died twice at this task; it is given up, the others go on")
            )
        else:
            task.suspect = True
            self._suspects.append(task)
