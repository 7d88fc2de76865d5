"""The daemon's end of `compute`: start it, hand it a message, wait, interrupt, end it. No torch, no patient here."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from fl_liver.client.compute import Reply, Request
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ComputeLostError

MODULE = "fl_liver.client.compute"
"""What the process runs: a constant of the installed code, which no setting, environment or message changes."""
IDLE_S = 600.0
"""After that long without a message the process is ended: its memory, and a GPU's, go back to the hospital."""
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "VIRTUAL_ENV")


class ComputeProcess:
    """One child process at a time, started when it is first needed."""

    def __init__(self, site_file: Path) -> None:
        self._site_file = site_file
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._last_used = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def ask(self, request: Request, site: SiteConfig) -> None:
        """Hand over a message; `site` says which GPU a new process sees.

        Raises:
            ComputeLostError: the process ended under it.
        """
        if self.pid is None:
            self._start(site)
        if self._connection is None:
            raise ComputeLostError("the compute process has no socket")
        try:
            self._connection.send(request)
        except OSError as error:
            raise self._lost() from error

    def reply(self, timeout_s: float) -> Reply | None:
        """The answer, or None if there is none yet. Raises ComputeLostError where the process ended."""
        if self._connection is None:
            raise ComputeLostError("nothing was asked")
        try:
            if not self._connection.poll(timeout_s):
                return None
            reply: Reply = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        self._last_used = time.monotonic()
        return reply

    def interrupt(self) -> None:
        """Abandon training at the next batch; an answer still comes."""
        if self._process is not None and self.pid is not None:
            self._process.send_signal(signal.SIGTERM)

    def rest(self) -> None:
        """End a process that was not needed for a while."""
        if self.pid is not None and time.monotonic() - self._last_used > IDLE_S:
            self.end()

    def end(self) -> None:
        """At once, whatever it does."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self, site: SiteConfig) -> None:
        self.end()
        here, there = socket.socketpair()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        if site.gpu not in ("auto", "none"):
            environment["CUDA_VISIBLE_DEVICES"] = site.gpu
        elif site.gpu == "none":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        elif "CUDA_VISIBLE_DEVICES" in os.environ:
            environment["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"]
        with there:
            # -P: no code from the current folder.
            command = [sys.executable, "-P", "-m", MODULE]
            command += [str(self._site_file), str(there.fileno()), str(site.work)]
            self._process = subprocess.Popen(
                command, pass_fds=[there.fileno()], env=environment, stdin=subprocess.DEVNULL
            )
        self._connection = Connection(here.detach())
        self._last_used = time.monotonic()

    def _lost(self) -> ComputeLostError:
        code: int | None = None
        if self._process is not None:
            try:
                code = self._process.wait(5)
            except subprocess.TimeoutExpired:
                code = None
        self.end()
        if code == -signal.SIGKILL:
            return ComputeLostError("the compute process was killed, as a rule because memory ran out")
        return ComputeLostError(f"the compute process ended with status {code}; site.log may say more")
