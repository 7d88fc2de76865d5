"""What the benchmark of statistics measures, apart from time: the payload is counted right and the answer is exact."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from benchmarks.statistics import HOSPITALS, MeasuredSummer, best_ms, hospitals, main, peak_bytes, proc_ms
from fl_liver.stats.compare import compare
from fl_liver.stats.conversation import Question, converse
from fl_liver.stats.local_auc import auc_delong


def test_thirteen_hospitals_hold_2143_patients_and_three_have_one_class() -> None:
    sizes = [len(table) for table in hospitals()]
    assert (tuple(sizes), sum(sizes)) == (HOSPITALS, 2143)
    assert sum(len(np.unique(table["label"])) == 1 for table in hospitals()) == 3


def test_the_measured_conversation_gives_the_pooled_auc_for_less_than_110_kb() -> None:
    tables = hospitals()
    summer = MeasuredSummer(tables)
    found = converse({"it": compare([f"score{i}" for i in range(3)], "label", key="logit32")}, summer)["it"]
    label = np.concatenate([table["label"] for table in tables])
    pooled = [auc_delong(label, np.concatenate([table[f"score{i}"] for table in tables])).auc for i in range(3)]
    assert [float(one) for one in found.auc] == pooled
    assert 0 < summer.bytes_up <= 110_000
    assert summer.exchanges == 8
    assert np.all(summer.seconds > 0)


def test_an_exchange_counts_two_bytes_an_entry_where_all_totals_are_known_to_be_small_and_eight_where_not() -> None:
    """And eight bytes of check words each time."""
    summer = MeasuredSummer([])
    summer.total([Question("bins", {}, 100, bound=2143), Question("bins", {}, 10, bound=7)])
    assert summer.bytes_up == 2 * 110 + 8
    summer.total([Question("bins", {}, 100, bound=2143), Question("delong_cross", {}, 18)])
    assert summer.bytes_up == 2 * 110 + 8 + 8 * 118 + 8


def test_peak_memory_is_that_of_the_largest_array() -> None:
    assert 8_000_000 <= peak_bytes(lambda: np.zeros(1_000_000)) < 8_100_000


def test_every_work_runs_once_more_than_asked() -> None:
    calls: list[str] = []
    assert len(best_ms([lambda: calls.append("a"), lambda: calls.append("b")], 3)) == 2
    assert calls == ["a", "b"] * 4


def test_without_r_there_is_no_peer_of_r(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert proc_ms(100) == {}


def test_one_part_can_be_run_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "memory"]) == 0
    assert "B a patient" in capsys.readouterr().out
