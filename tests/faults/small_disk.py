"""A disk that can be filled up: a file system of its own in memory. Needs the right to mount (root, as CI has)."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

FILLER = "filler"


def mounted(folder: Path, size: str) -> bool:
    """Mount `size` ("16m") of memory on an empty folder; False where that is not allowed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def unmount(folder: Path) -> None:
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Inside: not one more byte goes onto the disk of `folder`."""
    filler = folder / FILLER
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for part in (1 << 16, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(part)):
                        pass
        yield
    finally:
        filler.unlink(missing_ok=True)
