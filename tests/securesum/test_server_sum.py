"""The server: what it takes from hospitals that lie or err, and that it opens the sum over the survivors or none."""

from __future__ import annotations

import numpy as np
import pytest

from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.securesum import shamir
from fl_liver.securesum.context import Slot
from fl_liver.securesum.encoding import checked
from fl_liver.securesum.site import SiteSum
from tests.securesum.hospitals import STATISTICS, TRAINING, Sum, key_of, roster_of

FOUR = ("H01", "H02", "H03", "H04")


def test_a_hospital_announces_once() -> None:
    one = Sum().until("announce")
    one.announce()
    second = SiteSum("H02", one.roster, TRAINING).announcement(key_of("H02"))
    with pytest.raises(ProtocolError, match="H02 announced other keys than before"):
        one.server.take_announcement("H02", second)
    with pytest.raises(ProtocolError, match="H02 is not signed by the identity"):
        one.server.take_announcement("H02", one.server.announced["H03"])
    with pytest.raises(ProtocolError, match="H06 sealed shares without keys"):
        one.server.take_sealed("H06", {})


def test_hospitals_without_each_others_shares_are_not_in_the_sum() -> None:
    """H05 sealed nothing for H02: one of the two has to stay out, and the others go on."""
    one = Sum().until("seal")
    boxes = one.sites["H05"].sealed(one.server.announced)
    del boxes["H02"]
    one.server.take_sealed("H05", boxes)
    assert one.server.ready() == FOUR
    one.mask()
    one.endorse()
    one.release()
    assert one.server.open().tolist() == one.expected(*FOUR).tolist()


def test_nothing_is_taken_before_the_sum_is_begun_or_after_it_was_opened() -> None:
    one = Sum(5, STATISTICS).until("announce")
    vector = np.zeros(7, np.uint32)
    with pytest.raises(ProtocolError, match="not begun, or over"):
        one.server.take_masked("H01", vector)
    with pytest.raises(ProtocolError, match="not begun, or over"):
        one.server.open()
    one.mask()
    with pytest.raises(ProtocolError, match="opened before its survivors were named"):
        one.server.open()
    one.server.survivors()
    one.server.open()
    for act in (one.server.open, lambda: one.server.take_masked("H01", vector)):
        with pytest.raises(ProtocolError, match="not begun, or over"):
            act()


@pytest.mark.parametrize(
    "vector",
    [np.zeros(6, np.uint32), np.zeros(8, np.uint32), np.zeros(7, np.uint64), np.zeros((7, 1), np.uint32)],
    ids=["truncated", "extended", "64 bits", "a column"],
)
@pytest.mark.parametrize("slot", [TRAINING, STATISTICS], ids=["training", "statistics"])
def test_a_vector_of_another_length_or_type_changes_nothing(slot: Slot, vector: np.ndarray) -> None:
    one = Sum(5, slot).until("mask", mask=("H02",))
    with pytest.raises(ProtocolError, match=r"H02 sent uint(32|64)\(.*\), wanted uint32\(7,\)"):
        one.server.take_masked("H02", vector + vector.dtype.type(1))
    if slot.recovers:
        one.endorse()
        one.release()
        assert one.server.open().tolist() == one.expected("H01", "H03", "H04", "H05").tolist()
    else:
        one.server.take_masked("H02", one.answer("H02"))
        one.server.survivors()
        assert one.server.open().tolist() == one.expected().tolist()


def test_a_vector_counts_once_and_from_participants_and_in_time() -> None:
    one = Sum(7).until("mask", announce=("H07",), mask=("H06",))
    for name in ("H01", "H07", "H09"):
        with pytest.raises(ProtocolError, match=f"a masked vector of {name} is not expected"):
            one.server.take_masked(name, one.masked["H01"])
    late = one.answer("H06")
    survivors = one.endorse()
    with pytest.raises(ProtocolError, match="a masked vector of H06 is not expected"):
        one.server.take_masked("H06", late)
    one.release()
    assert one.server.open().tolist() == one.expected(*survivors).tolist()


def test_a_changed_vector_is_noticed_in_the_total() -> None:
    """One bit of a check word; what a hospital puts into the rest cannot be judged by anybody."""
    one = Sum().until("seal")
    for name in one.server.begin(one.context):
        vector = one.answer(name)
        vector[-1] ^= np.uint32(name == "H03")
        one.server.take_masked(name, vector)
    one.endorse()
    one.release()
    with pytest.raises(ProtocolError, match="the masks of 5 hospitals did not cancel"):
        checked(one.server.open(), 32, 5)


def test_endorsements_are_of_survivors_over_this_list() -> None:
    one = Sum().until("mask", mask=("H05",))
    survivors = one.server.survivors()
    signature = one.sites["H01"].endorse(survivors, key_of("H01"))
    with pytest.raises(ProtocolError, match=r"H05 signed the survivors of .* but is not one"):
        one.server.take_endorsement("H05", signature)
    for name, wrong in (("H02", signature), ("H01", bytes(64))):
        with pytest.raises(ProtocolError, match=f"the list of survivors of {name} is not signed"):
            one.server.take_endorsement(name, wrong)
    one.server.take_endorsement("H01", signature)
    with pytest.raises(
        IncompleteError, match=r"1 hospitals signed the list .* at least 4; nothing is opened; missing: H02"
    ):
        one.server.endorsements()


def test_a_wrong_share_of_a_lost_hospitals_key_is_noticed_before_anything_is_opened() -> None:
    one = Sum().until("endorse", mask=("H05",))
    endorsements = one.server.endorsements()
    for name in endorsements:
        shares = one.shares(name, endorsements)
        if name == "H02":
            # The last byte: of the first one X25519 leaves three bits out, and would find the same key.
            shares["H05"] = bytes([*shares["H05"][:32], shares["H05"][32] ^ 1])
        one.server.take_released(name, shares)
    with pytest.raises(ProtocolError, match=r"the shares of H05 do not rebuild the key|do not belong to one secret"):
        one.server.open()


def test_a_wrong_share_of_a_survivors_own_mask_is_noticed_in_the_total() -> None:
    one = Sum().until("endorse")
    endorsements = one.server.endorsements()
    for name in endorsements:
        shares = one.shares(name, endorsements)
        if name == "H02":
            shares["H03"] = bytes([*shares["H03"][:32], shares["H03"][32] ^ 1])
        one.server.take_released(name, shares)
    with pytest.raises(ProtocolError, match=r"did not cancel|do not belong to one secret"):
        checked(one.server.open(), 32, 5)


@pytest.mark.parametrize("change", ["one fewer", "one more", "swapped", "by one that is lost", "short"])
def test_shares_of_other_hospitals_than_the_participants_are_refused(change: str) -> None:
    one = Sum().until("endorse", mask=("H05",))
    endorsements = one.server.endorsements()
    shares = one.shares("H01", endorsements)
    match change:
        case "one fewer":
            del shares["H03"]
        case "one more":
            shares["H06"] = shares["H03"]
        case "swapped":
            shares = {name.replace("H03", "H06"): share for name, share in shares.items()}
        case "short":
            shares["H03"] = shares["H03"][: shamir.SHARE_BYTES - 1]
            for name in FOUR:
                one.server.take_released(name, shares if name == "H01" else one.shares(name, endorsements))
            with pytest.raises(ProtocolError, match="another length than 33 bytes"):
                one.server.open()
            return
    with pytest.raises(ProtocolError, match=r"released shares of . hospitals for .*, wanted one of each"):
        one.server.take_released("H05" if change == "by one that is lost" else "H01", shares)


@pytest.mark.parametrize(
    ("step", "lost", "what"),
    [
        ("mask", ("H02", "H04"), "3 of 5 hospitals answered, wanted at least 4; missing: H02, H04"),
        (
            "endorse",
            ("H02", "H04"),
            "3 hospitals signed the list of survivors, .* nothing is opened; missing: H02, H04",
        ),
        ("release", ("H02", "H04"), "3 hospitals released their shares, .* nothing is opened; missing: H02, H04"),
    ],
)
def test_too_few_at_any_step_open_nothing_and_are_named(step: str, lost: tuple[str, ...], what: str) -> None:
    one = Sum()
    with pytest.raises(IncompleteError, match=what):
        one.opened(**{step: lost})


@pytest.mark.parametrize("count", [3, 4, 5, 7, 13])
def test_as_many_as_may_be_lost_are_lost_at_every_step(count: int) -> None:
    spare = count - roster_of(count).threshold
    lost = roster_of(count).names[1 : 1 + spare]
    for step in ("announce", "seal", "mask", "endorse", "release"):
        one = Sum(count)
        survivors = one.roster.names if step in ("endorse", "release") else set(one.roster.names) - set(lost)
        assert one.opened(**{step: lost}).tolist() == one.expected(*survivors).tolist()


def test_statistics_are_never_opened_over_fewer() -> None:
    one = Sum(5, STATISTICS).until("mask", mask=("H03",))
    with pytest.raises(IncompleteError, match="4 of 5 hospitals answered, wanted at least 5; missing: H03"):
        one.server.survivors()
    with pytest.raises(ProtocolError, match="opened before its survivors were named"):
        one.server.open()
