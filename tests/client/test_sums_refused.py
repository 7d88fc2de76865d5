"""What a hospital refuses in masked sums from what it approved alone: rosters, floors, further attempts, other words.

The holes that were found here are marked; through each, two sums could be opened that differ by one hospital.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.identity import write_roster
from fl_liver.securesum.context import Slot
from fl_liver.securesum.encoding import encode_integers
from fl_liver.study import Study
from tests.securesum.on_disk import OnDisk
from tests.securesum.wards import Ward

TRAIN = ("H01", "H02", "H03", "H04")
MakeWard = Callable[..., Ward]


@pytest.fixture
def make_ward(tmp_path: Path, table_study: Study, local_grid: Any) -> MakeWard:
    return lambda **sections: Ward.of(tmp_path, table_study.changed(**sections), local_grid)


@pytest.fixture
def ward(make_ward: MakeWard) -> Ward:
    return make_ward()


def pinned_otherwise(ward: Ward, site: str, **keys: str) -> None:
    write_roster(ward.sites[site].roster, {**ward.roster.identity, **keys})


def test_keys_of_another_study_or_an_unknown_training_are_not_made(ward: Ward) -> None:
    elsewhere = Slot("6" * 64, "run-a", "training/train", 1, 0)
    with pytest.raises(ProtocolError, match="a sum of study 666666666666, wanted"):
        ward.sums("H01").announce(elsewhere)


@pytest.mark.parametrize("purpose", ["training/train", "statistics/batch"])
def test_a_study_has_one_run(ward: Ward, purpose: str) -> None:
    """Found as a hole: training is repeatable, so that a second run, over all but one hospital, showed its update."""
    OnDisk.training(ward).until("release")
    number, sites = (1, ()) if purpose.startswith("training") else (0, TRAIN)
    with pytest.raises(
        PrivacyError, match="was begun here as run run-a, run run-b was asked; resume that one, or have"
    ):
        ward.sums("H01").announce(ward.slot(number, purpose=purpose, run="run-b"), sites)
    with pytest.raises(ProtocolError, match="its keys are gone or never were"):
        OnDisk.training(ward, run="run-b").answer("H01", announced={site: bytes(128) for site in TRAIN})
    assert len(ward.sums("H01").announce(ward.slot(2))) == 128


@pytest.mark.parametrize("rows", ["training", "all", "internal", "calibration", "not-fold-99", "not-fold-00", "fold-0"])
def test_one_federation_has_one_name(make_ward: MakeWard, rows: str) -> None:
    """Found as a hole: with four folds, "training", "not-fold-99" and "not-fold-098" choose the patients of "train", so
    that a round could be asked again under each, and opened over all but one hospital.
    """
    ward = make_ward(cohort={"folds": 4})
    slot = ward.slot(purpose=f"training/{rows}")
    for act in (
        lambda: ward.sums("H01").announce(slot),
        lambda: ward.sums("H01").admit(slot, {}, {}),
        lambda: ward.sums("H01").abandon(slot),
    ):
        with pytest.raises(
            ProtocolError, match="is no training of the study; wanted training/train, training/not-fold"
        ):
            act()
    for known in ("train", "not-fold-0", "not-fold-3"):
        ward.sums("H01").announce(ward.slot(purpose=f"training/{known}"))
    with pytest.raises(ProtocolError, match="is no training of the study"):
        ward.sums("H01").announce(ward.slot(purpose="training/not-fold-4"))


def test_nobody_trains_in_a_slot_of_statistics(ward: Ward) -> None:
    """Found as a hole: a batch may leave a hospital out, and is opened without a list of survivors."""
    one = OnDisk.statistics(ward, "train", sites=TRAIN[:3]).announce()
    with pytest.raises(ProtocolError, match="training was asked in a slot of statistics"):
        ward.sums("H01").admit(one.slot, one.server.announced, {})


@pytest.mark.parametrize(
    ("sites", "error", "what"),
    [
        (TRAIN[:2], PrivacyError, "a sum over 2 of 4 hospitals was asked, wanted at least 3"),
        (("H01", "H02", "H05"), PrivacyError, "a sum over 3 of 5 hospitals was asked, wanted at least 4"),
        (("H02", "H03", "H04"), ProtocolError, "each once, this one among them"),
        (("H01", "H02", "H03", "H03"), ProtocolError, "each once"),
        (("H01", "H02", "H03", "H09"), ProtocolError, "wanted hospitals of the study"),
        ((), ProtocolError, "hospitals none for statistics/batch"),
    ],
    ids=["two", "of both parts", "without this one", "one twice", "a stranger", "none"],
)
def test_a_batch_over_other_hospitals_than_the_study_allows_gets_no_keys(
    ward: Ward, sites: tuple[str, ...], error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what):
        ward.sums("H01").announce(ward.slot(0, purpose="statistics/batch"), sites)


def test_a_batch_over_t_of_the_studys_hospitals_gets_keys(ward: Ward) -> None:
    for name, sites in (("a", TRAIN[:3]), ("b", TRAIN), ("c", (*TRAIN, "H05")), ("d", ("H01", "H02", "H04", "H05"))):
        assert len(ward.sums("H01").announce(ward.slot(0, purpose=f"statistics/{name}"), sites)) == 128


def test_the_studys_own_floor_is_above_the_threshold_where_it_is_higher(make_ward: MakeWard) -> None:
    """Found as a hole: `min_sites` promises that no sum over fewer is opened; training only knew the threshold."""
    ward = make_ward(privacy={"min_sites": 4})
    with pytest.raises(PrivacyError, match="a sum over 3 of 4 hospitals was asked, wanted at least 4"):
        ward.sums("H01").announce(ward.slot(0, purpose="statistics/batch"), TRAIN[:3])
    one = OnDisk.training(ward).announce()
    few = {site: one.server.announced[site] for site in TRAIN[:3]}
    with pytest.raises(PrivacyError, match="a sum over 3 hospitals was asked, wanted this one and at least 4 of 4"):
        ward.sums("H01").admit(one.slot, few, {})
    one.share().mask()
    with pytest.raises(PrivacyError, match=r"3 survivors of .*, wanted at least 4; nothing is opened"):
        ward.sums("H01").endorse(one.slot, TRAIN[:3])
    assert one.endorse().release().opened() == one.expected()


def test_a_study_of_two_hospitals_gets_no_keys(make_ward: MakeWard) -> None:
    ward = make_ward(sites={"train": ["H01", "H02"], "external": []})
    with pytest.raises(PrivacyError, match="a sum over 2 of 2 hospitals was asked, wanted at least 3"):
        ward.sums("H01").announce(ward.slot())


def test_the_hospitals_of_a_batch_are_frozen(ward: Ward) -> None:
    OnDisk.statistics(ward).until("mask")
    for step in (0, 1):
        with pytest.raises(ProtocolError, match="was begun over H01, H02, H03, H04; its hospitals are frozen"):
            ward.sums("H01").announce(ward.slot(0, purpose="statistics/batch", sum=step), TRAIN[:3])


def test_the_roster_of_training_is_all_of_it_whatever_the_server_names(ward: Ward) -> None:
    ward.sums("H01").announce(ward.slot(), TRAIN[:2])
    one = OnDisk.training(ward).announce()
    few = {site: one.server.announced[site] for site in TRAIN[:2]}
    with pytest.raises(PrivacyError, match="a sum over 2 hospitals was asked, wanted this one and at least 3 of 4"):
        ward.sums("H01").admit(one.slot, few, {})
    others = {site: one.server.announced[site] for site in TRAIN[1:]}
    with pytest.raises(PrivacyError, match="wanted this one and at least 3 of 4"):
        ward.sums("H01").admit(one.slot, others, {})


def test_a_hospital_that_pins_another_identity_takes_no_part_with_the_others(ward: Ward) -> None:
    """An identity that the server gave out, or that was renewed and not told: nobody's keys fit any more."""
    pinned_otherwise(ward, "H01", H02="ab" * 32)
    one = OnDisk.training(ward)
    content = ward.sums("H01").announce(one.slot)
    with pytest.raises(ProtocolError, match="the key announcement of H01 is not signed by the identity"):
        one.server.take_announcement("H01", content)
    one.announce(without=("H01",))
    with pytest.raises(ProtocolError, match=r"the key announcement of H0\d is not signed by the identity"):
        ward.sums("H01").share(one.slot, {**one.server.announced, "H01": content})


def abandoned(ward: Ward) -> OnDisk:
    """Attempt 0 of round 1, answered by everybody and sworn off by nobody yet."""
    return OnDisk.training(ward).until("mask")


def again(ward: Ward, attempt: int = 1) -> OnDisk:
    return OnDisk.training(ward, attempt=attempt).announce().share()


def test_a_further_attempt_with_t_statements_is_answered_and_exact(ward: Ward) -> None:
    statements = abandoned(ward).statements(*TRAIN[:3])
    one = again(ward).mask(abandoned=statements)
    assert one.endorse().release().opened() == one.expected()


def test_a_further_attempt_without_t_statements_is_refused(ward: Ward) -> None:
    first = abandoned(ward)
    statements = first.statements(*TRAIN[:2])
    one = again(ward)
    for given in ({}, statements):
        with pytest.raises(IncompleteError, match=f"{len(given)} hospitals swore it off, wanted at least 3"):
            one.answer("H01", abandoned=given)
    with pytest.raises(ProtocolError, match="statement to abandon an attempt of H03 is not signed"):
        one.answer("H01", abandoned={**statements, "H03": statements["H02"]})
    with pytest.raises(ProtocolError, match="'H05' is not on the roster"):
        one.answer("H01", abandoned={**statements, "H05": statements["H02"]})


def test_statements_about_another_attempt_do_not_allow_this_one(ward: Ward) -> None:
    statements = abandoned(ward).statements(*TRAIN)
    with pytest.raises(ProtocolError, match="statement to abandon an attempt of H01 is not signed"):
        again(ward, 2).answer("H01", abandoned=statements)
    with pytest.raises(ProtocolError, match="statement to abandon an attempt of H01 is not signed"):
        OnDisk.training(ward, number=2, attempt=1).announce().answer("H01", abandoned=statements)


def test_what_was_released_is_not_sworn_off_even_after_a_restart(ward: Ward) -> None:
    one = OnDisk.training(ward).until("release")
    for site in TRAIN:
        with pytest.raises(PrivacyError, match="were released; it cannot be attempted again"):
            ward.sums(site).abandon(one.slot)


def test_attempts_cannot_be_leapt_over(ward: Ward) -> None:
    """Found as a hole: attempt 0 is opened; attempt 1, which nobody was asked, is sworn off by all; attempt 2 was then
    answered, and opened over other survivors.
    """
    OnDisk.training(ward).until("release")
    for attempt in (1, 2, 7):
        for site in TRAIN:
            with pytest.raises(PrivacyError, match="shares of attempt 0 were released; no later one is sworn off"):
                ward.sums(site).abandon(ward.slot(attempt=attempt))


def test_a_hospital_that_released_nothing_can_swear_off_a_later_attempt(ward: Ward) -> None:
    """H04 was lost in attempt 0. Alone it allows nothing: t statements are wanted."""
    OnDisk.training(ward).until("release", without=("H04",))
    statement = {"H04": ward.sums("H04").abandon(ward.slot(attempt=1))}
    one = again(ward, 2)
    with pytest.raises(IncompleteError, match="1 hospitals swore it off, wanted at least 3"):
        one.answer("H04", abandoned=statement)


def test_shares_of_a_slot_that_was_sworn_off_are_not_given(ward: Ward) -> None:
    one = OnDisk.training(ward).until("endorse")
    one.statements("H01")
    with pytest.raises(ProtocolError, match="before its survivors were agreed"):
        one.shares("H01")
    with pytest.raises(ProtocolError, match="swore off"):
        ward.sums("H01").endorse(one.slot, TRAIN)
    with pytest.raises(ProtocolError, match="is over"):
        one.answer("H01")
    assert ward.sums("H01").abandon(one.slot) == one.statements("H01")["H01"], "the statement can be asked again"


def test_a_slot_that_this_hospital_never_saw_is_sworn_off_and_then_never_answered(ward: Ward) -> None:
    one = OnDisk.training(ward)
    one.statements("H01")
    with pytest.raises(ProtocolError, match=r"keys for .* were asked, it was answered already"):
        ward.sums("H01").announce(one.slot)
    one.announce(without=("H01",)).share(without=("H01",))
    with pytest.raises(ProtocolError, match="its keys are gone or never were"):
        ward.sums("H01").mask(one.context, one.server.announced, encode_integers(one.vector("H01"), 32))


def test_an_opened_round_is_not_answered_again(ward: Ward) -> None:
    one = OnDisk.training(ward).until("release")
    with pytest.raises(ProtocolError, match="round 1, sum 0, attempt 0 is over"):
        one.answer("H01", np.array([1, 2, 3]))


def test_a_new_batch_ends_the_one_before(ward: Ward) -> None:
    """One batch of statistics is open at a time; what was asked in the one before is not asked again (`batches`)."""
    one = OnDisk.statistics(ward, "first").until("mask")
    OnDisk.statistics(ward, "second").announce()
    with pytest.raises(ProtocolError, match="hospitals none for statistics/first"):
        one.answer("H01")
