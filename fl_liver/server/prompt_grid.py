"""Flower's Grid of a deployment, made to fetch answers promptly.

It fetches an answer the moment it is announced, when its parts are still on their way, and then sleeps 1 s, 2 s, 4 s, …
for each that is not there: a second for every exchange, and there are hundreds. And it fetches each part through the
SuperLink, 8 s for eleven updates of 45 MB. `fetch_promptly` makes the pauses 50 ms to half a second and reads parts in
the SuperLink's database. Private to Flower (tested with 1.41); where it is not as expected, answers come as
slowly as with Flower alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fl_liver.server.state_database import StateDatabase

log = logging.getLogger("fl_liver.server")
AGAIN_S, LATEST_S, LONGEST_S = 0.05, 0.5, 900.0
"""First pause, longest pause, and after how long a part does not come any more."""
Fetch = Callable[[str], bytes]


def fetch_promptly(run_id: int, database: Path) -> None:
    """For this process, which is that run's; once is enough."""
    try:
        from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError, pull_objects
        from flwr.superlink.grid import http_grid

        grid: Any = http_grid
        grid.pull_objects  # noqa: B018 - whether it is there
    except (ImportError, AttributeError) as error:
        log.warning("Flower's Grid is not as expected (%s): answers are fetched slowly", error)
        return
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

    grid.pull_objects = pull
