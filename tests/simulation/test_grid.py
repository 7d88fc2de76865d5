"""The in-process Grid: the deployment's messages over an engine, the same answers on each, nothing left behind."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from numpy.typing import NDArray

from fl_liver.errors import FLLiverError, ProtocolError
from fl_liver.messages import Done, Fit, Prepare, Update
from fl_liver.securesum.context import Slot
from fl_liver.server.exchange import Exchange
from fl_liver.wire import to_record
from simulation.carrier import Carrier, SharedFiles
from simulation.engine import Engine, ProcessEngine, SerialEngine
from simulation.grid import SimulationGrid
from simulation.worker import CRASHED, SMALL_BYTES, VirtualSite
from tests.simulation.worker_tasks import CANARY

APP = "tests.simulation.worker_tasks:app"
SITES = ("H01", "H02", "H03")
NODES = {name: 101 + index for index, name in enumerate(SITES)}
SMALL, LARGE = 8, SMALL_BYTES  # numbers of four bytes: below and above what travels inside the task


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessEngine]:
    engine = ProcessEngine(2)
    yield engine
    engine.close()


@pytest.fixture(params=["serial", "processes"])
def engine(request: pytest.FixtureRequest, pool: ProcessEngine) -> Engine:
    return pool if request.param == "processes" else SerialEngine()


@pytest.fixture(autouse=True)
def site_log_as_it_was() -> Iterator[None]:
    log = logging.getLogger("fl_liver.site")
    before = log.propagate, log.level
    yield
    log.propagate, log.level = before


def fit(vector: NDArray[np.float32], number: int = 1) -> Fit:
    return Fit(Slot("s", "run-1", "training/train", number, 0), vector, {}, {})


def grid_of(engine: Engine, folder: Path) -> SimulationGrid:
    return SimulationGrid(engine, [VirtualSite(node, str(folder / name), "cpu", APP) for name, node in NODES.items()])


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_every_site_gets_the_vector_and_its_answer_comes_back(engine: Engine, tmp_path: Path, size: int) -> None:
    vector = np.random.default_rng(1).uniform(0, 1, size).astype(np.float32)
    exchange = Exchange(grid_of(engine, tmp_path), NODES, poll_s=0.0)
    answers = exchange.ask(fit(vector, 3), SITES, Update, timeout_s=60)
    assert answers.why_not() == ""
    for site in SITES:
        assert answers.answered[site].vector.tobytes() == (vector + np.float32(1)).tobytes()
        assert answers.answered[site].round == 3


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_vector_that_a_site_sends_back_untouched_arrives_whole(engine: Engine, tmp_path: Path, size: int) -> None:
    """It is a view of the broadcast's own buffer, which goes once everybody has answered."""
    vector = -np.arange(1, size + 1, dtype=np.float32)
    exchange = Exchange(grid_of(engine, tmp_path), NODES, poll_s=0.0)
    for number in (1, 2):
        answers = exchange.ask(fit(vector * number, number), SITES, Update, timeout_s=60)
        assert [one.vector.tobytes() for one in answers.answered.values()] == [(vector * number).tobytes()] * 3


def files(carrier: Carrier) -> int:
    assert isinstance(carrier, SharedFiles)
    return len([path for path in carrier.folder.rglob("*") if path.is_file()])


def test_after_an_exchange_no_buffer_is_left_in_shared_memory(pool: ProcessEngine, tmp_path: Path) -> None:
    exchange = Exchange(grid_of(pool, tmp_path), NODES, poll_s=0.0)
    for number in (1, 2):
        exchange.ask(fit(np.ones(LARGE, np.float32), number), SITES, Update, timeout_s=60)
        assert files(pool.carrier) == 0


def test_rounds_of_a_large_model_do_not_fill_shared_memory(pool: ProcessEngine, tmp_path: Path) -> None:
    """Thirteen sites × 45 MB × fifteen rounds would; its files are used again."""
    exchange = Exchange(grid_of(pool, tmp_path), NODES, poll_s=0.0)
    kept = exchange.ask(fit(np.zeros(1 << 18, np.float32)), SITES, Update, timeout_s=60)
    counts = []
    for number in range(2, 7):
        vector = np.full(1 << 18, number, np.float32)
        answers = exchange.ask(fit(vector, number), SITES, Update, timeout_s=60)
        assert all((one.vector.view(np.float32) == number + 1).all() for one in answers.answered.values())
        del answers
        gc.collect()
        counts.append(files(pool.carrier))
    assert max(counts) <= 2 * (len(SITES) + 1)
    assert all((one.vector.view(np.float32) == 1).all() for one in kept.answered.values()), (
        "an answer that is still held was overwritten"
    )


def test_a_broadcast_is_put_into_shared_memory_once(
    pool: ProcessEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[int] = []
    carrier = pool.carrier
    original = carrier.put

    def counted(data: bytes) -> object:
        put.append(len(data))
        return original(data)

    monkeypatch.setattr(carrier, "put", counted)
    exchange = Exchange(grid_of(pool, tmp_path), NODES, poll_s=0.0)
    exchange.ask(fit(np.ones(LARGE, np.float32)), SITES, Update, timeout_s=60)
    assert put == [4 * LARGE]


def test_a_client_app_that_crashes_is_an_error_reply_and_its_text_stays_at_the_site(
    engine: Engine, tmp_path: Path
) -> None:
    grid = grid_of(engine, tmp_path)
    answers = Exchange(grid, NODES, poll_s=0.0).ask(Prepare("crash"), ("H02",), Done, timeout_s=60)
    assert answers.lost == {"H02": f"transport error {CRASHED}"}
    ids = grid.push_messages([Message(to_record(Prepare("crash")), 102, "query")])
    replies: list[Message] = []
    until = time.monotonic() + 60
    while not replies and time.monotonic() < until:
        replies = grid.pull_messages(ids)
    assert replies[0].error.reason == "KeyError"
    assert CANARY in (tmp_path / "H02" / "work" / "site.log").read_text()


def test_each_site_writes_its_own_log(engine: Engine, tmp_path: Path) -> None:
    exchange = Exchange(grid_of(engine, tmp_path), NODES, poll_s=0.0)
    exchange.ask(Prepare("crash"), ("H01",), Done, timeout_s=60)
    exchange.ask(Prepare("s"), ("H03",), Done, timeout_s=60)
    assert CANARY in (tmp_path / "H01" / "work" / "site.log").read_text()
    assert CANARY not in (tmp_path / "H03" / "work" / "site.log").read_text()


def test_a_site_knows_which_one_it_is(engine: Engine, tmp_path: Path) -> None:
    answers = Exchange(grid_of(engine, tmp_path), NODES, poll_s=0.0).ask(Prepare("s"), SITES, Done, timeout_s=60)
    assert {site: word.count for site, word in answers.answered.items()} == NODES


def test_an_unknown_node_is_refused(tmp_path: Path) -> None:
    grid = grid_of(SerialEngine(), tmp_path)
    with pytest.raises(ProtocolError, match=r"no node 999 \(nodes: \[101, 102, 103\]\)"):
        grid.push_messages([Message(to_record(Prepare("s")), 999, "query")])


def test_an_answer_is_given_once(tmp_path: Path) -> None:
    grid = grid_of(SerialEngine(), tmp_path)
    ids = grid.push_messages([Message(to_record(Prepare("s")), 101, "query")])
    assert len(grid.pull_messages(ids)) == 1
    assert grid.pull_messages(ids) == []
    assert grid.pull_messages(["m99"]) == []


def test_flowers_own_strategies_can_send_and_receive(engine: Engine, tmp_path: Path) -> None:
    grid = grid_of(engine, tmp_path)
    record = to_record(Prepare("s"))
    replies = grid.send_and_receive([Message(record, node, "query") for node in grid.get_node_ids()], timeout=60)
    assert len(replies) == 3


def test_there_is_no_run_object(tmp_path: Path) -> None:
    with pytest.raises(FLLiverError, match="no Flower run object"):
        _ = grid_of(SerialEngine(), tmp_path).run
