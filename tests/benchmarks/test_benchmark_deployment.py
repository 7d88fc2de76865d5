"""How a round of a deployment is taken apart, and a tiny deployment from beginning to end. No time is judged here."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.deployed_rounds import RoundParts, growth, medians, take_apart
from benchmarks.deployed_town import RunSeen
from benchmarks.deployment import PARTS, QUICK, Sizes, measure
from benchmarks.process import Sampler
from benchmarks.table import MET, MISSED

TINY = Sizes(
    train=3, external=0, scale=0.35, width=4, rounds=3, stock_rounds=2, idle_s=2.0, many=2, many_s=2.0
)  # fmt: skip


def event(what: str, time: float, number: int, **more: object) -> dict[str, Any]:
    return {"event": what, "time": time, "round": number, "rows": "train", **more}


def seen(*events: dict[str, Any]) -> RunSeen:
    return RunSeen(list(events), Sampler(dict), {}, {})


def step(taken: float, fetched: float, computed: float, kind: str = "train") -> dict[str, Any]:
    return {"kind": kind, "taken": taken, "fetched": fetched, "computed": computed, "given": computed + 1}


SECOND_ROUND = (
    event("checkpoint", 100.0, 1),
    event("round_started", 100.0, 2),
    event("site_answered", 107.0, 2, site="H01"),
    event("site_answered", 108.0, 2, site="H02"),
    event("round_done", 110.0, 2),
    event("checkpoint", 110.5, 2),
)


def test_the_parts_of_a_round_are_the_round() -> None:
    first = [step(90.0, 91.0, 92.0), step(100.5, 102.0, 104.0), step(108.5, 108.6, 108.7, "query")]
    second = [step(101.0, 103.0, 105.0)]
    (parts,) = take_apart(seen(*SECOND_ROUND), [first, second])
    assert parts == RoundParts(out=3.0, work=2.0, back=3.0, agree=2.0, save=0.5)
    assert parts.total == 10.5


def test_a_hospital_that_was_asked_again_or_was_away_does_not_break_the_sum() -> None:
    """Its first, lost answer does not count; what was computed after the last answer was added was for nobody."""
    again = [step(100.5, 101.0, 102.0), step(103.0, 104.0, 106.0)]
    late = [step(104.0, 105.0, 109.0)]
    (parts,) = take_apart(seen(*SECOND_ROUND), [again, late, []])
    assert parts.total == 10.5
    assert min(parts.out, parts.work, parts.back) >= 0


def test_other_federations_of_a_study_are_left_out() -> None:
    others = [one | {"rows": "not-fold-1", "time": one["time"] - 50} for one in SECOND_ROUND]
    (parts,) = take_apart(seen(*others, *SECOND_ROUND), [[step(100.5, 102.0, 104.0)]])
    assert parts.total == 10.5


def test_medians_are_of_each_part_and_growth_of_the_ends() -> None:
    rounds = [RoundParts(1, 1, 1, 0, 0), RoundParts(2, 9, 1, 0, 0), RoundParts(3, 2, 1, 0, 0)]
    assert medians(rounds) == {"out": 2, "work": 2, "back": 1, "agree": 0, "save": 0}
    assert growth([1.0] * 8) == 1.0
    assert growth([1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 2.0, 2.0]) == 2.0
    assert growth([3.0]) == 1.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tiny_deployment_is_measured_in_every_part() -> None:
    table = measure(PARTS, TINY)
    names = [row.name for row in table.rows]
    for begins in (
        "round, masked",
        "round, plain",
        "default evaluation",
        "plain round, stock",
        "daemon, idle",
        "2 idle",
    ):
        assert [name for name in names if name.startswith(begins)], begins
    values = [row.measured for row in table.rows]
    assert all(value is not None and math.isfinite(value) and value >= 0 for value in values)
    assert {row.verdict for row in table.rows if row.target is not None} <= {MET, MISSED}
    assert not [note for note in table.notes if "no reply" in note or "lost" in note]


def test_the_quick_form_has_all_parts_and_is_smaller() -> None:
    for name in ("train", "external", "rounds", "stock_rounds", "idle_s", "many", "many_s", "scale"):
        assert getattr(QUICK, name) < getattr(Sizes(), name)
