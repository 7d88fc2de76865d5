"""A round in the clear: the weighted mean, the same bits in any order of arrival, and every update that it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.serverapp import Grid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.errors import IncompleteError, ProtocolError, TrainingError
from fl_liver.messages import Fit, Refusal, Update
from fl_liver.securesum import encoding
from fl_liver.securesum.encoding import UpdateCode
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.rounds import Opened, PlainRounds, check_update
from fl_liver.study import Study
from fl_liver.wire import from_record, to_record

MakeGrid = Callable[[Callable[[Message], Message | None]], Grid]
SITES = ("H01", "H02", "H03", "H04", "H05")
NODES = {site: 11 + index for index, site in enumerate(SITES)}
NAMES = {node: site for site, node in NODES.items()}
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Trained:
    """What a hospital of these tests trained."""

    vector: NDArray[np.float32]
    weight: int
    loss: float


def code_of(size: int) -> UpdateCode:
    return UpdateCode((), size, len(SITES), 200, 20.0)


def start_of(size: int) -> NDArray[np.float32]:
    return np.linspace(-1, 1, size, dtype=np.float32)


def trainings(size: int = 7, seed: int = 1) -> dict[str, Trained]:
    """Every hospital moves by at most 20 / √size in each entry: nothing is clipped."""
    draw = np.random.default_rng(seed)
    step = 10 / np.sqrt(size)
    return {
        site: Trained(
            (start_of(size) + draw.uniform(-step, step, size)).astype(np.float32),
            int(draw.integers(1, 200)),
            float(draw.uniform(0.1, 2)),
        )
        for site in SITES
    }


def update_of(one: Trained, number: int = 1) -> Update:
    size = len(one.vector)
    return Update(number, code_of(size).encode(one.vector, start_of(size), one.weight, one.loss)[0], b"")


class Room:
    """Five hospitals that answer in `order`; who is not in it is lost. `heard` is every question."""

    def __init__(self, grid: MakeGrid, study: Study, folder: Path) -> None:
        self.study = study.changed(sites={"train": list(SITES), "external": []}, training={"round_timeout_s": 5.0})
        self.folder, self._grid = folder, grid
        self.heard: list[Fit] = []
        self.told: list[str] = []
        self.warnings: list[str] = []

    def ask(
        self, words: dict[str, Update | Refusal], order: Sequence[str] = SITES, number: int = 1, size: int = 7
    ) -> Opened:
        waiting = list(order)

        def answer(message: Message) -> Message | None:
            site = NAMES[message.metadata.dst_node_id]
            if site not in order:
                return Message(Error(code=13, reason="RuntimeError"), reply_to=message)
            if waiting[0] != site:
                return None
            waiting.pop(0)
            self.heard.append(from_record(message.content, (Fit,)))
            return Message(to_record(words[site]), reply_to=message)

        journal = Journal(self.folder / "journal.jsonl", lambda _, details: self.warnings.append(details["text"]))
        exchange = Exchange(self._grid(answer), NODES, poll_s=0.0)
        rounds = PlainRounds(exchange, self.study, SITES, "not-fold-2", "run-1", journal)
        return rounds.ask(number, start_of(size), code_of(size), self.told.append)


@pytest.fixture
def room(local_grid: MakeGrid, plain_study: Study, tmp_path: Path) -> Room:
    return Room(local_grid, plain_study, tmp_path)


def mean_of(opened: Opened, size: int) -> tuple[NDArray[np.float32], float]:
    return code_of(size).decode(opened.total, start_of(size), len(opened.answered))


def near_the_mean(opened: Opened, sent: dict[str, Trained]) -> None:
    """numpy's weighted mean in float64 is the oracle; the grid of the code is all that may lie between."""
    used = [sent[site] for site in opened.answered]
    size, weights = len(used[0].vector), [one.weight for one in used]
    vector, loss = mean_of(opened, size)
    vectors = np.stack([one.vector.astype(np.float64) for one in used])
    grid = code_of(size).step * len(used) / 2 / sum(weights)
    np.testing.assert_allclose(vector, np.average(vectors, axis=0, weights=weights), rtol=2e-6, atol=grid + 1e-6)
    # The grid of w · loss is 2^-14 with these hospitals and weights.
    assert loss == pytest.approx(np.average([one.loss for one in used], weights=weights), abs=2.0**-14 * len(used))


@pytest.mark.parametrize("size", [1, 7, encoding._BLOCK - 1, encoding._BLOCK, 2 * encoding._BLOCK + 3])
def test_the_mean_is_numpys_weighted_mean(room: Room, size: int) -> None:
    """Also across the edges of the blocks in which it is encoded."""
    sent = trainings(size)
    opened = room.ask({site: update_of(one) for site, one in sent.items()}, size=size)
    near_the_mean(opened, sent)
    assert (opened.answered, opened.missing) == (SITES, ())
    assert opened.total.dtype == np.uint32


def test_everybody_is_asked_the_same_about_this_round_and_these_rows(room: Room) -> None:
    room.ask({site: update_of(one, 3) for site, one in trainings().items()}, number=3)
    slots = {fit.slot for fit in room.heard}
    assert len(slots) == 1
    slot = slots.pop()
    assert (slot.study, slot.run, slot.purpose) == (room.study.sha256, "run-1", "training/not-fold-2")
    assert (slot.round, slot.sum, slot.attempt) == (3, 0, 0)
    assert [(fit.announced, fit.abandoned) for fit in room.heard] == [({}, {})] * 5
    assert {fit.vector.tobytes() for fit in room.heard} == {start_of(7).tobytes()}


@same_folder
@given(order=st.permutations(SITES))
def test_the_order_of_arrival_does_not_change_a_bit(room: Room, order: list[str]) -> None:
    """Addition of floats is not associative: with integers engines agree, and masked sums with plain ones."""
    words: dict[str, Update | Refusal] = {site: update_of(one) for site, one in trainings(101).items()}
    fixed, found = room.ask(words, size=101), room.ask(words, order, size=101)
    assert found.total.tobytes() == fixed.total.tobytes()
    assert found.answered == fixed.answered
    assert room.told[-5:] == order, "whoever watches hears of them as they come"


@same_folder
@given(order=st.permutations(SITES), gone=st.sets(st.sampled_from(SITES), min_size=0, max_size=5))
def test_whoever_drops_out_the_mean_is_that_of_the_others(room: Room, order: list[str], gone: set[str]) -> None:
    sent = trainings(33)
    words: dict[str, Update | Refusal] = {site: update_of(one) for site, one in sent.items()}
    left = tuple(site for site in SITES if site not in gone)
    arrivals = [site for site in order if site not in gone]
    if len(left) < 3:
        with pytest.raises(IncompleteError, match=rf"{len(left)} of 5 hospitals answered, wanted at least 3"):
            room.ask(words, arrivals, size=33)
        return
    opened = room.ask(words, arrivals, size=33)
    near_the_mean(opened, sent)
    assert opened.answered == left
    assert opened.missing == tuple(site for site in SITES if site in gone)
    assert opened.total.tobytes() == room.ask(words, left, size=33).total.tobytes()


def test_below_the_floor_nothing_is_opened_and_the_missing_are_named(room: Room) -> None:
    words: dict[str, Update | Refusal] = {site: update_of(one, 4) for site, one in trainings().items()}
    with pytest.raises(
        IncompleteError,
        match=r"^round 4: 2 of 5 hospitals answered, wanted at least 3; missing: H01, H03, H04$",
    ):
        room.ask(words, ("H05", "H02"), number=4)


NO_UPDATE = "H01: Update: field 'vector' is a ndarray, which it must not be"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Update(2, np.ones(11, np.uint32), b""), "H01: round 1: H01 answered round 2"),
        (Update(1, np.ones(10, np.uint32), b""), "H01: round 1: H01 sent (10,), wanted (11,)"),
        (Update(1, np.ones((1, 11), np.uint32), b""), NO_UPDATE),
        (Update(1, np.ones(11, np.uint64), b""), NO_UPDATE),
        (Update(1, np.ones(11, np.float32), b""), NO_UPDATE),
        (Refusal("TRAINING", 0), "H01: refused, TRAINING"),
    ],
    ids=["another round", "too short", "another shape", "64 bits", "floats", "refused"],
)
def test_an_update_that_does_not_fit_is_refused_and_leaves_no_trace(
    room: Room, wrong: Update | Refusal, reason: str
) -> None:
    words: dict[str, Update | Refusal] = {site: update_of(one) for site, one in trainings().items()}
    opened = room.ask(words | {"H01": wrong})
    assert (opened.answered, opened.missing) == (SITES[1:], ("H01",))
    assert room.told == [*SITES[1:]]
    assert room.warnings == [f"round 1: {reason}"]
    assert opened.total.tobytes() == room.ask(words, SITES[1:]).total.tobytes()


@pytest.mark.parametrize("weight", [0, -3, 201])
def test_a_weight_out_of_range_has_no_encoding(weight: int) -> None:
    """The server does not look at one hospital's weight, so that the hospital's own code must refuse it."""
    with pytest.raises(ProtocolError, match=f"with weight {weight}, wanted .* and a weight of 1 to 200"):
        update_of(Trained(start_of(7), weight, 0.5))


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_has_no_encoding(loss: float) -> None:
    with pytest.raises(TrainingError, match="the loss is not finite; nothing is sent"):
        update_of(Trained(start_of(7), 3, loss))


def test_a_weight_of_two_is_two_equal_hospitals(room: Room) -> None:
    start = start_of(3)
    same, other = start + np.array([1, 2, 3], np.float32), start + np.array([5, 5, 5], np.float32)
    words: dict[str, Any] = {
        site: update_of(Trained(vector, weight, loss))
        for site, vector, weight, loss in (("H01", same, 2, 1.0), ("H02", other, 1, 4.0), ("H03", other, 1, 4.0))
    }
    opened = room.ask(words, ("H01", "H02", "H03"), size=3)
    vector, loss = mean_of(opened, 3)
    np.testing.assert_allclose(vector, (same + other) / 2, rtol=1e-6)
    assert loss == 2.5


def test_an_update_is_checked_before_anything_is_done_with_it() -> None:
    check_update("H01", Update(1, np.ones(4, np.uint32), b""), 1, 4)
    with pytest.raises(ProtocolError, match="round 2: H01 answered round 1"):
        check_update("H01", Update(1, np.ones(4, np.uint32), b""), 2, 4)
    with pytest.raises(ProtocolError, match=r"round 1: H01 sent \(4,\), wanted \(5,\)"):
        check_update("H01", Update(1, np.ones(4, np.uint32), b""), 1, 5)
