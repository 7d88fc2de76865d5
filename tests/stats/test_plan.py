"""A plan as one batch: strata, floors, and what travels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.errors import ConfigError
from fl_liver.stats.conversation import Question, Table, TablesSummer, Totals
from fl_liver.stats.plan import parse_plan, refusals, run_plan

ENTRIES: list[dict[str, Any]] = [
    {"id": "roc", "kind": "roc", "score": "p", "label": "y"},
    {"id": "paired", "kind": "compare_paired", "scores": ["p", "q"], "label": "y"},
    {"id": "joint", "kind": "compare_joint", "scores": ["p", "q", "age"], "label": "y"},
    {"id": "unpaired", "kind": "compare_unpaired", "score": "p", "label": "y", "strata": "sex", "levels": ["F", "M"]},
    {"id": "cut", "kind": "diagnostic", "score": "p", "label": "y", "threshold": 0.5},
    {"id": "share", "kind": "proportion", "column": "y"},
    {"id": "two", "kind": "mcnemar", "first": "y", "second": "call"},
    {"id": "kappa", "kind": "cohen_kappa", "raters": ["y", "call"]},
    {"id": "fleiss", "kind": "fleiss_kappa", "raters": ["y", "call", "call2"]},
    {"id": "u", "kind": "rank_sum", "x": "age", "group": "sex", "resolution": 1},
    {"id": "h", "kind": "kruskal_wallis", "x": "age", "group": "stage"},
    {"id": "fit", "kind": "logistic", "outcome": "y", "terms": ["age", "stage"], "factors": {"stage": 1}},
    {"id": "hl", "kind": "hosmer_lemeshow", "y": "y", "p": "p"},
    {"id": "calibrated", "kind": "calibration", "y": "y", "p": "p"},
    {"id": "dca", "kind": "decision_curve", "y": "y", "p": "p", "thresholds": [0.1, 0.5]},
    {"id": "rulers", "kind": "nomogram", "outcome": "y", "terms": ["age"], "limits": {"age": [40, 80]}},
    {"id": "table", "kind": "table_one", "group": "sex", "numeric": ["age"], "categorical": ["stage"]},
    {"id": "classes", "kind": "multiclass", "label": "y", "scores": {"0": "notp", "1": "p"}},
    {"id": "readers", "kind": "readers", "label": "y", "readers": ["call", "call2"], "model": "p"},
    {"id": "twice", "kind": "readers_with_ai", "label": "y", "alone": ["call"], "with_ai": ["call2"], "model": "p"},
    {"id": "zone", "kind": "low_confidence", "scales": {"p": "probability"}},
]


def cohort(n: int = 300, seed: int = 6) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.45).astype(float)
    p = 1 / (1 + np.exp(-rng.normal(1.5 * (2 * y - 1), 1.5)))
    return {
        "y": y,
        "p": p,
        "notp": 1 - p,
        "q": np.clip(p + rng.normal(0, 0.2, n), 0.01, 0.99).round(2),
        "age": rng.normal(60, 8, n).round(1),
        "sex": np.array(["M", "F"], dtype=object)[rng.integers(0, 2, n)],
        "stage": rng.integers(1, 4, n).astype(float),
        "call": (p + rng.normal(0, 0.3, n) > 0.5).astype(float),
        "call2": (p + rng.normal(0, 0.3, n) > 0.4).astype(float),
    }


def sites(columns: dict[str, NDArray[Any]], cuts: Sequence[int]) -> list[Table]:
    n = len(columns["y"])
    edges = [0, *sorted(cut % (n + 1) for cut in cuts), n]
    return [Table({name: column[a:b] for name, column in columns.items()}) for a, b in pairwise(edges)]


class Wire(TablesSummer):
    """Carries questions as JSON, as a deployment does, and counts the exchanges."""

    exchanges = 0

    def total(self, questions: Sequence[Question]) -> Totals:
        self.exchanges += 1
        carried = [
            Question(one.kind, json.loads(json.dumps(dict(one.arguments))), one.length, one.arrays) for one in questions
        ]
        assert [dict(one.arguments) for one in carried] == [dict(one.arguments) for one in questions]
        return super().total(carried)


def test_every_kind_is_answered_in_one_batch_of_questions_that_survive_json() -> None:
    plan = parse_plan({"analysis": ENTRIES}, "here")
    wire = Wire(sites(cohort(), [1, 90, 90, 200]))
    results = run_plan(plan, wire, min_cell=5)
    assert {name: one.reason for name, one in refusals(results).items()} == {}
    json.dumps({name: result.to_json() for name, result in results.items()}, allow_nan=False)
    assert wire.exchanges < 60


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for name, one in value.items() for k, v in leaves(one, f"{path}.{name}").items()}
    if isinstance(value, list):
        return {k: v for place, one in enumerate(value) for k, v in leaves(one, f"{path}[{place}]").items()}
    return {path: value}


@settings(max_examples=8)
@given(st.lists(st.integers(0, 300), min_size=2, max_size=7), st.randoms(use_true_random=False))
def test_any_split_and_any_order_of_the_rows_gives_the_pooled_answers(cuts: list[int], random: Any) -> None:
    columns = cohort(120)
    plan = parse_plan({"analysis": ENTRIES}, "here")
    order = list(range(120))
    random.shuffle(order)
    shuffled = {name: column[order] for name, column in columns.items()}
    pooled = run_plan(plan, TablesSummer([Table(columns)]), min_cell=1)
    split = run_plan(plan, TablesSummer(sites(shuffled, cuts)), min_cell=1)
    for name in pooled:
        one, two = leaves(pooled[name].to_json()), leaves(split[name].to_json())
        assert one.keys() == two.keys()
        for path, value in one.items():
            near = pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
            assert two[path] == near, (name, path)


def test_strata_are_the_analysis_on_their_own_rows() -> None:
    columns = cohort()
    entry = {"id": "x", "kind": "diagnostic", "score": "p", "label": "y", "threshold": 0.5}
    by_stage = run_plan(
        parse_plan({"analysis": [{**entry, "by": "stage"}]}, "here"), TablesSummer(sites(columns, [10, 99]))
    )["x"]
    assert list(by_stage.strata) == ["1", "2", "3"]
    alone = {name: column[columns["stage"] == 2] for name, column in columns.items()}
    own = run_plan(parse_plan({"analysis": [entry]}, "here"), TablesSummer([Table(alone)]))["x"]
    assert by_stage.to_json()["strata"]["2"] == own.to_json()


def test_a_stratum_below_the_floor_withholds_them_all() -> None:
    columns = cohort()
    columns["stage"][:] = 1.0
    columns["stage"][:3] = 2.0
    entry = {"id": "x", "kind": "proportion", "column": "y", "by": "stage"}
    result = run_plan(parse_plan({"analysis": [entry]}, "here"), TablesSummer(sites(columns, [10, 99])))["x"]
    assert "a value of column 'stage': fewer than 5 patients" in result.to_json()["not_released"]


def test_a_stratum_with_one_class_is_withheld_and_the_others_stand() -> None:
    columns = cohort()
    columns["y"][columns["stage"] == 3] = 1.0
    entry = {"id": "x", "kind": "compare_paired", "scores": ["p", "q"], "label": "y", "by": "stage"}
    found = run_plan(parse_plan({"analysis": [entry]}, "here"), TablesSummer(sites(columns, [10, 99])))["x"].to_json()
    assert "fewer than two patients" in found["strata"]["3"]["not_released"]
    assert 0 < found["strata"]["1"]["p"] <= 1


def test_a_floor_below_one_is_no_floor_at_all_and_refused() -> None:
    with pytest.raises(ConfigError, match="min_cell = 0: wanted 1"):
        run_plan(parse_plan({"analysis": ENTRIES}, "here"), TablesSummer([]), min_cell=0)
