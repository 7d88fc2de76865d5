"""`python -m fl_liver.server.superlink_process …`: flower-superlink with less to do for a request, and several at it.

Every request goes through nine layers of middleware, and a body of 5 MiB through each of them in pieces. Six have
nothing to do with what hospitals and runs ask: they are for the Control API, for event logs that need a plugin, and for
tracing that is off. `pass_by` lets requests go round a layer exactly where that layer itself would do nothing; those
that authenticate a node, read a message and turn errors into answers are left alone. Connections to its database are
kept (`keep_connections`), and a request writes into it once instead of three times (`write_less`). All that is kept
stands in that database, so that up to three processes answer side by side (`serve_from_several`).

An exchange with 13 hospitals took 2.2 s on 4 cores and takes 1.4 s. Private to Flower (tested with 1.41); where it is
not as expected, the SuperLink runs as it is.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fl_liver.server.child_process import die_with_parent

log = logging.getLogger("fl_liver.superlink")
THREADS, CACHE_KB, PAGE_BYTES = 40, 8000, 32 << 10
"""As many as the web server has; of a connection's cache; of a page of a new database. Parts of 5 MiB are written and
deleted page by page, while nobody else may write: at SQLite's 4 KiB four times as long."""
PROCESSES = 3 if (os.cpu_count() or 1) >= 4 else 2
"""The gateway and the run need a core too; more than three wait for each other at the database."""
HUNG_S = 15
"""One of them that does not answer the first for so long is replaced (uvicorn's 5 s are short for a busy machine)."""
CLEAN_EVERY_S = 1.0
_CLI = "flwr.superlink.cli.flower_superlink"
_CONTROL = "/v1/control"
Scope = dict[str, Any]


def pass_by(layer: Any, idle: Callable[[Scope], bool]) -> None:
    """Change a middleware class: requests for which it is `idle` go on to what is behind it."""
    through = layer.__call__

    async def call(self: Any, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and idle(scope):
            await self.app(scope, receive, send)
        else:
            await through(self, scope, receive, send)

    layer.__call__ = call


def _no_control(scope: Scope) -> bool:
    return not str(scope["path"]).startswith(_CONTROL)


def _no_event_log(scope: Scope) -> bool:
    return getattr(scope["app"].state, "fleet_event_log_plugin", None) is None


def _no_tracing(_: Scope) -> bool:
    return os.getenv("FLWR_TRACING_ENABLED") != "1"


def open_inner_doors() -> bool:
    """False where Flower is not as expected; nothing is changed then."""
    try:
        from flwr.supercore.routers.runtime.tracing import RuntimeTracingMiddleware
        from flwr.superlink.routers.control import middlewares as control
        from flwr.superlink.routers.fleet.middlewares import FleetEventLogMiddleware

        idle_beyond_control = [
            control.ControlSensitiveResponseMiddleware,
            control.ControlEventLogMiddleware,
            control.ControlLicenseMiddleware,
            control.ControlAuthenticationMiddleware,
        ]
    except (ImportError, AttributeError) as error:
        log.warning("the SuperLink's layers are not as expected (%s): it runs as it is, and slower", error)
        return False
    for layer in idle_beyond_control:
        pass_by(layer, _no_control)
    pass_by(FleetEventLogMiddleware, _no_event_log)
    pass_by(RuntimeTracingMiddleware, _no_tracing)
    return True


def keep_connections() -> bool:
    """False where Flower is not as expected; nothing is changed then.

    Flower keeps five connections to its database and makes any further one anew for each request, with seven settings
    and an empty cache of up to 64 MB. A thread each, with a cache that forty of them can have, costs a fraction. A new
    database gets large pages.
    """
    try:
        from flwr.supercore import sql_mixin

        changed: Any = sql_mixin
        made, settings = changed.create_engine, dict(changed.SQLITE_PRAGMAS)
    except (ImportError, AttributeError, ValueError) as error:
        log.warning("the SuperLink's database is not as expected (%s): it runs as it is, and slower", error)
        return False
    changed.create_engine = partial(made, pool_size=THREADS, max_overflow=THREADS)
    # The size of a page counts only before all else, in a database that is new. Debian's SQLite writes zeros over what
    # is deleted, which takes as long as it took to write it.
    own = {"cache_size": str(-CACHE_KB), "secure_delete": "FAST"}
    changed.SQLITE_PRAGMAS = tuple(({"page_size": str(PAGE_BYTES)} | settings | own).items())
    return True


def write_less() -> bool:
    """False where Flower is not as expected; nothing is changed then.

    Before each answer Flower looks for tasks that died, and after it adds the bytes to the run: two writes beside the
    request's own, each of which waits for all others. The look is taken once a second; the bytes are read by nobody
    here (`audit` and `study watch` count their own).
    """
    try:
        from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
        from flwr.supercore.corestate.sql_corestate import SqlCoreState

        core, link = SqlCoreState, SqlLinkState
        clean, _ = core._cleanup_expired_task_tokens, link.store_traffic
    except (ImportError, AttributeError) as error:
        log.warning("the SuperLink's writes are not as expected (%s): it runs as it is, and slower", error)
        return False
    last = -CLEAN_EVERY_S

    def clean_seldom(state: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= CLEAN_EVERY_S:
            last = now
            clean(state)

    def count_nothing(state: Any, run_id: int, *, bytes_sent: int, bytes_recv: int) -> None:
        """Instead of `store_traffic`."""

    setattr(core, "_cleanup_expired_task_tokens", clean_seldom)  # noqa: B010 - mypy knows them as methods
    setattr(link, "store_traffic", count_nothing)  # noqa: B010
    return True


def serve_from_several(processes: int) -> bool:
    """False where Flower is not as expected; nothing is changed then.

    Flower serves from one process because its gRPC servers would each want the same port; ours has none. The first
    process, which has brought the database up to date, starts the others, watches them, and ends with them.
    """
    try:
        cli = _command_line()
        run, _, _ = cli.uvicorn.run, cli._parse_superlink_lifespan_config, cli.SuperLinkLifespan
    except (ImportError, AttributeError, KeyError) as error:
        log.warning("the SuperLink's start is not as expected (%s): it runs in one process", error)
        return False

    own = {"app": "fl_liver.server.superlink_process:worker_app", "factory": True, "workers": processes}

    def run_several(**keys: Any) -> None:
        run(**{**keys, **own, "timeout_worker_healthcheck": HUNG_S})

    cli.uvicorn.run = run_several
    return True


def worker_app() -> Any:
    """The SuperLink's application in one of several processes; their command line is that of the first."""
    # At once: one that waited for its visitors to leave would keep the port from the SuperLink that is started next.
    die_with_parent(signal.SIGKILL)
    do_less()
    cli = _command_line()
    from flwr.superlink.main import create_app

    return create_app(cli._parse_superlink_lifespan_config(), cli.SuperLinkLifespan)


def _command_line() -> Any:
    """The module; its package shows a function by the same name."""
    importlib.import_module(_CLI)
    return sys.modules[_CLI]


def do_less() -> None:
    """All that makes a request cheaper."""
    open_inner_doors()
    keep_connections()
    write_less()


def main() -> None:
    """With the command line of flower-superlink."""
    do_less()
    serve_from_several(PROCESSES)
    from flwr.superlink.cli.flower_superlink import flower_superlink

    sys.argv[0] = "flower-superlink"
    flower_superlink()


if __name__ == "__main__":
    main()
