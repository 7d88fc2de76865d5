"""Masked statistics over hospitals that answer through their real messages: exact, over the whole batch or never.

A server that tells one hospital other bins, coefficients or totals, or asks over other hospitals, gets nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client import egress
from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.messages import Announced, Done, Keys, Refusal, Score, Sum, Totals
from fl_liver.score_origin import made_by, origin
from fl_liver.securesum.context import Context
from fl_liver.securesum.server import ServerSum
from fl_liver.server import summing
from fl_liver.server.summing import BatchSummer
from fl_liver.stats.conversation import Question, Withheld, converse, over
from fl_liver.stats.roc import roc
from fl_liver.study import Study
from fl_liver.wire import question_digest
from tests.securesum.wards import Ward

TRAIN = ("H01", "H02", "H03", "H04")
MakeWard = Callable[..., Ward]


@pytest.fixture
def make_ward(
    tmp_path: Path, table_study: Study, local_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ward]:
    """Hospitals whose patients have a score that can be summed about."""
    monkeypatch.setattr(summing, "_PAUSE_S", 0.0)

    def make(name: str = "ward", secure_sum: str = "masked", **keys: Any) -> Ward:
        study = table_study.changed(privacy={"secure_sum": secure_sum})
        ward = Ward.of(tmp_path / name, study, local_grid, **keys)
        vector = ward.initial()[0] + np.array([0.9, 0.4, 0, 0, -0.5], np.float32)
        asked = Score(study.sha256, "a", "all", "", vector)
        assert len(ward.exchange().ask(asked, study.every_site, Done, timeout_s=60).answered) == 5
        ward.origins = {"a": origin({"all": made_by(asked)})}
        ward.heard.clear()
        ward.said.clear()
        ward.left.clear()
        return ward

    return make


@pytest.fixture
def ward(make_ward: MakeWard) -> Ward:
    return make_ward()


def batch_of(ward: Ward, sites: tuple[str, ...] = TRAIN) -> BatchSummer:
    roster = ward.roster.only(sites) if ward.study.privacy.secure_sum == "masked" else None
    return BatchSummer(ward.exchange(), ward.study, sites, "masked", roster, "run-a", ward.origins)


def auc_over(batch: BatchSummer, rows: str = "internal") -> Any:
    return converse({"roc": over(rows, roc("score:a", "label", key="logit32", min_cell=5))}, batch)["roc"]


def first_questions() -> list[Question]:
    return next(over("internal", roc("score:a", "label", key="logit32", min_cell=5)))


def test_masked_statistics_are_those_of_plain_sums(ward: Ward, make_ward: MakeWard) -> None:
    plain = make_ward("plain", "plain", plain_sums=True)
    masked, in_the_clear = auc_over(batch_of(ward)), auc_over(batch_of(plain))
    assert masked.to_json() == in_the_clear.to_json()
    assert masked.n_pos + masked.n_neg == 4 * 8


def test_a_step_costs_one_exchange_and_a_batch_one_more_for_the_first_keys(ward: Ward) -> None:
    batch = batch_of(ward)
    auc_over(batch)
    kinds = [type(question) for site, question in ward.heard if site == "H01"]
    assert kinds == [Keys] + [Sum] * (len(kinds) - 1)
    assert batch.record()["steps"] == len(kinds) - 1 > 1
    assert batch.record()["method"] == "masked"


def test_no_answer_is_the_hospitals_own_numbers(ward: Ward, make_ward: MakeWard) -> None:
    plain = make_ward("plain", "plain", plain_sums=True)
    auc_over(batch_of(plain))
    auc_over(batch_of(ward))
    pairs = list(zip(ward.words(Totals), plain.words(Totals), strict=True))
    assert len(pairs) > 4
    for (_, masked), (_, clear) in pairs:
        assert masked.vector.shape == clear.vector.shape
        assert not (masked.vector == clear.vector).all()
        assert (masked.vector == clear.vector).mean() < 0.2


def lies(ward: Ward, site: str, step: int, change: Callable[[Sum], Sum]) -> None:
    ward.asks = lambda to, question: (
        change(question) if isinstance(question, Sum) and to == site and question.step == step else question
    )


def other_bins(question: Sum) -> Sum:
    head, *rest = question.questions
    name, array = next(iter(head.arrays.items()))
    changed = replace(head, arrays={**head.arrays, name: np.sort(array ^ np.asarray(1, array.dtype))})
    return replace(question, questions=(changed, *rest))


def another_bound(question: Sum) -> Sum:
    """What no hospital can judge, and no site function looks at: only the masks can tell."""
    head, *rest = question.questions
    bound = {16: 60_001, 32: 70_001, 64: 2**40}[question.bits]
    return replace(question, questions=(replace(head, bound=bound), *rest))


def other_totals(question: Sum) -> Sum:
    return replace(question, previous=question.previous + 1)


@pytest.mark.parametrize(
    ("step", "change"),
    [
        (0, another_bound),
        (1, other_bins),
        (1, another_bound),
        (1, other_totals),
        (0, lambda question: replace(question, run="run-b")),
        (0, lambda question: replace(question, batch=question.batch[::-1])),
        (1, lambda question: replace(question, sites=TRAIN[:3], contributors=3)),
        (1, lambda question: replace(question, announced={site: question.announced[site] for site in TRAIN[:3]})),
        (0, lambda question: replace(question, announced={**question.announced, "H02": bytes(128)})),
        (0, lambda question: replace(question, announced={})),
        (0, lambda question: replace(question, sites=question.sites[::-1])),
        (1, lambda question: replace(question, step=2)),
    ],
    ids=[
        "a bound", "bins", "a bound later", "totals", "run", "batch", "fewer hospitals", "fewer keys", "a swapped key",
        "no keys", "hospitals in another order", "a later step",
    ],
)  # fmt: skip
def test_a_hospital_that_is_told_something_else_opens_nothing(
    ward: Ward, step: int, change: Callable[[Sum], Sum]
) -> None:
    """Where its own checks do not find it, its masks do not cancel with those of the others."""
    lies(ward, "H03", step, change)
    batch = batch_of(ward)
    try:
        result = auc_over(batch)
    except ProtocolError as error:
        result = Withheld(str(error))
    assert isinstance(result, Withheld)
    assert "the masks of 4 hospitals did not cancel" in result.reason or "H03: refused" in result.reason
    assert batch.record()["steps"] == step


def test_the_masks_alone_find_what_no_other_check_does(ward: Ward) -> None:
    for change in (another_bound, lambda question: replace(question, sites=question.sites[::-1])):
        lies(ward, "H03", 0, change)
        with pytest.raises(ProtocolError, match="the masks of 4 hospitals did not cancel"):
            batch_of(ward).total(first_questions())


def test_a_step_that_is_asked_again_gets_the_same_bytes_and_in_other_words_none(ward: Ward) -> None:
    batch_of(ward).total(first_questions())
    site, asked = next((site, question) for site, question in ward.heard if isinstance(question, Sum))
    first = next(word for name, word in ward.words(Totals) if name == site)
    again = ward.ask(site, asked)
    assert again.vector.tobytes() == first.vector.tobytes()
    assert again.announced == first.announced
    for changed in (
        another_bound(asked),
        replace(asked, announced={**asked.announced, "H02": asked.announced["H03"]}),
        replace(asked, bits=32),
        replace(asked, sites=asked.sites[::-1]),
    ):
        assert isinstance(ward.ask(site, changed), Refusal)


def test_a_hospital_that_was_lost_is_asked_again_and_the_sum_is_whole(ward: Ward, make_ward: MakeWard) -> None:
    whole = auc_over(batch_of(make_ward("whole")))
    lost: set[int] = set()

    def once(site: str, question: Any, word: Any) -> Any:
        if site == "H02" and isinstance(question, Sum) and question.step not in lost:
            lost.add(question.step)
            return None
        return word

    ward.replies = once
    assert auc_over(batch_of(ward)).to_json() == whole.to_json()
    assert len(lost) > 1


@pytest.mark.parametrize("kind", [Keys, Sum], ids=["keys", "answer"])
def test_a_hospital_that_stays_away_ends_the_batch_and_nothing_is_opened(ward: Ward, kind: type[Any]) -> None:
    ward.replies = lambda site, question, word: None if site == "H02" and isinstance(question, kind) else word
    batch = batch_of(ward)
    for _ in range(2):
        with pytest.raises(IncompleteError, match="a sum over 4 hospitals was not opened: H02"):
            batch.total(first_questions())
    assert batch.record()["steps"] == 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda word: replace(word, vector=word.vector[:-1]), "H03 sent uint"),
        (lambda word: replace(word, vector=np.append(word.vector, word.vector[:1])), "H03 sent uint"),
        (lambda word: replace(word, vector=word.vector.astype(np.uint64)), "H03 sent uint"),
        (lambda word: replace(word, announced=bytes(128)), "the key announcement of H03 is not signed"),
        (lambda word: replace(word, commitment="0" * 64), "H03 committed to another cohort"),
        (lambda word: replace(word, vector=word.vector + word.vector.dtype.type(1)), "did not cancel"),
    ],
    ids=["truncated", "extended", "other words", "unsigned keys", "another cohort", "changed"],
)
def test_an_answer_that_cannot_be_opens_nothing(ward: Ward, change: Callable[[Totals], Totals], what: str) -> None:
    ward.replies = lambda site, question, word: (
        change(word) if site == "H03" and isinstance(word, Totals) and question.step == 1 else word
    )
    batch = batch_of(ward)
    with pytest.raises(ProtocolError, match=what):
        auc_over(batch)
    assert batch.record()["steps"] == 1


def asked_over(ward: Ward, batch: str, sites: tuple[str, ...], named: tuple[str, ...]) -> list[Any]:
    """A server that makes the masks over `sites`, and says that the batch is over `named`."""
    slot = ward.slot(0, purpose=f"statistics/{batch}")
    server = ServerSum(ward.roster.only(sites), slot)
    for site in sites:
        word = ward.ask(site, Keys(slot, sites))
        assert isinstance(word, Announced)
        server.take_announcement(site, word.keys)
    questions = tuple(first_questions())
    said: dict[str, Any] = {"bits": 64, "run": "run-a", "scores": ward.origins}
    ask = Sum(ward.study.sha256, "masked", len(named), questions, batch, 0, named, **said)
    length = sum(one.length for one in questions)
    announced = server.begin(Context(slot, length, 64, question_digest(ask), "chacha20"))
    return [ward.ask(site, replace(ask, announced=announced)) for site in sites]


def test_the_hospitals_of_the_masks_are_those_of_the_ledger(ward: Ward) -> None:
    """Found as a hole: a batch over all, and one that says it is over all but leaves H04 out; the difference is H04."""
    assert all(isinstance(word, Totals) for word in asked_over(ward, "first", TRAIN, TRAIN))
    assert asked_over(ward, "second", TRAIN[:3], TRAIN) == [Refusal("PROTOCOL", 0)] * 3
    assert asked_over(ward, "third", TRAIN[:3], TRAIN[:3]) == [Refusal("BELOW_FLOOR", 0)] * 3


def test_two_batches_that_are_asked_at_once_are_held_against_each_other(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found as a hole: each was admitted before the other stood in the ledger, over hospitals that differ by one."""
    found: dict[str, list[Any]] = {}
    second = threading.Thread(target=lambda: found.update(fewer=asked_over(ward, "second", TRAIN[:3], TRAIN[:3])))
    real = egress.release_totals

    def slowly(*arguments: Any) -> Any:
        if second.ident is None:
            second.start()
            second.join(0.6)
        return real(*arguments)

    monkeypatch.setattr(egress, "release_totals", slowly)
    found["all"] = asked_over(ward, "first", TRAIN, TRAIN)
    second.join()
    assert [isinstance(words[0], Totals) for words in found.values()].count(True) == 1, "H01 answers one of them"
