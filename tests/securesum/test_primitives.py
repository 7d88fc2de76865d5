"""The primitives against the test vectors of their standards, through our own functions; what each key is bound to.

RFC 7748 (X25519), RFC 5869 (HKDF), RFC 8032 (Ed25519). Keystreams are in `test_keystream`.
"""

from __future__ import annotations

from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_liver.errors import ProtocolError
from fl_liver.securesum.context import Roster, Slot, statement
from fl_liver.securesum.keys import (
    Announcement,
    agree,
    check_announcement,
    derive,
    pair_seed,
    public_identity,
    public_key,
    seal,
    self_seed,
    unseal,
    verify,
)
from tests.securesum.hospitals import STATISTICS, TRAINING, identity, key_of, names, other, roster_of

ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
]
INFO = bytes(range(32))
RFC_8032 = (  # section 7.1, test 2
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
)


def test_x25519_is_that_of_rfc_7748() -> None:
    assert public_key(ALICE) == ALICE_PUBLIC
    assert public_key(BOB) == BOB_PUBLIC
    assert agree(ALICE, BOB_PUBLIC, INFO) == agree(BOB, ALICE_PUBLIC, INFO) == derive(SHARED, INFO)


def test_hkdf_is_that_of_rfc_5869() -> None:
    """Test case 3: no salt, no info; we take the first 32 of its 42 bytes."""
    okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert derive(b"\x0b" * 22, b"").hex() == okm
    assert derive(b"\x0b" * 22, b"\0").hex() != okm


def test_ed25519_is_that_of_rfc_8032() -> None:
    secret, public, signature = map(bytes.fromhex, RFC_8032)
    assert public_identity(Ed25519PrivateKey.from_private_bytes(secret)) == public
    roster = Roster({"H01": public, "H02": b"\1" * 32, "H03": b"\2" * 32})
    verify(roster, "H01", signature, b"\x72", "word")
    for wrong, signed in ((signature[:-1] + b"\1", b"\x72"), (signature, b"\x73"), (b"", b"\x72"), (bytes(64), b"")):
        with pytest.raises(ProtocolError, match="the word of H01 is not signed by the identity that the roster pins"):
            verify(roster, "H01", wrong, signed, "word")


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_key_on_which_everybody_would_agree_is_refused(point: str) -> None:
    with pytest.raises(ProtocolError, match="not a point that X25519 accepts"):
        agree(ALICE, bytes.fromhex(point), INFO)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_hospital_cannot_stop_the_others_with_a_key_of_low_order(point: str, place: int) -> None:
    """It is refused when it is announced, so that this hospital is out, and not when all others make their masks."""
    points = [public_key(ALICE), public_key(BOB)]
    points[place] = bytes.fromhex(point)
    roster, unsigned = roster_of(3), Announcement(points[0], points[1], b"")
    signature = key_of("H02").sign(unsigned.signed_bytes(roster, TRAINING, "H02"))
    content = Announcement(points[0], points[1], signature).to_bytes()
    with pytest.raises(ProtocolError, match="not a point that X25519 accepts"):
        check_announcement(content, roster, TRAINING, "H02")


def test_a_pairs_seed_is_the_same_for_both_and_for_nothing_else() -> None:
    seed = pair_seed(ALICE, BOB_PUBLIC, INFO, "H01", "H02")
    assert seed == pair_seed(BOB, ALICE_PUBLIC, INFO, "H02", "H01")
    others = {
        pair_seed(ALICE, BOB_PUBLIC, bytes(32), "H01", "H02"),
        pair_seed(ALICE, BOB_PUBLIC, INFO, "H01", "H03"),
        pair_seed(ALICE, ALICE_PUBLIC, INFO, "H01", "H02"),
        agree(ALICE, BOB_PUBLIC, INFO),
        self_seed(SHARED, INFO, "H01"),
        self_seed(SHARED, INFO, "H02"),
        self_seed(SHARED, bytes(32), "H01"),
    }
    assert len(others) == 7
    assert seed not in others


def test_a_sealed_box_opens_for_its_receiver_sender_slot_and_roster_only() -> None:
    roster, text = roster_of(4), bytes(range(66))
    box = seal(ALICE, BOB_PUBLIC, roster, TRAINING, "H01", "H02", text)
    assert len(box) == 66 + 16
    assert unseal(BOB, ALICE_PUBLIC, roster, TRAINING, "H01", "H02", box) == text
    attempts: list[tuple[bytes, bytes, Roster, Slot, str, str, bytes]] = [
        (ALICE, ALICE_PUBLIC, roster, TRAINING, "H01", "H02", box),
        (BOB, BOB_PUBLIC, roster, TRAINING, "H01", "H02", box),
        (BOB, ALICE_PUBLIC, roster_of(5), TRAINING, "H01", "H02", box),
        (BOB, ALICE_PUBLIC, roster, other(TRAINING, round=2), "H01", "H02", box),
        (BOB, ALICE_PUBLIC, roster, other(TRAINING, attempt=1), "H01", "H02", box),
        (BOB, ALICE_PUBLIC, roster, TRAINING, "H03", "H02", box),
        (BOB, ALICE_PUBLIC, roster, TRAINING, "H01", "H03", box),
        (BOB, ALICE_PUBLIC, roster, TRAINING, "H02", "H01", box),
        (BOB, ALICE_PUBLIC, roster, TRAINING, "H01", "H02", bytes([box[0] ^ 1]) + box[1:]),
        (BOB, ALICE_PUBLIC, roster, TRAINING, "H01", "H02", box[:-1]),
        (BOB, ALICE_PUBLIC, roster, TRAINING, "H01", "H02", b""),
    ]
    for attempt in attempts:
        with pytest.raises(ProtocolError, match=r"the sealed shares of H0\d for H0\d cannot be opened"):
            unseal(*attempt)


def test_an_announcement_has_128_bytes_and_is_signed_by_a_pinned_hospital() -> None:
    roster = roster_of(3)
    unsigned = Announcement(ALICE_PUBLIC, BOB_PUBLIC, b"")
    signature = key_of("H02").sign(unsigned.signed_bytes(roster, TRAINING, "H02"))
    content = Announcement(ALICE_PUBLIC, BOB_PUBLIC, signature).to_bytes()
    found = check_announcement(content, roster, TRAINING, "H02")
    assert (len(content), found.mask_key, found.seal_key) == (128, ALICE_PUBLIC, BOB_PUBLIC)
    for wrong in (b"", content[:-1], content + b"\0"):
        with pytest.raises(ProtocolError, match=f"a key announcement has {len(wrong)} bytes, wanted 128"):
            check_announcement(wrong, roster, TRAINING, "H02")
    with pytest.raises(ProtocolError, match="'H09' is not on the roster"):
        check_announcement(content, roster, TRAINING, "H09")


def test_an_announcement_is_signed_for_its_hospital_and_slot_and_both_keys() -> None:
    keys = Announcement(ALICE_PUBLIC, BOB_PUBLIC, b"")
    texts = {
        keys.signed_bytes(roster_of(3), TRAINING, "H01"),
        keys.signed_bytes(roster_of(3), TRAINING, "H02"),
        keys.signed_bytes(roster_of(3), other(TRAINING, round=2), "H01"),
        Announcement(BOB_PUBLIC, BOB_PUBLIC, b"").signed_bytes(roster_of(3), TRAINING, "H01"),
        Announcement(ALICE_PUBLIC, ALICE_PUBLIC, b"").signed_bytes(roster_of(3), TRAINING, "H01"),
    }
    assert len(texts) == 5


def test_a_signature_serves_one_use_only() -> None:
    """Keys, survivors, abandonment and shares cannot be taken for each other: their bytes differ by `kind`."""
    texts = {statement(kind, roster_of(3), TRAINING) for kind in ("keys", "mask", "survivors", "abandoned", "shares")}
    assert len(texts) == 5
    assert statement("keys", roster_of(3), TRAINING) != statement("keys", roster_of(3), STATISTICS)


def test_the_fixed_identities_of_these_tests_differ() -> None:
    assert not any(
        public_identity(identity(int(a[1:]))) == public_identity(identity(int(b[1:])))
        for a, b in combinations(names(13), 2)
    )
