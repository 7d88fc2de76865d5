"""Masks: the ciphers' own test vectors, equal to a computation by hand, and gone without a trace when they cancel."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.securesum.context import Keystream
from fl_liver.securesum.keystream import BLOCK_BYTES, add_keystreams

CIPHERS: tuple[Keystream, ...] = ("chacha20", "aes-256-ctr")
DTYPES = (np.uint16, np.uint32, np.uint64)
ZERO = bytes(32)
CHACHA20 = (  # RFC 8439, appendix A.1, test vectors 1 and 2: key 0, nonce 0, blocks 0 and 1
    "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
)
AES = "dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738b"
"""AES-256 with key 0 of blocks 0 and 1 (GCM specification, test case 13: H and E(K, Y0))."""


def keystream(seed: bytes, count: int, dtype: type[Any], cipher: Keystream, sign: int = 1) -> NDArray[Any]:
    """What is added to `count` zeros."""
    vector = np.zeros(count, dtype)
    add_keystreams(vector, [(seed, sign)], cipher)
    return vector


def rotated(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & 0xFFFFFFFF


def chacha20_block(key: bytes, counter: int) -> bytes:
    """RFC 8439, section 2.3, in Python, nonce 0."""
    state = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter, 0, 0, 0]
    work = list(state)

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for one, two, three, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            work[one] = (work[one] + work[two]) & 0xFFFFFFFF
            work[three] = rotated(work[three] ^ work[one], by)

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for row in range(4):
            quarter(row, 4 + (row + 1) % 4, 8 + (row + 2) % 4, 12 + (row + 3) % 4)
    return struct.pack("<16I", *((one + two) & 0xFFFFFFFF for one, two in zip(work, state, strict=True)))


def by_hand(seed: bytes, size: int, cipher: Keystream) -> bytes:
    """The keystream without our code: ChaCha20 in Python, AES block by block in electronic codebook mode."""
    if cipher == "chacha20":
        return b"".join(chacha20_block(seed, counter) for counter in range(-(-size // 64)))[:size]
    codebook = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()  # noqa: S305 - counter mode is built from it
    return b"".join(codebook.update(counter.to_bytes(16, "big")) for counter in range(-(-size // 16)))[:size]


@pytest.mark.parametrize(("cipher", "known"), [("chacha20", CHACHA20), ("aes-256-ctr", AES)])
def test_the_keystreams_are_those_of_the_standards(cipher: Keystream, known: str) -> None:
    assert keystream(ZERO, len(known) // 8, np.uint32, cipher).tobytes().hex() == known
    assert by_hand(ZERO, len(known) // 2, cipher).hex() == known


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
def test_masks_are_the_words_that_a_computation_by_hand_gives(cipher: Keystream, dtype: type[Any], count: int) -> None:
    seeds = [hashlib.sha256(bytes([number])).digest() for number in range(3)]
    start = np.arange(count).astype(dtype)
    vector = start.copy()
    add_keystreams(vector, [(seeds[0], 1), (seeds[1], -1), (seeds[2], 1)], cipher)
    size = np.dtype(dtype).itemsize
    streams = [by_hand(seed, count * size, cipher) for seed in seeds]
    for place in range(count):
        a, b, c = (int.from_bytes(stream[place * size : (place + 1) * size], "little") for stream in streams)
        assert int(vector[place]) == (int(start[place]) + a - b + c) % 2 ** (8 * size)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_block_goes_on_where_the_one_before_ended(cipher: Keystream, dtype: type[Any], beyond: int) -> None:
    """At two borders of our blocks, one word before, at and after them."""
    count = 2 * BLOCK_BYTES // np.dtype(dtype).itemsize + beyond
    seed = hashlib.sha256(b"long").digest()
    algorithm: Any = algorithms.ChaCha20(seed, bytes(16)) if cipher == "chacha20" else algorithms.AES(seed)
    whole = Cipher(algorithm, None if cipher == "chacha20" else modes.CTR(bytes(16))).encryptor()
    stream = np.frombuffer(whole.update(bytes(count * np.dtype(dtype).itemsize)), dtype)
    np.testing.assert_array_equal(keystream(seed, count, dtype, cipher), stream)


@settings(max_examples=30)
@given(
    st.sampled_from(CIPHERS),
    st.sampled_from(DTYPES),
    st.integers(0, 200),
    st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_what_is_added_and_subtracted_is_gone(
    cipher: Keystream, dtype: type[Any], count: int, seeds: list[bytes], draw: Any
) -> None:
    start = np.frombuffer(draw.randbytes(count * np.dtype(dtype).itemsize), dtype)
    vector = start.copy()
    steps = [(seed, sign) for seed in seeds for sign in (1, -1)]
    draw.shuffle(steps)
    add_keystreams(vector, steps, cipher)
    np.testing.assert_array_equal(vector, start)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_another_seed_or_sign_gives_other_masks(cipher: Keystream) -> None:
    one, other = keystream(ZERO, 64, np.uint64, cipher), keystream(b"\1" + bytes(31), 64, np.uint64, cipher)
    assert not (one == other).any()
    assert not (one == keystream(ZERO, 64, np.uint64, cipher, -1)).any()
    assert not (one == keystream(ZERO, 64, np.uint64, CIPHERS[cipher == "chacha20"])).any()
