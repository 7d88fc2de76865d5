"""The engine for clusters: actors on Ray's public API. Needs the extra `[ray]`; imported only when asked for."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import ray

from fl_liver.errors import FLLiverError
from simulation.carrier import Carrier
from simulation.engine import URGENT, start_worker


class RayStore:
    """Buffers in Ray's object store: put once a round by the server, read in place by the actors of a node."""

    def put(self, data: Any) -> Any:
        return ray.put(np.frombuffer(data, np.uint8))

    def get(self, handle: Any, *, last: bool) -> Any:  # noqa: ARG002 - Ray counts references itself
        return memoryview(ray.get(handle))

    def drop(self, handle: Any) -> None:
        """Ray frees a buffer with its last reference."""

    def close(self) -> None:
        """The store goes with `ray.shutdown`."""


class _Worker:
    def __init__(self, device: str, workers: int) -> None:
        start_worker(device, workers)

    def run(self, function: Callable[..., Any], arguments: list[Any]) -> Any:
        return function(*arguments)


_Actor: Any = ray.remote(num_cpus=1)(_Worker)


class RayEngine:
    """One actor a core; the smallest priority first. A task whose actor dies fails, and the actor is started again."""

    def __init__(self, workers: int, device: str = "cpu") -> None:
        if not ray.is_initialized():
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False)
        self.workers, self._device = workers, device
        self.carrier: Carrier = RayStore()
        self._order = itertools.count()
        self._tasks: queue.PriorityQueue[tuple[int, int, Any]] = queue.PriorityQueue()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], *arguments: Any, priority: int = URGENT) -> Future[Any]:
        future: Future[Any] = Future()
        self._tasks.put((priority, next(self._order), (function, arguments, future)))
        return future

    def close(self) -> None:
        for _ in self._threads:
            self._tasks.put((-1, next(self._order), None))
        ray.shutdown()

    def _serve(self) -> None:
        """One thread minds one actor."""
        actor = _Actor.remote(self._device, self.workers)
        while (task := self._tasks.get()[2]) is not None:
            function, arguments, future = task
            try:
                # In a list Ray leaves the handles alone; as plain arguments it would fetch them and pass the buffers.
                future.set_result(ray.get(actor.run.remote(function, list(arguments))))
            except ray.exceptions.RayActorError:
                actor = _Actor.remote(self._device, self.workers)
                future.set_exception(FLLiverError("a Ray actor died at this task; it is given up, the others go on"))
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                future.set_exception(cause if isinstance(cause, Exception) else FLLiverError(str(error)))
            except Exception as error:
                # Arguments that cannot be pickled, say: without an answer the run would wait for ever.
                future.set_exception(error)
