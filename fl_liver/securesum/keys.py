"""The primitives, each from `cryptography`: Ed25519 signatures, X25519 agreement, HKDF-SHA256, ChaCha20-Poly1305."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fl_liver.errors import ProtocolError
from fl_liver.securesum.context import Roster, Slot, statement

_PROBE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
"""With any private key, public keys of low order agree on zero, which `_exchange` refuses."""
_NONCE = bytes(12)
"""Every sealing key seals one text, so that a constant nonce is never used twice with it."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One hospital's fresh public keys for one slot: `mask_key` for masks, `seal_key` for sealing shares; signed."""

    mask_key: bytes
    seal_key: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """128 bytes: 32 + 32 + 64."""
        return self.mask_key + self.seal_key + self.signature

    @staticmethod
    def from_bytes(content: bytes) -> Announcement:
        """Raises ProtocolError where the length is not 128 bytes."""
        if len(content) != 128:
            raise ProtocolError(f"a key announcement has {len(content)} bytes, wanted 128")
        return Announcement(content[:32], content[32:64], content[64:])

    def signed_bytes(self, roster: Roster, slot: Slot, site: str) -> bytes:
        """What the signature is over."""
        return statement("keys", roster, slot, site=site, mask_key=self.mask_key.hex(), seal_key=self.seal_key.hex())


def check_announcement(content: bytes, roster: Roster, slot: Slot, site: str) -> Announcement:
    """The announcement of a hospital of the roster for this slot.

    Raises:
        ProtocolError: not on the roster, another length, not signed by the identity that is pinned for the site, or a
            key that no mask could be agreed with (one such key would stop every other hospital of the sum).
    """
    roster.number(site)
    announced = Announcement.from_bytes(content)
    verify(roster, site, announced.signature, announced.signed_bytes(roster, slot, site), "key announcement")
    for key in (announced.mask_key, announced.seal_key):
        _exchange(_PROBE, key)
    return announced


def verify(roster: Roster, site: str, signature: bytes, signed: bytes, what: str) -> None:
    """Raises ProtocolError where the pinned identity of `site` did not sign exactly these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(roster.identities[site]).verify(signature, signed)
    except InvalidSignature:
        raise ProtocolError(
            f"the {what} of {site} is not signed by the identity that the roster pins for it, or is about another sum"
        ) from None


def public_identity(identity: Ed25519PrivateKey) -> bytes:
    """The 32 public bytes."""
    return identity.public_key().public_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The X25519 public key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes, info: bytes) -> bytes:
    """32 bytes known to two hospitals and nobody else: HKDF-SHA256 of their X25519 agreement, bound to `info`.

    Raises:
        ProtocolError: a public key of low order.
    """
    return derive(_exchange(X25519PrivateKey.from_private_bytes(private), public), info)


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise ProtocolError("a public key is not a point that X25519 accepts") from None


def derive(secret: bytes, info: bytes) -> bytes:
    """32 bytes by HKDF-SHA256 (RFC 5869), no salt."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)


def pair_seed(private: bytes, public: bytes, mask_info: bytes, one: str, other: str) -> bytes:
    """The keystream key of the mask that two hospitals share in one sum; the order of the names does not matter."""
    low, high = sorted((one, other))
    return agree(private, public, b"pair\0" + mask_info + f"\0{low}\0{high}".encode())


def self_seed(secret: bytes, mask_info: bytes, site: str) -> bytes:
    """The keystream key of a hospital's own mask in one sum."""
    return derive(secret, b"self\0" + mask_info + f"\0{site}".encode())


def seal(private: bytes, public: bytes, roster: Roster, slot: Slot, sender: str, receiver: str, text: bytes) -> bytes:
    """`text` for one hospital only, 16 bytes longer."""
    info = _seal_info(roster, slot, sender, receiver)
    return ChaCha20Poly1305(agree(private, public, info)).encrypt(_NONCE, text, info)


def unseal(private: bytes, public: bytes, roster: Roster, slot: Slot, sender: str, receiver: str, box: bytes) -> bytes:
    """What `seal` closed.

    Raises:
        ProtocolError: it was not sealed by that sender for this receiver and slot, or was changed.
    """
    info = _seal_info(roster, slot, sender, receiver)
    try:
        return ChaCha20Poly1305(agree(private, public, info)).decrypt(_NONCE, box, info)
    except InvalidTag:
        raise ProtocolError(
            f"the sealed shares of {sender} for {receiver} cannot be opened: they were changed or are of another sum"
        ) from None


def _seal_info(roster: Roster, slot: Slot, sender: str, receiver: str) -> bytes:
    return hashlib.sha256(statement("shares", roster, slot, sender=sender, receiver=receiver)).digest()
