"""One decoder: a process that runs `worker`, seen from the process that started it.

It is started as a command and not through multiprocessing, whose spawn would import the parent's `__main__` again
(pytest, torch), keeps a resource tracker beside it and refuses in a daemonic process. A decoder imports what the work's
module imports, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.read.channel import Channel
from fl_liver.errors import FLLiverError

MODULE = "fl_liver.client.cohort.read.worker"
_MESSAGE_S = 30
"""A decoder that stops in the middle of a message for so long is given up."""
_PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONHOME"),
)
_ONE_THREAD = (*("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"),)


@dataclass(slots=True)
class Stream:
    """One `Decoders.map` under way: its pickled work, and results that came before their turn."""

    work: bytes
    done: dict[int, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Decoder:
    """One process, and what it was given.

    stream    whose chunk it reads; None while it is idle
    items     those of its chunk that have no result yet; it is at the first of them once it `started`
    work      what it has loaded
    deadline  of what it is at, seconds of the monotonic clock
    fresh     nothing has come back from it yet: what ends it is its first item's doing
    """

    process: subprocess.Popen[bytes]
    channel: Channel
    stream: Stream | None = None
    items: deque[tuple[int, Any]] = field(default_factory=deque)
    work: bytes = b""
    deadline: float = 0.0
    started: bool = False
    fresh: bool = True

    def end(self, patience_s: float = 0.0) -> int:
        """Its exit status; one that does not end by itself is killed."""
        self.channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if patience_s:
                self.process.wait(patience_s)
        self.process.kill()
        return self.process.wait()


def start(memory_bytes: int, seconds: float) -> Decoder:
    """A new process; it needs some tenths of a second until it reads, for which nobody waits here.

    Raises:
        FLLiverError: the system has no room for another process.
    """
    here, there = socket.socketpair()
    for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # cheaper than Python's own timeout
        here.setsockopt(socket.SOL_SOCKET, limit, struct.pack("@ll", _MESSAGE_S, 0))
    # -P: no code from the current folder; -s: none from a user's; -B: nothing is written.
    command = [sys.executable, "-P", "-s", "-B", "-m", MODULE, str(there.fileno())]
    command += [str(os.getpid()), str(memory_bytes), str(seconds)]
    try:
        with there:
            process = subprocess.Popen(
                command,
                env=_environment(),
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # C libraries print what they find in a file
                stderr=subprocess.DEVNULL,
            )
    except OSError as error:
        here.close()
        raise FLLiverError(f"a decoder does not start ({error.strerror})") from error
    return Decoder(process, Channel(here, memory_bytes))


def verdict(status: int) -> UnusableError:
    """What is said of the item at which a process ended with this status; negative is a signal."""
    if status == -signal.SIGXCPU:
        return unusable("E_DECODE_TIMEOUT", "the reader used up its processor time")
    if status >= 0:
        return unusable("E_DECODE_CRASH", f"the reader ends its process (status {status})")
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return unusable("E_DECODE_CRASH", f"the reader's process is killed ({name})")


def _environment() -> dict[str, str]:
    """What a decoder gets to see: no secrets, the same modules as here, one thread."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= dict.fromkeys(_ONE_THREAD, "1")
    environment["PYTHONUTF8"] = str(sys.flags.utf8_mode)
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)  # noqa: PTH100
    return environment
