"""What the gateway answers without the SuperLink: that there is nothing to do yet, and parts that it just passed on.

The SuperLink works off one request after the other, 10 ms each. Eleven hospitals that ask for work four times a second
would take half of that, and the same 45 MB would be read from its database eleven times. So a question for work is
held until there is some, or for `HOLD_S`; and a part (immutable, named by its SHA-256) is fetched once for all.

A held question is looked up in the SuperLink's own database, which is opened for reading. That and the two messages
that are read here are private to Flower (tested with 1.41 and 1.42); whatever is not as expected is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from google.protobuf.message import DecodeError

HOLD_S = 4.0
"""Shorter than what proxies and daemons wait for an answer, and than the patience of somebody who stops a daemon."""
_LOOK_S = 0.05
_KEPT_BYTES, _KEPT_S = 128 << 20, 120.0
_SURE_BYTES = 64 << 10
_WAITING = """
SELECT DISTINCT message_ins.dst_node_id FROM message_ins JOIN objects ON objects.object_id = message_ins.message_id
WHERE message_ins.delivered_at = '' AND message_ins.created_at + message_ins.ttl > ? AND objects.is_available = 1
"""
"""A message is put down last, after its parts: once it is there they can be fetched."""


class Mailbox:
    """Which nodes have a message waiting, from the SuperLink's database."""

    def __init__(self, database: Path | None) -> None:
        """Without a database every question is passed on at once."""
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._nodes, self._looked = frozenset[int](), 0.0

    async def wait(self, body: bytes, gone: Callable[[], Awaitable[bool]]) -> bool:
        """False where nothing came for the asking node within `HOLD_S`; True where the SuperLink is to be asked.

        Raises:
            ConnectionError: the client is gone; a message that was handed out now would be lost.
        """
        node, end = _node_of(body), time.monotonic() + HOLD_S
        while node is not None and (nodes := self._waiting()) is not None and node not in nodes:
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(_LOOK_S)
        if await gone():
            raise ConnectionError("the client went while it was waiting")
        return True

    def _waiting(self) -> frozenset[int] | None:
        """None where the database cannot be read as expected."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return self._nodes
        if self._database is None or not self._database.is_file():
            return None
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True, timeout=0.05)
            rows = self._connection.execute(_WAITING, (time.time(),)).fetchall()
        except sqlite3.Error:
            self.close()
            return None
        # Flower keeps unsigned numbers as signed ones.
        self._nodes, self._looked = frozenset(int(node) % (1 << 64) for (node,) in rows), now
        return self._nodes

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The SuperLink's, whole."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(slots=True)
class PassedOn:
    """Parts of questions, as long as hospitals are fetching them.

    Who asks for a part by its name has been handed a message that names it, or has the part: nobody guesses a SHA-256.
    """

    _kept: OrderedDict[tuple[int, str], tuple[float, Answer]] = field(default_factory=OrderedDict)
    _locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _bytes: int = 0

    async def get(self, body: bytes, fetch: Callable[[], Awaitable[Answer]]) -> Answer:
        """The part that is asked for; `fetch` asks the SuperLink. Raises what `fetch` raises."""
        part = _part_of(body)
        if part is None:
            return await fetch()
        lock = self._locks.setdefault(part, asyncio.Lock())
        async with lock:  # hospitals that ask together wait for one answer
            self._forget()
            if (found := self._kept.get(part)) is not None:
                return found[1]
            answer = await fetch()
            if _is_part(answer):
                self._kept[part] = time.monotonic(), answer
                self._bytes += len(answer.body)
            return answer

    def _forget(self) -> None:
        """What is too old or too much."""
        too_old = time.monotonic() - _KEPT_S
        while self._kept:
            part, (since, answer) = next(iter(self._kept.items()))
            if since > too_old and self._bytes <= _KEPT_BYTES:
                return
            del self._kept[part]
            self._bytes -= len(answer.body)


def _node_of(body: bytes) -> int | None:
    with contextlib.suppress(DecodeError):
        return int(PullMessagesRequest.FromString(body).node.node_id) or None
    return None


def _part_of(body: bytes) -> tuple[int, str] | None:
    with contextlib.suppress(DecodeError):
        request = PullObjectRequest.FromString(body)
        return (int(request.run_id), request.object_id) if request.object_id else None
    return None


def _is_part(answer: Answer) -> bool:
    """Whether a part is in it, and not word that it is still to come."""
    if answer.status != 200:
        return False
    if len(answer.body) > _SURE_BYTES:
        return True
    with contextlib.suppress(DecodeError):
        return bool(PullObjectResponse.FromString(answer.body).object_available)
    return False
