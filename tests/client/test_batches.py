"""A hospital's side of a batch: steps in order, frozen hospitals, an unchanged cohort, a guard that lives on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client import batches as keeping
from fl_liver.client.batches import Batches
from fl_liver.client.permit import study_permit
from fl_liver.client.respond import read_cohort, respond
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import SiteConfig
from fl_liver.errors import PrivacyError, ProtocolError
from fl_liver.messages import Outgoing, Refusal, Sum, Totals
from fl_liver.stats.allowed import of_one
from fl_liver.stats.conversation import Question, Table, answer
from fl_liver.stats.permit import Permit
from fl_liver.stats.private_roc import noised_histogram
from fl_liver.stats.refine import FIRST_BITS, bins_question, refine
from fl_liver.stats.rows import cell_counts
from fl_liver.study import Study
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]
SITES = ("H01", "H02", "H03", "H04")
PATIENTS = tuple(f"p{number:02d}" for number in range(40))
PROMISE = "ab" * 32


class Server:
    """Asks one hospital the steps of a refinement; the other hospitals are three copies of it."""

    def __init__(self, study: Study, folder: Path) -> None:
        draw = np.random.default_rng(3)
        label = np.arange(40) % 2
        self.table = Table({"label": label.astype(float), "score:a": 1 + 1e-5 * (label + draw.normal(0, 1, 40))})
        self.study, self.folder = study, folder

    def store(self) -> Batches:
        return Batches("H01", self.study, self.folder, study_permit(self.study, 3))

    def own(self, asked: Sum) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.concatenate([answer(one, self.table) for one in asked.questions])

    def give(self, asked: Sum, promise: str = PROMISE, patients: tuple[str, ...] = PATIENTS) -> Sum:
        """The hospital answers; returns the step, so that the next one can follow from it."""
        store = self.store()
        store.admit(asked, promise, patients)
        store.keep(asked, self.own(asked), promise, patients)
        return asked

    def first(self, batch: str = "b1", **keys: Any) -> Sum:
        ask = Sum(self.study.sha256, "masked", 4, tuple(self._questions(0)), batch, 0, SITES)
        return replace(ask, **keys)

    def after(self, asked: Sum) -> Sum:
        """The honest next step."""
        number = asked.step + 1
        return replace(asked, questions=tuple(self._questions(number)), step=number, previous=4 * self.own(asked))

    def _questions(self, step: int) -> list[Question]:
        if step == 0:
            return next(cell_counts([("label", ("0", "1"))], complete=["score:a"]))
        talk = refine("score:a", "label")
        questions = next(talk)
        for _ in range(step - 1):
            try:
                questions = talk.send([4 * answer(one, self.table) for one in questions])
            except StopIteration:
                return []
        return questions


@pytest.fixture
def server(table_study: Study, tmp_path: Path) -> Server:
    return Server(table_study, tmp_path / "study")


def steps(server: Server, count: int, batch: str = "b1") -> Sum:
    asked = server.give(server.first(batch))
    for _ in range(count - 1):
        asked = server.give(server.after(asked))
    return asked


def test_an_honest_batch_is_answered_to_its_end(server: Server) -> None:
    asked = server.give(server.first())
    while (due := server.after(asked)).questions:
        asked = server.give(due)
    assert asked.step > 5


def test_a_restarted_hospital_goes_on_and_still_knows_what_may_come(server: Server) -> None:
    asked = steps(server, 3)
    keeping._followed.clear()  # another process
    stranger = replace(
        server.after(asked),
        questions=(bins_question("score:a", "label", ("0", "1"), "float64", np.arange(9, dtype=np.uint64), 16, 4),),
    )
    with pytest.raises(ProtocolError, match="9 bins are not children of active and mixed bins"):
        server.give(stranger)
    server.give(server.after(asked))


def test_a_refused_step_changes_nothing(server: Server) -> None:
    asked = steps(server, 2)
    due = server.after(asked)
    jump = replace(due, questions=(replace(due.questions[0], arguments={**due.questions[0].arguments, "depth": 40}),))
    for _ in range(2):
        with pytest.raises(ProtocolError, match="depth jumps: 40 bits were asked, the plan goes on at 12"):
            server.give(jump)
    server.give(due)


def test_a_step_may_be_asked_again_in_the_same_words_only(server: Server) -> None:
    asked = steps(server, 2)
    server.give(asked)
    with pytest.raises(ProtocolError, match="step 1 was asked again in other words"):
        server.give(replace(asked, previous=asked.previous + 1))
    coarse = bins_question("label", "label", ("0", "1"), "float64", np.zeros(1, np.uint64), 0, FIRST_BITS)
    with pytest.raises(ProtocolError, match="step 1 was asked again in other words"):
        server.give(replace(asked, questions=(coarse,)))
    with pytest.raises(ProtocolError, match="step 1 was asked again in other words"):
        server.give(replace(asked, questions=(replace(asked.questions[0], bound=7),)))


@pytest.mark.parametrize("step", [0, 1, 4])
def test_steps_out_of_order_are_refused(server: Server, step: int) -> None:
    asked = steps(server, 3)
    with pytest.raises(ProtocolError, match=f"batch b1: step {step} was asked, 3 is due"):
        server.give(replace(asked, step=step))


def test_another_set_of_hospitals_within_a_batch_is_refused(server: Server) -> None:
    asked = steps(server, 2)
    fewer = replace(server.after(asked), sites=SITES[:3], contributors=3)
    with pytest.raises(
        ProtocolError, match="over H01, H02, H03, H04, now asked as a masked one over H01, H02, H03; the hospitals"
    ):
        server.give(fewer)
    server.give(replace(server.after(asked), sites=SITES[::-1]))  # their order does not count


def test_a_batch_does_not_turn_into_a_named_one(server: Server) -> None:
    asked = steps(server, 2)
    with pytest.raises(ProtocolError, match=r"begun as a masked sum over .*, now asked as a named one"):
        server.give(replace(server.after(asked), purpose="named"))


def test_a_cohort_that_changed_within_a_batch_is_refused(server: Server) -> None:
    asked = steps(server, 2)
    with pytest.raises(ProtocolError, match="this hospital's patients, labels or scores changed since it was begun"):
        server.give(server.after(asked), promise="cd" * 32)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"batch": ""}, "a sum belongs to a batch; '' is no name of one"),
        ({"batch": "../b"}, "a sum belongs to a batch"),
        ({"sites": ()}, "its hospitals are not named"),
        ({"sites": SITES[1:], "contributors": 3}, "H01 among them"),
        ({"sites": (*SITES, "H99"), "contributors": 5}, "wanted hospitals of the study"),
        ({"sites": ("H01", "H01", "H02", "H03")}, "each once"),
        ({"contributors": 11}, "11 contributors, but 4 hospitals are named"),
        ({"previous": np.ones(2, np.int64)}, "totals came with its first step"),
        ({"step": 1}, "step 1 was asked, but it was not begun here or is over"),
    ],
)
def test_a_first_step_that_does_not_name_its_batch_well_is_refused(
    server: Server, keys: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ProtocolError, match=reason):
        server.give(server.first(**keys))


@pytest.mark.parametrize("missing", [1, -1])
def test_totals_of_another_length_are_refused(server: Server, missing: int) -> None:
    due = server.after(steps(server, 1))
    with pytest.raises(ProtocolError, match=f"batch b1: {2 - missing} totals of the step before came, wanted 2"):
        server.give(replace(due, previous=np.full(2 - missing, 80, np.int64)))


def test_totals_below_the_hospitals_own_counts_are_refused(server: Server) -> None:
    due = server.after(steps(server, 1))
    with pytest.raises(ProtocolError, match="1 totals are below this hospital's own counts; they are not the sum"):
        server.give(replace(due, previous=np.array([19, 80])))


def test_a_new_batch_ends_the_one_before_and_its_name_is_not_used_again(server: Server) -> None:
    asked = steps(server, 2)
    steps(server, 2, "b2")
    with pytest.raises(ProtocolError, match="batch b1: step 2 was asked, but it was not begun here or is over"):
        server.give(server.after(asked))
    with pytest.raises(ProtocolError, match="batch b1 was answered before and is over; a new plan is a new batch"):
        server.give(server.first())


def test_the_same_hospitals_may_be_asked_a_new_plan_and_one_hospital_fewer_may_not(server: Server) -> None:
    steps(server, 2)
    steps(server, 2, "b2")
    with pytest.raises(PrivacyError, match="one over these 3 hospitals would tell apart H04; groups of at least 3"):
        server.give(server.first("b3", sites=SITES[:3], contributors=3))


def test_pooled_counts_that_differ_by_fewer_than_the_floor_are_refused(server: Server) -> None:
    """Another hospital added a patient between two plans."""
    steps(server, 2)
    due = server.after(steps(server, 1, "b2"))
    with pytest.raises(PrivacyError, match="this batch and batch b1 count patients that differ by fewer than 3 over"):
        server.give(replace(due, previous=due.previous + np.array([1, 0])))
    server.give(replace(due, previous=due.previous + np.array([2, 1])))


def test_two_workers_agree_on_a_batch(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message may meet another process, whose memory is older."""
    memories: list[dict[Path, Any]] = [{}, {}, {}]
    asked = server.give(server.first())
    for turn in range(5):
        monkeypatch.setattr(keeping, "_followed", memories[turn % 3])
        asked = server.give(server.after(asked))
    assert asked.step == 5


@pytest.fixture(scope="session")
def plain_study(plain_study: Study) -> Study:
    """With a regression on age, whose first question is `counting`."""
    return plain_study.changed(analysis={"fusion": ["age"]})


def respond_to(site: SiteConfig, asked: Sum) -> Outgoing:
    answers: tuple[type[Outgoing], ...] = (Totals, Refusal)
    word: Outgoing = from_record(respond(site, asked, "cpu"), answers)
    return word


def counting(study: Study, batch: str, **keys: Any) -> Sum:
    question = Question("cell_counts", {"columns": [["label", ["0", "1"]]], "complete": ["age"], "rows": "train"}, 2)
    return replace(Sum(study.sha256, "masked", 4, (question,), batch, 0, SITES), **keys)


def test_every_answer_carries_the_hospitals_commitment(make_site: MakeSite, plain_study: Study) -> None:
    site = make_site(study=plain_study)
    words = [respond_to(site, counting(plain_study, batch)) for batch in ("b1", "b1", "b2")]
    promises = {word.commitment for word in words if isinstance(word, Totals)}
    assert len(promises) == 1
    assert len(promises.pop()) == 64
    other = respond_to(make_site("H02", study=plain_study), counting(plain_study, "b1"))
    assert isinstance(other, Totals)
    assert isinstance(words[0], Totals)
    assert other.commitment != words[0].commitment


def test_a_score_that_changes_within_a_batch_ends_the_answers(make_site: MakeSite, plain_study: Study) -> None:
    site = make_site(study=plain_study)
    _, cohort = read_cohort(site, plain_study.sha256)
    everyone = np.arange(len(cohort.patients))
    store = ScoreStore(site.study_folder(plain_study.sha256), len(everyone))
    scores = np.zeros((len(everyone), 1))
    store.keep("a", everyone, scores, {"all": "one question"})
    assert isinstance(respond_to(site, counting(plain_study, "b1")), Totals)
    # Also where it gives every patient the same score: whether it does is nothing that the server may learn.
    store.keep("a", everyone, scores, {"all": "another question"})
    assert respond_to(site, counting(plain_study, "b1")) == Refusal("PROTOCOL", 0)
    assert isinstance(respond_to(site, counting(plain_study, "b2")), Totals)


def test_the_study_permit_takes_the_larger_floor(table_study: Study) -> None:
    assert study_permit(table_study, 3).min_cell == 3
    assert study_permit(table_study, 9).min_cell == 9


def test_a_noised_histogram_is_answered_once_in_a_study_and_repeated_word_for_word(server: Server) -> None:
    """Two answers with different noise could be averaged."""
    asked = of_one("noised_histogram", scores=["score:a"], label="label")
    permit = Permit(3, lambda _: [asked], noise=(2.0, 2))
    ask = replace(server.first(), questions=(noised_histogram(["score:a"], "label", epsilon=2.0, honest=2),))
    store = Batches("H01", server.study, server.folder, permit)
    store.admit(ask, PROMISE, PATIENTS)
    assert store.answered(ask) is None
    own = server.own(ask)
    store.keep(ask, own, PROMISE, PATIENTS)
    again = Batches("H01", server.study, server.folder, permit)
    again.admit(ask, PROMISE, PATIENTS)
    assert np.array_equal(again.answered(ask), own)  # type: ignore[arg-type]
    with pytest.raises(PrivacyError, match="a noised histogram was answered in batch b1; a second one would spend"):
        again.admit(replace(ask, batch="b2"), PROMISE, PATIENTS)
