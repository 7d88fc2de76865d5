"""What the gateway answers from the SuperLink's database, without the SuperLink: no work yet, and parts of messages.

Eleven hospitals that ask for work four times a second would take half of what the SuperLink can do, and fetching 45 MB
eleven times the rest. So a question for work is held until there is some, or for `HOLD_S`; and a part, which nothing
changes any more, is read from the database. Who asks for a part by its name was handed a message that names it by the
SuperLink, to which its node's key was proved: nobody guesses a SHA-256. Whatever is not understood here, and everything
where the database is not at hand, goes to the SuperLink.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from google.protobuf.message import DecodeError

from fl_liver.server.state_database import StateDatabase

HOLD_S = 4.0
"""Shorter than what proxies and daemons wait for an answer, and than the patience of somebody who stops a daemon."""
_LOOK_S = 0.05
_PARTS, _LARGE = 16, 1 << 20
"""Remembered, of so many bytes or more (up to 5 MiB): hospitals fetch the parts of one model at about the same time."""


class Shortcuts:
    """Bodies of requests in; bodies of answers out, or word that the SuperLink is to be asked."""

    def __init__(self, database: Path | None) -> None:
        """Without a database everything is the SuperLink's."""
        self._database = StateDatabase(database) if database is not None else None
        self._nodes, self._looked = frozenset[int](), 0.0
        self._parts: OrderedDict[tuple[int, str], bytes] = OrderedDict()

    async def nothing_to_do(self, body: bytes, gone: Callable[[], Awaitable[bool]]) -> bool:
        """True where nothing came for the asking node within `HOLD_S`; False where the SuperLink is to be asked.

        Raises:
            ConnectionError: the client is gone; a message that was handed out now would be lost.
        """
        node, end = _node_of(body), time.monotonic() + HOLD_S
        while node is not None and (nodes := self._waiting()) is not None and node not in nodes:
            if time.monotonic() >= end:
                return True
            await asyncio.sleep(_LOOK_S)
        if await gone():
            raise ConnectionError("the client went while it was waiting")
        return False

    def part(self, body: bytes) -> bytes | None:
        """The answer to a request for a part, also that it is still on its way; None: the SuperLink is to be asked."""
        if self._database is None:
            return None
        with contextlib.suppress(DecodeError):
            request = PullObjectRequest.FromString(body)
            key = request.run_id, request.object_id
            if key in self._parts:
                self._parts.move_to_end(key)
                return self._parts[key]
            content = self._database.part(request.run_id, request.object_id)
            if content is not None:
                answer = PullObjectResponse(object_found=True, object_available=bool(content), object_content=content)
                said = bytes(answer.SerializeToString())
                if len(content) >= _LARGE:  # a part has the name of its content: it never changes
                    self._parts[key] = said
                    while len(self._parts) > _PARTS:
                        self._parts.popitem(last=False)
                return said
        return None

    def _waiting(self) -> frozenset[int] | None:
        """Looked up once for all that wait."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            found = self._database.waiting(time.time()) if self._database is not None else None
            if found is None:
                return None
            self._nodes, self._looked = found, now
        return self._nodes


def _node_of(body: bytes) -> int | None:
    with contextlib.suppress(DecodeError):
        return int(PullMessagesRequest.FromString(body).node.node_id) or None
    return None
