"""Before the first round: who can take part, why the others cannot, and when there are too few."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error, Message
from flwr.serverapp import Grid

from fl_liver.errors import IncompleteError
from fl_liver.messages import Ready, Refusal
from fl_liver.server import enrolment
from fl_liver.server.enrolment import Participants, gather
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.study import Study
from fl_liver.wire import to_record

MakeGrid = Callable[[Callable[[Message], Message | None]], Grid]
NODES = {f"H{number:02d}": 10 + number for number in range(1, 8)}
NAMES = {node: name for name, node in NODES.items()}


def card(site: str, named: bool = True) -> Ready:
    role = "external" if site == "H05" else "train"
    figures = {"patients": 40, "positives": 20, "excluded": 1, "images": 160} if named else None
    return Ready(site, "0.1.0", role, named, figures)


def gathered(
    grid: MakeGrid, study: Study, folder: Path, special: dict[str, Refusal | Ready | None]
) -> tuple[Participants, list[tuple[str, dict[str, Any]]]]:
    events: list[tuple[str, dict[str, Any]]] = []

    def answer(message: Message) -> Message:
        site = NAMES[message.metadata.dst_node_id]
        word = special.get(site, card(site))
        if word is None:
            return Message(Error(code=13, reason="RuntimeError: Anna"), reply_to=message)
        return Message(to_record(word), reply_to=message)

    journal = Journal(folder / "journal.jsonl", lambda event, details: events.append((event, details)))
    return gather(Exchange(grid(answer), NODES, poll_s=0.0), study, journal), events


def test_everybody_is_ready(local_grid: MakeGrid, table_study: Study, tmp_path: Path) -> None:
    participants, events = gathered(local_grid, table_study, tmp_path, {})
    assert participants.training(table_study) == ("H01", "H02", "H03", "H04")
    assert participants.external(table_study) == ("H05",)
    assert participants.incomplete(table_study) is None
    assert [details["site"] for event, details in events if event == "site_ready"] == list(table_study.every_site)


def test_who_is_out_is_named_with_the_reason(local_grid: MakeGrid, table_study: Study, tmp_path: Path) -> None:
    participants, events = gathered(
        local_grid, table_study, tmp_path, {"H02": Refusal("DATA", 3), "H05": None, "H03": card("H03", named=False)}
    )
    assert participants.training(table_study) == ("H01", "H03", "H04")
    assert participants.external(table_study) == ()
    assert participants.named() == ("H01", "H04")
    assert participants.out == {"H02": "refused, DATA", "H05": "transport error 13"}
    assert (
        participants.incomplete(table_study)
        == "3 of 5 hospitals took part; out: H02 (refused, DATA); H05 (transport error 13)"
    )
    assert [details for event, details in events if event == "site_out"] == [
        {"site": "H02", "reason": "refused, DATA"},
        {"site": "H05", "reason": "transport error 13"},
    ]
    assert "Anna" not in (tmp_path / "journal.jsonl").read_text()


def test_too_few_training_hospitals_end_the_run_with_the_reasons(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    """The external one does not count towards the floor."""
    with pytest.raises(
        IncompleteError,
        match=r"study tiny_table: 2 of 4 training hospitals can take part, wanted at least 3; .*H01 \(refused, DATA\);"
        r" H04 \(refused, BELOW_FLOOR\); each hospital's own log says why",
    ):
        gathered(local_grid, table_study, tmp_path, {"H01": Refusal("DATA", 0), "H04": Refusal("BELOW_FLOOR", 0)})


SEVEN = tuple(f"H{number:02d}" for number in range(1, 8))


@pytest.mark.parametrize(
    ("secure_sum", "min_sites", "away", "wanted"),
    [("masked", 3, 2, None), ("masked", 3, 3, 5), ("masked", 6, 2, 6), ("plain", 3, 4, None), ("plain", 3, 5, 3)],
)
def test_a_masked_study_wants_more_than_two_thirds_of_its_training_hospitals(
    local_grid: MakeGrid,
    table_study: Study,
    tmp_path: Path,
    secure_sum: str,
    min_sites: int,
    away: int,
    wanted: int | None,
) -> None:
    """With fewer no round could be opened: that is told before the first one, and not after an hour of it."""
    study = table_study.changed(
        sites={"train": SEVEN, "external": []}, privacy={"secure_sum": secure_sum, "min_sites": min_sites}
    )
    special: dict[str, Refusal | Ready | None] = {site: Refusal("DATA", 0) for site in SEVEN[:away]}
    if wanted is None:
        participants, _ = gathered(local_grid, study, tmp_path, special)
        assert participants.training(study) == SEVEN[away:]
        return
    with pytest.raises(
        IncompleteError, match=f"{7 - away} of 7 training hospitals can take part, wanted at least {wanted};"
    ):
        gathered(local_grid, study, tmp_path, special)


def test_those_that_are_not_ready_are_asked_again_until_all_are(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has not approved yet, one is not online; neither is asked more often than it takes, the others once."""
    monkeypatch.setattr(enrolment, "_SOON_S", 0.05)
    monkeypatch.setattr(enrolment, "_TICK_S", 0.01)
    asked: Counter[str] = Counter()
    late: dict[str, list[Refusal | Error]] = {
        "H02": [Refusal("NOT_APPROVED", 0), Refusal("NOT_APPROVED", 0)],
        "H05": [Error(code=5, reason="")],
    }

    def answer(message: Message) -> Message:
        site = NAMES[message.metadata.dst_node_id]
        asked[site] += 1
        word = late[site].pop(0) if late.get(site) else card(site)
        return Message(word if isinstance(word, Error) else to_record(word), reply_to=message)

    events: list[tuple[str, str]] = []
    journal = Journal(tmp_path / "journal.jsonl", lambda event, details: events.append((event, details["site"])))
    exchange = Exchange(local_grid(answer), NODES, poll_s=0.0, patience_s=90)
    participants = gather(exchange, table_study, journal, wait_s=30)
    assert participants.incomplete(table_study) is None
    assert asked == {"H01": 1, "H02": 3, "H03": 1, "H04": 1, "H05": 2}
    assert events[:2] == [("site_waiting", "H02"), ("site_waiting", "H05")]  # said once, not at each question
    assert [site for event, site in events[2:] if event == "site_ready"] == list(table_study.every_site)


def test_when_the_wait_is_over_enough_hospitals_go_on_without_the_others(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "_SOON_S", 0.05)
    monkeypatch.setattr(enrolment, "_TICK_S", 0.01)

    def answer(message: Message) -> Message:
        site = NAMES[message.metadata.dst_node_id]
        word = Refusal("NOT_APPROVED", 0) if site in away else card(site)
        return Message(to_record(word), reply_to=message)

    exchange, journal = Exchange(local_grid(answer), NODES, poll_s=0.0), Journal(tmp_path / "journal.jsonl")
    away = {"H02"}
    began = time.monotonic()
    assert gather(exchange, table_study, journal, wait_s=0.5).out == {"H02": "refused, NOT_APPROVED"}
    assert 0.5 <= time.monotonic() - began < 5
    away = {"H02", "H03"}
    with pytest.raises(IncompleteError, match="2 of 4 training hospitals can take part, wanted at least 3"):
        gather(exchange, table_study, journal, wait_s=0.3)


def test_a_cohort_that_is_refused_is_not_read_again_every_few_seconds(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "_TICK_S", 0.01)
    asked: Counter[str] = Counter()

    def answer(message: Message) -> Message:
        site = NAMES[message.metadata.dst_node_id]
        asked[site] += 1
        return Message(to_record(Refusal("DATA", 0) if site == "H02" else card(site)), reply_to=message)

    exchange, journal = Exchange(local_grid(answer), NODES, poll_s=0.0), Journal(tmp_path / "journal.jsonl")
    gather(exchange, table_study, journal, wait_s=0.5)
    assert asked["H02"] == 1
