"""The layers that requests go round, and Flower's Grid: private to Flower, so that a new one is seen here first."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fl_liver.server.superlink_process import pass_by

LAYERS = """
from fl_liver.server.superlink_process import open_inner_doors
from flwr.superlink import main
before = {middleware.cls: middleware.cls.__call__ for middleware in main._get_middleware()}
assert open_inner_doors()
print(*(kind.__name__ for kind, call in before.items() if kind.__call__ is not call))
print(*(kind.__name__ for kind, call in before.items() if kind.__call__ is call))
"""


def in_a_process(code: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_nothing_goes_round_what_authenticates_reads_and_answers() -> None:
    changed, left = in_a_process(LAYERS)
    assert set(left.split()) == {"BaseHTTPMiddleware", "ProtobufTranslationMiddleware", "NodeAuthMiddleware"}
    assert set(changed.split()) == {
        "ControlSensitiveResponseMiddleware",
        "ControlAuthenticationMiddleware",
        "ControlLicenseMiddleware",
        "ControlEventLogMiddleware",
        "FleetEventLogMiddleware",
        "RuntimeTracingMiddleware",
    }


def test_a_layer_that_is_gone_round_still_begins_with_asking_whether_it_is_idle() -> None:
    """Its own words, on which `pass_by` rests; another Flower may do more in them."""
    from flwr.supercore.routers.runtime.tracing import RuntimeTracingMiddleware
    from flwr.superlink.routers.control import middlewares as control
    from flwr.superlink.routers.fleet.middlewares import FleetEventLogMiddleware

    beyond = "if not _is_control_path(request.url.path)"
    assert 'path.startswith("/v1/control/")' in inspect.getsource(control._is_control_path)
    for kind in (control.ControlEventLogMiddleware, control.ControlAuthenticationMiddleware):
        assert beyond in inspect.getsource(kind.dispatch)
    assert "not _is_control_path(request.url.path):" in inspect.getsource(control.ControlLicenseMiddleware.dispatch)
    sensitive = inspect.getsource(control.ControlSensitiveResponseMiddleware.dispatch)
    assert sensitive.count("response") == 5, "it changes headers of sensitive control routes only"
    assert "if plugin is None or" in inspect.getsource(FleetEventLogMiddleware.dispatch)
    assert 'os.getenv("FLWR_TRACING_ENABLED") != "1"' in inspect.getsource(RuntimeTracingMiddleware.dispatch)


@pytest.mark.parametrize(("path", "through"), [("/v1/fleet/push-object", False), ("/v1/control/start-run", True)])
def test_a_request_goes_round_a_layer_exactly_where_it_is_idle(path: str, through: bool) -> None:
    class Layer:
        async def app(self, *_: Any) -> None:
            seen.append("behind")

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append("layer")
            await self.app(scope, receive, send)

    seen: list[str] = []
    pass_by(Layer, lambda scope: not scope["path"].startswith("/v1/control"))
    asyncio.run(Layer()({"type": "http", "path": path}, None, None))
    assert seen == (["layer", "behind"] if through else ["behind"])
    seen.clear()
    asyncio.run(Layer()({"type": "lifespan"}, None, None))
    assert seen == ["layer", "behind"], "the layer sees the server begin and end"


GRID = """
import sys, time, inspect
from pathlib import Path
from fl_liver.server.prompt_grid import fetch_promptly
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError
from flwr.superlink.grid import http_grid
source = inspect.getsource(http_grid.HttpGrid.pull_messages)
assert fetch_promptly(7, Path(sys.argv[1]))
calls = []
def one(name):
    calls.append(name)
    if len(calls) < 4:
        raise ObjectUnavailableError(name)
    return b"from the SuperLink"
began = time.monotonic()
found = http_grid.pull_objects(object_ids=["aa", "zz"], pull_object_fn=one)
print(time.monotonic() - began)
print(found)
print(calls)
assert source.count("pull_objects(") == 1 and "object_ids=" in source and "pull_object_fn=" in source
"""


def test_flowers_grid_reads_parts_in_the_database_and_fetches_the_others_with_our_pauses(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE objects (object_id, is_available, content)")
        connection.execute("CREATE TABLE run_objects (run_id, object_id)")
        connection.execute("INSERT INTO objects VALUES ('aa', 1, x'01')")
        connection.execute("INSERT INTO run_objects VALUES (7, 'aa')")
    seconds, found, calls = in_a_process(GRID, str(path))
    assert float(seconds) < 1.5, "Flower's own pauses make 7 s"
    assert ast.literal_eval(found) == {"aa": b"\x01", "zz": b"from the SuperLink"}
    assert ast.literal_eval(calls) == ["zz"] * 4


ANSWERS = """
import sys, time
from pathlib import Path
from flwr.superlink.grid import http_grid
from fl_liver.server import prompt_grid
asked, deleted = [], []
http_grid.HttpGrid.pull_messages = lambda self, message_ids: asked.append(message_ids) or ["an answer"]
http_grid.RuntimeHttpClient.ConfirmMessageReceived = lambda self, name: time.sleep(0.2) or deleted.append(name)
prompt_grid.ASK_S = 0.5
assert prompt_grid.fetch_promptly(7, Path(sys.argv[1]))
grid = object.__new__(http_grid.HttpGrid)
pull = lambda *names: print(list(grid.pull_messages(iter(names))), asked[-1])
pull("silent")   # the first question is always the SuperLink's
pull("silent", "other")
pull("silent", "whole")
pull("coming", "silent")
pull("fetched")
time.sleep(0.6)
pull("silent", "coming")   # the one may have gone offline, of the other something came
http_grid.RuntimeHttpClient.ConfirmMessageReceived(None, "whole")
print(deleted)
time.sleep(0.4)
print(deleted)
"""


def test_the_superlink_is_asked_for_answers_that_are_whole_and_for_the_silent_once_in_a_while(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE message_res (message_id, reply_to_message_id, delivered_at)")
        connection.execute("CREATE TABLE object_children (parent_id, child_id)")
        connection.execute("CREATE TABLE objects (object_id, is_available)")
        rows = [("w", "whole", ""), ("c", "coming", ""), ("f", "fetched", "yesterday")]
        connection.executemany("INSERT INTO message_res VALUES (?, ?, ?)", rows)
        connection.executemany("INSERT INTO object_children VALUES (?, ?)", [("w", "x"), ("x", "y"), ("c", "z")])
        connection.executemany("INSERT INTO objects VALUES (?, ?)", [("w", 1), ("x", 1), ("y", 1), ("c", 1), ("z", 0)])
    said = in_a_process(ANSWERS, str(path))
    assert said[:-2] == [
        "['an answer'] ['silent']",
        "['an answer'] ['other']",
        "['an answer'] ['whole']",
        "[] ['whole']",
        "['an answer'] ['fetched']",
        "['an answer'] ['silent']",
    ]
    assert said[-2:] == ["[]", "['whole']"], "nobody waits for the deletion"
    assert in_a_process(ANSWERS, str(tmp_path / "none.db"))[3] == "['an answer'] ['coming', 'silent']", "all without it"


CONNECTIONS = """
import os, sys
from fl_liver.server.superlink_process import CACHE_KB, PAGE_BYTES, THREADS, keep_connections
assert keep_connections()
from flwr.supercore import sql_mixin
engine = sql_mixin.create_engine("sqlite:///" + sys.argv[1])
sql_mixin.event.listen(engine, "connect", sql_mixin._set_sqlite_pragmas)
with engine.connect() as connection:
    say = lambda pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
    print(say("cache_size") == -CACHE_KB, engine.pool.size() == THREADS)
    print(*map(say, ("journal_mode", "foreign_keys", "secure_delete")))
    connection.exec_driver_sql("CREATE TABLE one (of_them)")
    print(say("page_size") == PAGE_BYTES)
"""


def test_flowers_database_keeps_a_connection_for_each_thread_and_all_its_other_settings(tmp_path: Path) -> None:
    assert in_a_process(CONNECTIONS, str(tmp_path / "state.db")) == ["True True", "wal 1 2", "True"]


WRITES = """
import inspect
from types import SimpleNamespace
from fl_liver.server import superlink_process
from flwr.supercore.corestate.sql_corestate import SqlCoreState
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.superlink.servicer.fleet import fleet_handlers
calls = []
SqlCoreState._cleanup_expired_task_tokens = lambda state: calls.append(now)
assert superlink_process.write_less()
state = object.__new__(SqlLinkState)
superlink_process.time = SimpleNamespace(monotonic=lambda: now)
for now in (7.0, 7.1, 7.9, 8.0, 8.5, 9.5, 9.6):
    state._cleanup_expired_task_tokens()
print(calls)
print(state.store_traffic(1, bytes_sent=1, bytes_recv=1))
print(inspect.getsource(fleet_handlers).count("state.store_traffic("))
"""


def test_flower_looks_for_dead_tasks_once_in_a_while_and_counts_no_bytes() -> None:
    looks, counted, uses = in_a_process(WRITES)
    assert looks == "[7.0, 8.0, 9.5]", "at once, and then at most once a second"
    assert counted == "None", "as the handlers use it: for its effect"
    assert int(uses) > 0


SEVERAL = """
import sys
from fl_liver.server import superlink_process
cli_name = "flwr.superlink.cli.flower_superlink"
from flwr.superlink.cli import flower_superlink
import inspect
asked = []
sys.modules[cli_name].uvicorn.run = lambda **keys: asked.append(keys)
assert superlink_process.serve_from_several(3)
source = inspect.getsource(sys.modules[cli_name]._run_superlink_http_api)
assert source.count("uvicorn.run(") == 1 and "app=" in source
sys.modules[cli_name].uvicorn.run(app=object(), host="127.0.0.1", port=1, workers=1)
print(asked)
"""


def test_several_processes_serve_one_superlink_with_its_own_settings() -> None:
    (asked,) = in_a_process(SEVERAL)
    assert ast.literal_eval(asked) == [
        {
            "app": "fl_liver.server.superlink_process:worker_app",
            "factory": True,
            "host": "127.0.0.1",
            "port": 1,
            "workers": 3,
            "timeout_worker_healthcheck": 15,
        }
    ]
