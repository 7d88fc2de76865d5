"""`fl-liver site run`: one daemon for one folder, with its control socket, until SIGTERM."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from fl_liver.client.control import Control
from fl_liver.client.daemon import Daemon
from fl_liver.client.notify import tell
from fl_liver.errors import ConfigError


def run_daemon(site_file: Path) -> None:
    """In the foreground until SIGTERM or SIGINT, as systemd wants it.

    Raises:
        ConfigError: the folder is not whole, or another daemon runs on it.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("httpx", "httpcore", "flwr"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.umask(0o077)
    daemon = Daemon(site_file)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, daemon.stop)
    with _alone(daemon.site.work), Control(daemon):
        daemon.run()
        tell("STOPPING=1")


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Two daemons on one folder would answer for each other."""
    path = work / "daemon.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            raise ConfigError(f"{path}: a daemon runs on this folder already (process {pid}); stop it first") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)
