"""Whole masked sums in one process, timed by role, and the loop that they are measured against."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fl_liver.errors import FLLiverError
from fl_liver.securesum.context import Bits, Context, Keystream, Roster, Slot
from fl_liver.securesum.encoding import UpdateCode, decode_integers, encode_integers
from fl_liver.securesum.keys import public_identity
from fl_liver.securesum.server import ServerSum
from fl_liver.securesum.site import SiteSum

Floats = NDArray[np.float32]
MAX_WEIGHT, CLIP = 1000, 10.0
TRAINING = Slot("0" * 64, "run", "training/train", 1, 0)
STATISTICS = Slot("0" * 64, "run", "statistics/batch", 0, 0)
QUESTION = "0" * 64


def bare_masking(vector: NDArray[np.uint32], keystream: Keystream, keystreams: int, words: int) -> None:
    """Keystream plus add and nothing else, in blocks of so many words: the loop of the prototype `bench_mask.py`."""
    ciphers = [
        Cipher(algorithms.AES(key), modes.CTR(bytes(16)))
        if keystream == "aes-256-ctr"
        else Cipher(algorithms.ChaCha20(key, bytes(16)), None)
        for key in (secrets.token_bytes(32) for _ in range(keystreams))
    ]
    encryptors = [cipher.encryptor() for cipher in ciphers]
    zeros, buffer = memoryview(bytes(4 * words)), bytearray(4 * words + 15)
    stream = np.frombuffer(buffer, np.uint32, words)
    for start in range(0, len(vector), words):
        block = vector[start : start + words]
        for place, encryptor in enumerate(encryptors):
            encryptor.update_into(zeros[: block.nbytes], buffer)
            combine = np.add if place % 2 else np.subtract
            combine(block, stream[: len(block)], out=block)


def models(size: int) -> tuple[Floats, Floats, tuple[tuple[int, int], ...]]:
    """A trained model, the received one, and twenty stretches of running statistics as in a ResNet-18."""
    random = np.random.default_rng(0)
    start = random.standard_normal(size, np.float32) * np.float32(0.05)
    trained = start + random.standard_normal(size, np.float32) * np.float32(0.001)
    apart, width = size // 21, size // 2400
    return trained, start, tuple((place * apart, place * apart + width) for place in range(1, 21))


@dataclass(slots=True)
class Hospitals:
    """The hospitals of one sum with their keys exchanged (and shares, where it recovers), and the server."""

    slot: Slot
    identities: dict[str, Ed25519PrivateKey]
    roster: Roster
    sites: dict[str, SiteSum]
    server: ServerSum
    seconds: dict[str, float] = field(default_factory=dict)
    """By role, in all hospitals together."""

    @staticmethod
    def meet(count: int, slot: Slot) -> Hospitals:
        identities = {f"H{number:02d}": Ed25519PrivateKey.generate() for number in range(1, count + 1)}
        roster = Roster({name: public_identity(key) for name, key in identities.items()})
        sites = {name: SiteSum(name, roster, slot) for name in identities}
        met = Hospitals(slot, identities, roster, sites, ServerSum(roster, slot))
        met.timed("keys and shares", met._exchange_keys)
        return met

    def _exchange_keys(self) -> None:
        for name, site in self.sites.items():
            self.server.take_announcement(name, site.announcement(self.identities[name]))
        if self.slot.recovers:
            announced = self.server.announced
            for name, site in self.sites.items():
                self.server.take_sealed(name, site.sealed(announced))

    def timed(self, role: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        self.seconds[role] = self.seconds.get(role, 0.0) + time.perf_counter() - began
        return result

    def as_before(self, name: str) -> SiteSum:
        """A hospital that has not masked yet, with the keys it has."""
        return SiteSum.from_json(name, self.roster, self.slot, self.sites[name].to_json())

    def settle(self) -> NDArray[Any]:
        """Survivors agree, give their shares, and the server opens the sum."""
        survivors = self.server.survivors()
        for name in survivors:
            self.server.take_endorsement(name, self.sites[name].endorse(survivors, self.identities[name]))
        endorsements = self.server.endorsements()
        for name in survivors:
            self.server.take_released(name, self.sites[name].release(endorsements, self.server.sealed_for(name)))
        return self.server.open()


def whole_training_sum(count: int, size: int, keystream: Keystream, lost: int) -> dict[str, float]:
    """Seconds by role of a sum over `count` hospitals of which the last `lost` mask, but do not arrive.

    Raises:
        ProtocolError: the masks did not cancel.
    """
    trained, start, running = models(size)
    code = UpdateCode(running, size, count, MAX_WEIGHT, CLIP)
    here = Hospitals.meet(count, TRAINING)
    context = Context(TRAINING, code.length, 32, QUESTION, keystream)
    announced = here.server.begin(context)
    for place, (name, site) in enumerate(here.sites.items()):
        coded, _ = here.timed("encode", partial(code.encode, trained, start, 60, 0.5))
        here.timed("mask", partial(site.mask, context, announced, coded))
        if place < count - lost:
            here.timed("add", partial(here.server.take_masked, name, coded))
    total = here.timed("settle and open", here.settle)
    here.timed("decode", partial(code.decode, total, start, count - lost))
    return here.seconds


def statistics_step(count: int, length: int, bits: Bits) -> float:
    """Seconds of one step of a batch at all hospitals and the server: encode, mask, keys of the next step, add, open.

    Raises:
        ProtocolError: the masks did not cancel.
    """
    here = Hospitals.meet(count, STATISTICS)
    context = Context(STATISTICS, length, bits, QUESTION)
    following = replace(STATISTICS, sum=1)
    ahead = ServerSum(here.roster, following)
    vector = np.random.default_rng(1).integers(0, 500, length)

    def step() -> NDArray[np.int64]:
        announced = here.server.begin(context)
        for name, site in here.sites.items():
            coded = encode_integers(vector, bits)
            site.mask(context, announced, coded)
            keys = SiteSum(name, here.roster, following).announcement(here.identities[name])
            ahead.take_announcement(name, keys)
            here.server.take_masked(name, coded)
        here.server.survivors()
        return decode_integers(here.server.open(), bits, count)

    total = here.timed("step", step)
    if not np.array_equal(total, count * vector):
        raise FLLiverError(f"a sum over {count} hospitals is not {count} times one of them")
    return here.seconds["step"]


def key_agreement(count: int) -> float:
    """Seconds at one hospital: make and sign its keys, check the others' signatures, agree on every pair's mask."""
    here = Hospitals.meet(count, STATISTICS)
    announced = here.server.announced
    site = SiteSum("H01", here.roster, STATISTICS)

    def agree() -> None:
        announced["H01"] = site.announcement(here.identities["H01"])
        site.mask(Context(STATISTICS, 0, 64, QUESTION), announced, encode_integers(np.zeros(0, np.int64), 64))

    here.timed("agree", agree)
    return here.seconds["agree"]
