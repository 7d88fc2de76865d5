"""One hospital's side of one sum, as a state machine without I/O.

    announcement → sealed (training only) → mask → endorse → release (training only)

A sum for training may be opened over its survivors: each hospital's mask key and own mask are shared among the others,
and who holds shares gives out one kind for each hospital, after t hospitals signed one list of survivors. A sum for
statistics is opened over every hospital or never: nothing is shared, so nothing can be rebuilt.

Every step but `mask` may be asked again in the same words and gives the same answer; other words are refused. Masks
are added once: whoever needs the masked vector again must keep it. `to_json` is the whole state, secrets included;
`release` and `abandon` end with the secrets gone.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from fl_liver.errors import PrivacyError, ProtocolError
from fl_liver.securesum import shamir
from fl_liver.securesum.context import Context, Roster, Slot, abandon_statement, mask_info, survivors_statement
from fl_liver.securesum.encoding import check_words, words
from fl_liver.securesum.keys import (
    Announcement,
    check_announcement,
    pair_seed,
    public_key,
    seal,
    self_seed,
    unseal,
    verify,
)
from fl_liver.securesum.keystream import add_keystreams


@dataclass(slots=True)
class _Secrets:
    """Fresh for one sum. `mask_key` is the only key whose shares exist; `own` makes the hospital's own mask."""

    mask_key: bytes
    seal_key: bytes
    own: bytes
    shares: list[bytes]
    """For hospital 1 … n: a share of `mask_key` and one of `own`, 66 bytes; none where nothing is recovered."""


@dataclass(slots=True)
class SiteSum:
    """A hospital in one sum.

    roster   the hospitals of this purpose with the identities that are pinned here
    """

    site: str
    roster: Roster
    slot: Slot
    _secrets: _Secrets | None = None
    _announcement: bytes = b""
    _seen: dict[str, bytes] = field(default_factory=dict)
    """The announcement of every hospital that the server showed, the first one of each."""
    _mask_info: bytes = b""
    _participants: tuple[str, ...] = ()
    _survivors: tuple[str, ...] = ()
    _released: dict[str, bytes] = field(default_factory=dict)
    _abandoned: bool = False

    def announcement(self, identity: Ed25519PrivateKey) -> bytes:
        """This hospital's fresh public keys for the sum, signed; 128 bytes.

        Raises:
            ProtocolError: the slot was sworn off.
        """
        if self._abandoned:
            raise ProtocolError(f"site {self.site}: swore off {self.slot}")
        if not self._announcement:
            number = len(self.roster.names)
            mask_key, own = secrets.token_bytes(32), secrets.token_bytes(32)
            shares: list[bytes] = []
            if self.slot.recovers:
                halves = (shamir.split(secret, number, self.roster.threshold) for secret in (mask_key, own))
                shares = [first + second for first, second in zip(*halves, strict=True)]
            self._secrets = _Secrets(mask_key, secrets.token_bytes(32), own, shares)
            unsigned = Announcement(public_key(mask_key), public_key(self._secrets.seal_key), b"")
            signature = identity.sign(unsigned.signed_bytes(self.roster, self.slot, self.site))
            self._announcement = Announcement(unsigned.mask_key, unsigned.seal_key, signature).to_bytes()
        return self._announcement

    def sealed(self, announced: Mapping[str, bytes]) -> dict[str, bytes]:
        """Shares of this hospital's secrets for every other one that announced keys, each sealed for its holder.

        Raises:
            ProtocolError: an announcement that is not signed, not of this sum, or not the one seen before.
        """
        held = self._held("shares")
        if not self.slot.recovers:
            raise ProtocolError(f"site {self.site}: shares were asked for {self.slot}, which recovers nothing")
        keys = self._check(announced)
        return {
            name: seal(
                held.seal_key,
                keys[name].seal_key,
                self.roster,
                self.slot,
                self.site,
                name,
                held.shares[self.roster.number(name) - 1],
            )
            for name in sorted(keys)
            if name != self.site
        }

    def require_keys(self, announced: Mapping[str, bytes]) -> None:
        """Whether something could be masked for a sum over these hospitals, before it is computed.

        Raises:
            ProtocolError: as `mask` does for its keys and those of others.
        """
        self._held("a masked vector")
        self._check(announced)

    def mask(self, context: Context, announced: Mapping[str, bytes], vector: NDArray[Any]) -> None:
        """Mask an encoded vector in place, for a sum over exactly the hospitals in `announced`.

        Args:
            context: what was asked here. vector: (length + check words,) unsigned, as `encoding` makes it.
        Raises:
            PrivacyError: fewer participants than the threshold (for statistics: than the whole roster), or a second
                vector for the same masks, whatever the question.
            ProtocolError: another slot, a vector of another length or type, or an announcement that is forged, replayed
                or swapped.
        """
        held = self._held("a masked vector")
        keys = self._check(announced)
        wanted = self.roster.threshold if self.slot.recovers else len(self.roster.names)
        if len(announced) < wanted or self.site not in announced:
            raise PrivacyError(
                f"site {self.site}: a sum over {len(announced)} hospitals ({', '.join(sorted(announced))}) was asked,"
                f" wanted this one and at least {wanted} of {len(self.roster.names)}; {self.slot}"
            )
        if context.slot != self.slot:
            raise ProtocolError(f"site {self.site}: asked about {context.slot}, the keys are for {self.slot}")
        if vector.shape != (context.length + check_words(context.bits),) or vector.dtype != words(context.bits):
            raise ProtocolError(
                f"site {self.site}: {vector.dtype}{vector.shape} would be masked, announced {context.length} entries of"
                f" {context.bits} bits and the check words"
            )
        if self._mask_info:
            raise PrivacyError(f"site {self.site}: a second sum with the same masks was asked ({self.slot}); refused")
        info = mask_info(self.roster, context, announced)
        seeds = self._seeds(held, keys, info)
        self._mask_info, self._participants = info, tuple(sorted(announced))
        add_keystreams(vector, seeds, context.keystream)
        if not self.slot.recovers:
            self._secrets = None  # nothing of this sum is ever rebuilt

    def endorse(self, survivors: tuple[str, ...], identity: Ed25519PrivateKey) -> bytes:
        """This hospital's signature over the list of those whose masked vectors arrived; 64 bytes.

        Raises:
            PrivacyError: fewer than the threshold, or another list than before.
            ProtocolError: nothing was masked here, or the list is not of participants, this hospital among them.
        """
        if not self._mask_info or not self.slot.recovers:
            raise ProtocolError(f"site {self.site}: survivors of {self.slot} were named, nothing was masked for it")
        if self._abandoned:
            raise ProtocolError(f"site {self.site}: swore off {self.slot}")
        named = tuple(sorted(survivors))
        strangers = sorted(set(named) - set(self._participants))
        if strangers or self.site not in named or len(set(named)) < len(named):
            raise ProtocolError(
                f"site {self.site}: survivors {', '.join(named) or 'none'}; wanted participants, each once, this one"
                f" among them ({self.slot})"
            )
        if len(named) < self.roster.threshold:
            raise PrivacyError(
                f"site {self.site}: {len(named)} survivors, wanted at least {self.roster.threshold}; nothing is opened"
            )
        if self._survivors not in ((), named):
            raise PrivacyError(f"site {self.site}: a second list of survivors for {self.slot}; refused")
        self._survivors = named
        return identity.sign(survivors_statement(self.roster, self._mask_info, self.slot, named))

    def release(self, endorsements: Mapping[str, bytes], sealed: Mapping[str, bytes]) -> dict[str, bytes]:
        """One share of every participant: of its own mask if it survived, of its mask key if it was lost; 33 bytes.

        The secrets of the sum are erased.

        Args:
            endorsements: signatures of t or more survivors over the list that was endorsed here.
            sealed: what each participant sealed for this hospital.
        Raises:
            PrivacyError: too few signatures. ProtocolError: a wrong one, or a box that cannot be opened.
        """
        if self._released:
            return self._released
        if not self._survivors or self._abandoned:
            raise ProtocolError(f"site {self.site}: shares of {self.slot} were asked before its survivors were agreed")
        held = self._held("shares")
        signed = survivors_statement(self.roster, self._mask_info, self.slot, self._survivors)
        strangers = sorted(set(endorsements) - set(self._survivors))
        if strangers:
            raise ProtocolError(f"site {self.site}: {strangers[0]} signed the survivors of {self.slot} but is not one")
        for name, signature in endorsements.items():
            verify(self.roster, name, signature, signed, "list of survivors")
        if len(endorsements) < self.roster.threshold:
            raise PrivacyError(
                f"site {self.site}: {len(endorsements)} hospitals signed the survivors of {self.slot}, wanted at least"
                f" {self.roster.threshold}; no share is given"
            )
        found: dict[str, bytes] = {}
        for name in self._participants:
            both = self._opened(held, name, sealed)
            half = shamir.SHARE_BYTES
            found[name] = both[half:] if name in self._survivors else both[:half]
        self._released = found
        self._secrets = None
        return found

    def abandon(self, identity: Ed25519PrivateKey) -> bytes:
        """Swear off the slot: no share was released and none ever will be; 64 bytes.

        Raises:
            PrivacyError: shares were released, so that the sum may have been opened.
        """
        if self._released:
            raise PrivacyError(f"site {self.site}: shares of {self.slot} were released; it cannot be attempted again")
        self._abandoned = True
        self._secrets = None
        return identity.sign(abandon_statement(self.roster, self.slot))

    @property
    def answered(self) -> bytes:
        """What the masks of the answer were bound to; empty before `mask`."""
        return self._mask_info

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values, secrets included: for this hospital's own disk, mode 0600."""
        held = self._secrets
        return {
            "secrets": held
            and {
                "mask_key": held.mask_key.hex(),
                "seal_key": held.seal_key.hex(),
                "own": held.own.hex(),
                "shares": [share.hex() for share in held.shares],
            },
            "announcement": self._announcement.hex(),
            "seen": {name: content.hex() for name, content in self._seen.items()},
            "mask_info": self._mask_info.hex(),
            "participants": list(self._participants),
            "survivors": list(self._survivors),
            "released": {name: share.hex() for name, share in self._released.items()},
            "abandoned": self._abandoned,
        }

    @staticmethod
    def from_json(site: str, roster: Roster, slot: Slot, state: Mapping[str, Any]) -> SiteSum:
        """The state machine that `to_json` described."""
        held = state["secrets"]
        return SiteSum(
            site,
            roster,
            slot,
            held
            and _Secrets(
                bytes.fromhex(held["mask_key"]),
                bytes.fromhex(held["seal_key"]),
                bytes.fromhex(held["own"]),
                [bytes.fromhex(share) for share in held["shares"]],
            ),
            bytes.fromhex(state["announcement"]),
            {name: bytes.fromhex(content) for name, content in state["seen"].items()},
            bytes.fromhex(state["mask_info"]),
            tuple(state["participants"]),
            tuple(state["survivors"]),
            {name: bytes.fromhex(share) for name, share in state["released"].items()},
            state["abandoned"],
        )

    def _held(self, what: str) -> _Secrets:
        if self._secrets is None:
            raise ProtocolError(f"site {self.site}: {what} of {self.slot} asked, its keys are gone or never were")
        return self._secrets

    def _check(self, announced: Mapping[str, bytes]) -> dict[str, Announcement]:
        """Every announcement, signed by the pinned identity for this slot, and the same as when it was first shown."""
        found: dict[str, Announcement] = {}
        for name, content in announced.items():
            before = self._announcement if name == self.site else self._seen.get(name, content)
            if content != before:
                raise ProtocolError(f"site {self.site}: the server shows other keys of {name} for {self.slot}")
            if name in self._seen or name == self.site:
                found[name] = Announcement.from_bytes(content)
            else:
                found[name] = check_announcement(content, self.roster, self.slot, name)
        self._seen |= {name: content for name, content in announced.items() if name != self.site}
        return found

    def _seeds(self, held: _Secrets, keys: Mapping[str, Announcement], info: bytes) -> list[tuple[bytes, int]]:
        """Of the two hospitals of a pair the first by name adds, the other subtracts."""
        pairs = [
            (pair_seed(held.mask_key, keys[name].mask_key, info, self.site, name), 1 if self.site < name else -1)
            for name in sorted(keys)
            if name != self.site
        ]
        return [*pairs, (self_seed(held.own, info, self.site), 1)] if self.slot.recovers else pairs

    def _opened(self, held: _Secrets, name: str, sealed: Mapping[str, bytes]) -> bytes:
        if name == self.site:
            return held.shares[self.roster.number(name) - 1]
        if name not in sealed:
            raise ProtocolError(f"site {self.site}: the shares of {name} for {self.slot} did not come")
        key = Announcement.from_bytes(self._seen[name]).seal_key
        text = unseal(held.seal_key, key, self.roster, self.slot, name, self.site, sealed[name])
        if len(text) != 2 * shamir.SHARE_BYTES:
            raise ProtocolError(f"site {self.site}: {name} sealed {len(text)} bytes, wanted {2 * shamir.SHARE_BYTES}")
        return text
