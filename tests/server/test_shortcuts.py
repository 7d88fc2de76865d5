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
from fl_liver.server.shortcuts import Answer, Mailbox, PassedOn

NODE = (1 << 63) + 5
"""Flower keeps it as a negative number."""


def asks(node: int = NODE) -> bytes:
    return bytes(PullMessagesRequest(node=Node(node_id=node)).SerializeToString())


def part(name: str = "aa", run: int = 7) -> bytes:
    return bytes(PullObjectRequest(node=Node(node_id=NODE), run_id=run, object_id=name).SerializeToString())


def given(content: bytes, *, available: bool = True) -> Answer:
    body = PullObjectResponse(object_found=True, object_available=available, object_content=content)
    return Answer(200, [], bytes(body.SerializeToString()))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The columns of Flower's tables that are read; `tests/server/test_gateway.py` has Flower's own."""
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE message_ins (message_id, dst_node_id, created_at, ttl, delivered_at)")
        connection.execute("CREATE TABLE objects (object_id, is_available)")
    return path


def put(database: Path, *, available: int = 1, delivered: str = "", node: int = NODE, ttl: float = 60.0) -> None:
    with sqlite3.connect(database) as connection:
        row = ("m", node - (1 << 64) if node >= 1 << 63 else node, time.time(), ttl, delivered)
        connection.execute("INSERT INTO message_ins VALUES (?, ?, ?, ?, ?)", row)
        connection.execute("INSERT INTO objects VALUES ('m', ?)", (available,))


async def _there() -> bool:
    return False


def waited(mailbox: Mailbox, body: bytes = b"", gone: Callable[[], Awaitable[bool]] = _there) -> tuple[bool, float]:
    """What it says, and after how many seconds."""
    began = time.monotonic()
    return asyncio.run(mailbox.wait(body or asks(), gone)), time.monotonic() - began


@pytest.fixture(autouse=True)
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "HOLD_S", 0.4)


def test_a_question_is_held_while_there_is_nothing_and_then_answered_with_nothing(database: Path) -> None:
    asked, seconds = waited(Mailbox(database))
    assert not asked
    assert 0.4 <= seconds < 1.5
    assert PullMessagesResponse.FromString(b"").messages_list == [], "an empty body is that answer"


def test_a_message_that_comes_is_passed_on_at_once(database: Path) -> None:
    threading.Timer(0.15, put, [database]).start()
    asked, seconds = waited(Mailbox(database))
    assert asked
    assert seconds < 0.39


@pytest.mark.parametrize(
    "not_for_it", [{"available": 0}, {"delivered": "yesterday"}, {"node": 12}, {"ttl": -1.0}], ids=str
)
def test_a_message_that_cannot_be_taken_now_is_none(database: Path, not_for_it: dict[str, object]) -> None:
    """Its parts are on their way, it was taken, it is another's, or nobody waits any more."""
    put(database, **not_for_it)  # type: ignore[arg-type]
    assert not waited(Mailbox(database))[0]


@pytest.mark.parametrize("body", [b"", b"\xff\xff", asks(0)], ids=["empty", "nonsense", "nobody"])
def test_a_question_that_is_not_understood_is_the_superlinks_to_answer(database: Path, body: bytes) -> None:
    async def ask() -> bool:
        return await Mailbox(database).wait(body, _there)

    assert asyncio.run(ask())


def test_without_a_database_as_expected_everything_is_passed_on(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE messages (id)")
    (tmp_path / "text").write_text("no database at all, but long enough to be one " * 40)
    for database in (None, tmp_path / "absent", other, tmp_path / "text"):
        asked, seconds = waited(Mailbox(database))
        assert (asked, seconds < 0.3) == (True, True), database


def test_a_client_that_went_gets_no_message(database: Path) -> None:
    """The SuperLink hands a message out once: nobody would have it."""

    async def went() -> bool:
        return True

    put(database)
    with pytest.raises(ConnectionError):
        waited(Mailbox(database), gone=went)


class SuperLinkSide:
    """Counts what reaches it."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self) -> Answer:
        self.asked += 1
        await asyncio.sleep(0.02)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_hospitals_that_fetch_a_part_together_cost_the_superlink_one_request() -> None:
    side, passed_on = SuperLinkSide(given(b"x" * 100_000)), PassedOn()

    async def all_of_them() -> list[Answer]:
        return await asyncio.gather(*(passed_on.get(part(), side) for _ in range(11)))

    answers = asyncio.run(all_of_them())
    assert side.asked == 1
    assert {answer.body for answer in answers} == {given(b"x" * 100_000).body}


def test_word_that_a_part_is_still_to_come_or_an_error_is_not_kept() -> None:
    wrong = Answer(403, [], b"x" * 100_000)
    side = SuperLinkSide(given(b"", available=False), wrong, OSError("cut"), given(b"part"))
    passed_on = PassedOn()

    async def four_times() -> list[object]:
        found: list[object] = []
        for _ in range(5):
            try:
                found.append(await passed_on.get(part(), side))
            except OSError as error:
                found.append(str(error))
        return found

    assert asyncio.run(four_times()) == [given(b"", available=False), wrong, "cut", given(b"part"), given(b"part")]
    assert side.asked == 4


def test_the_same_name_in_another_run_is_another_part() -> None:
    side, passed_on = SuperLinkSide(given(b"part")), PassedOn()

    async def both() -> None:
        await passed_on.get(part(run=7), side)
        await passed_on.get(part(run=8), side)
        await passed_on.get(b"\xff", side)

    asyncio.run(both())
    assert side.asked == 3


def test_what_is_kept_stays_below_its_bound_and_goes_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "_KEPT_BYTES", 1000)
    side, passed_on = SuperLinkSide(given(b"x" * 300)), PassedOn()

    async def many() -> None:
        for number in range(20):
            await passed_on.get(part(str(number)), side)
            assert passed_on._bytes <= 1000 + 2 * 310
        monkeypatch.setattr(shortcuts, "_KEPT_S", 0.0)
        await passed_on.get(part("last"), side)
        assert len(passed_on._kept) == 1

    asyncio.run(many())
