"""A lock that holds between the worker processes of one hospital: the coordinator can ask two things at once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until nobody else of this hospital is inside; `lock` is an empty file, made where it is missing.

    Not to be entered twice by one caller. The system gives the lock back when its holder is killed.
    """
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
