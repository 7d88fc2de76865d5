"""Training over rounds with hospitals that are one function: what is asked, what is kept, what a resumed run does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.serverapp import Grid

from fl_liver.errors import IncompleteError, LostRoundError, ProtocolError
from fl_liver.messages import Fit, Refusal, Update
from fl_liver.parameters import Entry, Layout
from fl_liver.securesum.encoding import UpdateCode
from fl_liver.server.checkpoint import Checkpoints, RoundRecord
from fl_liver.server.exchange import Exchange
from fl_liver.server.federation import SUSPECT_LOSS, Federation
from fl_liver.server.journal import Journal
from fl_liver.server.rounds import Opened, PlainRounds, Rounds
from fl_liver.study import Study
from fl_liver.update_code import update_code
from fl_liver.wire import from_record, to_record

MakeGrid = Callable[[Callable[[Message], Message | None]], Grid]
SITES = ("H01", "H02", "H03", "H04")
NODES = {site: 11 + index for index, site in enumerate(SITES)}
LAYOUT = Layout((Entry("w", (6,)),))
GRID = 1e-5
"""Four rounds of fixed-point rounding: 2^-14 a hospital over a weight of 100."""
INITIAL = np.linspace(-1, 1, 6, dtype=np.float32)


def moved(start: np.ndarray[Any, Any], number: int, node: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A deterministic step that depends on hospital and round, and is not linear: order and start matter."""
    there: np.ndarray[Any, np.dtype[np.float32]] = np.tanh(start * np.float32(1 + 0.1 * node) + 0.01 * number)
    return there.astype(np.float32)


def weight_of(node: int) -> int:
    return 10 * (node - 10)


def loss_of(number: int, node: int) -> float:
    return 1.0 / (number + node)


class Room:
    """One federation in `folder`; `asked` is every (round, node), `events` the journal's."""

    def __init__(self, grid: MakeGrid, study: Study, folder: Path, rounds: int = 4) -> None:
        self.study = study.changed(training={"rounds": rounds, "round_timeout_s": 0.5})
        self.folder, self._grid = folder, grid
        self.code = update_code(self.study, LAYOUT)
        self.asked: list[tuple[int, int]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []

    def trained(self, fit: Fit, node: int) -> Update:
        vector = moved(fit.vector, fit.round, node)
        coded, factor = self.code.encode(vector, fit.vector, weight_of(node), loss_of(fit.round, node))
        assert factor == 1
        return Update(fit.round, coded, b"")

    def train(
        self,
        special: Callable[[Fit, int], Update | Refusal | None] | None = None,
        each_round: Any = None,
        wrap: Callable[[Rounds], Rounds] = lambda rounds: rounds,
    ) -> Any:
        reply = special or self.trained

        def answer(message: Message) -> Message | None:
            node = message.metadata.dst_node_id
            fit = from_record(message.content, (Fit,))
            self.asked.append((fit.round, node))
            word = reply(fit, node)
            if word is None:
                return Message(Error(code=13, reason="RuntimeError"), reply_to=message)
            return Message(to_record(word), reply_to=message)

        journal = Journal(self.folder / "journal.jsonl", lambda event, details: self.events.append((event, details)))
        exchange = Exchange(self._grid(answer), NODES, poll_s=0.0)
        rounds = PlainRounds(exchange, self.study, SITES, "train", "run-1", journal)
        checkpoints = Checkpoints(self.folder / "checkpoints", self.study.sha256)
        federation = Federation(self.study, SITES, wrap(rounds), journal)
        return federation.train(checkpoints, (INITIAL, LAYOUT), each_round)


def expected_after(rounds: int, sites: tuple[str, ...] = SITES) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same federation in float64 numpy: the oracle."""
    vector = INITIAL.astype(np.float64)
    for number in range(1, rounds + 1):
        sent = [moved(vector.astype(np.float32), number, NODES[site]) for site in sites]
        vector = np.average(sent, axis=0, weights=[weight_of(NODES[site]) for site in sites])
    return vector


def test_each_round_starts_from_the_mean_of_the_last(local_grid: MakeGrid, table_study: Study, tmp_path: Path) -> None:
    room = Room(local_grid, table_study, tmp_path)
    vector, history = room.train()
    np.testing.assert_allclose(vector, expected_after(4), rtol=1e-5, atol=GRID)
    assert [record.round for record in history] == [1, 2, 3, 4]
    assert all(record.sites_answered == record.sites_expected == 4 for record in history)
    assert room.asked == [(number, node) for number in (1, 2, 3, 4) for node in NODES.values()]
    weights = np.array([10.0, 20, 30, 40])
    losses = [1 / (1 + node) for node in NODES.values()]
    assert history[0].loss == pytest.approx(np.average(losses, weights=weights), abs=1e-5)


def test_an_interrupted_run_goes_on_with_the_same_bits(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    whole, history = Room(local_grid, table_study, tmp_path / "whole").train()
    room = Room(local_grid, table_study, tmp_path / "cut")

    def interrupted(fit: Fit, node: int) -> Update:
        if (fit.round, node) == (3, 13):
            raise KeyboardInterrupt
        return room.trained(fit, node)

    with pytest.raises(KeyboardInterrupt):
        room.train(interrupted)
    room.asked.clear()
    vector, resumed = room.train()
    assert {number for number, _ in room.asked} == {3, 4}, "finished rounds are not asked again"
    assert vector.tobytes() == whole.tobytes()
    assert [(one.round, one.loss) for one in resumed] == [(one.round, one.loss) for one in history]
    assert ("resumed", {"rows": "train", "round": 2}) in room.events


def test_a_finished_run_that_is_resumed_asks_nobody(local_grid: MakeGrid, table_study: Study, tmp_path: Path) -> None:
    room = Room(local_grid, table_study, tmp_path)
    vector, _ = room.train()
    room.asked.clear()
    assert room.train()[0].tobytes() == vector.tobytes()
    assert room.asked == []


def test_a_hospital_that_is_lost_in_a_round_is_missing_there_and_asked_again_in_the_next(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    room = Room(local_grid, table_study, tmp_path, rounds=2)
    vector, history = room.train(lambda fit, node: None if (fit.round, node) == (1, 12) else room.trained(fit, node))
    assert [record.missing for record in history] == [("H02",), ()]
    assert [record.sites_answered for record in history] == [3, 4]
    assert ("warning", {"text": "round 1: H02: transport error 13"}) in room.events
    assert not np.allclose(vector, expected_after(2))


def test_a_refused_update_is_missing_and_its_reason_is_in_the_journal(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    def odd(fit: Fit, node: int) -> Update | Refusal:
        if node == 11:
            return Update(fit.round, np.ones(7, np.uint32), b"")
        return Refusal("TRAINING", 0) if node == 14 and fit.round == 2 else room.trained(fit, node)

    room = Room(local_grid, table_study, tmp_path, rounds=1)
    _, history = room.train(odd)
    assert history[0].missing == ("H01",)
    texts = [details["text"] for event, details in room.events if event == "warning"]
    assert texts == ["round 1: H01: round 1: H01 sent (7,), wanted (10,)"]
    answered = [details["site"] for event, details in room.events if event == "site_answered"]
    assert answered == ["H02", "H03", "H04"]


def test_too_few_answers_end_the_run_and_the_last_checkpoint_stands(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    room = Room(local_grid, table_study, tmp_path)
    with pytest.raises(
        IncompleteError, match=r"round 3: 2 of 4 hospitals answered, wanted at least 3; missing: H03, H04"
    ):
        room.train(lambda fit, node: None if fit.round == 3 and node > 12 else room.trained(fit, node))
    found = Checkpoints(tmp_path / "checkpoints", room.study.sha256).latest()
    assert found is not None
    assert found[1][-1].round == 2
    np.testing.assert_allclose(found[0], expected_after(2), rtol=1e-5, atol=GRID)


def test_the_curve_is_asked_once_a_round_with_that_rounds_mean(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    seen: list[tuple[int, bytes]] = []

    def curve(number: int, vector: np.ndarray[Any, np.dtype[np.float32]]) -> float:
        seen.append((number, vector.tobytes()))
        return 0.5 + number / 100

    vector, history = Room(local_grid, table_study, tmp_path, rounds=2).train(each_round=curve)
    assert [record.internal_auc for record in history] == [0.51, 0.52]
    assert [number for number, _ in seen] == [1, 2]
    assert seen[-1][1] == vector.tobytes()


def test_every_round_is_encoded_with_the_studys_own_code(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    """The coordinator and every hospital derive it from the study and the layout alone."""
    seen: list[tuple[int, UpdateCode]] = []

    class Watched:
        def __init__(self, rounds: Rounds) -> None:
            self._rounds = rounds

        def ask(self, number: int, vector: Any, code: UpdateCode, on_answer: Any) -> Opened:
            seen.append((number, code))
            return self._rounds.ask(number, vector, code, on_answer)

    room = Room(local_grid, table_study, tmp_path, rounds=2)
    room.train(wrap=Watched)
    assert seen == [(1, room.code), (2, room.code)]
    assert room.code.sites == 4


def test_a_sum_that_is_none_of_updates_ends_the_run_and_the_last_checkpoint_stands(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    """One hospital's weight cannot be looked at, that of the sum can."""
    room = Room(local_grid, table_study, tmp_path)

    def heavy(fit: Fit, node: int) -> Update:
        word = room.trained(fit, node)
        if fit.round == 2:
            coded = word.vector.copy()
            coded[6] += 4000
            word = Update(2, coded, b"")
        return word

    with pytest.raises(ProtocolError, match="a total weight of 16100 over 4 hospitals of 1 to 1000 each"):
        room.train(heavy)
    found = Checkpoints(tmp_path / "checkpoints", room.study.sha256).latest()
    assert found is not None
    assert found[1][-1].round == 1


@pytest.mark.parametrize("failing", [1, 4])
def test_training_that_is_not_finite_is_seen_in_the_mean_loss(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path, failing: int
) -> None:
    """Hospitals send the largest loss there is; where all of them do, there is no model to go on with."""
    room = Room(local_grid, table_study, tmp_path, rounds=2)

    def fails(fit: Fit, node: int) -> Update:
        if fit.round == 2 and node > max(NODES.values()) - failing:
            return Update(2, room.code.encode(fit.vector, fit.vector, weight_of(node), 1e9)[0], b"")
        return room.trained(fit, node)

    if failing == 4:
        with pytest.raises(IncompleteError, match=r"round 2: no hospital's training was finite .* of round 1 stands"):
            room.train(fails)
        return
    _, history = room.train(fails)
    assert history[1].loss > SUSPECT_LOSS
    warnings = [details["text"] for event, details in room.events if event == "warning"]
    assert ["counts as 128: ask each to look" in one for one in warnings] == [True]


class Losing:
    """Rounds of which the second was begun before an interruption and cannot be asked again."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds

    def ask(self, number: int, vector: Any, code: UpdateCode, on_answer: Any) -> Opened:
        if number == 2:
            raise LostRoundError("training/train, round 2, sum 0, attempt 0: 2 hospitals swore it off")
        return self._rounds.ask(number, vector, code, on_answer)


def test_a_round_that_is_lost_leaves_the_model_of_the_round_before(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    asked: list[int] = []

    def curve(number: int, _: object) -> float:
        asked.append(number)
        return 0.5

    room = Room(local_grid, table_study, tmp_path, rounds=3)
    vector, history = room.train(wrap=Losing, each_round=curve)
    assert history[1] == RoundRecord(2, 0.0, 4, 0, None, None, SITES)
    assert [(one.round, one.sites_answered) for one in history] == [(1, 4), (2, 0), (3, 4)]
    assert asked == [1, 3], "there is no new model to look at"
    warnings = [details["text"] for event, details in room.events if event == "warning"]
    assert warnings == [
        "round 2 is lost, the model of the round before stands: training/train, round 2, sum 0, attempt 0: 2 hospitals"
        " swore it off"
    ]
    start = expected_after(1)
    third = [moved(start.astype(np.float32), 3, node) for node in NODES.values()]
    weights = [weight_of(node) for node in NODES.values()]
    np.testing.assert_allclose(vector, np.average(third, axis=0, weights=weights), rtol=1e-5, atol=GRID)


def test_a_lost_round_is_not_tried_again_by_a_run_that_goes_on(
    local_grid: MakeGrid, table_study: Study, tmp_path: Path
) -> None:
    room = Room(local_grid, table_study, tmp_path, rounds=3)

    def interrupted(fit: Fit, node: int) -> Update:
        if fit.round == 3:
            raise KeyboardInterrupt
        return room.trained(fit, node)

    with pytest.raises(KeyboardInterrupt):
        room.train(interrupted, wrap=Losing)
    room.asked.clear()
    _, history = room.train()
    assert {number for number, _ in room.asked} == {3}
    assert [one.loss is None for one in history] == [False, True, False]
