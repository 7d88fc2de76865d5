"""What a sum is about: thresholds, rosters, slots, and that one changed bit changes all that is derived from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fl_liver.errors import PrivacyError, ProtocolError
from fl_liver.securesum.context import (
    Context,
    Roster,
    Slot,
    abandon_statement,
    mask_info,
    statement,
    survivors_statement,
    threshold,
)
from tests.securesum.hospitals import QUESTION, STATISTICS, STUDY, TRAINING, other, roster_of

CONTEXT = Context(TRAINING, 5, 32, QUESTION)
KEYS = {name: bytes([number]) * 128 for number, name in enumerate(roster_of(4).names)}


def test_the_threshold_is_the_smallest_number_above_two_thirds() -> None:
    for sites in range(3, 200):
        needed = threshold(sites)
        assert 3 * needed > 2 * sites >= 3 * (needed - 1)
        liars = sites - needed
        assert 2 * needed - sites > liars, "two lists of t signers share one who is no liar"
        assert 2 * liars < needed, "t swore off: their liars and those that did not swear are fewer than t"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_roster_of_fewer_than_three_is_refused(count: int) -> None:
    with pytest.raises(PrivacyError, match=f"a masked sum over {count} hospitals .* the floor is 3"):
        Roster({f"H0{number}": bytes([number]) * 32 for number in range(count)})


def test_a_roster_needs_one_whole_identity_each() -> None:
    whole = {f"H0{number}": bytes([number]) * 32 for number in range(3)}
    with pytest.raises(ProtocolError, match="the identity of H01 is no Ed25519 key of 32 bytes"):
        Roster({**whole, "H01": bytes(31)})
    with pytest.raises(PrivacyError, match="two hospitals of the roster have one identity"):
        Roster({**whole, "H03": bytes([1]) * 32})
    with pytest.raises(ProtocolError, match=r"'H07' is not on the roster \(H00, H01, H02\)"):
        Roster(whole).number("H07")


def test_hospitals_are_numbered_from_1_in_the_order_of_their_names_whatever_the_order_of_the_file() -> None:
    forwards = roster_of(5)
    backwards = Roster(dict(reversed(list(forwards.identities.items()))))
    assert backwards.digest == forwards.digest
    assert [backwards.number(name) for name in ("H01", "H02", "H05")] == [1, 2, 5]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"purpose": "gossip/train"}, "'gossip/train'"),
        ({"purpose": "training/"}, "'training/'"),
        ({"purpose": "training/../x"}, r"'training/\.\./x'"),
        ({"purpose": "training/train\n"}, "'training/train"),
        ({"purpose": "Training/train"}, "'Training/train'"),
        ({"purpose": "training/" + "a" * 65}, "'training/aaaa"),
        ({"round": -1}, "round -1"),
        ({"attempt": -1}, "attempt -1"),
        ({"sum": -1}, "sum -1"),
        ({"run": ""}, "of run ''"),
    ],
)
def test_a_slot_of_another_form_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        other(TRAINING, **changes)


@pytest.mark.parametrize(
    ("slot", "changes"), [(TRAINING, {"sum": 1}), (STATISTICS, {"round": 1}), (STATISTICS, {"attempt": 1})]
)
def test_there_is_one_slot_for_a_round_and_one_for_a_step(slot: Slot, changes: dict[str, int]) -> None:
    """Found as a hole: with `sum` 1, round 1 could be asked again, and opened over all hospitals but one; the
    difference was that hospital's update. With `round` 1 a slot of statistics could be trained in.
    """
    with pytest.raises(ProtocolError, match="training has no sum but 0; statistics have no round"):
        other(slot, **changes)


def everything(roster: Roster, context: Context, keys: dict[str, bytes]) -> set[bytes]:
    slot, info = context.slot, mask_info(roster, context, keys)
    return {
        info,
        survivors_statement(roster, info, slot, roster.names),
        abandon_statement(roster, slot),
        statement("keys", roster, slot, site="H01"),
    }


@pytest.mark.parametrize(
    "slot",
    [
        other(TRAINING, study="6" * 64),
        other(TRAINING, run="run-b"),
        other(TRAINING, purpose="training/not-fold-1"),
        other(TRAINING, purpose="statistics/train", round=0),
        other(TRAINING, round=2),
        other(TRAINING, attempt=1),
    ],
    ids=["study", "run", "rows", "purpose", "round", "attempt"],
)
def test_every_part_of_a_slot_is_in_every_statement_and_mask(slot: Slot) -> None:
    before = everything(roster_of(4), CONTEXT, KEYS)
    assert not before & everything(roster_of(4), replace(CONTEXT, slot=slot), KEYS)


def test_the_roster_is_in_every_statement_and_mask() -> None:
    before = everything(roster_of(4), CONTEXT, KEYS)
    assert not before & everything(roster_of(5), CONTEXT, KEYS)
    assert not before & everything(roster_of(4, "other keys of "), CONTEXT, KEYS)


@pytest.mark.parametrize(
    "changes", [{"length": 6}, {"bits": 64}, {"question": "8" * 64}, {"keystream": "aes-256-ctr"}], ids=str
)
def test_every_part_of_the_question_is_in_the_masks(changes: dict[str, Any]) -> None:
    assert mask_info(roster_of(4), replace(CONTEXT, **changes), KEYS) != mask_info(roster_of(4), CONTEXT, KEYS)


def test_every_participant_and_key_is_in_the_masks() -> None:
    info = mask_info(roster_of(4), CONTEXT, KEYS)
    assert mask_info(roster_of(4), CONTEXT, dict(reversed(KEYS.items()))) == info
    fewer = {name: KEYS[name] for name in ("H01", "H02", "H03")}
    swapped = {**KEYS, "H01": KEYS["H02"], "H02": KEYS["H01"]}
    one_bit = {**KEYS, "H04": KEYS["H04"][:-1] + bytes([KEYS["H04"][-1] ^ 1])}
    assert len({info, *(mask_info(roster_of(4), CONTEXT, keys) for keys in (fewer, swapped, one_bit))}) == 4


def test_the_survivors_and_what_they_answered_are_in_their_statement() -> None:
    roster = roster_of(4)
    info = mask_info(roster, CONTEXT, KEYS)
    signed = survivors_statement(roster, info, TRAINING, ("H03", "H01", "H02"))
    assert signed == survivors_statement(roster, info, TRAINING, ("H01", "H02", "H03"))
    assert signed != survivors_statement(roster, info, TRAINING, ("H01", "H02", "H04"))
    assert signed != survivors_statement(roster, bytes(32), TRAINING, ("H01", "H02", "H03"))


def test_the_bytes_of_the_protocol_stay_what_they_are() -> None:
    """Hospitals of two versions must agree on them, or say another protocol's name."""
    slot = Slot(STUDY, "run-a", "training/train", 3, 0, 1)
    assert abandon_statement(Roster({name: bytes([place]) * 32 for place, name in enumerate("ABC")}), slot) == (
        b'{"kind":"abandoned","protocol":"fl-liver-securesum/1",'
        b'"roster":"5310b3090e19dbfb4c169f385b7937d3bd773d300197867429a9968d29a287c8",'
        b'"slot":{"attempt":1,"purpose":"training/train","round":3,"run":"run-a","study":"' + b"5" * 64 + b'","sum":0}}'
    )
