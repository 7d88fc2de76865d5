"""Sums of real numbers over hospitals, as integers in two limbs: never wrapped, and as exact as float64 allows.

Each hospital rounds its own sums to multiples of 2^(−scale) and sends them as two limbs (`limbs`). Two paths:

* known size (`scale_bits` given): one exchange; a hospital whose sum is beyond 2^(100 − scale) refuses. The default of
  the Newton steps, 2⁻⁵⁶, holds sums up to 1.7e13.
* any size: an exchange before it asks in which range of 2³² the largest sum of each hospital lies (a count of hospitals
  for each range), and each component gets its own scale, with at least 64 bits below its largest sum.

A site function for real sums is registered with `@answers_reals` and returns float64; both paths then exist for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import OutOfRangeError
from fl_liver.stats.conversation import Conversation, IntVector, Question, Table, answers
from fl_liver.stats.limbs import join_limbs, split_limbs

RealVector = NDArray[np.float64]
RealFunction = Callable[[Question, Table], RealVector]

STEP_SCALE_BITS = 56
_RANGE_BITS = 32
_LOWEST_EXPONENT = -1088
_RANGES = 68
_VALUE_BITS = 97


def fixed_point(values: RealVector, scale_bits: Sequence[int]) -> list[int]:
    """(k,) numbers → Python integers round(value · 2^scale), exactly rounded (half to even).

    Raises:
        OutOfRangeError: a value is NaN or infinite.
    """
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise OutOfRangeError(f"{bad} of {len(values)} sums are not finite; a column holds values too large to add up")
    return [
        round(Fraction(value) * Fraction(2) ** bits) for value, bits in zip(values.tolist(), scale_bits, strict=True)
    ]


def from_fixed_point(total: IntVector, scale_bits: Sequence[int]) -> RealVector:
    """Totals of `split_limbs(fixed_point(...))` → (k,) float64, correctly rounded."""
    sums = join_limbs(total)
    return np.array([float(Fraction(v) / Fraction(2) ** bits) for v, bits in zip(sums, scale_bits, strict=True)])


def answers_reals(kind: str) -> Callable[[RealFunction], RealFunction]:
    """Register a site function that returns float64 sums (k,) for questions of `kind`, to be asked by `real_sums`."""

    def register(function: RealFunction) -> RealFunction:
        @answers(kind)
        def encode(question: Question, table: Table) -> IntVector:
            values = np.asarray(function(question, table), np.float64)
            if question.arguments["phase"] == "range":
                return _range_of(values)
            return split_limbs(fixed_point(values, question.arguments["scale_bits"]))

        return function

    return register


def _range_of(values: RealVector) -> IntVector:
    # one-hot (k, ranges): in which range of 2^32 each sum's exponent lies; a zero is in none
    finite = fixed_point(values, [0] * len(values))  # refuses NaN and infinities
    hot = np.zeros((len(finite), _RANGES), np.int64)
    exponent = np.frexp(values)[1]
    place = (exponent - _LOWEST_EXPONENT) // _RANGE_BITS
    present = np.flatnonzero(values != 0.0)
    hot[present, place[present]] = 1
    return hot.ravel()


def real_sums(
    kind: str,
    arguments: Mapping[str, Any],
    count: int,
    *,
    arrays: Mapping[str, NDArray[Any]] | None = None,
    scale_bits: int | None = None,
) -> Conversation[RealVector]:
    """Ask for `count` real sums of a kind registered with `@answers_reals`.

    scale_bits: round to 2^(−scale_bits) in one exchange; None finds the scale in an exchange before.
    Returns (count,) float64.
    """
    public = dict(arrays or {})
    if scale_bits is None:
        (total,) = yield [Question(kind, {**arguments, "phase": "range"}, count * _RANGES, public)]
        occupied = total.reshape(count, _RANGES) > 0
        highest = [int(np.flatnonzero(row)[-1]) if row.any() else None for row in occupied]
        scales = [0 if top is None else _VALUE_BITS - (_LOWEST_EXPONENT + _RANGE_BITS * (top + 1)) for top in highest]
    else:
        scales = [scale_bits] * count
    (total,) = yield [Question(kind, {**arguments, "phase": "sum", "scale_bits": scales}, 2 * count, public)]
    return from_fixed_point(total, scales)
