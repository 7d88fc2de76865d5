"""Files that are whole or not there: a crash while one is written leaves the old one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE = 0o600
READABLE = 0o644


@contextmanager
def instead_of(path: Path, *, mode: int = PRIVATE, durable: bool = False) -> Iterator[Path]:
    """A new empty file to write; it takes the place of `path` when the block ends, and is gone where that raises.

    durable: forced to the disk, name and all, against a power cut.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        part.chmod(mode)  # a umask may have taken bits away
        yield part
        if durable:
            sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if durable:
        sync(path.parent)


def write_whole(path: Path, content: bytes | str, *, mode: int = PRIVATE, durable: bool = False) -> None:
    """All of `content` or nothing; see `instead_of`."""
    with instead_of(path, mode=mode, durable=durable) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
