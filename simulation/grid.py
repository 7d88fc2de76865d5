"""Flower's Grid in one process: messages go to virtual hospitals through an engine, replies come back as they end.

The ServerApp and ClientApp of a deployment run unchanged on it. This file and `client/fleet.py` are the only ones that
touch Flower's private modules (`TaskIdentity`: a Message cannot be made without it outside a Flower process).
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from fl_liver.errors import FLLiverError, ProtocolError
from simulation.engine import Engine
from simulation.worker import CRASHED, Parcel, VirtualSite, answer_message, pack, reply_to

log = logging.getLogger("fl_liver.simulation")
_PATIENCE_S = 0.2
_AHEAD = 2
"""Messages that wait in the engine behind the running ones: enough that no worker waits, few enough that replies of
45 MB do not pile up faster than they are added."""


@dataclass(slots=True)
class _Broadcast:
    """One record sent to several sites: packed once; `users` are the messages that still need its buffers."""

    record: RecordDict
    parcel: Parcel
    users: set[str]


@dataclass(slots=True)
class _Sent:
    """A message on its way; without `future` it has not been given to the engine yet."""

    message: Message
    site: VirtualSite
    broadcast: _Broadcast
    future: Future[Parcel] | None = None


class SimulationGrid(Grid):
    """A Grid over virtual sites.

    `pull_messages` waits up to 0.2 s for the first reply, so that the server's polling loop needs no sleep of its own.
    """

    def __init__(self, engine: Engine, sites: Iterable[VirtualSite]) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self._engine = engine
        self._sites = {site.node_id: site for site in sites}
        self._numbers = itertools.count(1)
        self._open: dict[str, _Sent] = {}
        self._latest: _Broadcast | None = None

    def set_run(self, run: Any) -> None:
        """There is one run."""

    @property
    def run(self) -> Any:
        raise FLLiverError("a simulation grid has no Flower run object; the study and run folder are in run_config")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        return list(self._sites)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Start the first messages; `pull_messages` starts the others. Those of one record share one copy of it."""
        ids: list[str] = []
        for message in messages:
            site = self._sites.get(message.metadata.dst_node_id)
            if site is None:
                raise ProtocolError(f"no node {message.metadata.dst_node_id} (nodes: {sorted(self._sites)})")
            message_id = f"m{next(self._numbers)}"
            message.metadata.__dict__["_message_id"] = message_id
            self._open[message_id] = _Sent(message, site, self._share(message, message_id))
            ids.append(message_id)
        self._start(ids)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies that are there, after waiting for at least one of them for a moment."""
        asked = [message_id for message_id in message_ids if message_id in self._open]
        if not asked:
            return []
        started = self._start(asked)
        wait(started.values(), timeout=_PATIENCE_S, return_when=FIRST_COMPLETED)
        replies = [self._collect(message_id, future) for message_id, future in started.items() if future.done()]
        self._start(asked)
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """For Flower's own strategies; ours push and pull."""
        ids = self.push_messages(messages)
        end = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while len(replies) < len(ids) and (end is None or time.monotonic() < end):
            replies += self.pull_messages(ids)
        return replies

    def _start(self, message_ids: Iterable[str]) -> dict[str, Future[Parcel]]:
        """Keep the engine busy with these messages; those that are on their way."""
        started: dict[str, Future[Parcel]] = {}
        unsent: list[str] = []
        for message_id in message_ids:
            sent = self._open.get(message_id)
            if sent is not None and sent.future is not None:
                started[message_id] = sent.future
            elif sent is not None:
                unsent.append(message_id)
        for message_id in unsent[: max(0, self._engine.workers + _AHEAD - len(started))]:
            started[message_id] = self._open[message_id].future = self._submit(self._open[message_id])
        return started

    def _submit(self, sent: _Sent) -> Future[Parcel]:
        parcel = Parcel(sent.message.metadata, sent.broadcast.parcel.configs, sent.broadcast.parcel.arrays)
        return self._engine.submit(answer_message, parcel, sent.site, self._engine.carrier)

    def _share(self, message: Message, message_id: str) -> _Broadcast:
        if self._latest is None or self._latest.record is not message.content or not self._latest.users:
            parcel = pack(message.content, message.metadata, self._engine.carrier)
            self._latest = _Broadcast(message.content, parcel, set())
        self._latest.users.add(message_id)
        return self._latest

    def _collect(self, message_id: str, future: Future[Parcel]) -> Message:
        sent = self._open.pop(message_id)
        error = future.exception()
        self._release(sent.broadcast, message_id)
        if error is not None:
            log.error("message %s was not answered", message_id, exc_info=error)
            return Message(Error(code=CRASHED, reason=type(error).__name__), reply_to=sent.message)
        return reply_to(sent.message, future.result(), self._engine.carrier)

    def _release(self, broadcast: _Broadcast, message_id: str) -> None:
        """Once everybody has answered a broadcast, its shared buffers go."""
        broadcast.users.discard(message_id)
        if broadcast.users:
            return
        for arrays in broadcast.parcel.arrays.values():
            for *_, data, carried in arrays.values():
                if carried:
                    self._engine.carrier.drop(data)
