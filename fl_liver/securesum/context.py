"""What a sum is about, as the bytes that every signature and every derived key is bound to.

A `Slot` is known before anything is asked; keys for it may travel ahead. A `Context` adds what was asked. Hospitals
whose contexts differ in one bit derive other masks, and their masks do not cancel.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from fl_liver.errors import PrivacyError, ProtocolError

PROTOCOL = "fl-liver-securesum/1"
MIN_SITES = 3
Keystream = Literal["chacha20", "aes-256-ctr"]
Bits = Literal[16, 32, 64]
_PURPOSE = re.compile(r"[a-z]+/[A-Za-z0-9-]{1,64}")


def threshold(sites: int) -> int:
    """How many hospitals of a roster of n must take part: the smallest t > 2n/3.

    Two lists of survivors with t signatures each then share more than n/3 signers, more than the n − t that may lie.

    >>> {n: threshold(n) for n in (3, 4, 5, 6, 7, 13)}
    {3: 3, 4: 3, 5: 4, 6: 5, 7: 5, 13: 9}
    """
    return 2 * sites // 3 + 1


@dataclass(frozen=True, slots=True)
class Roster:
    """The hospitals of a sum and their Ed25519 identities (32 bytes each), as pinned at this party.

    Raises:
        PrivacyError: fewer than three hospitals, or two of them with one identity.
        ProtocolError: an identity that is not 32 bytes.
    """

    identities: Mapping[str, bytes]
    names: tuple[str, ...] = field(init=False)
    """In the order that gives each hospital its number in the secret sharing, from 1."""
    digest: str = field(init=False)
    """Hex SHA-256 over names and identities."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(sorted(self.identities)))
        object.__setattr__(self, "digest", _digest({name: self.identities[name].hex() for name in self.names}))
        wrong = [name for name, key in self.identities.items() if len(key) != 32]
        if wrong:
            raise ProtocolError(f"the identity of {wrong[0]} is no Ed25519 key of 32 bytes; look into roster.toml")
        if len(self.identities) < MIN_SITES:
            raise PrivacyError(
                f"a masked sum over {len(self.identities)} hospitals ({', '.join(self.identities) or 'none'}) is"
                f" refused, the floor is {MIN_SITES}"
            )
        if len(set(self.identities.values())) < len(self.identities):
            raise PrivacyError("two hospitals of the roster have one identity; each needs its own")

    @property
    def threshold(self) -> int:
        return threshold(len(self.identities))

    def number(self, site: str) -> int:
        """The hospital's place in the secret sharing, 1 … n.

        Raises:
            ProtocolError: not on the roster.
        """
        if site not in self.identities:
            raise ProtocolError(f"'{site}' is not on the roster ({', '.join(self.names)})")
        return self.names.index(site) + 1


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one sum: what makes it this one and no other.

    study     the study's SHA-256
    run       the coordinator's name for the run
    purpose   "training/ROWS" (opened over the survivors) or "statistics/BATCH" (opened over every hospital or never)
    round     the round of training; 0 for statistics
    sum       the step of the batch; 0 for training
    attempt   0, or one more than an attempt that enough hospitals swore off; 0 for statistics

    The zeros are checked: a round that could be asked as sum 0 and as sum 1 could be opened over two sets of survivors,
    and the difference would be one hospital's update.

    Raises:
        ProtocolError: a purpose of another form, a negative number, or one that must be 0.
    """

    study: str
    run: str
    purpose: str
    round: int
    sum: int
    attempt: int = 0

    def __post_init__(self) -> None:
        if not _PURPOSE.fullmatch(self.purpose) or self.purpose.split("/")[0] not in ("training", "statistics"):
            raise ProtocolError(f"a sum for '{self.purpose[:70]}' was asked, wanted training/… or statistics/…")
        if min(self.round, self.sum, self.attempt) < 0 or not self.run:
            raise ProtocolError(f"round {self.round}, sum {self.sum}, attempt {self.attempt} of run '{self.run}'")
        if self.sum if self.recovers else self.round or self.attempt:
            raise ProtocolError(f"{self}: training has no sum but 0; statistics have no round and no further attempt")

    @property
    def recovers(self) -> bool:
        """Whether the sum over the survivors may be opened when a hospital is lost."""
        return self.purpose.startswith("training/")

    @property
    def order(self) -> tuple[int, int, int]:
        """What only ever grows within a run and purpose."""
        return self.round, self.sum, self.attempt

    def __str__(self) -> str:
        return f"{self.purpose}, round {self.round}, sum {self.sum}, attempt {self.attempt}"


@dataclass(frozen=True, slots=True)
class Context:
    """A slot and what was asked in it.

    length     entries of the hospitals' vectors, without the check words
    bits       the sum is modulo 2^bits
    question   hex SHA-256 of everything that the server broadcast for this sum
    """

    slot: Slot
    length: int
    bits: Bits
    question: str
    keystream: Keystream = "chacha20"


def statement(kind: str, roster: Roster, slot: Slot, **more: Any) -> bytes:
    """The canonical bytes of something that is signed or that a key is derived for; `kind` keeps their uses apart."""
    body = {"protocol": PROTOCOL, "kind": kind, "roster": roster.digest, "slot": _values(slot), **more}
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def mask_info(roster: Roster, context: Context, announced: Mapping[str, bytes]) -> bytes:
    """SHA-256 over the context and the signed keys of all participants: what every mask of the sum is bound to."""
    keys = {name: announced[name].hex() for name in sorted(announced)}
    rest = {name: value for name, value in _values(context).items() if name != "slot"}
    return hashlib.sha256(statement("mask", roster, context.slot, announced=keys, **rest)).digest()


def survivors_statement(roster: Roster, context_digest: bytes, slot: Slot, survivors: tuple[str, ...]) -> bytes:
    """What a hospital signs about who survived; `context_digest` is `mask_info` of the sum that it answered."""
    return statement("survivors", roster, slot, mask=context_digest.hex(), survivors=sorted(survivors))


def abandon_statement(roster: Roster, slot: Slot) -> bytes:
    """What a hospital signs to swear off an attempt."""
    return statement("abandoned", roster, slot)


def _values(flat: Slot | Context) -> dict[str, Any]:
    """Fields by name; `asdict` would copy them deeply, three thousand times a round."""
    return {one.name: getattr(flat, one.name) for one in fields(flat)}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
