"""Masked rounds over hospitals that answer through their real messages: the honest course, losses, liars in between.

The oracle is the sum of what the hospitals encoded, noted on its way into the masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_liver.client.train import FitResult
from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.messages import (
    Announced,
    Endorsed,
    Fit,
    Keys,
    Open,
    Refusal,
    Released,
    Sealed,
    Shares,
    Survivors,
    Update,
    Vector,
)
from fl_liver.securesum.encoding import UpdateCode
from fl_liver.server.rounds import Opened
from fl_liver.study import Study
from fl_liver.update_code import update_code
from tests.securesum.wards import Ward, cheap_fit, train_cheaply

TRAIN = ("H01", "H02", "H03", "H04")
LOST = None


@pytest.fixture
def ward(tmp_path: Path, table_study: Study, local_grid: Any) -> Ward:
    return Ward.of(tmp_path, table_study, local_grid)


class Trained:
    """One federation's rounds, and what each hospital put into them before it was masked."""

    def __init__(self, ward: Ward, patch: pytest.MonkeyPatch) -> None:
        self.ward, self.rounds = ward, ward.rounds()
        self.start, layout = ward.initial()
        self.code = update_code(ward.study, layout)
        self.encoded: list[NDArray[np.uint32]] = []
        train_cheaply(patch)
        encode = UpdateCode.encode

        def noted(code: UpdateCode, *arguments: Any) -> Any:
            coded, factor = encode(code, *arguments)
            self.encoded.append(coded.copy())
            return coded, factor

        patch.setattr(UpdateCode, "encode", noted)

    def ask(self, number: int = 1, vector: Vector | None = None) -> Opened:
        self.encoded.clear()
        return self.rounds.ask(number, self.start if vector is None else vector, self.code, lambda _: None)

    def expected(self, *but: int) -> list[int]:
        """The sum of what was encoded, in the order of the hospitals, without those at these places."""
        kept = [coded for place, coded in enumerate(self.encoded) if place not in but]
        return np.array(np.sum(kept, axis=0, dtype=np.uint32)).tolist()  # type: ignore[no-any-return]


@pytest.fixture
def trained(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> Trained:
    return Trained(ward, monkeypatch)


def loses(ward: Ward, kind: type[Any], *sites: str) -> None:
    """Answers of a kind from these hospitals never arrive."""
    ward.replies = lambda site, _, word: LOST if isinstance(word, kind) and site in sites else word


def test_two_rounds_are_exact_and_the_second_needs_no_exchange_for_keys(trained: Trained) -> None:
    first = trained.ask()
    assert first.total.tolist() == trained.expected()
    assert (first.answered, first.missing) == (TRAIN, ())
    mean, loss = trained.code.decode(first.total, trained.start, 4)
    assert np.isfinite(loss)
    trained.ward.heard.clear()
    second = trained.ask(2, mean)
    assert second.total.tolist() == trained.expected()
    kinds = [type(question) for _, question in trained.ward.heard]
    assert kinds == [Fit] * 4 + [Survivors] * 4 + [Open] * 4
    assert not [word for site, word in trained.ward.words(Update)[4:] if word.announced], "none after the last round"


@pytest.mark.parametrize("kind", [Announced, Sealed, Update], ids=lambda kind: kind.__name__)
def test_a_hospital_that_is_lost_before_it_answered_is_missing_and_back_in_the_next_round(
    ward: Ward, trained: Trained, kind: type[Any]
) -> None:
    loses(ward, kind, "H02")
    first = trained.ask()
    assert (first.answered, first.missing) == (("H01", "H03", "H04"), ("H02",))
    assert first.total.tolist() == trained.expected(*([1] if kind is Update else []))
    ward.replies = lambda _site, _question, word: word
    second = trained.ask(2)
    assert second.answered == TRAIN
    assert second.total.tolist() == trained.expected()


@pytest.mark.parametrize("kind", [Endorsed, Released], ids=lambda kind: kind.__name__)
def test_a_hospital_that_is_lost_after_it_answered_is_in_the_sum_and_in_the_next(
    ward: Ward, trained: Trained, kind: type[Any]
) -> None:
    loses(ward, kind, "H02")
    assert trained.ask().total.tolist() == trained.expected()
    ward.replies = lambda _site, _question, word: word
    second = trained.ask(2)
    assert second.answered == TRAIN
    assert second.total.tolist() == trained.expected()


@pytest.mark.parametrize("kind", [Announced, Sealed, Update, Endorsed, Released], ids=lambda kind: kind.__name__)
def test_too_few_at_any_step_open_nothing_and_are_named(ward: Ward, trained: Trained, kind: type[Any]) -> None:
    loses(ward, kind, "H02", "H04")
    with pytest.raises(IncompleteError, match="missing: H02, H04"):
        trained.ask()
    if kind is not Released:
        assert not ward.words(Released)


def test_the_studys_floor_holds_where_it_is_above_the_threshold(
    tmp_path: Path, table_study: Study, local_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Ward.of(tmp_path, table_study.changed(privacy={"min_sites": 4}), local_grid)
    loses(ward, Update, "H02")
    with pytest.raises(IncompleteError, match="3 of 4 hospitals answered, wanted at least 4; missing: H02"):
        Trained(ward, monkeypatch).ask()
    assert not ward.words(Endorsed)


def lies_to(ward: Ward, site: str, kind: type[Any], **changes: Any) -> None:
    """One hospital is asked something else than the others. A change may be a function of the true value."""

    def asked(to: str, question: Any) -> Any:
        if to != site or not isinstance(question, kind):
            return question
        values = {
            name: change(getattr(question, name)) if callable(change) else change for name, change in changes.items()
        }
        return replace(question, **values)

    ward.asks = asked


def test_one_hospital_that_was_sent_another_model_spoils_the_sum(ward: Ward, trained: Trained) -> None:
    """It signs another statement than the others; they give no share for it, and what is opened is noise."""
    lies_to(ward, "H03", Fit, vector=lambda vector: vector + np.float32(1e-6))
    opened = trained.ask()
    with pytest.raises(ProtocolError, match="the masks of 4 hospitals did not cancel"):
        trained.code.decode(opened.total, trained.start, 4)
    assert "H03: the list of survivors of H03 is not signed" in " ".join(ward.warnings())
    assert ("H03", Refusal("PROTOCOL", 0)) in ward.said, "it saw that the others signed something else"


def test_two_of_four_that_were_sent_another_model_open_nothing(ward: Ward, trained: Trained) -> None:
    ward.asks = lambda site, question: (
        replace(question, vector=question.vector + np.float32(1))
        if isinstance(question, Fit) and site in ("H01", "H02")
        else question
    )
    with pytest.raises(IncompleteError, match="2 hospitals signed the list of survivors, wanted at least 3"):
        trained.ask()
    assert not ward.words(Released)


def swap_a_key(announced: dict[str, bytes]) -> dict[str, bytes]:
    return {**announced, "H02": bytes(range(64)) + announced["H02"][64:]}


def fewer(announced: dict[str, bytes]) -> dict[str, bytes]:
    return {site: keys for site, keys in announced.items() if site in ("H01", "H03")}


@pytest.mark.parametrize(
    ("kind", "changes", "code"),
    [
        (Shares, {"announced": swap_a_key}, "PROTOCOL"),
        (Fit, {"announced": swap_a_key}, "PROTOCOL"),
        (Fit, {"announced": fewer}, "BELOW_FLOOR"),
        (Fit, {"announced": {}}, "BELOW_FLOOR"),
        (Fit, {"abandoned": {}, "slot": lambda slot: replace(slot, attempt=1)}, "BUSY"),
        (Fit, {"slot": lambda slot: replace(slot, run="run-b")}, "PROTOCOL"),
        (Fit, {"slot": lambda slot: replace(slot, purpose="training/all")}, "PROTOCOL"),
        (Fit, {"slot": lambda slot: replace(slot, purpose="statistics/train", round=0)}, "PROTOCOL"),
        (Survivors, {"survivors": ("H01", "H02", "H04")}, "PROTOCOL"),
        (Survivors, {"survivors": ("H01", "H03")}, "BELOW_FLOOR"),
        (Survivors, {"survivors": ("H01", "H02", "H03", "H05")}, "PROTOCOL"),
        (Survivors, {"survivors": ("H01", "H02", "H03", "H03")}, "PROTOCOL"),
        (Open, {"endorsements": {}}, "BELOW_FLOOR"),
        (Open, {"endorsements": lambda signed: {site: bytes(64) for site in signed}}, "PROTOCOL"),
        (Open, {"sealed": {}}, "PROTOCOL"),
        (Open, {"sealed": lambda boxes: {site: box[::-1] for site, box in boxes.items()}}, "PROTOCOL"),
        (Open, {"slot": lambda slot: replace(slot, round=2)}, "PROTOCOL"),
    ],
)
def test_a_hospital_refuses_what_it_can_see_to_be_wrong_and_the_others_go_on(
    ward: Ward, trained: Trained, kind: type[Any], changes: dict[str, Any], code: Any
) -> None:
    lies_to(ward, "H03", kind, **changes)
    opened = trained.ask()
    assert ("H03", Refusal(code, 0)) in ward.said
    assert f"H03: refused, {code}" in " ".join(ward.warnings())
    in_it = kind in (Survivors, Open)
    assert ("H03" in opened.answered) == in_it
    assert opened.total.tolist() == trained.expected()
    assert len(trained.encoded) == 3 + in_it


def test_survivors_that_are_told_otherwise_to_two_groups_open_nothing(ward: Ward, trained: Trained) -> None:
    """H01 and H02 hear that H04 is lost, the others that it is not."""
    ward.asks = lambda site, question: (
        replace(question, survivors=("H01", "H02", "H03"))
        if isinstance(question, Survivors) and site in ("H01", "H02")
        else question
    )
    with pytest.raises(IncompleteError, match="2 hospitals signed the list of survivors, wanted at least 3"):
        trained.ask()


def test_messages_of_an_earlier_round_are_refused_in_the_next(ward: Ward, trained: Trained) -> None:
    trained.ask()
    replayed = list(ward.heard)
    assert {type(question) for _, question in replayed} == {Keys, Shares, Fit, Survivors, Open}
    before = len(ward.said)
    second = Trained.ask(trained, 2)
    for site, question in replayed:
        assert isinstance(ward.ask(site, question), Refusal), question
    assert len(ward.said) > before
    assert second.total.tolist() == trained.expected()


def test_an_open_that_is_asked_again_gives_the_same_shares_and_a_fit_no_answer(ward: Ward, trained: Trained) -> None:
    trained.ask()
    for site, question in list(ward.heard):
        again = ward.ask(site, question)
        if isinstance(question, Open | Survivors | Shares):
            known = [word for name, word in ward.said[: len(ward.heard)] if name == site and type(word) is type(again)]
            assert isinstance(again, Refusal if isinstance(question, Shares) else (Released, Endorsed))
            assert isinstance(question, Shares) or again in known
        else:
            assert isinstance(again, Refusal), question


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda word: replace(word, vector=word.vector[:-1]), r"H03 sent \(8,\), wanted \(9,\)"),
        (lambda word: replace(word, vector=np.append(word.vector, np.uint32(0))), r"H03 sent \(10,\), wanted \(9,\)"),
        (lambda word: replace(word, round=2), "H03 answered round 2"),
        (lambda word: replace(word, announced=b""), "a key announcement has 0 bytes"),
        (lambda word: replace(word, announced=bytes(128)), "the key announcement of H03 is not signed"),
    ],
    ids=["truncated", "extended", "another round", "no keys", "unsigned keys"],
)
def test_an_update_that_cannot_be_is_lost_and_the_others_go_on(
    ward: Ward, trained: Trained, change: Callable[[Any], Any], what: str
) -> None:
    ward.replies = lambda site, _, word: change(word) if isinstance(word, Update) and site == "H03" else word
    opened = trained.ask()
    assert opened.missing == ("H03",)
    assert opened.total.tolist() == trained.expected(2)
    (warning,) = ward.warnings()
    assert what.replace("\\", "") in warning


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_hospital_whose_training_failed_sends_the_received_model_back(
    ward: Ward, trained: Trained, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Nothing of what came of its training leaves, and nobody sees that it failed."""

    def broken(*arguments: Any, **named: Any) -> FitResult:
        result = cheap_fit(*arguments, **named)
        return replace(result, vector=np.full_like(result.vector, value)) if named["seed_key"] == "H03" else result

    monkeypatch.setattr("fl_liver.client.respond.fit", broken)
    opened = trained.ask()
    assert len(ward.words(Update)) == 4
    assert opened.total.tolist() == trained.expected()
    assert opened.missing == ()
    size = trained.code.size
    assert not trained.encoded[2][:size].any(), "no difference to the received model, which has no running statistics"
    assert trained.encoded[2][size] == trained.encoded[0][size] > 0, "it weighs as ever: the server must not see less"


def test_signatures_and_shares_that_are_no_good_are_lost_or_noticed(ward: Ward, trained: Trained) -> None:
    ward.replies = lambda site, _, word: (
        replace(word, signature=bytes(64)) if isinstance(word, Endorsed) and site == "H03" else word
    )
    assert trained.ask().total.tolist() == trained.expected()
    assert "the list of survivors of H03 is not signed" in " ".join(ward.warnings())
    ward.replies = lambda site, _, word: (
        replace(word, shares={**word.shares, "H01": bytes(33)})
        if isinstance(word, Released) and site == "H03"
        else word
    )
    opened = trained.ask(2)
    with pytest.raises(ProtocolError, match="did not cancel"):
        trained.code.decode(opened.total, trained.start, 4)


def test_training_anew_does_not_change_an_answer_that_was_given(
    ward: Ward, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU gives other bits each time. Asked again before the sum is opened, the very same bytes leave."""
    draws = np.random.default_rng(3)

    def jittered(*arguments: Any, **named: Any) -> FitResult:
        result = cheap_fit(*arguments, **named)
        return replace(result, vector=result.vector + draws.normal(scale=1e-3, size=5).astype(np.float32))

    monkeypatch.setattr("fl_liver.client.respond.fit", jittered)
    trials: list[tuple[Update, Update]] = []

    def twice(site: str, question: Any, word: Any) -> Any:
        if isinstance(word, Update):
            trials.append((word, ward.ask(site, question)))
        return word

    ward.replies = twice
    opened = trained.ask()
    assert len(trials) == 4
    assert all(one.vector.tobytes() == two.vector.tobytes() for one, two in trials)
    assert all(one.announced == two.announced for one, two in trials)
    assert opened.total.tolist() == trained.expected()
    assert len(trained.encoded) == 4, "a hospital that answered does not train again"
