"""Buffers for workers: put once, read without a copy, gone afterwards, also after a run that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from simulation.carrier import SharedFiles


def _place() -> Path:
    shared = Path("/dev/shm")  # noqa: S108 - where the carrier keeps its folder
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def test_a_buffer_comes_back_as_it_was_and_the_last_reader_removes_it() -> None:
    carrier = SharedFiles()
    handle = carrier.put(b"x" * 100_000)
    assert bytes(carrier.get(handle, last=False)) == b"x" * 100_000
    assert bytes(carrier.get(handle, last=True)) == b"x" * 100_000
    assert not Path(handle).exists()
    carrier.close()


def test_the_folder_of_a_killed_run_is_swept_and_that_of_a_living_one_is_kept() -> None:
    """A run that is killed outright cannot tidy up after itself; the next one does."""
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = _place() / f"fl-liver-{dead.stdout.decode().strip()}-test"
    mine = _place() / f"fl-liver-{os.getpid()}-test"
    left.mkdir()
    mine.mkdir()
    try:
        SharedFiles().close()
        assert not left.exists()
        assert mine.exists()
    finally:
        mine.rmdir()
