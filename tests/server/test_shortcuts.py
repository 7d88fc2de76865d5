"""What the gateway answers by itself: when it does, and that it is what the SuperLink would have answered."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.proto.node_pb2 import Node

from fl_liver.server import shortcuts
from fl_liver.server.shortcuts import Shortcuts
from fl_liver.server.state_database import StateDatabase

NODE = (1 << 63) + 5
"""Flower keeps it as a negative number."""


def asks(node: int = NODE) -> bytes:
    return bytes(PullMessagesRequest(node=Node(node_id=node)).SerializeToString())


def part(name: str = "aa", run: int = 7) -> bytes:
    return bytes(PullObjectRequest(node=Node(node_id=NODE), run_id=run, object_id=name).SerializeToString())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The columns of Flower's tables that are read; `tests/server/test_gateway.py` has Flower's own."""
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE message_ins (message_id, dst_node_id, created_at, ttl, delivered_at)")
        connection.execute("CREATE TABLE objects (object_id, is_available, content)")
        connection.execute("CREATE TABLE run_objects (run_id, object_id)")
    return path


def put(database: Path, *, available: int = 1, delivered: str = "", node: int = NODE, ttl: float = 60.0) -> None:
    with sqlite3.connect(database) as connection:
        row = ("m", node - (1 << 64) if node >= 1 << 63 else node, time.time(), ttl, delivered)
        connection.execute("INSERT INTO message_ins VALUES (?, ?, ?, ?, ?)", row)
        connection.execute("INSERT INTO objects VALUES ('m', ?, 'x')", (available,))


async def _there() -> bool:
    return False


def waited(database: Path | None, gone: Callable[[], Awaitable[bool]] = _there) -> tuple[bool, float]:
    """Whether the SuperLink is to be asked, and after how many seconds."""
    began = time.monotonic()
    return not asyncio.run(Shortcuts(database).nothing_to_do(asks(), gone)), time.monotonic() - began


@pytest.fixture(autouse=True)
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "HOLD_S", 0.4)


def test_a_question_is_held_while_there_is_nothing_and_then_answered_with_nothing(database: Path) -> None:
    asked, seconds = waited(database)
    assert not asked
    assert 0.4 <= seconds < 1.5
    assert PullMessagesResponse.FromString(b"").messages_list == [], "an empty body is that answer"


def test_a_message_that_comes_is_passed_on_at_once(database: Path) -> None:
    threading.Timer(0.15, put, [database]).start()
    asked, seconds = waited(database)
    assert asked
    assert seconds < 0.39


@pytest.mark.parametrize(
    "not_for_it", [{"available": 0}, {"delivered": "yesterday"}, {"node": 12}, {"ttl": -1.0}], ids=str
)
def test_a_message_that_cannot_be_taken_now_is_none(database: Path, not_for_it: dict[str, object]) -> None:
    """Its parts are on their way, it was taken, it is another's, or nobody waits any more."""
    put(database, **not_for_it)  # type: ignore[arg-type]
    assert not waited(database)[0]


@pytest.mark.parametrize("body", [b"", b"\xff\xff", asks(0)], ids=["empty", "nonsense", "nobody"])
def test_a_question_that_is_not_understood_is_the_superlinks_to_answer(database: Path, body: bytes) -> None:
    async def ask() -> bool:
        return not await Shortcuts(database).nothing_to_do(body, _there)

    assert asyncio.run(ask())


def test_without_a_database_as_expected_everything_is_passed_on(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE messages (id)")
    (tmp_path / "text").write_text("no database at all, but long enough to be one " * 40)
    for database in (None, tmp_path / "absent", other, tmp_path / "text"):
        asked, seconds = waited(database)
        assert (asked, seconds < 0.3) == (True, True), database


def test_a_client_that_went_gets_no_message(database: Path) -> None:
    """The SuperLink hands a message out once: nobody would have it."""

    async def went() -> bool:
        return True

    put(database)
    with pytest.raises(ConnectionError):
        waited(database, gone=went)


def kept(database: Path, name: str, *, content: bytes = b"part", available: int = 1, run: int = 7) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO objects VALUES (?, ?, ?)", (name, available, content))
        connection.execute("INSERT INTO run_objects VALUES (?, ?)", (run - (1 << 64) if run >= 1 << 63 else run, name))


def told(database: Path | None, body: bytes) -> tuple[bool, bytes] | None:
    """(available, content) of the gateway's answer; None where it leaves it to the SuperLink."""
    answer = Shortcuts(database).part(body)
    if answer is None:
        return None
    found = PullObjectResponse.FromString(answer)
    assert found.object_found
    return found.object_available, found.object_content


RUN = (1 << 63) + 9


def test_a_part_is_read_as_the_superlink_would_give_it(database: Path) -> None:
    kept(database, "aa", content=bytes(range(256)) * 20_000)
    kept(database, "bb", run=RUN)
    kept(database, "cc", available=0, content=b"")
    assert told(database, part("aa")) == (True, bytes(range(256)) * 20_000)
    assert told(database, part("bb", RUN)) == (True, b"part")
    assert told(database, part("cc")) == (False, b""), "it is on its way"


def test_a_large_part_is_read_once_for_all_hospitals_and_few_are_remembered(database: Path) -> None:
    gateway, large = Shortcuts(database), bytes(1 << 20)
    names = [f"{number:02}" for number in range(20)]
    for name in names:
        kept(database, name, content=large)
    kept(database, "small")
    answers = {name: gateway.part(part(name)) for name in [*names, "small"]}
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM objects")
    remembered = [name for name, answer in answers.items() if gateway.part(part(name)) == answer]
    assert remembered == names[-16:]


@pytest.mark.parametrize("body", [part("zz"), part("aa", 8), part(""), b"", b"\xff\xff"], ids=str)
def test_a_part_that_is_not_of_that_run_is_the_superlinks_to_refuse(database: Path, body: bytes) -> None:
    kept(database, "aa")
    assert told(database, body) is None


def test_a_part_is_read_while_the_superlink_writes(database: Path) -> None:
    """A reader that waited for a lock would hold up every hospital."""
    kept(database, "aa")
    with sqlite3.connect(database, isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM objects")
        began = time.monotonic()
        assert told(database, part("aa")) == (True, b"part")
        assert time.monotonic() - began < 0.5
        writer.execute("COMMIT")
    assert told(database, part("aa")) is None


def test_the_database_cannot_be_changed_through_it(database: Path) -> None:
    state = StateDatabase(database)
    assert state._rows("DELETE FROM objects") is None
    assert state.waiting(time.time()) == frozenset()
    kept(database, "aa")
    assert state._rows("DELETE FROM objects") is None
    assert state.part(7, "aa") == b"part"
