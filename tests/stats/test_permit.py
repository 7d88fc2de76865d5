"""A permit is bound to columns: what a plan asks of one column, in one place and of some patients, it asks of no other.

The oracle of what a question reads is the site function itself, on a table that has no column but those.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.errors import ProtocolError
from fl_liver.server.report.analysis.beside import questions_beside
from fl_liver.stats.asked import _ONE, _SEVERAL, asked_of
from fl_liver.stats.conversation import Question, Table, TablesSummer, Totals, answer, converse
from fl_liver.stats.guard import Guard
from fl_liver.stats.order_search import Grouping, refine_groups
from fl_liver.stats.permit import Permit, permit_of_plan
from fl_liver.stats.plan import Plan, parse_plan, run_plan
from fl_liver.stats.refine import refine
from fl_liver.stats.roc import roc
from fl_liver.stats.table_one import table_one

_SPEC = importlib.util.spec_from_file_location("guard_examples", Path(__file__).with_name("test_guard.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
_EXAMPLES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_EXAMPLES)

ROC = {"kind": "roc", "score": "p", "label": "y"}
AGE = {"kind": "table_one", "group": "y", "numeric": ["age"]}
CUT = {"kind": "diagnostic", "score": "p", "label": "y", "threshold": 0.5}
FIT = {"kind": "logistic", "outcome": "y", "terms": ["age", "stage"], "factors": {"stage": 1}}
TERM = {"column": "age", "level": None, "logit": False}
BINS = {
    "label": "y",
    "levels": ["0", "1"],
    "key": "float64",
    "depth": 0,
    "step": 12,
    "complete": [],
    "others": "refuse",
}
START = {"active": np.zeros(1, np.uint64)}


class Recorded(TablesSummer):
    """Three hospitals; keeps what was asked."""

    def __init__(self) -> None:
        self.tables: list[Table] = _EXAMPLES.hospitals()
        super().__init__(self.tables)
        self.asked: list[Question] = []

    def total(self, questions: Any) -> Totals:
        self.asked += questions
        return super().total(questions)


def plan_of(*analyses: Mapping[str, Any]) -> Plan:
    return parse_plan({"analysis": [{"id": str(place), **one} for place, one in enumerate(analyses)]}, "plan")


def permit(*analyses: Mapping[str, Any]) -> Permit:
    return permit_of_plan(plan_of(*analyses), min_cell=5)


def asked_by(*analyses: Mapping[str, Any]) -> Recorded:
    """An honest run of the analyses, and of what the page asks beside them."""
    plan, summer = plan_of(*analyses), Recorded()
    run_plan(Plan((*plan.analyses, *questions_beside(plan.analyses))), summer)
    return summer


def refused(own: Permit, question: Question, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        Guard(own).check([question])


def counts(column: str, complete: list[str], **more: Any) -> Question:
    return Question("cell_counts", {"columns": [[column, ["0", "1"]]], "complete": complete, **more}, 2)


def test_a_roc_of_one_score_is_no_roc_of_a_column_that_another_analysis_describes() -> None:
    """The plan has roc(p, y) and describes age by y; neither is a histogram of age by y."""
    own = permit(ROC, AGE)
    converse({"honest": roc("p", "y")}, _EXAMPLES.GuardedSummer(own, _EXAMPLES.hospitals()))
    converse({"honest": table_one("y", ["age"], [])}, _EXAMPLES.GuardedSummer(own, _EXAMPLES.hospitals()))
    (histogram,) = next(refine("age", "y"))
    refused(own, histogram, "question 'bins' is not in the plan: .* asks it of column age, label y, among .* age, y$")
    with pytest.raises(ProtocolError, match=r"'cell_counts' is not in the plan: .* columns y, among .* age, y$"):
        converse({"hole": roc("age", "y")}, _EXAMPLES.GuardedSummer(own, _EXAMPLES.hospitals()))


@pytest.mark.parametrize(
    ("analyses", "question", "match"),
    [
        ([ROC], Question("bins", {**BINS, "column": "y", "label": "p"}, 8192, START), "column y, label p"),
        ([ROC], Question("bins", {**BINS, "column": "p", "label": None}, 4096, START), "column p, among"),
        ([ROC], Question("bins", {**BINS, "column": "p", "label": "stage"}, 8192, START), "column p, label stage"),
        ([ROC], counts("p", ["y"]), "columns p, among"),
        ([ROC], counts("y", ["p", "q"]), "columns y, among patients with p, q, y"),
        ([ROC, AGE], counts("y", ["p", "age"]), "columns y, among patients with age, p, y"),
        ([ROC], counts("y", []), "columns y, among patients with y"),
        ([ROC], counts("y", ["p"], where={"p": 0.25}), "within levels of p"),
        ([{**ROC, "by": "sex"}], counts("y", ["p", "sex"]), "columns y, among patients with p, sex, y"),
        ([{**ROC, "by": "sex"}, AGE], counts("y", ["age"], where={"sex": "F"}), "within levels of sex"),
        (
            [AGE],
            Question("level_bytes", {"columns": ["age"], "complete": ["y"], "beginnings": [""]}, 257),
            "columns age, among",
        ),
        (
            [{**AGE, "categorical": ["stage", "sex"]}],
            Question("cross_table", {"columns": ["stage", "sex"], "levels": [["1"], ["F"]], "complete": ["y"]}, 1),
            "columns sex, columns stage",
        ),
        (
            [FIT],
            counts("y", ["age", "stage"], columns=[["y", ["0", "1"]], ["stage", ["1", "2", "3"]], ["age", ["63.2"]]]),
            "columns age, columns stage, columns y",
        ),
        (
            [FIT],
            Question(
                "moments", {"terms": [{**TERM, "level": "63.2"}], "complete": ["y", "stage"], "phase": "range"}, 136
            ),
            "terms_level age",
        ),
        (
            [FIT],
            Question(
                "newton_step",
                {
                    "outcome": "y",
                    "columns": [{**TERM, "level": "63.2", "centre": 0.0, "scale": 1.0}],
                    "factors": {"stage": ["1", "2", "3"]},
                    "complete": ["age", "stage"],
                    "offset": None,
                },
                12,
            ),
            "columns_level age",
        ),
        ([FIT], counts("y", ["age"]), "columns y, among patients with age, y"),
        (
            [{"kind": "calibration", "y": "y", "p": "p"}],
            Question("calibration_groups", {"y": "p", "p": "y", "groups": 10, "log_odds": False}, 62),
            "p y, y p",
        ),
        (
            [{"kind": "compare_paired", "scores": ["p", "q"], "label": "y"}],
            Question("delong_cross", {"scores": ["p", "age"], "label": "y", "levels": ["0", "1"], "limbs": 1}, 10),
            "scores age, scores p",
        ),
        (
            [{"kind": "readers", "label": "y", "readers": ["call"], "model": "p"}],
            Question("reader_model_calls", {"label": "y", "readers": ["call"], "model": "age", "threshold": 0.5}, 8),
            "label y, model age, readers call",
        ),
        ([{"kind": "proportion", "column": "y"}], Question("zero_one_counts", {"column": "call"}, 2), "column call"),
    ],
    ids=lambda one: one.kind if isinstance(one, Question) else None,
)
def test_columns_that_no_analysis_asks_together_are_refused(
    analyses: list[dict[str, Any]], question: Question, match: str
) -> None:
    refused(permit(*analyses), question, f"question '{question.kind}' is not in the plan: .* {match}")


def at(score: str, label: str, *thresholds: float, **more: Any) -> Question:
    named = {"score": score, "label": label, "thresholds": list(thresholds), **more}
    return Question("counts_at_thresholds", named, 2 * len(thresholds))


@pytest.mark.parametrize(
    "question",
    [at("q", "y", 0.5), at("p", "call", 0.5), at("p", "y", 0.2), at("p", "y", 0.7), at("p", "y", 0.5, 0.2)],
    ids=["of another score", "of another label", "of a curve", "within strata only", "with one too many"],
)
def test_a_threshold_counts_for_the_score_label_and_patients_that_it_was_named_for(question: Question) -> None:
    curve = {"kind": "decision_curve", "y": "y", "p": "q", "thresholds": [0.2]}
    other = {**CUT, "label": "call", "threshold": 0.7}
    own = permit(CUT, curve, other, {**CUT, "threshold": 0.7, "by": "sex"})
    honest = [at("p", "y", 0.5), at("q", "y", 0.2), at("p", "call", 0.7), at("p", "y", 0.7, where={"sex": "F"})]
    Guard(own).check(honest)
    refused(own, question, r"1 thresholds are not in the plan, which allows 0 further ones for this score")


def test_an_order_search_rounds_as_the_plan_says_and_goes_no_further_than_its_analysis() -> None:
    """Rounded to 1e-9, which is not at all, a search could follow one patient although there is a floor."""
    own = permit(
        {**AGE, "resolution": {"age": 1}}, {"kind": "multiclass", "label": "y", "scores": {"0": "notp", "1": "p"}}
    )
    of = Grouping(columns=("age",), group="y", levels=("0", "1"), resolution=1.0)
    (rounded,) = next(refine_groups(of, "occupied"))
    Guard(own).check([rounded])
    for unit in (0.0, 1e-9):
        question = replace(rounded, arguments={**rounded.arguments, "resolution": unit})
        refused(own, question, "'key_children' is not in the plan: .* columns age, group y, among patients with age, y")


def test_the_columns_that_a_question_names_are_those_that_its_answer_reads() -> None:
    """Every kind of question there is, answered from a table without any other column."""
    private = {"kind": "private_roc", "scores": ["p", "q"], "label": "y", "epsilon": 4, "sites": 3}
    everything, noised = asked_by(*_EXAMPLES.entries()), asked_by(private)
    for question in everything.asked:
        few = [Table({name: one[name] for name in asked_of(question).present}) for one in everything.tables]
        for table, whole in zip(few, everything.tables, strict=True):
            np.testing.assert_array_equal(answer(question, table), answer(question, whole))
    for question in noised.asked:
        answer(question, Table({name: noised.tables[0][name] for name in asked_of(question).present}))
    assert {one.kind for one in (*everything.asked, *noised.asked)} == {*_ONE, *_SEVERAL}


@pytest.mark.parametrize("entry", _EXAMPLES.entries(), ids=lambda one: one["id"])
def test_an_analysis_permits_no_column_that_it_does_not_name(entry: dict[str, Any]) -> None:
    """Each column in turn is exchanged for one that the analysis does not have."""
    own = permit(entry)
    for question in asked_alone(entry):
        assert own.allowing(question)
        for column in asked_of(question).present:
            with pytest.raises(ProtocolError, match="is not in the plan"):
                own.allowing(exchanged(question, column, "other"))


def asked_alone(entry: dict[str, Any]) -> list[Question]:
    summer = Recorded()
    run_plan(plan_of(entry), summer)
    return summer.asked


def exchanged(question: Question, column: str, other: str) -> Question:
    """The question with one column's name replaced wherever it stands."""

    def new(value: Any) -> Any:
        if isinstance(value, str):
            return other if value == column else value
        if isinstance(value, Mapping):
            return {new(name): new(one) for name, one in value.items()}
        return [new(one) for one in value] if isinstance(value, (list, tuple)) else value

    return replace(question, arguments={name: new(value) for name, value in question.arguments.items()})


@pytest.mark.parametrize(
    "value", [3, [3], "y", [["y"]], [{"column": "y"}], [{"column": 3, "level": None, "logit": False}]]
)
@pytest.mark.parametrize("kind", ["cell_counts", "level_bytes", "moments", "delong_cross"])
def test_columns_that_are_not_a_list_of_words_cannot_be_read(kind: str, value: Any) -> None:
    places = {"columns": value, "terms": value, "scores": value, "label": "y", "complete": []}
    refused(permit(ROC), Question(kind, places, 2), f"question '{kind}': its arguments cannot be read")


@pytest.mark.parametrize("more", [{"where": ["sex"]}, {"complete": [3]}, {"label": 3}])
def test_rows_and_labels_that_are_no_words_cannot_be_read(more: dict[str, Any]) -> None:
    named = {**BINS, "column": "p", **more}
    refused(permit(ROC), Question("bins", named, 8192, START), "question 'bins': its arguments cannot be read")
