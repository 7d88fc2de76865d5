"""Questions over a Grid that loses, delays, spoils and refuses: every site ends in exactly one place, in time."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.messages import Done, Fit, Incoming, Prepare, Refusal, SiteFailure, Update
from fl_liver.securesum.context import Slot
from fl_liver.server import exchange
from fl_liver.server.exchange import Answers, Exchange
from fl_liver.wire import from_record, to_record

NODES = {"H01": 11, "H02": 12, "H03": 13}
MakeGrid = Callable[[Callable[[Message], Message | None]], Grid]


def reply(message: Message, content: Done | Refusal | Update) -> Message:
    return Message(to_record(content), reply_to=message)


def ask(grid: Grid, timeout_s: float = 5.0) -> Answers[Done]:
    return Exchange(grid, NODES, poll_s=0.01).ask(Prepare("s"), ("H01", "H02", "H03"), Done, timeout_s=timeout_s)


def at(node: int, special: Callable[[Message], Message | None]) -> Callable[[Message], Message | None]:
    return lambda message: special(message) if message.metadata.dst_node_id == node else reply(message, Done(0))


def test_all_answer(local_grid: MakeGrid) -> None:
    answers = ask(local_grid(lambda message: reply(message, Done(message.metadata.dst_node_id))))
    assert answers.answered == {"H01": Done(11), "H02": Done(12), "H03": Done(13)}
    assert (answers.refused, answers.lost, answers.why_not()) == ({}, {}, "")


def test_a_reply_that_never_comes_is_lost_at_the_deadline_and_not_later(local_grid: MakeGrid) -> None:
    began = time.monotonic()
    answers = ask(local_grid(at(12, lambda _: None)), timeout_s=0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert answers.lost == {"H02": "no reply within 0 s"}
    assert set(answers.answered) == {"H01", "H03"}


def test_without_a_missing_reply_nobody_waits_for_the_deadline(local_grid: MakeGrid) -> None:
    began = time.monotonic()
    ask(local_grid(at(99, lambda _: None)), timeout_s=60)
    assert time.monotonic() - began < 5


def test_a_late_answer_is_taken_before_the_deadline(local_grid: MakeGrid) -> None:
    ready = time.monotonic() + 0.2
    answers = ask(local_grid(at(13, lambda message: reply(message, Done(1)) if time.monotonic() > ready else None)))
    assert answers.answered["H03"] == Done(1)
    assert not answers.lost


def test_a_transport_error_is_lost_by_its_code_alone(local_grid: MakeGrid) -> None:
    """Flower puts the text of an exception into the reason; a server's report must not repeat it."""
    grid = local_grid(
        at(11, lambda message: Message(Error(code=13, reason="KeyError: 'Ziegenpeter'"), reply_to=message))
    )
    answers = ask(grid)
    assert answers.lost == {"H01": "transport error 13"}
    assert "Ziegenpeter" not in answers.why_not()


def test_a_refusal_is_kept_apart_with_its_code(local_grid: MakeGrid) -> None:
    answers = ask(local_grid(at(12, lambda message: reply(message, Refusal("DATA", 4)))))
    assert answers.refused == {"H02": Refusal("DATA", 4)}
    assert answers.why_not() == "H02: refused, DATA"


def test_an_answer_of_the_wrong_kind_is_lost_with_the_reason(local_grid: MakeGrid) -> None:
    update = Update(1, np.zeros(2, np.uint32), b"")
    answers = ask(local_grid(at(13, lambda message: reply(message, update))))
    assert answers.lost == {"H03": "message is a Update, wanted Done or Refusal"}


def test_a_record_that_is_not_ours_is_lost_and_ends_nothing(local_grid: MakeGrid) -> None:
    answers = ask(local_grid(at(13, lambda message: Message(RecordDict(), reply_to=message))))
    assert answers.lost["H03"].startswith("message cannot be read")
    assert set(answers.answered) == {"H01", "H02"}


def test_the_clause_names_every_site_that_did_not_answer(local_grid: MakeGrid) -> None:
    replies: dict[int, Callable[[Message], Message | None]] = {
        11: lambda message: reply(message, Refusal("CONSENT", 0)),
        12: lambda _: None,
        13: lambda message: Message(Error(code=2, reason=""), reply_to=message),
    }
    answers = ask(local_grid(lambda message: replies[message.metadata.dst_node_id](message)), timeout_s=1.0)
    assert answers.why_not() == "H01: refused, CONSENT; H02: no reply within 1 s; H03: transport error 2"


def test_answers_are_handed_over_and_not_kept(local_grid: MakeGrid) -> None:
    got: list[tuple[str, Done]] = []
    answers = Exchange(local_grid(at(99, lambda _: None)), NODES, poll_s=0.0).ask(
        Prepare("s"), ("H02", "H03"), Done, timeout_s=5, on_answer=lambda site, word: got.append((site, word))
    )
    assert sorted(got) == [("H02", Done(0)), ("H03", Done(0))]
    assert answers.answered == {}


def test_an_answer_that_the_receiver_refuses_is_lost_with_its_reason(local_grid: MakeGrid) -> None:
    def picky(site: str, _: Done) -> None:
        if site == "H02":
            raise ProtocolError("round 1: H02 sent weight 0")

    answers = Exchange(local_grid(at(99, lambda _: None)), NODES, poll_s=0.0).ask(
        Prepare("s"), tuple(NODES), Done, timeout_s=5, on_answer=picky
    )
    assert answers.lost == {"H02": "round 1: H02 sent weight 0"}


def test_training_goes_to_the_train_handler_and_everything_to_the_named_nodes(local_grid: MakeGrid) -> None:
    grid: Any = local_grid(lambda message: reply(message, Done(0)))
    one = Exchange(grid, NODES, poll_s=0.0)
    fit = Fit(Slot("s", "run-1", "training/train", 1, 0), np.zeros(2, np.float32), {}, {})
    one.ask(fit, ("H03", "H01"), Done, timeout_s=7)
    one.ask(Prepare("s"), ("H02",), Done, timeout_s=7)
    sent: list[Message] = list(grid.sent.values())
    heads = [(m.metadata.message_type, m.metadata.dst_node_id, m.metadata.ttl) for m in sent]
    assert heads == [("train", 13, 7), ("train", 11, 7), ("query", 12, 7)]
    assert sent[0].content is sent[1].content, "one record for all sites: a broadcast is packed once"
    assert from_record(sent[0].content, (Fit,)).rows == "train"


def test_each_site_may_be_asked_something_else(local_grid: MakeGrid) -> None:
    """Shares of a masked sum are another box for every hospital."""

    def answer(message: Message) -> Message:
        heard = from_record(message.content, (Prepare,)).study_sha256
        return reply(message, Done(len(heard)))

    grid: Any = local_grid(answer)
    exchange = Exchange(grid, NODES, poll_s=0.0)
    questions: dict[str, Incoming] = {"H03": Prepare("abc"), "H01": Prepare("a"), "H99": Prepare("abcd")}
    answers = exchange.ask_each(questions, Done, timeout_s=7)
    assert answers.answered == {"H01": Done(1), "H03": Done(3)}
    assert answers.lost == {"H99": "no such node"}
    assert [message.metadata.message_type for message in grid.sent.values()] == ["query", "query"]


def test_a_reply_that_comes_twice_or_to_nothing_that_was_asked_counts_for_nobody(local_grid: MakeGrid) -> None:
    """A second answer would be added twice to a sum; a stranger's was not asked for."""
    grid: Any = local_grid(lambda message: reply(message, Done(message.metadata.dst_node_id)))
    pull, strangers = grid.pull_messages, local_grid(lambda message: reply(message, Done(99)))
    stray: Any = strangers
    foreign = Message(to_record(Prepare("s")), 99, "query")
    foreign.metadata.__dict__["_message_id"] = "m77"
    stray.sent["m77"] = foreign
    grid.pull_messages = lambda ids: [*pull(ids), *pull(ids), *stray.pull_messages(["m77"])]
    got: list[tuple[str, Done]] = []
    answers = Exchange(grid, NODES, poll_s=0.0).ask(
        Prepare("s"), tuple(NODES), Done, timeout_s=5, on_answer=lambda site, word: got.append((site, word))
    )
    assert sorted(got) == [("H01", Done(11)), ("H02", Done(12)), ("H03", Done(13))]
    assert answers == Answers()


def test_a_site_that_could_not_be_sent_to_is_lost_and_not_forgotten(local_grid: MakeGrid) -> None:
    """Flower gives an empty id for a message that it could not push."""
    grid: Any = local_grid(lambda message: reply(message, Done(0)))
    push = grid.push_messages
    grid.push_messages = lambda messages: ["", *push(list(messages)[1:])]
    answers = ask(grid)
    assert set(answers.answered) == {"H02", "H03"}
    assert "H01" in answers.lost
    assert "H01" in answers.why_not()


def test_a_site_without_a_node_is_lost_and_the_others_are_asked(local_grid: MakeGrid) -> None:
    """A hospital that is not connected must not end the run of all others."""
    exchange = Exchange(local_grid(at(99, lambda _: None)), {"H01": 11, "H02": 12}, poll_s=0.0)
    answers = exchange.ask(Prepare("s"), tuple(NODES), Done, timeout_s=5)
    assert set(answers.answered) == {"H01", "H02"}
    assert set(answers.lost) == {"H03"}


def test_nobody_asked_is_nobody_waited_for(local_grid: MakeGrid) -> None:
    answers = Exchange(local_grid(lambda _: None), NODES).ask(Prepare("s"), (), Done, timeout_s=60)
    assert answers == Answers()


def test_an_answer_that_was_handed_over_is_gone_before_the_next_is_fetched(local_grid: MakeGrid) -> None:
    """Thirteen updates of 45 MB never stand in memory together."""
    made: list[weakref.ref[Any]] = []
    heard: list[str] = []

    def answer(message: Message) -> Message:
        assert [one() is None for one in made] == [True] * len(heard)
        vector = np.zeros(4, np.uint32)
        made.append(weakref.ref(vector))
        return reply(message, Update(1, vector, b""))

    grid: Any = local_grid(answer)
    pull = grid.pull_messages
    grid.pull_messages = lambda ids: pull(ids[:1])
    fit = Fit(Slot("s", "run-1", "training/train", 1, 0), np.zeros(2, np.float32), {}, {})
    Exchange(grid, NODES, poll_s=0.0).ask(
        fit, tuple(NODES), Update, timeout_s=7, on_answer=lambda site, _: heard.append(site)
    )
    assert len(made) == len(heard) == 3


def flaky(codes: dict[int, list[int]]) -> Callable[[Message], Message]:
    """Each node answers its next message with the error codes in turn, then with Done."""
    seen: dict[str, Message] = {}

    def answer(message: Message) -> Message:
        name = message.metadata.message_id
        if name not in seen:
            left = codes.get(message.metadata.dst_node_id, [])
            error = Error(code=left.pop(0), reason="") if left else None
            seen[name] = Message(error, reply_to=message) if error is not None else reply(message, Done(0))
        return seen[name]

    return answer


def test_a_site_that_was_away_or_lost_the_message_is_asked_again_in_the_same_words(
    local_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5: the server does not see the node; 14: its daemon was restarted in between; 13 is a defect, and no accident."""
    monkeypatch.setattr(exchange, "_AGAIN_S", 0.05)
    grid: Any = local_grid(flaky({12: [5, 5, int(SiteFailure.LOST)], 13: [int(SiteFailure.CRASHED)]}))
    answers = Exchange(grid, NODES, poll_s=0.01, patience_s=30).ask(Prepare("s"), tuple(NODES), Done, timeout_s=30)
    assert set(answers.answered) == {"H01", "H02"}
    assert answers.lost == {"H03": "transport error 13"}
    sent = [message for message in grid.sent.values() if message.metadata.dst_node_id == 12]
    assert len(sent) == 4
    assert len({id(message.content) for message in sent}) == 1
    assert all(one.metadata.ttl > two.metadata.ttl for one, two in pairwise(sent))


def test_a_site_that_stays_away_costs_the_patience_and_no_more(
    local_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_AGAIN_S", 0.05)
    began = time.monotonic()
    answers = Exchange(local_grid(flaky({12: [5] * 10_000})), NODES, poll_s=0.01, patience_s=0.5).ask(
        Prepare("s"), tuple(NODES), Done, timeout_s=60
    )
    assert 0.4 < time.monotonic() - began < 5
    assert answers.lost == {"H02": "transport error 5"}
    began = time.monotonic()
    Exchange(local_grid(flaky({12: [5] * 10_000})), NODES, poll_s=0.01, patience_s=30).ask(
        Prepare("s"), tuple(NODES), Done, timeout_s=60, again=False
    )
    assert time.monotonic() - began < 5


def test_nodes_are_looked_up_at_each_question(local_grid: MakeGrid) -> None:
    """A hospital that is registered anew while a run goes on has another node."""
    nodes = dict(NODES)
    grid: Any = local_grid(lambda message: reply(message, Done(message.metadata.dst_node_id)))
    one = Exchange(grid, lambda: nodes, poll_s=0.0)
    assert one.ask(Prepare("s"), ("H01",), Done, timeout_s=5).answered == {"H01": Done(11)}
    nodes["H01"] = 77
    assert one.ask(Prepare("s"), ("H01",), Done, timeout_s=5).answered == {"H01": Done(77)}
    del nodes["H01"]
    assert one.ask(Prepare("s"), ("H01",), Done, timeout_s=5).lost == {"H01": "no such node"}


class AwayError(Exception):
    """As Flower's ObjectPushError: private to it, and not an error of ours."""


def test_a_superlink_that_is_away_for_a_while_costs_no_run(
    local_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed in the middle of a push, and again before a pull; it comes back with its database."""
    monkeypatch.setattr(exchange, "_AGAIN_S", 0.01)
    grid: Any = local_grid(lambda message: reply(message, Done(0)))
    for name in ("push_messages", "pull_messages"):
        monkeypatch.setattr(grid, name, away_twice(getattr(grid, name)))
    answers = Exchange(grid, NODES, poll_s=0.0, patience_s=30).ask(Prepare("s"), tuple(NODES), Done, timeout_s=30)
    assert set(answers.answered) == set(NODES)


def test_a_superlink_that_stays_away_ends_the_run_with_what_to_do(
    local_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_AGAIN_S", 0.05)
    grid: Any = local_grid(lambda message: reply(message, Done(0)))
    monkeypatch.setattr(grid, "push_messages", away_twice(grid.push_messages, times=10_000))
    with pytest.raises(IncompleteError, match=r"did not answer for 0 s \(AwayError\); .*`fl-liver study resume`"):
        Exchange(grid, NODES, poll_s=0.0, patience_s=0.2).ask(Prepare("s"), tuple(NODES), Done, timeout_s=30)
    with pytest.raises(AwayError):
        ask(grid)


def away_twice(real: Callable[[Any], list[Any]], times: int = 2) -> Callable[[Any], list[Any]]:
    left = [times]

    def do(what: Any) -> list[Any]:
        if left[0]:
            left[0] -= 1
            raise AwayError
        return real(what)

    return do
