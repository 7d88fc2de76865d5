"""Decoders: whatever a file does to its reader, it costs that file alone, and the others come back in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.read import decoder
from fl_liver.client.cohort.read.decoders import Decoders, decoders_for
from fl_liver.errors import FLLiverError
from tests.client.cohort import decoder_tasks as tasks

LETTERS = list("abcdefghij")
ENDS = {
    "kill": r"E_DECODE_CRASH: the reader's process is killed \(SIGKILL\)",
    "abort": r"E_DECODE_CRASH: the reader's process is killed \(SIGABRT\)",
    "segfault": r"E_DECODE_CRASH: the reader's process is killed \(SIGSEGV\)",
    "exit": r"E_DECODE_CRASH: the reader ends its process \(status 7\)",
    "leave": r"E_DECODE_CRASH: the reader breaks down \(SystemExit\)",
    "panic": r"E_DECODE_CRASH: the reader breaks down \(PanicError\)",
    "recurse": r"E_DECODE_CRASH: the reader breaks down \(RecursionError\)",
    "hang": r"E_DECODE_TIMEOUT: not read after 2 s",
    "spin": r"E_DECODE_TIMEOUT: the reader used up its processor time",
    "bomb": r"E_TOO_LARGE: the reader asks for more memory than it may have",
    "many_small": r"E_TOO_LARGE: the reader asks for more memory than it may have",
    "refuse": r"E_TRUNCATED: cut short",
    "fail": r"E_DECODE_FAILED: the reader stops \(KeyError\)",
}


@pytest.fixture(scope="module")
def two() -> Iterator[Decoders]:
    with Decoders(2, memory_bytes=512 << 20, seconds=2.0) as decoders:
        yield decoders


@pytest.mark.parametrize("how", ENDS)
def test_an_end_in_the_middle_of_a_chunk_costs_one_item_and_has_one_code(how: str, two: Decoders) -> None:
    """The rest of the chunk is read by another process, in order; no text of the reader's is kept."""
    items = [*LETTERS[:5], how, *LETTERS[5:]]
    results = list(two.map(tasks.perish, items, chunk=11))
    assert results[:5] + results[6:] == [letter.upper() for letter in LETTERS]
    with pytest.raises(UnusableError, match=f"^{ENDS[how]}$"):
        raise results[5]  # type: ignore[misc]


def test_every_item_of_a_chunk_may_end_its_process(two: Decoders) -> None:
    results = list(two.map(tasks.perish, ["exit", "kill", "a", "exit"], chunk=4))
    assert [str(one)[:14] for one in results] == ["E_DECODE_CRASH", "E_DECODE_CRASH", "A", "E_DECODE_CRASH"]


def test_a_file_is_not_blamed_for_what_another_left_behind(two: Decoders) -> None:
    """A library whose heap is spoilt dies at the next good file; that one is read again by a new process."""
    items = ["good", "spoil", "good", "good"]
    assert list(two.map(tasks.spoil_or_suffer, items, chunk=4)) == items


def test_results_come_in_the_order_of_items_however_long_each_takes(two: Decoders) -> None:
    pauses = [0.2, 0.0, 0.05, 0.0, 0.1, 0.0, 0.0]
    assert list(two.map(tasks.later, pauses)) == pauses


@pytest.mark.parametrize("chunk", [1, 7])
def test_work_in_this_process_gives_what_decoders_give(two: Decoders, chunk: int) -> None:
    items = [*LETTERS, "refuse", "fail", "recurse", "panic"]
    here, there = (
        [str(one) for one in decoders.map(tasks.perish, items, chunk=chunk)] for decoders in (Decoders(0), two)
    )
    assert here == there
    assert list(two.map(tasks.double, [], chunk=chunk)) == []


def test_an_error_that_is_kept_holds_no_frame_of_the_reader() -> None:
    """In this process a traceback would keep every decoded array alive."""
    (refusal,) = Decoders(0).map(tasks.perish, ["refuse"])
    assert isinstance(refusal, UnusableError)
    assert (refusal.__traceback__, refusal.__context__) == (None, None)


@pytest.mark.parametrize(("workers", "most"), [(0, 1), (2, 12)])
def test_items_are_taken_only_a_few_ahead_of_the_results(two: Decoders, workers: int, most: int) -> None:
    """A million paths may be handed in; no more than three chunks per decoder are under way."""
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = (two if workers else Decoders(0)).map(tasks.double, endless(), chunk=2)
    for given in range(1, 50):
        assert next(results) == 2 * given
        assert taken <= given + most - 1


def test_a_map_that_was_given_up_leaves_nothing_to_the_next(two: Decoders) -> None:
    given_up = two.map(tasks.later, [0.0, 0.5, 0.5, 0.5])
    assert next(given_up) == 0.0
    assert any(one.stream for one in two._decoders)
    given_up.close()  # type: ignore[attr-defined]
    assert not any(one.stream for one in two._decoders)
    assert list(two.map(tasks.double, range(5))) == [0, 2, 4, 6, 8]


def test_the_results_of_one_map_may_be_the_items_of_another(two: Decoders) -> None:
    once = two.map(tasks.double, range(20), chunk=3)
    assert list(two.map(tasks.double, once, chunk=2)) == [4 * number for number in range(20)]  # type: ignore[arg-type]
    assert len(two._decoders) <= 2


def test_a_map_may_be_made_in_the_middle_of_another(two: Decoders) -> None:
    outer = two.map(tasks.later, [0.0, 0.1, 0.1, 0.1])
    for number, _ in enumerate(outer):
        assert list(two.map(tasks.double, range(5))) == [0, 2, 4, 6, 8], number


def test_time_that_the_caller_takes_is_not_the_files() -> None:
    with Decoders(1, seconds=0.5) as decoders:
        results = decoders.map(tasks.perish, LETTERS[:3])
        assert next(results) == "A"
        time.sleep(0.7)
        assert list(results) == ["B", "C"]


def test_processes_are_started_when_they_are_needed_and_all_at_once(tmp_path: Path) -> None:
    """Four items wait for each other: none is read before the fourth process is up."""
    with Decoders(4) as decoders:
        assert not decoders._decoders
        assert list(decoders.map(tasks.double, [1])) == [2]
        assert len(decoders._decoders) == 1
        assert all(decoders.map(partial(tasks.meet, number=4), [str(tmp_path)] * 4))
        processes = [one.process for one in decoders._decoders]
    assert all(one.returncode is not None for one in processes)


def test_large_arrays_come_back_whole_and_can_be_written_to(two: Decoders) -> None:
    (array,) = two.map(tasks.ramp, [3_000_001])
    assert isinstance(array, np.ndarray)
    assert np.array_equal(array, tasks.ramp(3_000_001))
    array += 1


def test_a_decoder_finds_no_secret_no_torch_no_terminal_and_no_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FL_LIVER_SECRET", "hush")
    with Decoders(1, memory_bytes=1 << 30, seconds=10.0) as decoders:
        (found,) = decoders.map(tasks.surroundings, [str(tmp_path)])
    assert not isinstance(found, UnusableError)
    assert "hush" not in found["environment"].values()
    assert found["environment"]["OMP_NUM_THREADS"] == "1"
    assert found["limits"]["AS"] == 1 << 30
    assert found["limits"]["CORE"] == 0
    assert 10 <= found["limits"]["CPU"] <= 20
    assert not found["wrote"]
    assert found["interrupt"]
    assert not found["modules"] & {"torch", "flwr", "pandas", "pytest", "pydicom"}
    assert found["streams"] == ["/dev/null"] * 3


def test_work_that_a_decoder_cannot_import_is_our_own_fault(two: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no defect of a file, so it stops the run instead of leaving every patient out."""
    ours = types.ModuleType("only_here")
    exec("def work(item): return item", vars(ours))  # noqa: S102
    monkeypatch.setitem(sys.modules, "only_here", ours)
    with pytest.raises(FLLiverError, match=r"cannot load its work \(ModuleNotFoundError\); it must be importable"):
        list(two.map(ours.work, [1]))
    assert list(two.map(tasks.double, [1])) == [2]


def test_decoders_that_do_not_start_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MODULE", "no_such_module")
    with Decoders(1) as decoders, pytest.raises(FLLiverError, match=r"decoders do not start \(.*status 1\)"):
        list(decoders.map(tasks.double, [1]))


def test_a_site_gets_a_decoder_per_processor_but_four_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for usable, wanted in ((1, 1), (3, 3), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, usable=usable: set(range(usable)))
        assert decoders_for("auto")._most == wanted
    assert [decoders_for(number)._most for number in (0, 9)] == [0, 9]


SCRIPT = """
import sys
from fl_liver.client.cohort.read.decoders import Decoders
from tests.client.cohort.decoder_tasks import hang_and_say
with Decoders(2) as decoders:
    list(decoders.map(hang_and_say, [sys.argv[1]] * 2))
"""


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], list[int]]]]:
    """A program without `if __name__ == "__main__"` that waits for two decoders which hang, and their pids."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], list[int]]:
        folder = tmp_path / "pids"
        folder.mkdir()
        command = [sys.executable, "-c", SCRIPT, str(folder)]
        program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
        started.append(program)
        until = time.monotonic() + tasks.PATIENCE_S
        while len(pids := [int(path.name) for path in folder.iterdir()]) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        return program, pids

    yield start
    for program in started:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_decoders_end_with_their_parent(how: signal.Signals, hanging: Callable[..., tuple[object, list[int]]]) -> None:
    """Also where it is killed while they hang: no process stays at a hospital, and no memory."""
    before = _left_behind()
    program, pids = hanging()
    assert isinstance(program, subprocess.Popen)
    assert len(pids) == 2
    program.send_signal(how)
    said = program.communicate(timeout=tasks.PATIENCE_S)[1]
    until = time.monotonic() + tasks.PATIENCE_S
    while any(map(_runs, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(_runs, pids))
    assert _left_behind() == before
    if how == signal.SIGINT:
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert "resource_tracker" not in said
    else:
        assert not said


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _left_behind() -> set[str]:
    """Shared memory by name, and blocks that this process still holds."""
    named = {path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(("psm_", "fl_liver"))}  # noqa: S108
    held = {link for path in Path("/proc/self/fd").iterdir() if "fl_liver" in (link := _target(path))}
    return named | held


def _target(path: Path) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return ""
