"""Hospitals with pinned identities, and one whole masked sum over them, step by step: what the other files break."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from fl_liver.errors import ProtocolError
from fl_liver.securesum.context import Bits, Context, Roster, Slot
from fl_liver.securesum.encoding import encode_integers
from fl_liver.securesum.keys import public_identity
from fl_liver.securesum.server import ServerSum
from fl_liver.securesum.site import SiteSum

STUDY, RUN, QUESTION = "5" * 64, "run-a", "9" * 64
TRAINING = Slot(STUDY, RUN, "training/train", 1, 0)
STATISTICS = Slot(STUDY, RUN, "statistics/batch", 0, 0)
STEPS = ("announce", "seal", "mask", "endorse", "release")
"""What a hospital does in a sum for training; for statistics it announces and masks."""
Words = NDArray[Any]


@cache
def identity(number: int, generation: str = "") -> Ed25519PrivateKey:
    """The same key for a hospital in every test."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{generation}hospital {number}".encode()).digest())


@cache
def names(count: int) -> tuple[str, ...]:
    return tuple(f"H{number:02d}" for number in range(1, count + 1))


def key_of(name: str, generation: str = "") -> Ed25519PrivateKey:
    return identity(int(name[1:]), generation)


@cache
def roster_of(count: int, generation: str = "") -> Roster:
    return Roster({name: public_identity(key_of(name, generation)) for name in names(count)})


def numbers(count: int, length: int = 5, seed: int = 1, high: int = 1000) -> dict[str, NDArray[np.int64]]:
    """Each hospital's own integers."""
    draw = np.random.default_rng(seed)
    return {name: draw.integers(0, high, length) for name in names(count)}


def plain_sum(vectors: dict[str, NDArray[np.int64]], sites: Collection[str], bits: Bits) -> Words:
    """The oracle: Python's integers, modulo 2^bits, with the check words."""
    chosen = [vectors[name].tolist() for name in sorted(sites)]
    body = [sum(column) % 2**bits for column in zip(*chosen, strict=True)]
    return np.array([*body, *[len(chosen)] * (64 // bits)], dtype=f"u{bits // 8}")


@dataclass
class Sum:
    """One sum: every hospital's state machine, the server's, and the honest course of events."""

    count: int = 5
    slot: Slot = TRAINING
    bits: Bits = 32
    length: int = 5
    seed: int = 1
    roster: Roster = field(init=False)
    vectors: dict[str, NDArray[np.int64]] = field(init=False)
    sites: dict[str, SiteSum] = field(init=False)
    server: ServerSum = field(init=False)
    masked: dict[str, Words] = field(default_factory=dict)
    """What each hospital sent, before anything was added up."""

    def __post_init__(self) -> None:
        self.roster = roster_of(self.count)
        self.vectors = numbers(self.count, self.length, self.seed)
        self.sites = {name: SiteSum(name, self.roster, self.slot) for name in self.roster.names}
        self.server = ServerSum(self.roster, self.slot)

    @property
    def context(self) -> Context:
        return Context(self.slot, self.length, self.bits, QUESTION)

    def announce(self, without: Collection[str] = ()) -> None:
        for name in self._but(without):
            self.server.take_announcement(name, self.sites[name].announcement(key_of(name)))

    def seal(self, without: Collection[str] = ()) -> None:
        for name in self._but(without, self.server.announced):
            self.server.take_sealed(name, self.sites[name].sealed(self.server.announced))

    def answer(self, name: str, context: Context | None = None, announced: dict[str, bytes] | None = None) -> Words:
        """One hospital's masked vector."""
        vector = encode_integers(self.vectors[name], self.bits)
        keys = self.server.announced if announced is None else announced
        self.sites[name].mask(self.context if context is None else context, keys, vector)
        return vector

    def mask(self, without: Collection[str] = ()) -> dict[str, bytes]:
        participants = self.server.begin(self.context)
        for name in self._but(without, participants):
            self.masked[name] = self.answer(name, announced=participants)
            self.server.take_masked(name, self.masked[name])
        return participants

    def endorse(self, without: Collection[str] = ()) -> tuple[str, ...]:
        survivors = self.server.survivors()
        for name in self._but(without, survivors):
            self.server.take_endorsement(name, self.sites[name].endorse(survivors, key_of(name)))
        return survivors

    def release(self, without: Collection[str] = ()) -> None:
        endorsements = self.server.endorsements()
        for name in self._but(without, endorsements):
            self.server.take_released(name, self.shares(name, endorsements))

    def shares(self, name: str, endorsements: dict[str, bytes]) -> dict[str, bytes]:
        return self.sites[name].release(endorsements, self.server.sealed_for(name))

    def until(self, step: str, **without: Collection[str]) -> Sum:
        """Everything up to and including a step; `mask=("H02",)` loses that hospital there."""
        for one in STEPS[: STEPS.index(step) + 1]:
            if self.slot.recovers or one in ("announce", "mask"):
                getattr(self, one)(without.get(one, ()))
        return self

    def opened(self, **without: Collection[str]) -> Words:
        """The whole sum."""
        self.until("release" if self.slot.recovers else "mask", **without)
        if not self.slot.recovers:
            self.server.survivors()
        return self.server.open()

    def expected(self, *sites: str) -> Words:
        return plain_sum(self.vectors, sites or self.roster.names, self.bits)

    def _but(self, without: Collection[str], sites: Collection[str] | None = None) -> Sequence[str]:
        return [name for name in sorted(self.sites if sites is None else sites) if name not in without]


def refusal_of(act: Callable[[], object]) -> str:
    """The words of the ProtocolError that `act` must raise."""
    try:
        act()
    except ProtocolError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def other(slot: Slot, **changes: Any) -> Slot:
    return replace(slot, **changes)
