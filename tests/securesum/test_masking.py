"""A hospital before it has answered, and a server that shows it what is not so: keys, rosters, questions.

Each hospital checks for itself; where nobody can (another question for one of them), the masks do not cancel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.securesum.context import Bits, Context, Slot
from fl_liver.securesum.encoding import checked, decode_integers, encode_integers
from fl_liver.securesum.keys import Announcement, public_key
from fl_liver.securesum.site import SiteSum
from tests.securesum.hospitals import RUN, STATISTICS, TRAINING, Sum, key_of, other, roster_of

NOT_SIGNED = (
    r"the key announcement of H02 is not signed by the identity that the roster pins for it, or is about another"
)
BOTH = pytest.mark.parametrize("slot", [TRAINING, STATISTICS], ids=["training", "statistics"])


def forged(keep: bytes, *, mask_key: bytes = b"", seal_key: bytes = b"") -> bytes:
    """An announcement with one key of the server's own, under the signature of the real one."""
    found = Announcement.from_bytes(keep)
    return Announcement(mask_key or found.mask_key, seal_key or found.seal_key, found.signature).to_bytes()


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("count", [3, 4, 5, 13])
@BOTH
def test_the_sum_of_all_is_exact(slot: Slot, count: int, bits: Bits) -> None:
    one = Sum(count, slot, bits)
    assert one.opened().tolist() == one.expected().tolist()
    assert decode_integers(one.expected(), bits, count).tolist() == np.sum(list(one.vectors.values()), axis=0).tolist()


@BOTH
def test_no_hospitals_answer_is_its_vector_or_that_of_another_run(slot: Slot) -> None:
    first, again = Sum(5, slot), Sum(5, slot)
    first.opened()
    again.opened()
    for name, masked in first.masked.items():
        plain = encode_integers(first.vectors[name], 32)
        assert not (masked == plain).any()
        assert not (masked == again.masked[name]).any()


@pytest.mark.parametrize("place", ["mask_key", "seal_key"])
@BOTH
def test_a_key_that_the_server_swapped_is_refused(slot: Slot, place: str) -> None:
    one = Sum(5, slot).until("announce")
    shown = one.server.announced
    shown["H02"] = forged(shown["H02"], **{place: public_key(bytes(range(32)))})
    with pytest.raises(ProtocolError, match=NOT_SIGNED):
        one.answer("H01", announced=shown)
    if slot.recovers:
        with pytest.raises(ProtocolError, match=NOT_SIGNED):
            one.sites["H01"].sealed(shown)


@pytest.mark.parametrize("place", ["mask_key", "seal_key"])
def test_a_key_that_is_swapped_after_it_was_shown_is_refused(place: str) -> None:
    """Also where the other key is signed: the hospital keeps the first that it saw of each."""
    one = Sum().until("seal")
    second = SiteSum("H02", one.roster, TRAINING).announcement(key_of("H02"))
    for swap in (second, forged(one.server.announced["H02"], **{place: public_key(bytes(range(32)))})):
        with pytest.raises(ProtocolError, match="site H01: the server shows other keys of H02"):
            one.answer("H01", announced={**one.server.announced, "H02": swap})
        with pytest.raises(ProtocolError, match="site H01: the server shows other keys of H02"):
            one.sites["H01"].sealed({**one.server.announced, "H02": swap})
    one.mask()
    assert one.masked.keys() == set(one.roster.names), "the honest keys are still good"


def test_a_hospital_whose_own_key_was_changed_on_the_way_refuses() -> None:
    one = Sum().until("announce")
    second = SiteSum("H01", one.roster, TRAINING).announcement(key_of("H01"))
    for act in (one.sites["H01"].sealed, lambda keys: one.answer("H01", announced=keys)):
        with pytest.raises(ProtocolError, match="site H01: the server shows other keys of H01"):
            act({**one.server.announced, "H01": second})


@pytest.mark.parametrize(
    "elsewhere",
    [
        other(TRAINING, round=2),
        other(TRAINING, run="run-b"),
        other(TRAINING, purpose="training/not-fold-0"),
        other(TRAINING, purpose="statistics/train", round=0),
        other(TRAINING, attempt=1),
        other(TRAINING, study="6" * 64),
    ],
    ids=["round", "run", "rows", "purpose", "attempt", "study"],
)
def test_a_replayed_key_is_refused(elsewhere: Slot) -> None:
    one = Sum().until("announce")
    replayed = SiteSum("H02", one.roster, elsewhere).announcement(key_of("H02"))
    with pytest.raises(ProtocolError, match=NOT_SIGNED):
        one.answer("H01", announced={**one.server.announced, "H02": replayed})
    with pytest.raises(ProtocolError, match=NOT_SIGNED):
        Sum(5, TRAINING).server.take_announcement("H02", replayed)


@pytest.mark.parametrize(("count", "generation"), [(6, ""), (4, ""), (5, "new ")], ids=["larger", "smaller", "renewed"])
def test_a_key_that_was_signed_for_another_roster_is_refused(count: int, generation: str) -> None:
    one = Sum().until("announce")
    elsewhere = SiteSum("H02", roster_of(count, generation), TRAINING).announcement(key_of("H02"))
    with pytest.raises(ProtocolError, match=NOT_SIGNED):
        one.answer("H01", announced={**one.server.announced, "H02": elsewhere})


@pytest.mark.parametrize("signer", ["H03", "server"])
def test_a_key_that_another_signed_is_refused(signer: str) -> None:
    one = Sum().until("announce")
    generation = "the server as " if signer == "server" else ""
    key = key_of("H02" if signer == "server" else signer, generation)
    relayed = SiteSum("H02", one.roster, TRAINING).announcement(key)
    for announced in (relayed, relayed[:64] + bytes(64), one.server.announced["H03"]):
        with pytest.raises(ProtocolError, match=NOT_SIGNED):
            one.answer("H01", announced={**one.server.announced, "H02": announced})


def test_a_key_that_a_hospital_signed_under_another_name_is_refused() -> None:
    one = Sum().until("announce")
    as_h03 = SiteSum("H03", one.roster, TRAINING).announcement(key_of("H02"))
    with pytest.raises(ProtocolError, match=NOT_SIGNED):
        one.answer("H01", announced={**one.server.announced, "H02": as_h03})


def test_a_stranger_is_refused_whoever_signed_for_it() -> None:
    one = Sum().until("announce")
    stranger = SiteSum("H06", roster_of(6), TRAINING).announcement(key_of("H06"))
    with pytest.raises(ProtocolError, match="'H06' is not on the roster"):
        one.answer("H01", announced={**one.server.announced, "H06": stranger})


@pytest.mark.parametrize(
    ("slot", "count", "shown"), [(TRAINING, 5, 3), (TRAINING, 4, 2), (STATISTICS, 5, 4), (STATISTICS, 4, 2)]
)
def test_a_sum_over_too_few_is_refused(slot: Slot, count: int, shown: int) -> None:
    """t for training; for statistics every hospital of the batch, because nothing of it is ever recovered."""
    one = Sum(count, slot).until("announce")
    few = {name: one.server.announced[name] for name in list(one.roster.names)[:shown]}
    with pytest.raises(PrivacyError, match=f"a sum over {shown} hospitals .* was asked, wanted this one and at least"):
        one.answer("H01", announced=few)


def test_a_sum_without_this_hospital_is_refused() -> None:
    one = Sum().until("announce")
    others = {name: keys for name, keys in one.server.announced.items() if name != "H01"}
    with pytest.raises(PrivacyError, match="wanted this one and at least 4 of 5"):
        one.answer("H01", announced=others)


@pytest.mark.parametrize(
    "changes", [{"question": "8" * 64}, {"keystream": "aes-256-ctr"}], ids=["another question", "another cipher"]
)
@BOTH
def test_masks_of_one_hospital_that_was_asked_something_else_do_not_cancel(slot: Slot, changes: dict[str, Any]) -> None:
    one = Sum(5, slot).until("announce")
    if slot.recovers:
        one.seal()
    participants = one.server.begin(one.context)
    for name in one.roster.names:
        context = replace(one.context, **changes) if name == "H03" else one.context
        one.server.take_masked(name, one.answer(name, context, participants))
    if not slot.recovers:
        one.server.survivors()
        with pytest.raises(ProtocolError, match="the masks of 5 hospitals did not cancel"):
            checked(one.server.open(), 32, 5)
        return
    # With survivors to sign, it is seen sooner: H03 signs another statement, and gives nobody's share for theirs.
    survivors = one.server.survivors()
    signed = {name: one.sites[name].endorse(survivors, key_of(name)) for name in survivors}
    with pytest.raises(ProtocolError, match="the list of survivors of H03 is not signed"):
        one.server.take_endorsement("H03", signed["H03"])
    theirs = {name: signature for name, signature in signed.items() if name != "H03"}
    with pytest.raises(ProtocolError, match="the list of survivors of H01 is not signed"):
        one.shares("H03", theirs)


def test_masks_of_one_hospital_that_was_shown_fewer_participants_do_not_cancel() -> None:
    one = Sum().until("seal")
    participants = one.server.begin(one.context)
    fewer = {name: keys for name, keys in participants.items() if name != "H05"}
    total = np.zeros(one.length + 2, np.uint32)
    for name in one.roster.names:
        total += one.answer(name, announced=fewer if name == "H03" else participants)
    with pytest.raises(ProtocolError, match="did not cancel"):
        checked(total, 32, 5)


@pytest.mark.parametrize("question", ["9" * 64, "8" * 64], ids=["the same question", "another one"])
@BOTH
def test_the_same_masks_are_never_put_on_a_second_vector(slot: Slot, question: str) -> None:
    """The difference of the two would be what changed between them, without a mask."""
    one = Sum(5, slot).until("mask")
    refused = "a second sum with the same masks was asked" if slot.recovers else "its keys are gone or never were"
    with pytest.raises((PrivacyError, ProtocolError), match=refused):
        one.answer("H01", replace(one.context, question=question))
    assert (one.sites["H01"].to_json()["secrets"] is None) != slot.recovers, "statistics need them no more"


@pytest.mark.parametrize(
    "vector",
    [np.zeros(6, np.uint32), np.zeros(8, np.uint32), np.zeros(7, np.uint64), np.zeros(7, np.int32)],
    ids=["shorter", "longer", "64 bits", "signed"],
)
def test_a_vector_of_another_length_or_type_is_not_masked(vector: Any) -> None:
    one = Sum().until("seal")
    with pytest.raises(ProtocolError, match="would be masked, announced 5 entries of 32 bits and the check words"):
        one.sites["H01"].mask(one.context, one.server.announced, vector)
    assert not vector.any(), "nothing was added to it"


def test_a_question_for_another_slot_is_refused() -> None:
    one = Sum().until("seal")
    elsewhere = Context(other(TRAINING, round=2), 5, 32, "9" * 64)
    with pytest.raises(ProtocolError, match="asked about training/train, round 2"):
        one.answer("H01", elsewhere)


def test_a_hospital_without_keys_masks_and_seals_nothing() -> None:
    one = Sum().until("seal")
    fresh = SiteSum("H01", one.roster, TRAINING)
    with pytest.raises(ProtocolError, match=r"a masked vector of .* asked, its keys are gone or never were"):
        fresh.mask(one.context, one.server.announced, encode_integers(one.vectors["H01"], 32))
    with pytest.raises(ProtocolError, match=r"shares of .* asked, its keys are gone or never were"):
        fresh.sealed(one.server.announced)


def test_nothing_of_statistics_is_shared() -> None:
    one = Sum(5, STATISTICS).until("announce")
    with pytest.raises(ProtocolError, match=r"shares were asked for statistics/batch.*, which recovers nothing"):
        one.sites["H01"].sealed(one.server.announced)
    state = one.sites["H01"].to_json()
    assert state["secrets"]["shares"] == []


def test_keys_are_fresh_for_each_slot_and_each_hospital() -> None:
    one, two = Sum().until("announce"), Sum(5, other(TRAINING, run=RUN + "2")).until("announce")
    found = [Announcement.from_bytes(keys) for each in (one, two) for keys in each.server.announced.values()]
    assert len({key for each in found for key in (each.mask_key, each.seal_key)}) == 20


def test_the_server_begins_no_sum_over_too_few() -> None:
    for slot, without in ((TRAINING, ("H02", "H04")), (STATISTICS, ("H02",))):
        one = Sum(5, slot)
        one.announce(without)
        if slot.recovers:
            one.seal()
        with pytest.raises(IncompleteError, match=f"have keys, wanted at least .*; missing: {', '.join(without)}"):
            one.server.begin(one.context)
