"""What runs in a decoder's own process: `python -P -m fl_liver.client.cohort.read.worker FD PARENT MEMORY SECONDS`.

`decoder` starts it and speaks with it over one socket. Here stands also which code an error becomes. The limits hold
off accidents (a crash, a bomb, a loop), not an attacker whose code runs inside a decoder: the parent unpickles what
comes back.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import os
import pickle
import resource
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.read.channel import Channel, pack

T = TypeVar("T")
R = TypeVar("R")

STARTED, RESULT, SPENT, BROKEN = range(4)
"""The first word of what a decoder says: it begins its first item; an item's result, after which it begins the next;
a result after which it ends itself; its work cannot be loaded, with the exception's type.
"""
_DIES_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
_SPARE_CPU_S = 5
_FIRST_TO_GO = "1000"
"""The kernel, out of memory, kills a decoder before anything else of this hospital."""


def attempted(work: Callable[[T], R], item: T) -> R | UnusableError:
    """`work(item)` in this process, with the codes that a decoder would give."""
    try:
        return work(item)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        return judged(error)[0]


def judged(error: BaseException) -> tuple[UnusableError, bool]:
    """The code for what `work` raised, and whether its process had better end. No text of other programs is kept.

    A panic in Rust is no `Exception`; it, an exhausted memory and an exhausted stack may leave a library in pieces.
    """
    if isinstance(error, UnusableError):
        return UnusableError(str(error)), False
    kind = type(error).__name__
    if isinstance(error, MemoryError):
        return unusable("E_TOO_LARGE", "the reader asks for more memory than it may have"), True
    if isinstance(error, RecursionError) or not isinstance(error, Exception):
        return unusable("E_DECODE_CRASH", f"the reader breaks down ({kind})"), True
    return unusable("E_DECODE_FAILED", f"the reader stops ({kind})"), False


def serve(channel: Channel, seconds: float) -> None:
    """One chunk of items after another, until the parent closes the socket or an item breaks this process."""
    work: Callable[[Any], Any] | None = None
    known = b""
    while True:
        try:
            packed, items = channel.receive()
            if work is None or packed != known:
                work, known = pickle.loads(packed), packed  # noqa: S301 - from the process that started this one
                channel.send(pack((STARTED, None)))
        except EOFError:
            return
        except Exception as error:  # an import that fails can raise anything; the parent says what to do
            channel.send(pack((BROKEN, type(error).__name__)))
            return
        for item in items:
            _allow_cpu(seconds)
            parts, spent = _answer(work, item)
            channel.send(parts)
            if spent:
                return


def _answer(work: Callable[[Any], Any], item: object) -> tuple[list[Any], bool]:
    try:
        return pack((RESULT, work(item))), False
    except BaseException as error:
        refusal, spent = judged(error)
    return pack((SPENT if spent else RESULT, refusal)), spent


def _allow_cpu(seconds: float) -> None:
    """Processor time for one item, counted from now. The parent's clock is stricter; this holds if the parent hangs."""
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = math.ceil(time.process_time() + seconds) + _SPARE_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (_at_most(wanted, most), most))


def _confine(memory_bytes: int, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    if os.getppid() != parent:
        os._exit(1)
    # A core dump holds patients' pixels. A reader writes no file: none may grow at all.
    limits = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    for limit, wanted in limits.items():
        most = _at_most(wanted, resource.getrlimit(limit)[1])
        resource.setrlimit(limit, (most, most))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)  # pydicom's lines quote values


def _at_most(wanted: int, most: int) -> int:
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most)


def main() -> None:
    """Entry point of the process."""
    descriptor, parent, memory_bytes = (int(argument) for argument in sys.argv[1:4])
    _confine(memory_bytes, parent)
    channel = Channel(socket.socket(fileno=descriptor), memory_bytes)
    try:
        serve(channel, float(sys.argv[4]))
    except OSError:
        os._exit(1)  # the parent is gone
    os._exit(0)  # at once: nothing here wants to be put away, and a library's threads could hold up an ordinary end


if __name__ == "__main__":
    # Under its own name, so that what is sent can be read on the other side.
    from fl_liver.client.cohort.read.worker import main as named_main

    named_main()
