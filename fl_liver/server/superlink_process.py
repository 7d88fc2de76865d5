"""`python -m fl_liver.server.superlink_process …`: flower-superlink, with less to do for each request.

Every request goes through nine layers of middleware, and a body of 5 MiB through each of them in pieces. Six have
nothing to do with what hospitals and runs ask: they are for the Control API, for event logs that need a plugin, and for
tracing that is off. `pass_by` lets requests go round a layer exactly where that layer itself would do nothing; those
that authenticate a node, read a message and turn errors into answers are left alone. And connections to its database
are kept (`keep_connections`).

Private to Flower (tested with 1.41); where it is not as expected, the SuperLink runs as it is.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

log = logging.getLogger("fl_liver.superlink")
THREADS, CACHE_KB = 40, 8000
"""As many as the web server has; of each connection's cache."""
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
    and an empty cache of up to 64 MB. A thread each, with a cache that forty of them can have, costs a fraction.
    """
    try:
        from flwr.supercore import sql_mixin

        changed: Any = sql_mixin
        made, settings = changed.create_engine, dict(changed.SQLITE_PRAGMAS)
    except (ImportError, AttributeError, ValueError) as error:
        log.warning("the SuperLink's database is not as expected (%s): it runs as it is, and slower", error)
        return False
    changed.create_engine = partial(made, pool_size=THREADS, max_overflow=THREADS)
    changed.SQLITE_PRAGMAS = tuple((settings | {"cache_size": str(-CACHE_KB)}).items())
    return True


def main() -> None:
    """With the command line of flower-superlink."""
    open_inner_doors()
    keep_connections()
    from flwr.superlink.cli.flower_superlink import flower_superlink

    sys.argv[0] = "flower-superlink"
    flower_superlink()


if __name__ == "__main__":
    main()
