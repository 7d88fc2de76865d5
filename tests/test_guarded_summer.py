"""Tables behind guards: honest plans get the sums, anything else is refused by a hospital's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fl_liver.errors import DataError, PrivacyError, ProtocolError
from fl_liver.guarded_summer import GuardedSummer, GuardedTable
from fl_liver.stats.conversation import Conversation, Question, Table, TablesSummer, Totals, converse
from fl_liver.stats.diagnostic import counts_at
from fl_liver.stats.logistic import logistic
from fl_liver.stats.permit import permit_of_plan
from fl_liver.stats.plan import Plan, parse_plan, run_plan
from fl_liver.stats.refine import refine
from fl_liver.stats.roc import roc

PLAN = parse_plan(
    {
        "analysis": [
            {"id": "auc", "kind": "roc", "score": "p", "label": "y"},
            {"id": "cut", "kind": "diagnostic", "score": "p", "label": "y", "threshold": 0.5},
            {"id": "fit", "kind": "logistic", "outcome": "y", "terms": ["age"]},
        ]
    },
    "plan",
)


def tables(sites: int = 3, patients: int = 80) -> dict[str, Table]:
    found: dict[str, Table] = {}
    for site in range(sites):
        draw = np.random.default_rng(site)
        y = (draw.random(patients) < 0.4) * 1.0
        found[f"S{site}"] = Table(
            {"y": y, "p": draw.random(patients) * 0.6 + 0.4 * y, "age": draw.normal(60, 9, patients)}
        )
    return found


def summer(plan: Plan = PLAN, min_cell: int = 5) -> GuardedSummer:
    return GuardedSummer(tables(), permit_of_plan(plan, min_cell=min_cell))


class Changing(GuardedSummer):
    """A server that changes what an honest statistic asks."""

    def __init__(self, change: Callable[[Question], Question]) -> None:
        super().__init__(tables(), permit_of_plan(PLAN, min_cell=5))
        self._change = change

    def total(self, questions: Sequence[Question]) -> Totals:
        return super().total([self._change(question) for question in questions])


def refused(talk: Conversation[Any], match: str, change: Callable[[Question], Question] = lambda one: one) -> None:
    with pytest.raises(ProtocolError, match=match):
        converse({"talk": talk}, Changing(change))


def test_an_honest_plan_gets_the_answers_of_tables_without_a_guard() -> None:
    plain = run_plan(PLAN, TablesSummer(list(tables().values())))
    guarded = run_plan(PLAN, summer())
    assert {name: one.to_json() for name, one in guarded.items()} == {
        name: one.to_json() for name, one in plain.items()
    }


def test_a_question_that_the_plan_does_not_have_is_refused_with_the_site() -> None:
    with pytest.raises(ProtocolError, match="site S0: question 'zero_one_counts' is not in the plan"):
        summer().total([Question("zero_one_counts", {"column": "y"}, 2)])


def test_a_threshold_that_the_plan_does_not_have_is_refused() -> None:
    refused(counts_at("p", "y", [0.5, 0.77]), "site S0: .* 1 thresholds are not in the plan")


def test_children_of_bins_that_hold_one_class_are_refused() -> None:
    """The guard heard the opened histogram: it knows which bins are mixed."""

    def change(question: Question) -> Question:
        if question.arguments.get("depth") != 12:
            return question
        every = np.arange(2**12, dtype=np.uint64)
        return replace(question, arrays={"active": every}, length=2 * len(every) << 4)

    refused(refine("p", "y"), r"site S0: .* \d+ bins are not children of active and mixed bins", change)


def test_coefficients_that_do_not_follow_newton_are_refused() -> None:
    def change(question: Question) -> Question:
        return replace(question, arrays={"beta": np.array([-6e3, 1e2])}) if "beta" in question.arrays else question

    refused(logistic("y", ["age"]), "site S0: .* a fit starts at 0, follows Newton, and ends within 25 steps", change)


def test_a_class_below_the_floor_ends_the_refinement_although_the_plan_has_none() -> None:
    few = {name: Table({**one.columns, "y": (np.arange(len(one)) < 1) * 1.0}) for name, one in tables().items()}
    with pytest.raises(PrivacyError, match=r"site S0: .*min_cell: 'y' 1: fewer than 5 patients"):
        converse({"auc": roc("p", "y", min_cell=1)}, GuardedSummer(few, permit_of_plan(PLAN, min_cell=5)))


def test_totals_below_a_sites_own_counts_are_not_the_sum() -> None:
    site = GuardedTable("S0", tables()["S0"], permit_of_plan(PLAN, min_cell=5))
    (question,) = next(roc("p", "y"))
    (own,) = site.answered([question])
    with pytest.raises(ProtocolError, match=r"site S0: question 'cell_counts': 1 totals are below this hospital's own"):
        site.opened([own - np.array([1, 0])])


def test_an_error_of_a_sites_own_rows_names_the_site() -> None:
    wrong = tables()
    wrong["S2"] = Table({**wrong["S2"].columns, "y": np.full(80, 2.0)})
    with pytest.raises(DataError, match="site S2: column 'y': 80 of 80 rows have a level other than 0, 1"):
        run_plan(PLAN, GuardedSummer(wrong, permit_of_plan(PLAN, min_cell=5)))
