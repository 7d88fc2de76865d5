"""Secret sharing (Shamir, CACM 1979) of 32-byte secrets over the prime 2^256 + 297; any t of n shares give it back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from fl_liver.errors import ProtocolError

PRIME = 2**256 + 297
"""The smallest prime above 2^256 (a test proves it), so that every 32-byte secret is an element."""
SHARE_BYTES = 33


def split(secret: bytes, sites: int, needed: int) -> list[bytes]:
    """Shares of hospitals 1 … n, 33 bytes each, big-endian; fewer than `needed` tell nothing about the secret."""
    coefficients = [int.from_bytes(secret, "big"), *(secrets.randbelow(PRIME) for _ in range(needed - 1))]
    return [_value(coefficients, number).to_bytes(SHARE_BYTES, "big") for number in range(1, sites + 1)]


def weights(numbers: Sequence[int]) -> list[int]:
    """Lagrange's weights at 0 for shares of these hospitals; the same for every secret that they rebuild."""
    found: list[int] = []
    for number in numbers:
        above = below = 1
        for other in numbers:
            if other != number:
                above = above * other % PRIME
                below = below * (other - number) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return found


def rebuild(shares: Mapping[int, bytes], weight_of: Mapping[int, int]) -> bytes:
    """The 32-byte secret from shares by hospital number; `weight_of` are `weights` of the same hospitals.

    Raises:
        ProtocolError: a share of another length, or shares that are not of one secret (noticed only where the result
            does not fit 32 bytes; a caller that knows the secret's public half compares it).
    """
    if any(len(share) != SHARE_BYTES for share in shares.values()):
        raise ProtocolError(f"a share has another length than {SHARE_BYTES} bytes")
    value = sum(int.from_bytes(share, "big") * weight_of[number] for number, share in shares.items()) % PRIME
    if value >= 2**256:
        raise ProtocolError("shares do not belong to one secret")
    return value.to_bytes(32, "big")


def _value(coefficients: Sequence[int], at: int) -> int:
    result = 0
    for coefficient in reversed(coefficients):
        result = (result * at + coefficient) % PRIME
    return result
