"""Flower's Grid of a deployment, made to fetch answers promptly.

It asks the SuperLink, which has better to do, whether there are answers; takes each when it is announced, though its
parts are still on their way; sleeps 1 s, 2 s, 4 s, … for each that is not there; fetches each part through the
SuperLink, 8 s for eleven updates of 45 MB; and waits for the SuperLink to delete what was fetched, 2 s for these.
`fetch_promptly` looks in the SuperLink's database for answers that are whole, and reads their parts there; what was
fetched is deleted meanwhile. Private to Flower (tested with 1.41); where it is not as expected, answers come as slowly
as with Flower alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fl_liver.server.state_database import StateDatabase

log = logging.getLogger("fl_liver.server")
AGAIN_S, LATEST_S, LONGEST_S = 0.05, 0.5, 900.0
"""First pause, longest pause, and after how long a part does not come any more."""
POLL_S, ASK_S = 0.05, 1.0
"""How often the database is looked at for answers, and how often the SuperLink is asked all the same: only when it is
asked does it find that a hospital is offline, or a message too old."""
Fetch = Callable[[str], bytes]


def fetch_promptly(run_id: int, database: Path) -> bool:
    """For this process, which is that run's; once is enough. False where Flower is not as expected."""
    try:
        from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError, pull_objects
        from flwr.superlink.grid import http_grid

        grid: Any = http_grid
        _, fetch_messages = grid.pull_objects, grid.HttpGrid.pull_messages
        confirm = grid.RuntimeHttpClient.ConfirmMessageReceived
    except (ImportError, AttributeError) as error:
        log.warning("Flower's Grid is not as expected (%s): answers are fetched slowly", error)
        return False
    state = StateDatabase(database)

    def from_database(object_id: str, fetch: Fetch) -> bytes:
        content = state.part(run_id, object_id)
        if content is None:
            return fetch(object_id)
        if not content:
            raise ObjectUnavailableError(object_id)
        return content

    def pull(object_ids: list[str], pull_object_fn: Fetch) -> dict[str, bytes]:
        return pull_objects(
            object_ids,
            lambda object_id: from_database(object_id, pull_object_fn),
            max_concurrent_pulls=4,
            max_time=LONGEST_S,
            max_tries_per_object=None,
            initial_backoff=AGAIN_S,
            backoff_cap=LATEST_S,
        )

    asked: dict[str, float] = {}

    def pull_messages(self: Any, message_ids: Iterable[str]) -> Iterable[Any]:
        names, now = list(message_ids), time.monotonic()
        there = state.answers(names)
        if there is not None:
            names = [name for name in names if there.get(name, now - asked.get(name, -ASK_S) >= ASK_S)]
            asked.update(dict.fromkeys(names, now))
            for name in there:
                asked.pop(name, None)  # a run asks tens of thousands
        fetched: Iterable[Any] = fetch_messages(self, names) if names else []
        return fetched

    grid.pull_objects, grid.HttpGrid.pull_messages = pull, pull_messages
    grid.RuntimeHttpClient.ConfirmMessageReceived = _later(confirm)
    return True


def _later(confirm: Callable[..., Any]) -> Callable[..., None]:
    """Confirmations, one by one, while the next answer is read; where one fails, the message goes with its run."""
    thread = ThreadPoolExecutor(1, "confirm")

    def said(done: Future[Any]) -> None:
        if (error := done.exception()) is not None:
            log.warning("an answer that was fetched could not be deleted on the server (%s)", type(error).__name__)

    def confirm_later(*arguments: Any) -> None:
        thread.submit(confirm, *arguments).add_done_callback(said)

    return confirm_later
