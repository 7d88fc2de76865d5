"""Masks: pseudorandom words of a stream cipher, added to a vector in place, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fl_liver.securesum.context import Keystream

BLOCK_BYTES = 1 << 17
"""A block of the vector and one of keystream stay in a core's second-level cache while all masks are added."""


def add_keystreams(vector: NDArray[Any], seeds: Sequence[tuple[bytes, int]], keystream: Keystream) -> None:
    """Add (sign +1) or subtract (−1) the keystream of every 32-byte seed, modulo the vector's unsigned type, in place.

    A seed must not be used for two vectors. Words are little-endian. `update_into` writes the keystream into one buffer
    (`update` allocates and is five times slower).
    """
    words = BLOCK_BYTES // vector.itemsize
    zeros = memoryview(bytes(BLOCK_BYTES))
    buffer = bytearray(BLOCK_BYTES + 15)
    stream = np.frombuffer(buffer, dtype=vector.dtype.newbyteorder("<"), count=words)
    ciphers = [(_cipher(seed, keystream).encryptor(), np.add if sign > 0 else np.subtract) for seed, sign in seeds]
    for start in range(0, len(vector), words):
        block = vector[start : start + words]
        size = block.nbytes
        for cipher, combine in ciphers:
            cipher.update_into(zeros[:size], buffer)
            combine(block, stream[: len(block)], out=block)


def _cipher(seed: bytes, keystream: Keystream) -> Cipher[Any]:
    if keystream == "aes-256-ctr":
        return Cipher(algorithms.AES(seed), modes.CTR(bytes(16)))
    return Cipher(algorithms.ChaCha20(seed, bytes(16)), None)
