"""Files that are whole or not there, and that only their owner reads. What they mean stands elsewhere."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl_liver.errors import ConfigError

SECRET = 0o600
PUBLIC = 0o644


def write_whole(path: Path, content: bytes | str, mode: int = SECRET) -> None:
    """Write beside `path`, sync, rename: a crash leaves the old file or the new one.

    Raises:
        ConfigError: the folder is missing, full or not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.chmod(mode)  # a umask may have taken bits away; never adds any that `mode` lacks
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error}); look at the folder") from error


def sync_folder(folder: Path) -> None:
    """Make a rename in it last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(path: Path) -> None:
    """Make `path` with mode 0700; an empty one is made so.

    Raises:
        ConfigError: it holds files already and others may enter it, or it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            if any(path.iterdir()):
                raise ConfigError(
                    f"{path}: holds files, and others than its owner may enter; run `chmod 700` on it, or name a folder"
                    " that does not exist yet"
                )
            path.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{path}: no folder can be made here ({error.strerror or error})") from error


def read_private(path: Path) -> bytes:
    """The content of a secret.

    Raises:
        ConfigError: it is not there, or others than its owner may read it.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others than its owner may read it; run `chmod 600` on it")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One command at a time changes what is in `folder`; the next one waits.

    Raises:
        ConfigError: no such folder.
    """
    try:
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, SECRET)
    except OSError as error:
        raise ConfigError(f"{folder}: not a folder that can be written ({error.strerror or error})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # closing does not free it where a child process was forked meanwhile
        os.close(file)
