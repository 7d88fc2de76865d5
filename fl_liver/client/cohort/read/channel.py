"""Objects over a socket, between a process and the decoders that it started (`decoders`, `worker`)."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_HEAD = struct.Struct("<IQ")
_APART_BYTES = 1 << 16
"""From this size on an array travels beside its pickle: it is not copied into it, nor out of it."""
_MOST_PARTS = 1 << 16


class Channel:
    """One end of a socket. Large arrays arrive writable."""

    def __init__(self, end: socket.socket, most_bytes: int) -> None:
        self._end, self._most_bytes = end, most_bytes

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def send(self, parts: list[Any]) -> None:
        """Send what `pack` made. Raises OSError where the other end is gone."""
        for part in parts:
            self._end.sendall(part)

    def receive(self) -> Any:
        """The next object. Raises EOFError or OSError where the other end is gone or out of its mind."""
        count, size = _HEAD.unpack(self._read(_HEAD.size))
        if count > _MOST_PARTS or size > self._most_bytes:
            raise OSError("a message of impossible length")
        sizes = struct.unpack(f"<{count}Q", self._read(8 * count))
        if sum(sizes) > self._most_bytes:
            raise OSError("a message of impossible length")
        packed = self._read(size)
        return pickle.loads(packed, buffers=[self._read(one) for one in sizes])  # noqa: S301 - from our own process

    def _read(self, size: int) -> bytearray:
        block = bytearray(size)
        left = memoryview(block)
        while left:
            got = self._end.recv_into(left)
            if not got:
                raise EOFError
            left = left[got:]
        return block


def pack(thing: object) -> list[Any]:
    """The parts of a message, pickled; arrays of 64 KiB and more stay where they are."""
    apart: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _APART_BYTES:
            apart.append(raw)
        return raw.nbytes < _APART_BYTES

    packed = pickle.dumps(thing, 5, buffer_callback=keep_inside)
    sizes = struct.pack(f"<{len(apart)}Q", *(one.nbytes for one in apart))
    return [_HEAD.pack(len(apart), len(packed)) + sizes + packed, *apart]
