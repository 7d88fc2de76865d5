"""Order-preserving integer images of scores, so that "which is larger" can be asked a few bits at a time.

`float64`  every bit of a float64: 64-bit keys; any finite number, −0 equals +0. Biomarkers, ratings, probabilities.
`logit32`  a log-odds on a grid of 2⁻²⁷ within ±8 and of 2⁻²⁵ out to ±40: 32-bit keys, half the rounds. A network's own
           scores. Log-odds outside share the end cells, and two that differ by less than a step may tie; the
           certificate of a ROC result bounds what that can change.

Both are monotone, so a ROC curve over keys is the ROC curve over scores. Missing values are for the caller to drop.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError

Key = Literal["float64", "logit32"]
KEY_BITS: dict[Key, int] = {"float64": 64, "logit32": 32}
LOGIT_LIMIT = 40.0
"""Log-odds are told apart within [−LOGIT_LIMIT, LOGIT_LIMIT)."""
_KNEE = 8.0  # most patients lie within; the first histogram spends half of its bins there
_FINE, _COARSE = 2.0**27, 2.0**25  # steps a unit, powers of two: scaling is exact and an edge is exactly its cell's
_KNEE_CELLS, _MIDDLE = _KNEE * 2.0**27, 2.0**31
_SIGN = np.uint64(1 << 63)
_LOWEST = int(np.float64(-np.inf).view(np.uint64)) ^ (2**64 - 1)
_HIGHEST = int(np.float64(np.inf).view(np.uint64)) | (1 << 63)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(values, np.float64)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise DataError(f"{bad} of {values.size} scores are not finite numbers; drop or repair those rows")
    return values


def float64_key(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """(n,) finite numbers → (n,) uint64 in the same order; equal numbers, and −0 and +0, give equal keys.

    Raises:
        DataError: a value is NaN or infinite.
    """
    bits = (_finite(values) + 0.0).view(np.uint64)  # + 0.0 turns −0 into +0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def float64_from_key(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """(n,) keys → the numbers they stand for; keys below that of every number give −inf, above it +inf."""
    clipped = np.clip(np.asarray(keys, np.uint64), np.uint64(_LOWEST), np.uint64(_HIGHEST))
    return np.where(clipped & _SIGN, clipped ^ _SIGN, ~clipped).view(np.float64)


def logit32_key(log_odds: NDArray[np.float64]) -> NDArray[np.uint64]:
    """(n,) log-odds → (n,) uint64 below 2³², never decreasing in the log-odds.

    Raises:
        DataError: a value is NaN or infinite.
    """
    values = _finite(log_odds)
    beyond = np.sign(values) * (_KNEE_CELLS - _KNEE * _COARSE)
    cells = np.where(np.abs(values) < _KNEE, np.floor(values * _FINE), np.floor(values * _COARSE) + beyond)
    return np.clip(cells + _MIDDLE, 0.0, 2.0**32 - 1.0).astype(np.uint64)


def logit32_from_key(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """(n,) keys → the smallest log-odds of each cell; the lowest cell is open below, so its edge is −inf."""
    keys = np.asarray(keys, np.uint64)
    cells = keys.astype(np.float64) - _MIDDLE
    beyond = np.sign(cells) * (_KNEE - _KNEE_CELLS / _COARSE) + cells / _COARSE
    edges = np.where(np.abs(cells) <= _KNEE_CELLS, cells / _FINE, beyond)
    return np.where(keys == 0, -np.inf, edges)


def encode(key: Key, values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Keys of `values` under the named map.

    Raises:
        DataError: a value is NaN or infinite.
    """
    return float64_key(values) if key == "float64" else logit32_key(values)


def lower_edge(key: Key, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The threshold t of each key: score >= t holds exactly for the scores whose key is at least that key."""
    return float64_from_key(keys) if key == "float64" else logit32_from_key(keys)
