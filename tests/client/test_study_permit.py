"""What a study permits: the questions that the coordinator's code really asks, and no other column or place.

The honest ones are the very conversations of `server.evaluation`, `server.fusion` and `server.run`, one question after
the other; whole studies behind these permits are in `tests/server` and `tests/simulation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from fl_liver.client.permit import study_permit
from fl_liver.errors import ProtocolError
from fl_liver.server.fusion import finite
from fl_liver.stats.calibration import calibration, hosmer_lemeshow
from fl_liver.stats.centres import centre_auc
from fl_liver.stats.coarse import coarse_auc
from fl_liver.stats.compare import compare
from fl_liver.stats.compose import or_withheld
from fl_liver.stats.conversation import Conversation, Question, Table, Totals, answer, converse, over
from fl_liver.stats.decision_curve import decision_curve
from fl_liver.stats.diagnostic import counts_at, diagnostic
from fl_liver.stats.guard import Guard
from fl_liver.stats.logistic import logistic, univariate
from fl_liver.stats.multiclass import multiclass
from fl_liver.stats.patients import PatientFloors
from fl_liver.stats.private_roc import noised_histogram
from fl_liver.stats.roc import roc
from fl_liver.stats.rows import cell_counts
from fl_liver.stats.table_one import table_one
from fl_liver.study import Study

A, B, C = "score:federated", "score:fusion", "score:H01"
CLASSES = {"cyst": "0", "hcc": "1", "meta": "2"}
Talk = Conversation[Any]


@pytest.fixture
def study(table_study: Study) -> Study:
    """Two factors, of which the fused model is offered one."""
    return table_study.changed(analysis={"fusion": ["age"]})


@pytest.fixture
def of_three(table_study: Study) -> Study:
    return table_study.changed(task={"classes": CLASSES, "positive": ["hcc", "meta"]})


def hospitals() -> list[Table]:
    """Three, with every column that `client.table` gives a study of two or of three classes."""
    tables = []
    for site in range(3):
        draw = np.random.default_rng(site)
        y = (draw.random(150) < 0.5) * 1.0
        scores = {name: draw.normal(y, 1.0) for name in (A, B, C, *(f"{A}:{one}" for one in CLASSES))}
        numbers = {"age": draw.normal(y, 2.0), "hepatitis": (draw.random(150) < 0.4) * 1.0, "size_mm": draw.random(150)}
        names = np.array(list(CLASSES), dtype=object)[draw.integers(0, 3, 150)]
        endpoints: dict[str, Any] = {"class:kind": names, "label:bad": np.where(draw.random(150) < 0.2, np.nan, y)}
        columns = {"label": y, "class_name": names, "background": y, **scores, **numbers, **endpoints}
        tables.append(Table(columns, patients=np.arange(150) // 2))
    return tables


class Room:
    """Three hospitals, each with the guard of the study."""

    method = "plain"

    def __init__(self, study: Study) -> None:
        self._tables = hospitals()
        self._guards = [Guard(study_permit(study, 3)) for _ in self._tables]

    def total(self, questions: Sequence[Question]) -> Totals:
        for guard in self._guards:
            guard.check(questions)
        totals = [
            sum((answer(one, table) for table in self._tables), np.zeros(one.length, np.int64)) for one in questions
        ]
        for guard in self._guards:
            guard.opened(questions, totals)
        return totals


def ask(study: Study, *talks: Talk) -> None:
    room = Room(study)
    summer = PatientFloors(room, 3) if study.cohort.unit == "lesion" else room
    converse({str(place): over("internal", talk) for place, talk in enumerate(talks)}, summer)


def of_score(score: str) -> list[Talk]:
    return [
        roc(score, "label", key="logit32", min_cell=3),
        coarse_auc(score, "label"),
        centre_auc(score, "label", min_cell=3),
        diagnostic(score, "label", 0.25, min_cell=3),
    ]


def test_what_the_coordinator_asks_of_scores_and_factors_is_answered(study: Study) -> None:
    ask(study, *of_score(A), calibration("label", A, log_odds=True, groups=10, min_cell=3))
    ask(study, compare([A, B], "label", key="logit32"), compare([A, B, C], "label", key="logit32"))
    ask(study, compare([A, A], "label", key="logit32"))
    fits = [univariate("label", ["age"], min_cell=3), univariate("label", ["age"], min_cell=3, firth=True)]
    ask(study, *fits, finite(["age"], 3), finite([A, "age"], 3), finite([A], 3), or_withheld(finite(["age"], 3)))


def test_what_the_coordinator_asks_of_several_classes_is_answered(of_three: Study) -> None:
    ask(of_three, *of_score(A), multiclass("class_name", {one: f"{A}:{one}" for one in CLASSES}, min_cell=3))


@pytest.fixture
def of_lesions(table_study: Study) -> Study:
    return table_study.changed(cohort={"unit": "lesion"})


@pytest.mark.parametrize("scores", [[A], [A, B], [A, B, C]], ids=["roc", "pair", "three"])
def test_lesions_go_by_their_patients_and_by_no_column(
    table_study: Study, of_lesions: Study, scores: list[str]
) -> None:
    """Grouped by a column, the sums would be those of its groups; and where rows are patients, none are grouped."""

    def talk(cluster: str | None) -> Talk:
        one = partial(roc, scores[0]) if len(scores) == 1 else partial(compare, scores)
        return one("label", key="logit32", min_cell=3, cluster=cluster)

    ask(of_lesions, talk(""))
    ask(table_study, talk(None))
    for study, cluster in ((of_lesions, "age"), (of_lesions, "label"), (table_study, "age"), (table_study, "")):
        with pytest.raises(ProtocolError, match=r"question '(cluster_cross|cell_counts)' is not in the plan"):
            ask(study, talk(cluster))


def test_lesions_are_not_compared_as_patients(of_lesions: Study) -> None:
    with pytest.raises(ProtocolError, match="question 'delong_cross' is not in the plan"):
        ask(of_lesions, compare([A, B], "label", key="logit32", min_cell=3))


@pytest.fixture
def with_endpoints(of_three: Study) -> Study:
    """Whether a lesion is malignant, and which, among those who have one."""
    kind = {"name": "kind", "title": "Which", "among": list(CLASSES)}
    return of_three.with_top(endpoint=[kind, {**kind, "name": "bad", "positive": ["hcc", "meta"]}])


def test_what_the_coordinator_asks_of_further_endpoints_is_answered(with_endpoints: Study) -> None:
    ask(with_endpoints, roc(B, "label:bad", key="logit32", min_cell=3), coarse_auc(B, "label:bad"))
    ask(with_endpoints, multiclass("class:kind", {one: f"{A}:{one}" for one in CLASSES}, min_cell=3))


@pytest.mark.parametrize("talk", [roc("age", "label:bad"), centre_auc(B, "label:bad"), diagnostic(B, "label:bad", 0.0)])
def test_an_endpoint_has_curves_of_scores_and_nothing_else(with_endpoints: Study, talk: Talk) -> None:
    with pytest.raises(ProtocolError, match="is not in the plan"):
        ask(with_endpoints, talk)


def test_the_label_of_another_studys_endpoint_is_refused(of_three: Study) -> None:
    with pytest.raises(ProtocolError, match="column score:fusion, label label:bad"):
        ask(of_three, coarse_auc(B, "label:bad"))


@pytest.mark.parametrize(
    ("talk", "named"),
    [
        (roc("age", "label"), "column age, label label, among patients with age, label$"),
        (coarse_auc("age", "label"), "column age, label label"),
        (coarse_auc(A, "hepatitis"), f"column {A}, label hepatitis"),
        (coarse_auc("label", A), f"column label, label {A}"),
        (roc(A, "label", complete=["hepatitis"]), "columns label, among patients with hepatitis, label"),
        (roc("size_mm", "label"), "columns label, among patients with label, size_mm"),
        (coarse_auc(A, "background"), f"column {A}, label background"),
        (centre_auc("age", "label"), "label label, score age"),
        (diagnostic("age", "label", 0.25), "label label, score age"),
        (compare([A, "age"], "label"), f"column {A}, label label, among patients with age, label, {A}$"),
        (calibration("label", "age", log_odds=True), "offset age, outcome label"),
        (hosmer_lemeshow("hepatitis", A), "columns hepatitis"),
        (decision_curve("hepatitis", A, [0.5]), f"label hepatitis, score {A}"),
        (logistic("label", ["hepatitis"]), "columns label, among patients with hepatitis, label"),
        (logistic("hepatitis", ["age"]), "columns hepatitis"),
        (logistic("label", [A, B]), "columns label|columns score"),
        (table_one("label", ["age"], []), "columns label, among patients with label$"),
        (multiclass("class_name", {one: f"{A}:{one}" for one in CLASSES}), "columns class_name"),
        (multiclass("class_name", {one: f"{A}:{one}" for one in ("benign", "malignant")}), "columns class_name"),
        (roc(f"{A}:hcc", "label"), f"columns label, among patients with label, {A}:hcc"),
    ],
)
def test_any_other_column_or_place_is_refused(study: Study, talk: Talk, named: str) -> None:
    with pytest.raises(ProtocolError, match=f"is not in the plan: no analysis there asks it of .*({named})"):
        ask(study, talk)


@pytest.mark.parametrize(
    "talk",
    [
        multiclass("label", {"0": A, "1": B}),
        multiclass("class_name", {"cyst": f"{A}:cyst", "hcc": f"{A}:hcc"}),
        multiclass("class_name", {"cyst": f"{A}:cyst", "hcc": f"{A}:hcc", "meta": "age"}),
        calibration("label", A, log_odds=True),
        roc(f"{A}:hcc", "label"),
        multiclass("label", {one: f"{A}:{one}" for one in CLASSES}),
    ],
    ids=[
        "label",
        "two classes",
        "a factor for a class",
        "calibration",
        "one class against the others",
        "the diagnosis for classes",
    ],
)
def test_a_study_of_three_classes_has_their_scores_together_and_no_calibration(of_three: Study, talk: Talk) -> None:
    with pytest.raises(ProtocolError, match="is not in the plan"):
        ask(of_three, talk)


def test_levels_of_a_factor_choose_no_patients(study: Study) -> None:
    arguments = {"columns": [["label", ["0", "1"]]], "complete": [A], "where": {"age": 0.63}}
    with pytest.raises(ProtocolError, match=r"'cell_counts' is not in the plan: .* within levels of age"):
        Guard(study_permit(study, 3)).check([Question("cell_counts", arguments, 2)])


def test_one_cut_off_is_for_one_score(study: Study) -> None:
    room = Room(study)
    converse({"a": over("internal", counts_at(A, "label", [0.25]))}, room)
    converse({"b": over("internal", counts_at(B, "label", [0.5]))}, room)
    with pytest.raises(ProtocolError, match="1 thresholds are not in the plan, which allows 1 further ones for this"):
        converse({"a": over("internal", counts_at(A, "label", [0.5]))}, room)


def test_a_study_without_a_fused_model_has_no_regression_on_factors(table_study: Study) -> None:
    for terms, kind in ((["age"], "cell_counts"), ([A], "binary_cells"), ([A, "age"], "cell_counts")):
        with pytest.raises(ProtocolError, match=f"'{kind}' is not in the plan"):
            ask(table_study, logistic("label", terms))


def test_patients_are_not_counted_without_a_score_or_a_factor(study: Study) -> None:
    with pytest.raises(
        ProtocolError, match=r"'cell_counts' is not in the plan: .* columns label, among .* with label$"
    ):
        ask(study, cell_counts([("label", ("0", "1"))]))


def test_noise_is_for_scores_and_the_diagnosis(table_study: Study) -> None:
    noised = study_permit(table_study.changed(privacy={"histogram_epsilon": 4.0}), 3)
    assert noised.noise is not None
    epsilon, honest = noised.noise
    Guard(noised).check([noised_histogram([A, B], "label", epsilon=epsilon, honest=honest)])
    for scores, label in (([A, "age"], "label"), ([A], "hepatitis"), (["age"], "label")):
        with pytest.raises(ProtocolError, match="'noised_histogram' is not in the plan"):
            Guard(noised).check([noised_histogram(scores, label, epsilon=epsilon, honest=honest)])
