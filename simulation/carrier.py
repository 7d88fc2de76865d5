"""How large byte buffers go to workers and back: as they are, through files in shared memory, or through Ray's store.

A carrier is small and picklable; it travels with every task. A buffer that goes to thirteen sites is put once.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any, Protocol


class Carrier(Protocol):
    """Puts buffers where workers can get at them. Handles are picklable."""

    def put(self, data: Any) -> Any: ...

    def get(self, handle: Any, *, last: bool) -> Any:
        """The buffer behind a handle; with `last` nobody else will ask for it."""
        ...

    def drop(self, handle: Any) -> None: ...

    def close(self) -> None: ...


class SameProcess:
    """Nothing to carry."""

    def put(self, data: Any) -> Any:
        return data

    def get(self, handle: Any, *, last: bool) -> Any:  # noqa: ARG002
        return handle

    def drop(self, handle: Any) -> None:
        """Nothing was stored."""

    def close(self) -> None:
        """Nothing was opened."""


class SharedFiles:
    """Files in /dev/shm (or the temporary folder), mapped by the reader: one copy in, none out."""

    def __init__(self) -> None:
        shared = Path("/dev/shm")  # noqa: S108 - the kernel's shared memory, mode 0700 folder inside
        self.folder = Path(tempfile.mkdtemp(prefix="fl-liver-", dir=shared if shared.is_dir() else None))

    def put(self, data: Any) -> str:
        path = self.folder / uuid.uuid4().hex
        with path.open("wb") as file:
            file.write(data)
        return str(path)

    def get(self, handle: str, *, last: bool) -> Any:
        with Path(handle).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            view = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        if last:
            Path(handle).unlink()
        return view

    def drop(self, handle: str) -> None:
        Path(handle).unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
