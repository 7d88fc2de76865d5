"""What the decoder tests send to decoders: functions that end a process in every way. Imported there by name."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import unusable

CANARY = "Ziegenpeter"
PATIENCE_S = 60.0
_spoilt = False


class PanicError(BaseException):
    """As pyo3's PanicException: no `Exception`."""


def perish(how: str) -> str:
    """`how` comes back in capitals, unless it names an end."""
    if how in _ENDS:
        _ENDS[how]()
    return how.upper()


def double(number: int) -> int:
    return 2 * number


def later(pause_s: float) -> float:
    time.sleep(pause_s)
    return pause_s


def one_of_many(number: int) -> tuple[int, int]:
    return number, os.getpid()


def meet(folder: str, number: int) -> bool:
    """Come to a folder and wait until so many are there."""
    (Path(folder) / str(os.getpid())).touch()
    until = time.monotonic() + PATIENCE_S
    while len(list(Path(folder).iterdir())) < number:
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def hang_and_say(folder: str) -> None:
    """Write one's pid down as a file's name and never come back."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def ramp(size: int) -> NDArray[np.uint8]:
    return np.arange(size, dtype=np.uint8)


def spoil_or_suffer(how: str) -> str:
    """A file that leaves its mark on the process, and a good one that dies of it there."""
    global _spoilt
    if how == "spoil":
        _spoilt = True
    elif _spoilt:
        ctypes.string_at(0)
    return how


def surroundings(folder: str) -> dict[str, Any]:
    """What a decoder finds around itself."""
    try:
        (Path(folder) / "written").write_bytes(b"x")
        wrote = True
    except OSError:
        wrote = False
    return {
        "environment": dict(os.environ),
        "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0] for name in ("AS", "CORE", "CPU")},
        "wrote": wrote,
        "streams": [str(Path(f"/proc/self/fd/{number}").readlink()) for number in range(3)],
        "modules": {name.split(".")[0] for name in sys.modules},
        "interrupt": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    }


def _recurse(depth: int = 0) -> int:
    return _recurse(depth + 1) + 1


def _many_small() -> None:
    held: list[bytes] = []
    while True:
        held.append(bytes(20_000))


def _panic() -> None:
    raise PanicError(CANARY)


def _refuse() -> None:
    raise unusable("E_TRUNCATED", "cut short")


def _fail() -> None:
    raise KeyError(CANARY)


_ENDS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "spin": lambda: os.kill(os.getpid(), signal.SIGXCPU),
    "abort": os.abort,
    "exit": lambda: os._exit(7),
    "leave": lambda: sys.exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "panic": _panic,
    "recurse": _recurse,
    "hang": lambda: time.sleep(600),
    "bomb": lambda: np.ones(8 << 30, np.uint8),
    "many_small": _many_small,
    "refuse": _refuse,
    "fail": _fail,
}
