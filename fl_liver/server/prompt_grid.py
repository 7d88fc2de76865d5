"""Flower's Grid of a deployment, made to fetch answers promptly.

It fetches an answer the moment it is announced, when its parts are still on their way, and then sleeps 1 s, 2 s, 4 s, …
for each that is not there: a second for every exchange, and there are hundreds. And it fetches each part through the
SuperLink, 8 s for eleven updates of 45 MB, and asks the SuperLink, which has better to do, whether there are answers.
`fetch_promptly` makes the pauses 50 ms to half a second, and looks for answers and parts in the SuperLink's database.
Private to Flower (tested with 1.41); where it is not as expected, answers come as slowly as with Flower alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
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

    asked = 0.0

    def pull_messages(self: Any, message_ids: Iterable[str]) -> Iterable[Any]:
        nonlocal asked
        names, now = list(message_ids), time.monotonic()
        if now - asked < ASK_S and state.replied(names) is False:
            return []
        asked = now
        fetched: Iterable[Any] = fetch_messages(self, names)
        return fetched

    grid.pull_objects, grid.HttpGrid.pull_messages = pull, pull_messages
    return True
