"""Integers too large for one int64 sum, as two of them: value = high · 2⁴⁸ + low, 0 <= low < 2⁴⁸.

A sum over hospitals adds the limbs apart. Up to 2¹⁰ hospitals neither limb's total passes 2⁶², so a wrapped number
cannot come out; a single value beyond ±2¹⁰⁰ is refused by the site that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fl_liver.errors import OutOfRangeError
from fl_liver.stats.conversation import IntVector

LOW_BITS = 48
LIMIT = 1 << 100


def split_limbs(values: Sequence[int]) -> IntVector:
    """Python integers (k,) → int64 (2k,): all low limbs, then all high limbs.

    Raises:
        OutOfRangeError: |value| >= 2¹⁰⁰.
    """
    if any(abs(value) >= LIMIT for value in values):
        raise OutOfRangeError(
            "a sum is beyond 2^100 on the announced scale and would wrap; give the column a coarser unit"
        )
    low = [value & ((1 << LOW_BITS) - 1) for value in values]
    high = [value >> LOW_BITS for value in values]
    return np.array(low + high, np.int64)


def join_limbs(total: IntVector) -> list[int]:
    """Totals of `split_limbs` vectors → the exact sums as Python integers."""
    half = len(total) // 2
    low, high = total[:half].tolist(), total[half:].tolist()
    return [(int(upper) << LOW_BITS) + int(lower) for lower, upper in zip(low, high, strict=True)]
