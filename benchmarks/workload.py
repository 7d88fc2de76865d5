"""The work of peers.md §F, the same for us and for every peer: 13 clients × 5 rounds. Needs numpy only.

Echo: every client returns what it received, 45 MB of float32. Plain programs carry it as 62 tensors, we as one vector.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CLIENTS, ROUNDS = 13, 5
ECHO_MB, ECHO_TENSORS = 45.0, 62
DEFAULT_STUDY_FLOATS = 1_400_000
Tensors = list[NDArray[np.float32]]


def echo_tensors(megabytes: float = ECHO_MB, count: int = ECHO_TENSORS) -> Tensors:
    """`count` tensors of equal length, `megabytes` (10⁶ bytes) together."""
    random = np.random.default_rng(0)
    return [random.random(int(megabytes * 1e6) // 4 // count, dtype=np.float32) for _ in range(count)]


def weight(client: int) -> int:
    """Patients of a client, as FedAvg weighs it: 40 … 76."""
    return 40 + 3 * client


def add_weighted(total: Tensors, tensors: Sequence[NDArray[np.float32]], factor: int) -> None:
    """total += factor · tensors, in place."""
    for mine, theirs in zip(total, tensors, strict=True):
        mine += np.float32(factor) * theirs


def divide(total: Tensors, by: int) -> Tensors:
    """total / by, in place."""
    for tensor in total:
        tensor /= np.float32(by)
    return total


def later_round_s(rounds_s: Sequence[float]) -> float:
    """Median of all rounds but the first, which pays for starting up."""
    return statistics.median(rounds_s[1:])
