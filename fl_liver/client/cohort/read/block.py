"""Memory that decoders write and their parent reads: the slices of one volume, decoded side by side, without a copy.

    with shared_block(slices * rows * columns * 2) as block:
        list(decoders.map(decode, [(block.name, shape, place, path) for place, path in enumerate(paths)]))
        volume = block.array(shape, np.int16)

and in `decode`: `block_array(name, shape, np.int16)[place] = pixels`.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fl_liver.errors import FLLiverError


@dataclass(frozen=True, slots=True)
class SharedBlock:
    """`name` may be part of an item; it opens the block in a decoder while the `with` lasts."""

    name: str
    buffer: mmap.mmap = field(repr=False)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """The block's beginning as an array, all 0 at first; it may be kept after the `with`."""
        return np.frombuffer(self.buffer, dtype, math.prod(shape)).reshape(shape)


@contextlib.contextmanager
def shared_block(size_bytes: int) -> Iterator[SharedBlock]:
    """A block that decoders can open for the time of a `with`; its memory lives as long as its arrays.

    It is a file without a name in any folder (memfd_create), so that nothing stays behind whoever is killed.
    """
    descriptor = os.memfd_create("fl_liver", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size_bytes)
        # One that a decoder made shorter would end this process with SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        name = f"{os.getpid()}/{descriptor}/{os.fstat(descriptor).st_ino}"
        yield SharedBlock(name, mmap.mmap(descriptor, size_bytes))
    finally:
        os.close(descriptor)


def block_array(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """In a decoder: the beginning of the parent's block as an array; what is written there the parent sees.

    Raises:
        FLLiverError: the block's `with` is over.
    """
    process, number, inode = (int(part) for part in name.split("/"))
    try:
        descriptor = os.open(f"/proc/{process}/fd/{number}", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise FLLiverError("the shared block is not open") from error
    try:
        status = os.fstat(descriptor)
        if status.st_ino != inode:
            raise FLLiverError("the shared block is not open")
        return np.frombuffer(mmap.mmap(descriptor, status.st_size), dtype, math.prod(shape)).reshape(shape)
    finally:
        os.close(descriptor)
