"""Bounds that questions state: each holds, and no large histogram is without one, so that it travels in few bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from fl_liver.stats.calibration import calibration
from fl_liver.stats.compare import compare, compare_unpaired
from fl_liver.stats.conversation import Conversation, Question, Table, TablesSummer, Totals, converse
from fl_liver.stats.kruskal import kruskal_wallis
from fl_liver.stats.multiclass import multiclass
from fl_liver.stats.rank_sum import rank_sum
from fl_liver.stats.roc import roc

LARGE = 1 << 12
"""Entries of the first histogram."""


def tables() -> list[Table]:
    """Three hospitals of 40, 50 and 60 patients; one score has ties, the stacked classes count everybody thrice."""
    random = np.random.default_rng(7)
    found = []
    for n in (40, 50, 60):
        y = np.arange(n) % 2
        score = random.normal(size=n) + y
        kind = np.array(["a", "b", "c"], object)[np.arange(n) % 3]
        found.append(
            Table(
                {
                    "y": y.astype(np.float64),
                    "s": score,
                    "rounded": np.round(score),
                    "p": 1 / (1 + np.exp(-score)),
                    "kind": kind,
                    **{one: random.normal(size=n) for one in "abc"},
                }
            )
        )
    return found


class Checking(TablesSummer):
    """Adds, and holds every total to its bound."""

    def __init__(self) -> None:
        super().__init__(tables())
        self.large: list[Question] = []

    def total(self, questions: Sequence[Question]) -> Totals:
        totals = super().total(questions)
        for question, total in zip(questions, totals, strict=True):
            if question.bound is not None:
                assert total.min() >= 0
                assert total.max() <= question.bound, question.kind
            if question.length >= LARGE:
                self.large.append(question)
        return totals


TALKS: dict[str, Callable[[], Conversation[Any]]] = {
    "roc": lambda: roc("s", "y"),
    "roc of ties": lambda: roc("rounded", "y"),
    "compare": lambda: compare(["s", "rounded", "a"], "y"),
    "compare_unpaired": lambda: compare_unpaired("s", "y", "kind", ["a", "b"]),
    "multiclass": lambda: multiclass("kind", {one: one for one in "abc"}),
    "rank_sum": lambda: rank_sum("s", "y", levels=["0", "1"]),
    "kruskal": lambda: kruskal_wallis("rounded", "kind", levels=["a", "b", "c"]),
    "calibration": lambda: calibration("y", "p", groups=5),
}


@pytest.mark.parametrize("name", TALKS)
def test_no_total_exceeds_the_bound_of_its_question_and_no_histogram_is_without_one(name: str) -> None:
    summer = Checking()
    converse({name: TALKS[name]()}, summer)
    assert summer.large
    assert all(question.bound is not None and question.bound < 2**16 for question in summer.large)


def test_the_bound_of_a_refinement_is_the_larger_class() -> None:
    """Of 150 patients 75 are of each class."""
    summer = Checking()
    converse({"it": roc("s", "y")}, summer)
    assert {question.bound for question in summer.large} == {75}
