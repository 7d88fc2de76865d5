"""A hospital that has answered, and a server that would open more than it may: survivors, signatures, shares, attempts.

Both shares of one hospital would undo its masks; two lists of survivors would be two sums with one hospital between.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.securesum.context import survivors_statement
from fl_liver.securesum.keys import unseal
from fl_liver.securesum.server import check_abandoned
from fl_liver.securesum.shamir import SHARE_BYTES
from fl_liver.securesum.site import SiteSum
from tests.securesum.hospitals import STATISTICS, TRAINING, Sum, key_of, other, roster_of

FOUR = ("H01", "H02", "H03", "H04")
LATER = other(TRAINING, attempt=1)


def signatures(one: Sum, survivors: tuple[str, ...], signers: tuple[str, ...] | None = None) -> dict[str, bytes]:
    """What these hospitals would sign about a list, whether they would or not."""
    info = one.sites["H01"].answered
    signed = survivors_statement(one.roster, info, one.slot, survivors)
    return {name: key_of(name).sign(signed) for name in signers or survivors}


def endorsed(count: int = 5, survivors: tuple[str, ...] = FOUR) -> Sum:
    """A sum whose hospitals have all agreed on who survived."""
    return Sum(count).until("endorse", mask=[name for name in roster_of(count).names if name not in survivors])


@pytest.mark.parametrize("lost", ["H01", "H03", "H05"])
def test_the_sum_over_the_survivors_is_exact(lost: str) -> None:
    one = Sum()
    survivors = [name for name in one.roster.names if name != lost]
    assert one.opened(mask=[lost]).tolist() == one.expected(*survivors).tolist()


def test_a_hospital_gives_one_kind_of_share_of_each_and_then_has_none() -> None:
    one = endorsed()
    before = one.sites["H01"].to_json()["secrets"]["shares"]
    sealed = one.server.sealed_for("H01")
    given = one.shares("H01", one.server.endorsements())
    assert given.keys() == set(one.roster.names)
    assert {len(share) for share in given.values()} == {SHARE_BYTES}
    own = bytes.fromhex(before[0])
    assert given["H01"] == own[SHARE_BYTES:], "of its own mask, not of the key of the masks that it has with others"
    assert one.sites["H01"].to_json()["secrets"] is None
    assert one.sites["H01"].release({}, sealed) == given, "asked again, it gives the same, whatever is shown now"


def test_shares_of_a_lost_hospital_are_of_its_mask_key_and_of_the_others_of_their_own_masks() -> None:
    one = endorsed()
    given = one.shares("H02", one.server.endorsements())
    for name in ("H01", "H05"):
        shares = [bytes.fromhex(share) for share in one.sites[name].to_json()["secrets"]["shares"]]
        first, second = shares[1][:SHARE_BYTES], shares[1][SHARE_BYTES:]
        assert given[name] == (first if name == "H05" else second)


def test_a_second_list_of_survivors_is_refused_before_and_after_the_shares() -> None:
    """Asking for both shares of H04: once as a survivor, once as lost."""
    one = endorsed(7, (*FOUR, "H05", "H06", "H07"))
    lost = ("H01", "H02", "H03", "H05", "H06", "H07")
    with pytest.raises(PrivacyError, match=r"a second list of survivors for .*; refused"):
        one.sites["H01"].endorse(lost, key_of("H01"))
    everybody = one.roster.names
    with pytest.raises(ProtocolError, match="the list of survivors of H01 is not signed"):
        one.shares("H01", signatures(one, lost))
    given = one.shares("H01", signatures(one, everybody))
    with pytest.raises(PrivacyError, match="a second list of survivors"):
        one.sites["H01"].endorse(lost, key_of("H01"))
    assert one.shares("H01", signatures(one, lost)) == given


def test_two_groups_that_are_told_of_other_survivors_give_no_share() -> None:
    """H01 to H03 hear that H05 is lost, H04 and H05 that nobody is: neither list finds four signatures."""
    one = Sum().until("mask")
    told = {name: FOUR if name in FOUR[:3] else one.roster.names for name in one.roster.names}
    signed = {name: one.sites[name].endorse(list_, key_of(name)) for name, list_ in told.items()}
    for name, list_ in told.items():
        alike = {each: signature for each, signature in signed.items() if told[each] == list_}
        with pytest.raises(PrivacyError, match=r"hospitals signed the survivors .*, wanted at least 4; no share is"):
            one.shares(name, alike)
        with pytest.raises(ProtocolError, match=r"is not signed by the identity|but is not one"):
            one.shares(name, signed)


@pytest.mark.parametrize(
    ("named", "what"),
    [
        (("H01", "H02", "H03", "H04", "H06"), "wanted participants"),
        (("H01", "H02", "H03", "H03"), "each once"),
        (("H02", "H03", "H04", "H05"), "this one among them"),
        ((), "survivors none"),
    ],
    ids=["a stranger", "a duplicate", "without the receiver", "none"],
)
def test_a_list_of_survivors_that_cannot_be_is_refused(named: tuple[str, ...], what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        Sum().until("mask").sites["H01"].endorse(named, key_of("H01"))


def test_a_hospital_that_had_no_keys_in_the_sum_is_no_survivor() -> None:
    one = Sum()
    one.until("mask", announce=("H05",))
    with pytest.raises(ProtocolError, match="wanted participants"):
        one.sites["H01"].endorse(("H01", "H02", "H03", "H05"), key_of("H01"))


@pytest.mark.parametrize(("count", "few"), [(5, 3), (4, 2), (7, 4)])
def test_fewer_survivors_than_the_threshold_are_not_signed_for(count: int, few: int) -> None:
    one = Sum(count).until("mask")
    with pytest.raises(PrivacyError, match=f"{few} survivors, wanted at least {one.roster.threshold}; nothing is"):
        one.sites["H01"].endorse(one.roster.names[:few], key_of("H01"))
    with pytest.raises(ProtocolError, match="before its survivors were agreed"):
        one.shares("H01", signatures(one, one.roster.names[:few]))


def test_a_hospital_that_did_not_answer_signs_for_nobody() -> None:
    one = Sum().until("mask", mask=("H01",))
    with pytest.raises(ProtocolError, match="were named, nothing was masked for it"):
        one.sites["H01"].endorse(one.roster.names, key_of("H01"))
    statistics = Sum(5, STATISTICS).until("mask")
    with pytest.raises(ProtocolError, match="were named, nothing was masked for it"):
        statistics.sites["H01"].endorse(one.roster.names, key_of("H01"))


@pytest.mark.parametrize(
    ("signers", "error", "what"),
    [
        (FOUR[:3], PrivacyError, "3 hospitals signed the survivors of .*, wanted at least 4; no share is given"),
        ((*FOUR[:3], "H05"), ProtocolError, "H05 signed the survivors of .* but is not one"),
        ((*FOUR[:3], "H06"), ProtocolError, "H06 signed the survivors of .* but is not one"),
    ],
    ids=["too few", "one that is lost", "a stranger"],
)
def test_signatures_of_others_than_t_survivors_give_no_share(
    signers: tuple[str, ...], error: type[Exception], what: str
) -> None:
    one = endorsed()
    with pytest.raises(error, match=what):
        one.shares("H01", signatures(one, FOUR, signers))
    assert one.sites["H01"].to_json()["secrets"] is not None


@pytest.mark.parametrize(
    "forge",
    [
        lambda one, signed: {**signed, "H04": bytes(64)},
        lambda one, signed: {**signed, "H04": signed["H03"]},
        lambda one, signed: {**signed, "H04": key_of("H04", "server ").sign(b"")},
        lambda one, signed: signatures(one, one.roster.names, FOUR),
        lambda one, signed: signatures(endorsed(), FOUR),
    ],
    ids=["empty", "another's", "the server's", "of another list", "of another sum"],
)
def test_forged_signatures_give_no_share(forge: Callable[[Sum, dict[str, bytes]], dict[str, bytes]]) -> None:
    one = endorsed()
    with pytest.raises(ProtocolError, match=r"the list of survivors of H0\d is not signed"):
        one.shares("H01", forge(one, signatures(one, FOUR)))


@pytest.mark.parametrize("change", ["a bit", "cut", "from another", "for another", "gone"])
def test_a_sealed_box_that_was_tampered_with_gives_no_share(change: str) -> None:
    one = endorsed()
    boxes = one.server.sealed_for("H01")
    match change:
        case "a bit":
            boxes["H03"] = boxes["H03"][:20] + bytes([boxes["H03"][20] ^ 1]) + boxes["H03"][21:]
        case "cut":
            boxes["H03"] = boxes["H03"][:-1]
        case "from another":
            boxes["H03"] = boxes["H02"]
        case "for another":
            boxes["H03"] = one.server.sealed_for("H02")["H03"]
        case "gone":
            del boxes["H03"]
    with pytest.raises(ProtocolError, match=r"of H03 for .* (cannot be opened|did not come)"):
        one.sites["H01"].release(one.server.endorsements(), boxes)


def test_a_box_with_something_else_than_two_shares_gives_no_share() -> None:
    """H03 seals 65 bytes for H01 with its own keys: it opens, and is refused."""
    one = Sum().until("announce")
    h03 = one.sites["H03"]
    assert h03._secrets is not None
    h03._secrets.shares[0] = h03._secrets.shares[0][:-1]
    one.seal()
    one.mask()
    one.endorse()
    with pytest.raises(ProtocolError, match="site H01: H03 sealed 65 bytes, wanted 66"):
        one.shares("H01", one.server.endorsements())


def test_a_hospital_sealed_for_its_holder_alone() -> None:
    """The server relays 82 bytes that it cannot open with any key that it was shown."""
    one = Sum().until("mask")
    box = one.server.sealed_for("H02")["H01"]
    for private in (bytes(range(32)), one.server.announced["H01"][32:64], one.server.announced["H02"][:32]):
        with pytest.raises(ProtocolError, match="cannot be opened"):
            unseal(private, one.server.announced["H01"][32:64], one.roster, TRAINING, "H01", "H02", box)
    state = one.sites["H01"].to_json()["secrets"]["shares"][1]
    assert bytes.fromhex(state) not in box


def test_what_was_released_is_not_sworn_off() -> None:
    one = endorsed()
    one.shares("H01", one.server.endorsements())
    with pytest.raises(PrivacyError, match=r"shares of .* were released; it cannot be attempted again"):
        one.sites["H01"].abandon(key_of("H01"))


def test_what_was_sworn_off_is_neither_signed_nor_released_nor_answered() -> None:
    for step in ("announce", "seal", "mask", "endorse"):
        one = Sum().until("mask")
        if step in ("announce", "seal"):
            one = Sum().until(step)
        elif step == "endorse":
            one = Sum().until("endorse")
        signature = one.sites["H01"].abandon(key_of("H01"))
        assert one.sites["H01"].abandon(key_of("H01")) == signature
        assert one.sites["H01"].to_json()["secrets"] is None
        with pytest.raises(ProtocolError, match=r"swore off|nothing was masked"):
            one.sites["H01"].endorse(one.roster.names, key_of("H01"))
        with pytest.raises(ProtocolError, match="before its survivors were agreed"):
            one.sites["H01"].release({}, {})
        with pytest.raises(ProtocolError, match="its keys are gone"):
            one.answer("H01")


def statements(one: Sum, names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: one.sites[name].abandon(key_of(name)) for name in names}


def test_an_attempt_is_over_when_t_hospitals_swore_it_off() -> None:
    one = Sum().until("mask")
    check_abandoned(one.roster, TRAINING, statements(one, FOUR))
    with pytest.raises(IncompleteError, match="3 hospitals swore it off, wanted at least 4; it is not attempted again"):
        check_abandoned(one.roster, TRAINING, statements(one, FOUR[:3]))


@pytest.mark.parametrize(
    "forged",
    [
        lambda one: SiteSum("H04", one.roster, LATER).abandon(key_of("H04")),
        lambda one: SiteSum("H04", one.roster, other(TRAINING, round=2)).abandon(key_of("H04")),
        lambda one: SiteSum("H04", one.roster, other(TRAINING, run="run-b")).abandon(key_of("H04")),
        lambda one: SiteSum("H04", roster_of(6), TRAINING).abandon(key_of("H04")),
        lambda one: SiteSum("H03", one.roster, TRAINING).abandon(key_of("H03")),
        lambda one: SiteSum("H04", one.roster, TRAINING).abandon(key_of("H04", "the server as ")),
        lambda one: bytes(64),
    ],
    ids=["another attempt", "another round", "another run", "another roster", "another's", "the server's", "empty"],
)
def test_a_statement_about_something_else_is_none(forged: Callable[[Sum], bytes]) -> None:
    one = Sum().until("mask")
    with pytest.raises(ProtocolError, match="the statement to abandon an attempt of H04 is not signed"):
        check_abandoned(one.roster, TRAINING, {**statements(one, FOUR[:3]), "H04": forged(one)})
    with pytest.raises(ProtocolError, match="'H09' is not on the roster"):
        check_abandoned(one.roster, TRAINING, {**statements(one, FOUR[:3]), "H09": bytes(64)})
