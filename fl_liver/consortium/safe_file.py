"""Files that are whole or not there, and that only their owner reads. What they mean stands elsewhere."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl_liver import whole_file
from fl_liver.errors import ConfigError

SECRET = whole_file.PRIVATE
PUBLIC = whole_file.READABLE


def write_whole(path: Path, content: bytes | str, mode: int = SECRET) -> None:
    """As `whole_file.write_whole`, on the disk when this returns.

    Raises:
        ConfigError: the folder is missing, full or not writable.
    """
    try:
        whole_file.write_whole(path, content, mode=mode, durable=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error}); look at the folder") from error


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
