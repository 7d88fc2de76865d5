"""Who a hospital is: a key that only its owner may read, and a roster that only people write."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fl_liver.errors import ConfigError, PrivacyError
from fl_liver.identity import ensure_identity, load_identity, read_roster, write_roster

PINNED = {f"H{number:02d}": hashlib.sha256(b"%d" % number).hexdigest() for number in range(1, 6)}


def test_a_key_is_made_once_and_its_public_half_is_what_signatures_verify_with(tmp_path: Path) -> None:
    public = ensure_identity(tmp_path / "identity.pem")
    assert ensure_identity(tmp_path / "identity.pem") == public
    assert ensure_identity(tmp_path / "other.pem") != public
    signature = load_identity(tmp_path / "identity.pem").sign(b"word")
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, b"word")


def test_a_new_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    ensure_identity(tmp_path / "identity.pem")
    assert stat.S_IMODE((tmp_path / "identity.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_may_touch_is_not_used(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity.pem"
    ensure_identity(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=r"identity\.pem: others than its owner may read it; run `chmod 600` on it"):
        load_identity(path)
    with pytest.raises(ConfigError, match="chmod 600"):
        ensure_identity(path)


def test_a_hospital_without_a_key_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"identity\.pem: no identity key \(FileNotFoundError\); it is made with"):
        load_identity(tmp_path / "identity.pem")


def other_key() -> bytes:
    return X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_half(tmp_path: Path) -> bytes:
    ensure_identity(tmp_path / "own.pem")
    return (
        load_identity(tmp_path / "own.pem").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def locked(tmp_path: Path) -> bytes:
    ensure_identity(tmp_path / "own.pem")
    key = load_identity(tmp_path / "own.pem")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize("kind", ["nothing", "text", "public half", "another algorithm", "encrypted"])
def test_a_file_without_an_ed25519_key_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    contents = {
        "nothing": b"",
        "text": b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n",
        "public half": public_half(tmp_path),
        "another algorithm": other_key(),
        "encrypted": locked(tmp_path),
    }
    path = tmp_path / "identity.pem"
    path.touch(mode=0o600)
    path.write_bytes(contents[kind])
    with pytest.raises(
        ConfigError,
        match=r"identity\.pem: (not a private key in PEM without a password|a X25519.*, wanted an Ed25519 key)",
    ):
        load_identity(path)


def test_a_roster_comes_back_as_it_was_written_in_the_order_of_names(tmp_path: Path) -> None:
    write_roster(tmp_path / "roster.toml", dict(reversed(PINNED.items())))
    assert read_roster(tmp_path / "roster.toml").identity == PINNED
    assert (tmp_path / "roster.toml").read_text().splitlines()[:2] == ["[identity]", f'H01 = "{PINNED["H01"]}"']


def test_the_hospitals_of_a_sum_are_taken_from_the_roster_by_name(tmp_path: Path) -> None:
    write_roster(tmp_path / "roster.toml", PINNED)
    roster = read_roster(tmp_path / "roster.toml").only(["H04", "H01", "H02"])
    assert roster.names == ("H01", "H02", "H04")
    assert roster.identities["H04"] == bytes.fromhex(PINNED["H04"])


def test_a_hospital_that_nobody_pinned_is_in_no_sum(tmp_path: Path) -> None:
    write_roster(tmp_path / "roster.toml", PINNED)
    with pytest.raises(
        ConfigError, match=r"roster\.toml has no identity of H08, H09; add it after comparing fingerprints"
    ):
        read_roster(tmp_path / "roster.toml").only(["H01", "H08", "H02", "H09"])


def test_two_names_with_one_key_are_one_hospital(tmp_path: Path) -> None:
    """It would hold two parts of three, and subtract itself."""
    write_roster(tmp_path / "roster.toml", PINNED | {"H02": PINNED["H01"]})
    with pytest.raises(PrivacyError, match="two hospitals of the roster have one identity"):
        read_roster(tmp_path / "roster.toml").only(["H01", "H02", "H03"])


def test_two_hospitals_are_no_sum(tmp_path: Path) -> None:
    write_roster(tmp_path / "roster.toml", PINNED)
    with pytest.raises(PrivacyError, match=r"a masked sum over 2 hospitals \(H01, H02\) is refused, the floor is 3"):
        read_roster(tmp_path / "roster.toml").only(["H01", "H02"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[identity]\nH01 = 'abc'\n",
        f"[identity]\nH01 = '{'AB' * 32}'\n",
        f"[identity]\nH01 = '{'ab' * 33}'\n",
        f"[identity]\n'H 1' = '{'ab' * 32}'\n",
        f"[identity]\nH01 = '{'ab' * 32}'\n[names]\n",
    ],
    ids=["empty", "short", "capitals", "long", "no name of a hospital", "another table"],
)
def test_a_roster_with_anything_else_in_it_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "roster.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"roster\.toml"):
        read_roster(tmp_path / "roster.toml")


def test_a_missing_roster_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"roster\.toml: cannot be read"):
        read_roster(tmp_path / "roster.toml")
