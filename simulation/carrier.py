"""How large byte buffers go to workers and back: as they are, through files in shared memory, or through Ray's store.

A carrier is small and picklable; it travels with every task. A buffer that goes to thirteen sites is put once.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_FREE = "free"
_RECYCLED_BYTES = 1 << 20
"""Smaller files are removed when read: sums come in many lengths, models in one."""


_PREFIX = "fl-liver-"


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
    """Files in /dev/shm (or the temporary folder), mapped by the reader: one copy in, none out.

    A large file that was read for the last time is written again instead of made anew: fresh pages cost three times the
    copy. It is free only when the last view of it is gone, and views of it in the reader's process stay mapped.
    """

    def __init__(self) -> None:
        shared = Path("/dev/shm")  # noqa: S108 - the kernel's shared memory, mode 0700 folder inside
        place = shared if shared.is_dir() else Path(tempfile.gettempdir())
        _sweep(place)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
        (self.folder / _FREE).mkdir()
        self._mapped: dict[str, mmap.mmap] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Workers get the folder; maps stay here."""
        return {"folder": self.folder, "_mapped": {}}

    def put(self, data: Any) -> str:
        size = memoryview(data).nbytes
        name = self._claim(size)
        if name is None:
            name = f"{size}-{uuid.uuid4().hex}"
            (self.folder / name).touch(0o600, exist_ok=False)
        with (self.folder / name).open("r+b", buffering=0) as file:
            written = file.write(data)
        if written != size:
            raise OSError(
                f"{self.folder}: no room, {written} of {size} bytes written; give /dev/shm more or fewer workers"
            )
        return name

    def get(self, handle: str, *, last: bool) -> Any:
        if not last:
            return memoryview(self._map(handle))
        recycled = int(handle.partition("-")[0]) >= _RECYCLED_BYTES
        mapped = self._mapped.get(handle) or self._map(handle)
        # Every view of a buffer keeps its exporter, here this array: when it goes, nobody reads the file any more.
        exporter = np.frombuffer(mapped, np.uint8)
        if recycled:
            self._mapped[handle] = mapped
            weakref.finalize(exporter, self._free, handle).atexit = False
        else:
            (self.folder / handle).unlink()
        return exporter.data

    def drop(self, handle: str) -> None:
        self._mapped.pop(handle, None)
        (self.folder / handle).unlink(missing_ok=True)

    def close(self) -> None:
        self._mapped.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _map(self, handle: str) -> mmap.mmap:
        with (self.folder / handle).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _claim(self, size: int) -> str | None:
        """A free file of that size, now ours."""
        if size < _RECYCLED_BYTES:
            return None
        for name in os.listdir(self.folder / _FREE):  # noqa: PTH208 - names, in one call
            if name.startswith(f"{size}-"):
                try:
                    (self.folder / _FREE / name).rename(self.folder / name)
                except FileNotFoundError:
                    continue  # another worker was faster
                return name
        return None

    def _free(self, handle: str) -> None:
        with suppress(FileNotFoundError):  # the engine was closed meanwhile
            (self.folder / handle).rename(self.folder / _FREE / handle)


def _sweep(place: Path) -> None:
    """Remove the folders of runs that were killed outright: their memory would stay taken until a restart."""
    for folder in place.glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
