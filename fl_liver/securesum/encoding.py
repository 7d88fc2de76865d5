"""Numbers as unsigned integers whose sum cannot wrap: statistics exactly, model updates in fixed point.

Every encoded vector ends in 64 bits of check words that each hospital sets to 1. Their sum is the number of hospitals
if all masks cancelled; otherwise it is random, and is noticed but once in 2^64 times.

Statistics (int64 totals) are added modulo 2^64, or modulo 2^16 or 2^32 where the question bounds the total. Real-valued
statistics come as two limbs of integers (`stats.limbs`). Updates are added modulo 2^32:

    parameters            w · (local − global) · 2^s, after the difference was clipped to an L2 norm
    running statistics    w · value · 2^r, absolute values of batch normalisation, |value| ≤ 1024
    weight, loss          w and w · loss · 2^l, so that the server learns neither for one hospital

That is true of one round. Rounds over other survivors have other total weights, and their difference is the weight of
the hospital that was lost, which does not change from round to round; with max_weight = 1 it tells nothing.

w = min(patients, max_weight). The shifts are the largest with which n hospitals of weight max_weight cannot reach 2^31.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import ConfigError, NotFiniteError, OutOfRangeError, ProtocolError
from fl_liver.securesum.context import Bits

Vector = NDArray[np.float32]
RUNNING_RANGE = 1024.0
"""Largest running mean or variance of batch normalisation that travels."""
LOSS_RANGE = 128.0
"""A larger mean loss is told as this; the loss is a picture, not a decision."""
MIN_SHIFT = 4
"""Coarser than 2^-4 of a patient's update is refused."""
_TYPES: dict[Bits, type[np.unsignedinteger[Any]]] = {16: np.uint16, 32: np.uint32, 64: np.uint64}
_BLOCK = 1 << 15


def words(bits: Bits) -> type[np.unsignedinteger[Any]]:
    """The unsigned numpy type of sums modulo 2^bits."""
    return _TYPES[bits]


def check_words(bits: Bits) -> int:
    return 64 // bits


def bits_for(bounds: Sequence[int | None]) -> Bits:
    """The smallest modulus that exceeds every bound on a total; 64 where one total has no bound.

    >>> bits_for([65535, 12]), bits_for([65536]), bits_for([5, None]), bits_for([])
    (16, 32, 64, 16)
    """
    if any(bound is None for bound in bounds):
        return 64
    largest = max((bound for bound in bounds if bound is not None), default=0)
    return 16 if largest < 2**16 else 32 if largest < 2**32 else 64


def encode_integers(vector: NDArray[np.int64], bits: Bits) -> NDArray[Any]:
    """A hospital's int64 statistics as they are added, with the check words behind them.

    Raises:
        OutOfRangeError: an entry that the announced modulus cannot hold.
    """
    if bits < 64 and len(vector) and (int(vector.min()) < 0 or int(vector.max()) >= 2**bits):
        raise OutOfRangeError(
            f"an entry of {int(vector.min())} to {int(vector.max())} does not fit sums modulo 2^{bits}; the question's"
            " bound is wrong"
        )
    coded = np.ones(len(vector) + check_words(bits), words(bits))
    coded[: len(vector)] = vector.astype(np.uint64).astype(words(bits), copy=False)
    return coded


def decode_integers(total: NDArray[Any], bits: Bits, sites: int) -> NDArray[np.int64]:
    """The sum of the hospitals' int64 statistics, exact while it fits int64 (or the announced bound).

    Raises:
        ProtocolError: the masks did not cancel.
    """
    body = checked(total, bits, sites)
    return body.view(np.int64).copy() if bits == 64 else body.astype(np.int64)


def checked(total: NDArray[Any], bits: Bits, sites: int) -> NDArray[Any]:
    """A total without its check words (a view).

    Raises:
        ProtocolError: the check words are not the number of hospitals.
    """
    count = check_words(bits)
    if len(total) < count or (total[len(total) - count :] != sites).any():
        raise ProtocolError(
            f"the masks of {sites} hospitals did not cancel: they were asked different things, or a vector was changed"
        )
    return total[: len(total) - count]


@dataclass(frozen=True, slots=True)
class UpdateCode:
    """How the updates of one study are encoded; the same at the server and every hospital.

    running    (start, stop) of stretches of the flat vector that hold running statistics, ascending
    size       length of the flat vector
    sites      n, hospitals on the study's training roster
    max_weight W
    clip       C, the largest L2 norm of the difference of all parameters
    """

    running: tuple[tuple[int, int], ...]
    size: int
    sites: int
    max_weight: int
    clip: float

    def __post_init__(self) -> None:
        for what, limit in (("update_norm", self.clip), ("running statistics", RUNNING_RANGE), ("loss", LOSS_RANGE)):
            if _shift(self.sites, self.max_weight, limit) < MIN_SHIFT:
                raise ConfigError(
                    f"{self.sites} hospitals × max_weight {self.max_weight} × {limit:g} ({what}) leave fewer than"
                    f" {MIN_SHIFT} bits behind the point in sums modulo 2^32; lower training.max_weight or update_norm"
                )

    @property
    def length(self) -> int:
        """Entries of an encoded update without its check words."""
        return self.size + 2

    @property
    def step(self) -> float:
        """The grid of w · difference: a total is within n/2 of these steps of the true sum, where its parts are below
        2^24 steps; larger ones are as exact as float32.
        """
        return 2.0 ** -_shift(self.sites, self.max_weight, self.clip)

    def encode(self, local: Vector, start: Vector, weight: int, loss: float) -> tuple[NDArray[np.uint32], float]:
        """One hospital's update as it is added, and the factor ≤ 1 by which its difference was clipped.

        Args:
            local: (size,) trained values. start: (size,) the received ones.
            weight: 1 … max_weight. loss: mean training loss, finite.
        Raises:
            NotFiniteError: a value that is not finite, or a running statistic out of range; nothing may be sent.
            ProtocolError: vectors or a weight that do not fit this code.
        """
        if local.shape != (self.size,) or start.shape != (self.size,) or not 1 <= weight <= self.max_weight:
            raise ProtocolError(
                f"an update of {local.shape} on {start.shape} with weight {weight}, wanted ({self.size},) and a weight"
                f" of 1 to {self.max_weight}"
            )
        if not math.isfinite(loss):
            raise NotFiniteError("the loss is not finite; nothing is sent, the last good model is kept")
        factor = self._factor(local, start)
        coded = np.empty(self.length + check_words(32), np.uint32)
        coded[self.length :] = 1
        body = coded[: self.size].view(np.int32)
        scale = np.float32(weight * factor * 2.0 ** _shift(self.sites, self.max_weight, self.clip))
        work = np.empty(_BLOCK, np.float32)
        for begin, end in _blocks(self._parameters()):
            block = work[: end - begin]
            np.subtract(local[begin:end], start[begin:end], out=block)
            np.multiply(block, scale, out=block)
            np.rint(block, out=block)
            body[begin:end] = block
        absolute = weight * 2.0 ** _shift(self.sites, self.max_weight, RUNNING_RANGE)
        for begin, end in self.running:
            body[begin:end] = np.rint(local[begin:end] * absolute)
        told = min(max(loss, -LOSS_RANGE), LOSS_RANGE)
        coded[self.size] = weight
        coded[self.size + 1 : self.size + 2].view(np.int32)[0] = round(
            weight * told * 2.0 ** _shift(self.sites, self.max_weight, LOSS_RANGE)
        )
        return coded, factor

    def decode(self, total: NDArray[np.uint32], start: Vector, sites: int) -> tuple[Vector, float]:
        """The weighted mean model (size,) and the weighted mean loss from the sum of `sites` hospitals' updates.

        Raises:
            ProtocolError: the masks did not cancel, or no weight is behind the sum.
        """
        body = checked(total, 32, sites)
        weight = int(body[self.size])
        if not sites <= weight <= sites * self.max_weight:
            raise ProtocolError(f"a total weight of {weight} over {sites} hospitals of 1 to {self.max_weight} each")
        signed = body.view(np.int32)
        mean = np.empty(self.size, np.float32)
        factor = 2.0 ** -_shift(self.sites, self.max_weight, self.clip) / weight
        for begin, end in _blocks(self._parameters()):
            mean[begin:end] = start[begin:end] + signed[begin:end] * factor
        factor = 2.0 ** -_shift(self.sites, self.max_weight, RUNNING_RANGE) / weight
        for begin, end in self.running:
            mean[begin:end] = signed[begin:end] * factor
        loss = int(signed[self.size + 1]) * 2.0 ** -_shift(self.sites, self.max_weight, LOSS_RANGE) / weight
        return mean, loss

    def _factor(self, local: Vector, start: Vector) -> float:
        """What brings the difference of the parameters to norm `clip` or less; refuses what is not finite."""
        square = 0.0
        work = np.empty(_BLOCK, np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            for begin, end in _blocks(self._parameters()):
                block = work[: end - begin]
                np.subtract(local[begin:end], start[begin:end], out=block)
                square += float(np.dot(block, block))
        if not math.isfinite(square):
            wrong = int(self.size - np.isfinite(local).sum())
            raise NotFiniteError(
                f"{wrong} of {self.size} values of the update are not finite; nothing is sent, the last good model is"
                " kept"
            )
        for begin, end in self.running:
            extreme = float(np.abs(local[begin:end]).max())
            if not extreme <= RUNNING_RANGE:
                raise NotFiniteError(
                    f"a running statistic of batch normalisation is {extreme:g}, wanted at most {RUNNING_RANGE:g}; look"
                    " at the scale of the images, nothing is sent"
                )
        norm = math.sqrt(square)
        # A hair less than the norm, so that rounding in float32 cannot carry an entry past the clip.
        return 1.0 if norm <= self.clip * (1 - 1e-6) else self.clip * (1 - 1e-6) / norm

    def _parameters(self) -> Iterator[tuple[int, int]]:
        place = 0
        for begin, end in self.running:
            if begin > place:
                yield place, begin
            place = end
        if place < self.size:
            yield place, self.size


def _shift(sites: int, max_weight: int, limit: float) -> int:
    """The largest s with n · (W · limit · 2^s + 1) < 2^31, so that signed sums of n rounded entries cannot wrap."""
    return math.floor(math.log2((2**31 - 1) / sites - 1) - math.log2(max_weight * limit))


def _blocks(stretches: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for begin, end in stretches:
        for start in range(begin, end, _BLOCK):
            yield start, min(start + _BLOCK, end)
