"""What a score was made by: one digest for the same questions in the same order, another for anything else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_liver.messages import Average, Combine, Score
from fl_liver.score_origin import followed_by, made_by, origin, score_names
from fl_liver.stats.conversation import Question

SCORE = Score("ab" * 32, "federated", "all", "train", np.arange(3, dtype=np.float32))
COMBINE = Combine("ab" * 32, "fusion", "federated", 1.5, -0.25, {"age": 0.5})
BASE = {"federated": origin({"all": made_by(SCORE)})}
AVERAGE = Average("ab" * 32, "ensemble", ("a", "b"))
ROWS = st.sampled_from(["all", "training", "train", "internal", "fold-0", "fold-1"])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"rows": "train"},
        {"layers": ""},
        {"vector": np.arange(3, dtype=np.float32) + np.float32(1e-7)},
        {"study_sha256": "ac" * 32},
        {"endpoint": "type"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_question_is_another_origin(change: dict[str, Any]) -> None:
    assert made_by(replace(SCORE, **change)) != made_by(SCORE)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"base": "federated_unseen"},
        {"intercept": np.nextafter(-0.25, 0).item()},
        {"base_beta": 1.25},
        {"factors": {"age": 0.75}},
        {"factors": {"hepatitis": 0.5}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_coefficients_are_another_origin(change: dict[str, Any]) -> None:
    assert made_by(replace(COMBINE, **change), BASE) != made_by(COMBINE, BASE)


def test_a_combination_has_the_origin_of_what_it_builds_on() -> None:
    other = {"federated": origin({"all": made_by(replace(SCORE, vector=SCORE.vector + 1))})}
    assert made_by(COMBINE, BASE) != made_by(COMBINE, other) != made_by(COMBINE)


def test_an_average_has_the_origins_of_all_that_it_is_made_from_in_their_order() -> None:
    made = [made_by(AVERAGE, {"a": one, "b": other}) for one, other in (("1", "2"), ("2", "1"), ("1", "3"), ("3", "2"))]
    assert len(set(made)) == 4


@given(st.lists(st.tuples(ROWS, st.sampled_from("ABC")), max_size=5), st.data())
def test_equal_origins_are_equal_scores_of_every_row(one: list[tuple[str, str]], data: st.DataObject) -> None:
    """Rows of two names may overlap, and what was scored last counts. A server may ask each in an order of its own."""
    holds = {
        "all": {0, 1, 2, 3},
        "training": {0, 1, 2},
        "train": {0, 1},
        "internal": {3},
        "fold-0": {0, 2},
        "fold-1": {1},
    }

    def made(asked: list[tuple[str, str]]) -> tuple[str, dict[int, str]]:
        parts: dict[str, str] = {}
        rows: dict[int, str] = {}
        for name, digest in asked:
            parts = followed_by(parts, name, digest)
            rows |= dict.fromkeys(holds[name], digest)
        return origin(parts), rows

    (first, rows), (second, others) = made(one), made(data.draw(st.permutations(one)))
    assert first != second or rows == others


def test_parts_that_are_made_again_in_the_same_order_have_the_same_origin() -> None:
    """A run that was interrupted between two folds asks for all of them again."""
    broken: dict[str, str] = {}
    for name in ("fold-0", "fold-1", "fold-0", "fold-1", "fold-2"):
        broken = followed_by(broken, name, name)
    assert origin(broken) == origin({f"fold-{number}": f"fold-{number}" for number in range(3)})


def test_every_score_that_a_question_names_is_found_wherever_it_stands() -> None:
    questions = [
        Question("bins", {"column": "score:a", "rows": "all", "where": {"score:b": 1}}, 1),
        Question("key_children", {"columns": ["score:c:benign", "score:c:malignant"], "group": "class_name"}, 1),
        Question("newton_step", {"terms": [["age", ["score:d"]]], "length": 2, "rows": "internal"}, 1),
    ]
    assert score_names(questions) == ("a", "b", "c", "d")
    assert score_names([]) == ()
