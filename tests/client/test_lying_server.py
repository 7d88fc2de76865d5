"""What a lying server tried on real hospitals. Each attack gave one hospital's own numbers, and gives nothing now."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client import respond as responding
from fl_liver.client.alarms import alarms
from fl_liver.client.respond import read_cohort, respond
from fl_liver.client.scores import ScoreStore
from fl_liver.errors import IncompleteError, NotFiniteError, ProtocolError
from fl_liver.messages import Combine, Done, Fit, Keys, Refusal, Score, Sum, Totals, Update
from fl_liver.models.registry import initial_vector, study_layout
from fl_liver.parameters import vector_sha256
from fl_liver.score_origin import made_by, origin
from fl_liver.securesum.context import Slot
from fl_liver.server import summing
from fl_liver.server.run_record import RunRecord
from fl_liver.server.summing import BatchSummer
from fl_liver.server.sums import Sums
from fl_liver.stats.coarse import coarse_auc
from fl_liver.stats.conversation import Question, over
from fl_liver.stats.logistic import logistic
from fl_liver.stats.roc import roc
from fl_liver.study import Initial, Study
from fl_liver.update_code import update_code
from fl_liver.wire import from_record
from tests.securesum.wards import Ward, cheap_fit, train_cheaply

TRAIN = ("H01", "H02", "H03", "H04")
SEVEN = (*TRAIN, "H05", "H06", "H07")
MakeWard = Callable[..., Ward]


@pytest.fixture
def make_ward(tmp_path: Path, table_study: Study, local_grid: Any, monkeypatch: pytest.MonkeyPatch) -> MakeWard:
    monkeypatch.setattr(summing, "_PAUSE_S", 0.0)
    train_cheaply(monkeypatch)

    def make(**changes: Any) -> Ward:
        return Ward.of(tmp_path, table_study.changed(**changes), local_grid)

    return make


@pytest.fixture
def ward(make_ward: MakeWard) -> Ward:
    """With a score `a` at every hospital."""
    made = make_ward()
    assert len(sums_of(made).make_score(score(made), made.study.every_site).answered) == 5
    return made


def score(ward: Ward, name: str = "a", rows: str = "all", intercept: float = 0.0) -> Score:
    moved = np.array([0.9, 0.4, 0, 0, -0.5 + intercept], np.float32)
    return Score(ward.study.sha256, name, rows, "", ward.initial()[0] + moved)


def sums_of(ward: Ward) -> Sums:
    return Sums(ward.exchange(), ward.study, ward.roster, ward.record())


def histogram(name: str = "a") -> list[Question]:
    """Of the two classes of the training patients: the first step of a plan."""
    return next(over("training", coarse_auc(f"score:{name}", "label", key="logit32")))


def to_h03(change: Callable[[Any], Any], step: int) -> Callable[[str, Any], Any]:
    """The server says something else to H03 at one step, and the same as ever to the others."""
    return lambda site, asked: (
        change(asked) if site == "H03" and isinstance(asked, Sum) and asked.step == step else asked
    )


# A second run


def test_a_second_run_of_a_study_is_answered_by_nobody(make_ward: MakeWard) -> None:
    """Training repeats itself: round 1 of another run, without H03, would give H03's update by subtraction."""
    ward = make_ward()
    vector, _ = ward.initial()
    code = update_code(ward.study, study_layout(ward.study))
    assert len(ward.rounds().ask(1, vector, code, lambda _: None).answered) == 4
    again = RunRecord(ward.root / "again.json")
    for purpose, sites in (("training/train", ()), ("statistics/b1", TRAIN)):
        asked = Keys(ward.slot(1 if sites == () else 0, run=again.run, purpose=purpose), sites)
        assert [ward.ask(site, asked) for site in TRAIN] == [Refusal("BELOW_FLOOR", 0)] * 4
    # Without keys there is no sum, whatever else is asked.
    fit = Fit(ward.slot(run=again.run), vector, {}, {})
    assert isinstance(ward.ask("H01", fit), Refusal)


def test_the_run_of_the_statistics_is_that_of_the_training(make_ward: MakeWard, ward: Ward) -> None:
    sums_of(ward).summer(TRAIN, "masked").total(histogram())
    other = Keys(ward.slot(run="run-b"), ())
    assert ward.ask("H01", other) == Refusal("BELOW_FLOOR", 0)


def test_round_1_begins_with_the_weights_that_were_approved(
    make_site: Any, plain_study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights that a server made up can give away single patients."""
    vector = initial_vector(plain_study)[0]
    study = plain_study.model_copy(update={"initial": Initial(sha256=vector_sha256(vector), layout="ab" * 32)})
    site = make_site(study=study)
    slot = Slot(study.sha256, "run-a", "training/train", 1, 0)
    made_up, approved = (
        from_record(respond(site, Fit(slot, one, {}, {}), "cpu"), (Refusal, Update))
        for one in (vector + np.float32(1e-3), vector)
    )
    assert made_up == Refusal("PROTOCOL", 0)
    assert "round 1 begins with other weights than those of the approved study" in caplog.text
    assert isinstance(approved, Update)


# Several batches


def test_four_batches_that_would_isolate_one_hospital_end_at_the_second(make_ward: MakeWard) -> None:
    """S, S − {1, 2}, S − {1, 3} and S − {2, 3} give hospital 1."""
    ward = make_ward(sites={"train": SEVEN, "external": []})
    sums = sums_of(ward)
    sums.make_score(score(ward), SEVEN)
    sums.summer(SEVEN, "masked").total(histogram())
    for without in ({"H01", "H02"}, {"H01", "H03"}, {"H02", "H03"}):
        fewer = [site for site in SEVEN if site not in without]
        with pytest.raises(IncompleteError, match="BELOW_FLOOR"):
            sums.summer(fewer, "masked").total(histogram())
    sums.summer(SEVEN, "masked").total(histogram())


# Totals that are not the sum


def second_step(ward: Ward) -> tuple[BatchSummer, list[Question]]:
    """A batch after its first step, and the questions of the next."""
    batch = sums_of(ward).summer(TRAIN, "masked")
    talk = over("training", roc("score:a", "label", key="logit32", min_cell=5))
    return batch, talk.send(batch.total(next(talk)))


def answers_of(ward: Ward, site: str, step: int) -> list[Any]:
    """What a hospital said to a step, in order."""
    pairs = zip(ward.heard, ward.said, strict=True)
    return [
        word for (name, asked), (_, word) in pairs if name == site and isinstance(asked, Sum) and asked.step == step
    ]


def test_totals_below_the_hospitals_own_counts_do_not_change_what_it_seems_to_answer(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    """Halving the totals until H03 no longer refused gave its counts, one after the other."""
    batch, due = second_step(ward)
    ward.asks = to_h03(lambda asked: replace(asked, previous=np.zeros_like(asked.previous)), step=1)
    with pytest.raises(ProtocolError, match="did not cancel"):
        batch.total(due)
    (lied_to,), (honest,) = answers_of(ward, "H03", 1), answers_of(ward, "H02", 1)
    assert isinstance(lied_to, Totals)
    assert (lied_to.vector.shape, lied_to.vector.dtype) == (honest.vector.shape, honest.vector.dtype)
    assert len(lied_to.announced) == len(honest.announced)
    assert "random numbers leave in the place of an answer" in caplog.text
    (asked,) = [one for name, one in ward.heard if name == "H03" and isinstance(one, Sum) and one.step == 1]
    again = ward.ask("H03", asked)
    assert again.vector.tobytes() == lied_to.vector.tobytes(), "two answers would give the noise away"


def test_after_false_totals_the_hospital_adds_nothing_until_a_person_has_looked_and_seems_to_answer(ward: Ward) -> None:
    """A refusal, of the next step or of the next batch, would be the comparison that noise had hidden."""
    batch, due = second_step(ward)
    ward.asks = to_h03(lambda asked: replace(asked, previous=np.zeros_like(asked.previous)), step=1)
    with pytest.raises(ProtocolError):
        batch.total(due)
    ward.asks = lambda _, asked: asked
    (last,) = [one for name, one in ward.heard if name == "H02" and isinstance(one, Sum) and one.step == 1]
    further = replace(last, step=2, announced={}, previous=np.zeros(5, np.int64))
    assert len({type(ward.ask(site, further)) for site in ("H02", "H03")}) == 1, "further steps are judged alike"
    with pytest.raises(ProtocolError, match="did not cancel"):
        sums_of(ward).summer(TRAIN, "masked").total(histogram())
    assert {type(word) for _, word in ward.said[-4:]} == {Totals}
    assert ward.ask("H03", replace(last, batch="none")) == ward.ask("H02", replace(last, batch="none"))
    (alarm,) = alarms(ward.sites["H03"].work)
    assert "the server showed totals that cannot be true" in alarm
    assert not alarms(ward.sites["H02"].work)
    (ward.sites["H03"].study_folder(ward.study.sha256) / "false-totals").unlink()
    sums_of(ward).summer(TRAIN, "masked").total(histogram())


def test_a_scale_that_one_hospitals_sum_does_not_fit_is_no_refusal(
    make_ward: MakeWard, caplog: pytest.LogCaptureFixture
) -> None:
    """Totals that say that all sums are small bring a scale at which they are refused, of one hospital or another."""
    ward = make_ward(analysis={"fusion": ["age"], "min_cell": 3})
    sums_of(ward).make_score(score(ward), ward.study.every_site)
    steps = over("training", logistic("label", ["score:a", "age"], firth=True, min_cell=5))
    summer = sums_of(ward).summer(TRAIN, "masked")
    due = next(steps)
    while not (ranges := [one.arguments.get("phase") == "range" for one in due])[0]:
        due = steps.send(summer.total(due))
    totals = summer.total(due)
    false = [np.roll(one, -3) if is_range else one for one, is_range in zip(totals, ranges, strict=True)]
    ward.asks = lambda _, asked: replace(asked, previous=np.concatenate(false)) if isinstance(asked, Sum) else asked
    with pytest.raises(ProtocolError, match="did not cancel"):
        summer.total(steps.send(false))
    assert {type(word) for _, word in ward.said[-4:]} == {Totals}
    assert "a sum is beyond 2^100 on the announced scale" in caplog.text


# Models and coefficients that are made for one patient


def oldest(ward: Ward, site: str) -> float:
    """|age| on the scale of the model's input."""
    return float(np.abs(read_cohort(ward.sites[site], ward.study.sha256)[1].factors[:, 0]).max())


def test_a_model_whose_scores_overflow_for_one_patient_is_scored_like_any_other(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    """Eighteen refusals gave the age of the oldest patient of one hospital, to five digits."""
    for share in (0.99, 1.01):
        vector = ward.initial()[0] * 0
        vector[0] = np.float32(3.4028e38 / oldest(ward, "H03") / share)
        asked = Score(ward.study.sha256, "probe", "all", "", vector)
        assert ward.ask("H03", asked) == Done(0)
    assert "have a score that is not finite; counted as 0" in caplog.text
    scores = ScoreStore(ward.sites["H03"].study_folder(ward.study.sha256), 40).load("probe")
    assert np.isfinite(scores).all()


def test_coefficients_that_overflow_for_one_patient_are_combined_like_any_others(ward: Ward) -> None:
    for share in (0.99, 1.01):
        beta = 1.7976e308 / oldest(ward, "H03") / share
        asked = Combine(ward.study.sha256, "probe", "a", 0.0, 0.0, {"age": beta})
        assert ward.ask("H03", asked) == Done(0)
    scores = ScoreStore(ward.sites["H03"].study_folder(ward.study.sha256), 40).load("probe")
    assert np.isfinite(scores).all()


def test_a_model_that_cannot_be_trained_on_at_one_hospital_is_a_round_like_any_other(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """H03 sends the received model back, masked: who heard of it, and whether anybody did it, the sum does not say."""

    def fails_at_h03(*arguments: Any, **named: Any) -> Any:
        if named["seed_key"] == "H03":
            raise NotFiniteError("site H03, round 1, batch 1 of 2: the loss is nan")
        return cheap_fit(*arguments, **named)

    monkeypatch.setattr(responding, "fit", fails_at_h03)
    vector, layout = ward.initial()
    code = update_code(ward.study, layout)
    opened = ward.rounds().ask(1, vector, code, lambda _: None)
    assert opened.answered == TRAIN
    mean, loss = code.decode(opened.total, vector, 4)
    moved = [cheap_fit(ward.study, None, vector, round_number=1, seed_key=site, rows=range(9)).vector for site in TRAIN]
    moved[2] = vector
    np.testing.assert_allclose(mean, np.mean(moved, axis=0), atol=1e-5)  # 40 patients each, all of them trained on
    assert loss > 30, "so large that a person asks"
    assert "the received model goes back unchanged" in caplog.text
    (alarm,) = alarms(ward.sites["H03"].work)
    assert "training gave numbers that are not finite" in alarm


def test_the_width_of_a_sum_is_that_of_its_bounds(ward: Ward) -> None:
    ward.asks = lambda _, asked: replace(asked, bits=16) if isinstance(asked, Sum) else asked
    unbounded = [replace(one, bound=None) for one in histogram()]
    with pytest.raises(IncompleteError, match="H04: refused, PROTOCOL"):
        sums_of(ward).summer(TRAIN, "masked").total(unbounded)


def test_an_own_entry_above_its_bound_is_no_refusal(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """`answered` or `refused` would tell whether this hospital's own entry is above 65,535."""
    large = histogram()[0].length * [0]
    large[5] = 70_000
    monkeypatch.setattr(responding, "answer", lambda *_: np.array(large))
    with pytest.raises(ProtocolError, match="did not cancel"):
        sums_of(ward).summer(TRAIN, "masked").total([replace(one, bound=60_000) for one in histogram()])
    assert {type(word) for _, word in ward.said[-4:]} == {Totals}


def test_a_step_that_was_answered_leaves_no_keys_on_the_disk(ward: Ward) -> None:
    """Whoever has them, and what went over the wire, has the hospital's own numbers."""
    sums_of(ward).summer(TRAIN, "masked").total(histogram())
    for site in TRAIN:
        folder = ward.sites[site].study_folder(ward.study.sha256) / "sums"
        (path,) = folder.glob("statistics-*.json")
        held = {tuple(order): state["secrets"] for order, state in json.loads(path.read_text())["slots"]}
        assert held[0, 0, 0] is None
        assert held[0, 1, 0], "keys for the next step went out with the answer"


# Scores that are not the same everywhere


def test_hospitals_that_scored_with_other_coefficients_are_in_no_sum(ward: Ward) -> None:
    """One masked histogram would show every hospital in bins of its own."""
    sums = sums_of(ward)
    asked = [Combine(ward.study.sha256, "apart", "a", 0.0, 10.0 * number, {}) for number in range(4)]
    for site, question in zip(TRAIN, asked, strict=True):
        assert ward.ask(site, question) == Done(0)
    sums.record.note_score(asked[0])
    with pytest.raises(IncompleteError, match="H02: refused, PROTOCOL; H03: refused, PROTOCOL; H04: refused, PROTOCOL"):
        sums.summer(TRAIN, "masked").total(histogram("apart"))
    # Each is told the origin that it has itself: all answer, and nothing opens.
    base = sums.record.origins()["a"]
    own = {site: origin({"all": made_by(one, {"a": base})}) for site, one in zip(TRAIN, asked, strict=True)}
    ward.asks = lambda site, one: replace(one, scores={"apart": own[site]}) if isinstance(one, Sum) else one
    with pytest.raises(ProtocolError, match="did not cancel"):
        sums.summer(TRAIN, "masked").total(histogram("apart"))


def test_hospitals_that_scored_in_another_order_are_in_no_sum(ward: Ward) -> None:
    """Rows may overlap: H03 would hold the first model's scores, the others the second's."""
    first, second = score(ward, "b", "training", -30.0), score(ward, "b", "train", 30.0)
    sums = sums_of(ward)
    for question in (first, second):
        sums.record.note_score(question)
    for site in TRAIN:
        for question in (second, first) if site == "H03" else (first, second):
            assert ward.ask(site, question) == Done(0)
    with pytest.raises(IncompleteError, match=r"opened: H03: refused, PROTOCOL$"):
        sums.summer(TRAIN, "masked").total(histogram("b"))


def test_a_score_joins_no_other_score_unseen(ward: Ward) -> None:
    """The origin of a combination names its base and nothing else."""
    for stranger in ("score:a", "label", "size_mm"):
        asked = Combine(ward.study.sha256, "c", "a", 1.0, 0.0, {stranger: 1.0})
        assert ward.ask("H01", asked) == Refusal("PROTOCOL", 0)


def test_a_commitment_does_not_tell_whether_two_questions_score_the_patients_alike(ward: Ward) -> None:
    """2^60 + 256 · age rounds to 2^60 unless somebody is old enough: a server could ask for the oldest by halving."""
    promises = []
    for beta in (1e-9, 2e-9):
        question = Combine(ward.study.sha256, "probe", "a", 0.0, 2.0**60, {"age": beta})
        assert ward.ask("H01", question) == Done(0)
        sums_of(ward).summer(TRAIN, "masked").total(histogram())
        promises.append(answers_of(ward, "H01", 0)[-1].commitment)
    assert promises[0] != promises[1], "the same scores, bit for bit, made by other questions"
