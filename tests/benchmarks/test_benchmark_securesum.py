"""What the benchmark of masked sums measures, apart from time: the same work on both sides, bytes and memory."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest

from benchmarks import securesum
from benchmarks.masked_rounds import RoundTimes, measure
from benchmarks.peers_flower_secagg import FlowerClient
from benchmarks.securesum_sums import bare_masking, models, statistics_step, whole_training_sum
from fl_liver.securesum.encoding import UpdateCode
from simulation.options import Options

SMALL = 24_000


def test_the_models_have_running_statistics_that_a_code_accepts() -> None:
    trained, start, running = models(SMALL)
    assert trained.shape == start.shape == (SMALL,)
    assert len(running) == 20
    UpdateCode(running, SMALL, 13, 1000, 10.0).encode(trained, start, 60, 0.5)


@pytest.mark.parametrize("keystream", securesum.KEYSTREAMS)
def test_the_bare_loop_changes_every_word_whatever_its_blocks(keystream: Any) -> None:
    vector = np.zeros(10_000, np.uint32)
    bare_masking(vector, keystream, 3, 1 << 10)
    assert (vector != 0).mean() > 0.99


def test_a_whole_sum_with_one_lost_is_opened_and_every_role_is_timed() -> None:
    seconds = whole_training_sum(4, SMALL, "aes-256-ctr", 1)
    assert set(seconds) == {"keys and shares", "encode", "mask", "add", "settle and open", "decode"}
    assert all(value > 0 for value in seconds.values())


@pytest.mark.parametrize("bits", [16, 64])
def test_a_step_of_statistics_gives_the_sum(bits: Any) -> None:
    assert statistics_step(4, 100, bits) > 0


def test_an_upload_is_the_masked_vector_and_less_than_4_kb() -> None:
    """The arrays are 2 entries and 2 check words longer than the model: 16 bytes."""
    row, _ = securesum.upload(13, SMALL)
    assert row.measured is not None
    assert 0.016 < row.measured < 4.0
    assert row.verdict == "met"


def test_memory_is_three_vectors_where_blocks_are_small_beside_them() -> None:
    (row,) = securesum.memory(4, 3_000_000)
    assert row.measured == pytest.approx(3.0, abs=0.1)


def test_flowers_client_sends_eight_bytes_a_parameter() -> None:
    seconds, size_b = FlowerClient(4, 3).mask([np.zeros(1000, np.float32)] * 3, 60)
    assert seconds > 0
    assert size_b == 8 * 3001


def test_every_work_takes_its_turn_and_may_time_itself() -> None:
    calls: list[str] = []
    found = securesum.in_turn([lambda: calls.append("a"), lambda: 7.0], 3)
    assert (calls, len(found[0]), found[1]) == (["a"] * 4, 3, [7.0] * 3)
    assert securesum.median_ratio([2.0, 9.0, 4.0], [1.0, 1.0, 2.0]) == statistics.median([2.0, 9.0, 2.0])


def test_what_masks_add_is_a_share_of_a_round_in_the_clear() -> None:
    """The median of pairs, so that one disturbed pair says nothing; rounds without training are only shown."""
    times = RoundTimes(trained=[(2.08, 2.0), (9.0, 2.0), (2.0, 2.0)], empty=[(0.3, 0.2), (0.3, 0.2), (9.0, 0.2)])
    share, added = securesum.rounds(times)
    assert share.measured == pytest.approx(0.04)
    assert share.verdict == "met"
    assert added.measured == pytest.approx(100.0)


@pytest.mark.slow
def test_rounds_with_masks_and_in_the_clear_take_turns_over_the_same_hospitals() -> None:
    times = measure(2, Options(quick=True), empty=1, trained=1)
    assert min(times.trained[0] + times.empty[0]) > 0


def test_one_part_can_be_run_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(securesum, "upload", list)
    assert securesum.main(["--only", "upload"]) == 0
    assert "Masked sums" in capsys.readouterr().out
