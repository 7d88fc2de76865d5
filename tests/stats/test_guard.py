"""A hospital's check of questions: every honest plan passes, and each rule refuses a planted violation by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_liver.errors import DataError, PrivacyError, ProtocolError
from fl_liver.server.report.analysis.beside import questions_beside
from fl_liver.stats.allowed import of_cut
from fl_liver.stats.calibration import calibration
from fl_liver.stats.centres import centre_auc
from fl_liver.stats.coarse import coarse_auc
from fl_liver.stats.compare import compare
from fl_liver.stats.compose import or_withheld
from fl_liver.stats.conversation import Conversation, Question, Table, Totals, answer, converse, over
from fl_liver.stats.diagnostic import counts_at
from fl_liver.stats.guard import Guard, require_own_part
from fl_liver.stats.logistic import logistic
from fl_liver.stats.multiclass import multiclass
from fl_liver.stats.permit import Permit, permit_of_plan
from fl_liver.stats.plan import Plan, parse_plan, refusals, run_plan
from fl_liver.stats.refine import FIRST_BITS, bins_question, children, refine
from fl_liver.stats.roc import roc

_SPEC = importlib.util.spec_from_file_location("plan_examples", Path(__file__).with_name("test_plan.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
_EXAMPLES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_EXAMPLES)

Change = Callable[[Question], Question]


def hospitals(n: int = 300, sites: int = 3, seed: int = 6) -> list[Table]:
    columns = _EXAMPLES.cohort(n, seed)
    columns["patient"] = np.arange(n) // 2 * 1.0
    place = np.arange(n) % sites
    return [Table({name: values[place == site] for name, values in columns.items()}) for site in range(sites)]


class GuardedSummer:
    """Three hospitals, each with its guard; `change` is what a dishonest server does to a question."""

    method = "plain"

    def __init__(self, permit: Permit, tables: Sequence[Table], change: Change = lambda question: question) -> None:
        self._tables, self._change = tables, change
        self.guards = [Guard(permit) for _ in tables]
        self.asked: list[Question] = []

    def total(self, questions: Sequence[Question]) -> Totals:
        asked = [self._change(question) for question in questions]
        for guard in self.guards:
            guard.check(asked)
        totals = [sum((answer(one, table) for table in self._tables), np.zeros(one.length, np.int64)) for one in asked]
        for guard in self.guards:
            guard.opened(asked, totals)
        self.asked += asked
        return totals


def entries() -> list[dict[str, Any]]:
    more: list[dict[str, Any]] = [
        {"id": "clustered", "kind": "roc", "score": "p", "label": "y", "cluster": "patient"},
        {"id": "by", "kind": "compare_paired", "scores": ["p", "q"], "label": "y", "by": "sex"},
        {"id": "firth", "kind": "logistic", "outcome": "y", "terms": ["age", "q"], "firth": True},
        {"id": "among", "kind": "roc", "score": "p", "label": "y", "by": "sex", "among": ["stage"]},
        {"id": "calibrated among", "kind": "calibration", "y": "y", "p": "p", "among": ["stage"]},
        {"id": "ranks among", "kind": "rank_sum", "x": "age", "group": "sex", "among": ["q"]},
        {"id": "classes among", "kind": "multiclass", "label": "y", "scores": {"0": "notp", "1": "p"}, "among": ["q"]},
        {"id": "fit among", "kind": "logistic", "outcome": "y", "terms": ["age"], "among": ["q"]},
        {"id": "curve by", "kind": "calibration", "y": "y", "p": "p", "by": "sex", "groups": 4},
    ]
    return [*_EXAMPLES.ENTRIES, *more]


def permit(*analyses: dict[str, Any]) -> Permit:
    return permit_of_plan(
        parse_plan({"analysis": [{"id": str(i), **one} for i, one in enumerate(analyses)]}, "plan"), min_cell=5
    )


def everything() -> Permit:
    """Every entry, the ROC of every number, and AUCs within hospitals, which pages and studies ask."""
    more = [{"id": f"roc {one}", "kind": "roc", "score": one, "label": "y"} for one in ("q", "age")]
    firth = {"id": "firth age", "kind": "logistic", "outcome": "y", "terms": ["age"], "firth": True}
    plan = parse_plan({"analysis": [*entries(), *more, firth]}, "plan")
    return permit_of_plan(Plan((*plan.analyses, *questions_beside(plan.analyses))), min_cell=5)


@pytest.mark.parametrize("min_cell", [1, 5])
@pytest.mark.parametrize("entry", entries(), ids=lambda one: one["id"])
def test_an_honest_analysis_passes_the_guard_of_its_own_plan(entry: Mapping[str, Any], min_cell: int) -> None:
    plan = parse_plan({"analysis": [entry]}, "plan")
    tables = hospitals()
    guarded = run_plan(plan, GuardedSummer(permit_of_plan(plan, min_cell=min_cell), tables), min_cell=min_cell)
    assert not refusals(guarded)


def test_an_honest_plan_of_everything_passes_in_one_batch() -> None:
    plan = parse_plan({"analysis": entries()}, "plan")
    summer = GuardedSummer(permit_of_plan(plan, min_cell=5), hospitals())
    assert not refusals(run_plan(plan, summer, min_cell=5))


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(60, 250), st.integers(1, 5), st.booleans())
def test_honest_questions_pass_whatever_the_patients(seed: int, n: int, sites: int, tied: bool) -> None:
    tables = hospitals(n, sites, seed)
    if tied:
        tables = [Table({**one.columns, "p": np.round(one["p"], 1) * 0.8 + 0.1}) for one in tables]
    talks: dict[str, Conversation[Any]] = {
        "compare": compare(["p", "q"], "y"),
        "calibration": calibration("y", "p"),
        "fit": logistic("y", ["age"]),
        "classes": multiclass("y", {"0": "notp", "1": "p"}),
        "centres": or_withheld(centre_auc("q", "y")),
        "coarse": coarse_auc("age", "y", key="float64"),
    }
    converse({name: over("internal", talk) for name, talk in talks.items()}, GuardedSummer(everything(), tables))


def first_time(when: Callable[[Question], bool], change: Change) -> Change:
    return lambda question: change(question) if when(question) else question


def with_arguments(**changed: Any) -> Change:
    return lambda question: replace(question, arguments={**question.arguments, **changed})


def with_arrays(**changed: Any) -> Change:
    return lambda question: replace(question, arrays={**question.arrays, **changed})


def refuses(talk: Conversation[Any], change: Change, own: Permit | None = None) -> None:
    converse({"talk": talk}, GuardedSummer(own or everything(), hospitals(), change))


def at_depth(depth: int) -> Callable[[Question], bool]:
    return lambda question: question.arguments.get("depth") == depth


def test_a_kind_that_the_plan_does_not_have_is_refused() -> None:
    only_roc = permit({"kind": "roc", "score": "p", "label": "y"})
    with pytest.raises(ProtocolError, match="question 'class_counts' is not in the plan"):
        refuses(roc("p", "y"), lambda _: Question("class_counts", {"score": "p", "label": "y"}, 2), only_roc)


def test_rows_chosen_by_a_column_that_is_no_stratum_are_refused() -> None:
    """`where age = 63.2` is one patient."""
    with pytest.raises(
        ProtocolError, match=r"'cell_counts' is not in the plan: .* columns y, among .* within levels of age"
    ):
        refuses(roc("p", "y"), with_arguments(where={"age": 63.2}))


@pytest.mark.parametrize("pure", [True, False], ids=["pure bins", "bins never asked"])
def test_children_of_bins_that_were_not_active_and_mixed_are_refused(pure: bool) -> None:
    def change(question: Question) -> Question:
        if not at_depth(FIRST_BITS)(question) or question.kind != "bins":
            return question
        active = np.arange(2**FIRST_BITS, dtype=np.uint64)
        strangers = np.setdiff1d(active, question.arrays["active"])[:3] if pure else active
        return bins_question("p", "y", ("0", "1"), "float64", strangers, FIRST_BITS, 4)

    with pytest.raises(ProtocolError, match=r"'bins': \d+ bins are not children of active and mixed bins"):
        refuses(roc("p", "y"), change)


def test_a_jump_in_depth_is_refused() -> None:
    with pytest.raises(ProtocolError, match="'bins': depth jumps: 20 bits were asked, the plan goes on at 12"):
        refuses(roc("p", "y"), first_time(at_depth(FIRST_BITS), with_arguments(depth=20)))


def test_a_finer_first_histogram_is_refused() -> None:
    fine = bins_question("p", "y", ("0", "1"), "float64", np.zeros(1, np.uint64), 0, 16)
    with pytest.raises(ProtocolError, match="'bins': depth jumps: 0 bits were asked, the plan goes on at 0"):
        refuses(roc("p", "y"), first_time(at_depth(0), lambda _: fine))


def test_bins_after_the_last_mixed_one_are_refused() -> None:
    summer = GuardedSummer(everything(), hospitals())
    converse({"refine": refine("p", "y")}, summer)
    guard, last = summer.guards[0], summer.asked[-1]
    finer = children(last.arrays["active"], 4)
    again = bins_question("p", "y", ("0", "1"), "float64", finer, last.arguments["depth"] + 4, 4)
    guard.check([last])  # a repeat says nothing new
    with pytest.raises(ProtocolError, match="'bins': it is not the plan's next question, nor one that was answered"):
        guard.check([again])


def test_a_class_below_the_floor_ends_the_refinement_at_the_site_too() -> None:
    """The server's own floor is switched off; the hospital's is not."""
    few = [Table({**one.columns, "y": np.where(np.arange(len(one)) < 1, 1.0, 0.0)}) for one in hospitals()]
    with pytest.raises(PrivacyError, match="the walk ended before it: min_cell: 'y' 1: fewer than 5 patients"):
        converse({"roc": roc("p", "y", min_cell=1)}, GuardedSummer(everything(), few))


@pytest.mark.parametrize("allowed", [0, 1])
def test_thresholds_that_the_plan_does_not_have_are_refused(allowed: int) -> None:
    own = Permit(5, lambda _: [of_cut("p", "y", [0.5], cutoffs=allowed)])
    asked = [0.5, *(0.1 * one for one in range(1, allowed + 1))]
    refuses(counts_at("p", "y", asked), lambda question: question, own)
    with pytest.raises(ProtocolError, match=rf"{allowed + 1} thresholds are not in the plan, which allows {allowed}"):
        refuses(counts_at("p", "y", [*asked, 0.77]), lambda question: question, own)


def test_cutoffs_of_several_exchanges_are_counted_together() -> None:
    guard = Guard(Permit(5, lambda _: [of_cut("p", "y", cutoffs=1)]))
    ask = [Question("counts_at_thresholds", {"score": "p", "label": "y", "thresholds": [t]}, 2) for t in (0.4, 0.6)]
    guard.check(ask[:1])
    guard.check(ask[:1])
    with pytest.raises(ProtocolError, match="1 thresholds are not in the plan"):
        guard.check(ask[1:])


@pytest.mark.parametrize("begun", [False, True], ids=["first step", "later step"])
def test_coefficients_that_do_not_follow_from_the_fit_are_refused(begun: bool) -> None:
    """β = (−6000, 100) makes every p 0 or 1: the gradient would count the patients on either side of a cut."""

    def due(question: Question) -> bool:
        return question.kind == "newton_step" and bool(question.arrays["beta"].any()) == begun

    changed = first_time(due, with_arrays(beta=np.array([-6000.0, 100.0])))
    with pytest.raises(ProtocolError, match="its coefficients are not the fit's next step; a fit starts at 0"):
        refuses(logistic("y", ["age"]), changed)


def test_a_fit_of_more_than_25_steps_is_refused() -> None:
    def without_end(conversation: Conversation[Any]) -> Conversation[Any]:
        totals: Totals | None = None
        last: list[Question] = []
        for _ in range(80):
            try:
                last = next(conversation) if totals is None else conversation.send(totals)
            except StopIteration:
                drift = 1.0 + 1e-9 * len(asked)
                last = [replace(last[0], arrays={"beta": last[0].arrays["beta"] * drift})]
            asked.extend(last)
            totals = yield last
        return None

    asked: list[Question] = []
    with pytest.raises(ProtocolError, match="ends within 25 steps"):
        refuses(without_end(logistic("y", ["age"])), lambda question: question)
    assert len({one.arrays["beta"].tobytes() for one in asked if one.kind == "newton_step"}) <= 25


def test_an_inverse_hessian_that_is_not_the_fits_is_refused() -> None:
    changed = first_time(lambda question: question.kind == "firth_penalty", with_arrays(inverse=np.eye(2) * 1e3))
    with pytest.raises(ProtocolError, match="'firth_penalty': its coefficients are not the fit's next step"):
        refuses(logistic("y", ["age"], firth=True), changed)


def test_a_power_that_picks_out_the_largest_value_is_refused() -> None:
    changed = first_time(lambda question: question.kind == "moments", with_arrays(power=np.array([40])))
    with pytest.raises(ProtocolError, match="'moments': it is not the plan's next question"):
        refuses(logistic("y", ["age"]), changed)


def test_weights_of_bins_that_were_not_opened_are_refused() -> None:
    """X = 1 in one bin and 0 elsewhere would count that bin."""

    def change(question: Question) -> Question:
        if question.kind != "delong_cross":
            return question
        one_bin = np.zeros_like(question.arrays["x0"])
        one_bin[3] = 1
        return with_arrays(x0=one_bin)(question)

    with pytest.raises(ProtocolError, match="the counts below each bin of 'p' are not those of its histogram"):
        refuses(compare(["p", "q"], "y"), change)


def test_groups_that_are_not_of_equal_size_are_refused() -> None:
    def change(question: Question) -> Question:
        if "cuts" not in question.arrays:
            return question
        return with_arrays(cuts=np.sort(question.arrays["cuts"] + np.uint64(1)))(question)

    with pytest.raises(ProtocolError, match="the cuts are not those of groups of equal size"):
        refuses(calibration("y", "p"), change)
    four = permit({"kind": "calibration", "y": "y", "p": "p", "groups": 4})
    with pytest.raises(ProtocolError, match="'bins': 1 bins are not children of active and mixed bins"):
        refuses(calibration("y", "p", groups=5), lambda question: question, four)


def test_a_smooth_curve_as_narrow_as_a_patient_is_refused() -> None:
    changed = first_time(lambda question: question.kind == "local_linear", with_arrays(bandwidth=np.array([1e-9])))
    with pytest.raises(ProtocolError, match="'local_linear': it is not the plan's next question"):
        refuses(calibration("y", "p"), changed)


def test_another_between_centre_variance_than_the_plans_is_refused() -> None:
    changed = first_time(lambda question: question.kind == "centre_sums", with_arrays(tau2=np.array([-1e-3])))
    with pytest.raises(ProtocolError, match="'centre_sums': it is not the plan's next question"):
        refuses(centre_auc("p", "y"), changed)


def test_an_order_search_does_not_go_on_in_a_range_of_one_group() -> None:
    def change(question: Question) -> Question:
        if question.kind != "key_children" or question.arguments["depth"] != FIRST_BITS:
            return question
        everything = np.arange(2**FIRST_BITS, dtype=np.uint64)
        return replace(question, length=2 * len(everything) << 4, arrays={"active": everything})

    only = permit({"kind": "multiclass", "label": "y", "scores": {"0": "notp", "1": "p"}})
    with pytest.raises(ProtocolError, match=r"'key_children': \d+ ranges are not children of active ranges"):
        refuses(multiclass("y", {"0": "notp", "1": "p"}), change, only)
    with pytest.raises(ProtocolError, match="'key_children': depth jumps: 40 and 4 further bits were asked"):
        refuses(
            multiclass("y", {"0": "notp", "1": "p"}), first_time(at_depth(FIRST_BITS), with_arguments(depth=40)), only
        )


def test_totals_below_a_hospitals_own_counts_are_not_the_sum() -> None:
    question = Question("class_counts", {"score": "p", "label": "y"}, 2)
    require_own_part([question], [np.array([5, 3])], [np.array([5, 3])])
    with pytest.raises(ProtocolError, match="1 totals are below this hospital's own counts; they are not the sum"):
        require_own_part([question], [np.array([5, 2])], [np.array([5, 3])])


def test_totals_of_another_length_are_refused() -> None:
    with pytest.raises(ProtocolError, match="a total of 3, wanted 2"):
        Guard(everything()).opened([Question("class_counts", {}, 2)], [np.zeros(3, np.int64)])


@pytest.mark.parametrize("arguments", [{}, {"columns": 3, "complete": []}, {"where": 3}])
@pytest.mark.parametrize("kind", ["level_bytes", "bins", "key_children", "newton_step", "delong_cross", "moments"])
def test_arguments_that_cannot_be_read_are_refused(kind: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match=f"question '{kind}': its arguments cannot be read"):
        Guard(everything()).check([Question(kind, arguments, 257)])


@pytest.mark.parametrize("total", [np.iinfo(np.int64).min, -1, 0, np.iinfo(np.int64).max])
def test_a_fit_over_absurd_totals_stops_and_breaks_nothing(total: int) -> None:
    summer = GuardedSummer(everything(), hospitals())
    converse({"fit": logistic("y", ["age"])}, summer)
    step = next(one for one in summer.asked if one.kind == "newton_step")
    guard = Guard(everything())
    guard.check([step])
    guard.opened([step], [np.full(step.length, total, np.int64)])
    later = replace(step, arrays={"beta": np.array([1.0, 2.0])})
    with pytest.raises((ProtocolError, DataError), match="newton_step"):
        guard.check([later])
