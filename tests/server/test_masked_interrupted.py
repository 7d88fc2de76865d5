"""A coordinator that is killed inside a masked round: a further attempt where nothing can have been opened, else none.

The hospitals live on; the coordinator starts anew from its folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.errors import IncompleteError
from fl_liver.messages import Abandon, Abandoned, Fit, Keys, Open, Refusal, Released, Survivors
from fl_liver.server.checkpoint import Checkpoints, RoundRecord
from fl_liver.server.federation import Federation
from fl_liver.study import Study
from tests.securesum.wards import Ward, train_cheaply

TRAIN = ("H01", "H02", "H03", "H04")


Whole = tuple[bytes, list[RoundRecord]]
_WHOLE: list[Whole] = []


class Killed(BaseException):
    """The coordinator's process ends here."""


@pytest.fixture
def make_ward(
    tmp_path: Path, table_study: Study, local_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Ward]:
    train_cheaply(monkeypatch)
    study = table_study.changed(training={"rounds": 3})
    return lambda name: Ward.of(tmp_path / name, study, local_grid)


def run(ward: Ward) -> Whole:
    """The coordinator, from its folder to the final model."""
    checkpoints = Checkpoints(ward.root / "run" / "checkpoints", ward.study.sha256)
    federation = Federation(ward.study, ward.study.sites.train, ward.rounds(), ward.journal())
    vector, history = federation.train(checkpoints, ward.initial())
    return vector.tobytes(), history


@pytest.fixture
def whole(make_ward: Callable[[str], Ward]) -> Whole:
    """What comes of it when nobody is killed; computed once."""
    if not _WHOLE:
        _WHOLE.append(run(make_ward("whole")))
    return _WHOLE[0]


def dies_at(ward: Ward, kind: type[Any], site: str, number: int = 2, *, after: bool = False) -> None:
    """Before (or after) this hospital hears (or answers) this message of a round, the coordinator is gone."""

    def asked(to: str, question: Any) -> Any:
        if not after and isinstance(question, kind) and to == site and question.slot.round == number:
            raise Killed
        return question

    def replied(who: str, question: Any, word: Any) -> Any:
        if after and isinstance(question, kind) and who == site and question.slot.round == number:
            raise Killed
        return word

    ward.asks, ward.replies = asked, replied


def lives(ward: Ward) -> None:
    ward.asks, ward.replies = lambda _site, question: question, lambda _site, _question, word: word


def attempts(ward: Ward) -> set[tuple[int, int]]:
    return {(question.slot.round, question.slot.attempt) for _, question in ward.heard if isinstance(question, Fit)}


@pytest.mark.parametrize(
    ("kind", "site", "number", "after"),
    [
        (Fit, "H01", 2, False),
        (Fit, "H03", 1, False),
        (Fit, "H04", 2, True),
        (Survivors, "H03", 2, False),
        (Survivors, "H04", 3, True),
        (Open, "H01", 2, False),
        (Open, "H02", 2, False),
    ],
)
def test_a_round_of_which_no_share_left_is_attempted_again_with_the_same_result(
    make_ward: Callable[[str], Ward], whole: Whole, kind: type[Any], site: str, number: int, after: bool
) -> None:
    ward = make_ward("cut")
    dies_at(ward, kind, site, number, after=after)
    with pytest.raises(Killed):
        run(ward)
    lives(ward)
    ward.heard.clear()
    vector, resumed = run(ward)
    assert vector == whole[0]
    assert [(one.round, one.loss, one.missing) for one in resumed] == [
        (one.round, one.loss, one.missing) for one in whole[1]
    ]
    assert attempts(ward) == {(number, 1), *((later, 0) for later in range(number + 1, 4))}
    swore = {who for who, word in ward.said if isinstance(word, Abandoned)}
    assert swore == set(TRAIN) - ({"H01"} if (kind, site) == (Open, "H02") else set()), "who gave its shares does not"


def test_a_coordinator_that_dies_again_and_again_gets_there(make_ward: Callable[[str], Ward], whole: Whole) -> None:
    ward = make_ward("cut")
    for kind, site in ((Fit, "H04"), (Abandon, "H02"), (Keys, "H02"), (Fit, "H02"), (Survivors, "H01"), (Open, "H01")):
        dies_at(ward, kind, site)
        with pytest.raises(Killed):
            run(ward)
    lives(ward)
    assert run(ward)[0] == whole[0]
    assert max(attempts(ward)) == (3, 0)
    assert (2, 4) in attempts(ward)


@pytest.mark.parametrize(("site", "after"), [("H03", False), ("H04", False), ("H04", True)])
def test_a_round_whose_shares_may_be_out_is_lost_and_the_next_one_goes_on(
    make_ward: Callable[[str], Ward], site: str, after: bool
) -> None:
    """At H03, two of four gave their shares: the other two are fewer than the three who would have to swear."""
    ward = make_ward("cut")
    dies_at(ward, Open, site, after=after)
    with pytest.raises(Killed):
        run(ward)
    lives(ward)
    ward.heard.clear()
    vector, history = run(ward)
    lost = history[1]
    assert (lost.round, lost.sites_answered, lost.loss, lost.missing) == (2, 0, None, TRAIN)
    assert attempts(ward) == {(3, 0)}, "no hospital is asked for round 2 again"
    (warning,) = [text for text in ward.warnings() if "is lost" in text]
    assert "round 2 is lost, the model of the round before stands" in warning
    refused = [word for _, word in ward.said if word == Refusal("BELOW_FLOOR", 0)]
    assert len(refused) >= 2, "those who gave their shares do not swear"
    assert [record.sites_answered for record in history] == [4, 0, 4]
    assert np.isfinite(np.frombuffer(vector, np.float32)).all()


def test_a_round_that_was_opened_but_not_written_down_is_not_opened_again(
    make_ward: Callable[[str], Ward], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last share and the checkpoint."""
    ward = make_ward("cut")
    save = Checkpoints.save

    def dies(self: Checkpoints, vector: Any, layout: Any, history: list[RoundRecord]) -> None:
        if history[-1].round == 2:
            raise Killed
        save(self, vector, layout, history)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", dies)
        with pytest.raises(Killed):
            run(ward)
    released = len(ward.words(Released))
    _, history = run(ward)
    assert [record.sites_answered for record in history] == [4, 0, 4]
    assert len(ward.words(Released)) == released + 4


def test_a_hospital_whose_statement_is_no_good_is_lost_and_not_the_run(
    make_ward: Callable[[str], Ward], whole: Whole
) -> None:
    """Found as a hole: one bad signature ended every resumed run."""
    ward = make_ward("cut")
    dies_at(ward, Survivors, "H01")
    with pytest.raises(Killed):
        run(ward)
    lives(ward)
    ward.replies = lambda site, _, word: Abandoned(bytes(64)) if isinstance(word, Abandoned) and site == "H02" else word
    assert run(ward)[0] == whole[0]


def test_too_few_statements_lose_the_round(make_ward: Callable[[str], Ward]) -> None:
    ward = make_ward("cut")
    dies_at(ward, Survivors, "H01")
    with pytest.raises(Killed):
        run(ward)
    lives(ward)
    ward.replies = lambda site, _, word: None if isinstance(word, Abandoned) and site in ("H02", "H03") else word
    _, history = run(ward)
    assert [record.sites_answered for record in history] == [4, 0, 4]


def test_a_round_with_too_few_hospitals_can_be_asked_again_when_they_are_back(
    make_ward: Callable[[str], Ward], whole: Whole
) -> None:
    ward = make_ward("cut")
    ward.replies = lambda site, question, word: (
        None if isinstance(question, Fit) and question.round == 2 and site in ("H02", "H03") else word
    )
    with pytest.raises(IncompleteError, match="2 of 4 hospitals answered, wanted at least 3; missing: H02, H03"):
        run(ward)
    lives(ward)
    assert run(ward)[0] == whole[0]
