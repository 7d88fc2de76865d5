"""What one hospital answers around a masked sum: to whom it gives keys, and what it refuses before it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from fl_liver.client import respond as responding
from fl_liver.client.approval import write_approval
from fl_liver.client.respond import respond
from fl_liver.client.site import SiteConfig
from fl_liver.identity import write_roster
from fl_liver.messages import (
    Abandon,
    Abandoned,
    Announced,
    Fit,
    Incoming,
    Keys,
    Open,
    Outgoing,
    Prepare,
    Ready,
    Refusal,
    Shares,
    Sum,
    Survivors,
    Totals,
    Update,
)
from fl_liver.models.registry import initial_vector
from fl_liver.securesum.context import Slot
from fl_liver.stats.conversation import Question
from fl_liver.study import Study
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]
TRAIN = ("H01", "H02", "H03", "H04")


def answer(site: SiteConfig, question: Incoming) -> Any:
    return from_record(respond(site, question, "cpu"), get_args(Outgoing))


def training(study: Study, number: int = 1) -> Slot:
    return Slot(study.sha256, "run-1", "training/train", number, 0)


def counting(study: Study, sites: tuple[str, ...] = TRAIN, step: int = 0) -> Sum:
    question = Question("cell_counts", {"columns": [["label", ["0", "1"]]], "complete": ["age"], "rows": "train"}, 2)
    return Sum(study.sha256, "masked", len(sites), (question,), "b1", step, sites, run="run-1")


@pytest.fixture(scope="session")
def table_study(table_study: Study) -> Study:
    """With a regression on age, whose first question is `counting`."""
    return table_study.changed(analysis={"fusion": ["age"]})


@pytest.fixture
def never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responding, "fit", lambda *_, **__: pytest.fail("it trained"))


class Room:
    """The training hospitals of a masked study, with keys and shares for the first round."""

    def __init__(self, make_site: MakeSite, study: Study) -> None:
        self.study, self.sites = study, {name: make_site(name) for name in TRAIN}
        slot = training(study)
        keys = {name: answer(site, Keys(slot, ())).keys for name, site in self.sites.items()}
        for site in self.sites.values():
            answer(site, Shares(slot, keys))
        self.fit = Fit(slot, initial_vector(study)[0], keys, {})

    def sum_of_counts(self) -> Sum:
        asked = counting(self.study)
        keys = {name: answer(site, Keys(asked.slot, TRAIN)).keys for name, site in self.sites.items()}
        return replace(asked, announced=keys)


@pytest.fixture
def room(make_site: MakeSite, table_study: Study) -> Room:
    return Room(make_site, table_study)


@pytest.mark.parametrize("gone", ["identity", "roster"])
def test_a_hospital_without_its_key_or_roster_does_not_enrol(
    make_site: MakeSite, table_study: Study, gone: str
) -> None:
    """That must come out before the first round, not in it."""
    site = make_site()
    getattr(site, gone).unlink()
    write_approval(site, table_study, who="test")
    assert answer(site, Prepare(table_study.sha256)) == Refusal("CONFIG", 0)


def test_a_hospital_whose_roster_pins_another_key_for_it_does_not_enrol(
    make_site: MakeSite, table_study: Study
) -> None:
    site = make_site()
    write_roster(site.roster, {name: f"{number:064x}" for number, name in enumerate(table_study.every_site)})
    write_approval(site, table_study, who="test")
    assert answer(site, Prepare(table_study.sha256)) == Refusal("PROTOCOL", 0)


def test_a_hospital_that_does_not_allow_plain_sums_does_not_enrol_for_them(
    make_site: MakeSite, plain_study: Study
) -> None:
    assert answer(make_site(study=plain_study, plain_sums=False), Prepare(plain_study.sha256)) == Refusal(
        "BELOW_FLOOR", 0
    )
    assert isinstance(answer(make_site("H02", study=plain_study), Prepare(plain_study.sha256)), Ready)


def test_a_study_in_the_clear_needs_no_key_of_the_hospital(make_site: MakeSite, plain_study: Study) -> None:
    site = make_site(study=plain_study)
    site.identity.unlink()
    site.roster.unlink()
    write_approval(site, plain_study, who="test")
    assert isinstance(answer(site, Prepare(plain_study.sha256)), Ready)


@pytest.mark.parametrize(
    ("name", "keys"), [("H05", {}), ("H05", {"role": "train"}), ("H01", {"role": "external"})],
    ids=["both say external", "the study says external", "the hospital says external"],
)  # fmt: skip
def test_an_external_hospital_has_no_part_in_a_round(
    make_site: MakeSite, table_study: Study, name: str, keys: dict[str, Any]
) -> None:
    """Neither with an update nor as a holder of others' shares."""
    site, slot = make_site(name, **keys), training(table_study)
    asked: list[Incoming] = [
        Keys(slot, ()),
        Shares(slot, {}),
        Survivors(slot, TRAIN, {}),
        Open(slot, {}, {}),
        Abandon(slot),
    ]
    assert [answer(site, one) for one in asked] == [Refusal("ROLE", 0)] * 5


def test_an_external_hospital_has_its_part_in_statistics(make_site: MakeSite, table_study: Study) -> None:
    everybody = table_study.every_site
    word = answer(make_site("H05"), Keys(counting(table_study, everybody).slot, everybody))
    assert isinstance(word, Announced)
    assert len(word.keys) == 128


def test_an_update_is_never_given_without_the_keys_that_mask_it(
    make_site: MakeSite, table_study: Study, never_trained: None
) -> None:
    """A server that asks as if the study's sums were plain gets nothing, and costs no training."""
    fit = Fit(training(table_study), initial_vector(table_study)[0], {}, {})
    assert answer(make_site(), fit) == Refusal("BELOW_FLOOR", 0)


def test_too_few_participants_are_refused_before_anything_is_trained(room: Room, never_trained: None) -> None:
    few = {name: room.fit.announced[name] for name in ("H01", "H02")}
    assert answer(room.sites["H01"], replace(room.fit, announced=few)) == Refusal("BELOW_FLOOR", 0)


def test_a_masked_sum_is_never_given_without_the_keys_that_mask_it(make_site: MakeSite, table_study: Study) -> None:
    assert isinstance(answer(make_site(), counting(table_study)), Refusal)


def test_a_round_that_is_asked_again_is_not_trained_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was lost on its way; the same bytes go out, also where training would not give the same bits."""
    first = answer(room.sites["H01"], room.fit)
    assert isinstance(first, Update)
    monkeypatch.setattr(responding, "fit", lambda *_, **__: pytest.fail("it trained"))
    again = answer(room.sites["H01"], room.fit)
    assert again.vector.tobytes() == first.vector.tobytes()
    assert again.announced == first.announced
    other = replace(room.fit, vector=room.fit.vector + np.float32(1))
    assert answer(room.sites["H01"], other) == Refusal("BELOW_FLOOR", 0)


def test_a_step_that_is_asked_again_gets_the_same_bytes(room: Room) -> None:
    asked = room.sum_of_counts()
    first, again = (answer(room.sites["H01"], asked) for _ in range(2))
    assert isinstance(first, Totals)
    assert first.vector.tobytes() == again.vector.tobytes()
    assert first.announced == again.announced


def test_a_masked_count_is_none(room: Room) -> None:
    """Four hospitals' vectors add up to four times the counts; none of them is near one's own."""
    asked = room.sum_of_counts()
    words = [answer(site, asked) for site in room.sites.values()]
    total: Any = np.stack([word.vector for word in words]).sum(axis=0)
    assert total[-1] == 4, "the check word"
    assert 0 < total[:2].min() <= total[:2].max() < 160
    assert all(word.vector.min() > 1000 for word in words), "but once in 2^50 times"


def test_an_attempt_is_sworn_off_in_signed_words(room: Room) -> None:
    words = [answer(site, Abandon(room.fit.slot)) for site in room.sites.values()]
    assert all(isinstance(word, Abandoned) and len(word.signature) == 64 for word in words)
    assert isinstance(answer(room.sites["H01"], room.fit), Refusal), "what was sworn off is not answered"
