"""Numbers that nobody can draw again: uniform and normal, from the operating system's generator.

A key of 32 bytes from `os.urandom` for every call, its ChaCha20 keystream as the bits. torch's and numpy's generators
will not do for privacy: their state follows from their output or from a seed, and with it goes the noise.

Floating-point normals are not exactly normal in their last bits (Mironov, CCS 2012, attacks a single such number). Here
an answer leaves after a whole round, as the float32 sum of the noise of many steps; for that no attack is known to us,
and no proof either.
"""

from __future__ import annotations

import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray


def uniforms(count: int) -> NDArray[np.float64]:
    """(count,) uniform on the multiples of 2⁻⁵³ in (0, 1]."""
    stream = Cipher(ChaCha20(os.urandom(32), bytes(16)), mode=None).encryptor().update(bytes(8 * count))
    bits: NDArray[np.float64] = (np.frombuffer(stream, "<u8") >> np.uint64(11)).astype(np.float64)
    return (bits + 1.0) * 2.0**-53


def normals(count: int) -> NDArray[np.float64]:
    """(count,) standard normal, by Box and Muller, Ann Math Stat 29 (1958) 610; none beyond ±8.6."""
    half = (count + 1) // 2
    radius, angle = np.sqrt(-2.0 * np.log(uniforms(half))), 2.0 * np.pi * uniforms(half)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
