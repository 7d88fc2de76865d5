"""Which hospitals a phantom has, before anything modality-specific is drawn: names, sizes and random streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fl_liver.errors import ConfigError

SMALLEST_HOSPITAL = 12
"""Patients left after scaling down; a site refuses to work with fewer than 10."""
MOST_HOSPITALS = 200
CASES, SCANNER, PATIENTS, MAKES = range(4)
"""Purposes of a hospital's random streams; append only. `ct_hospitals` has one more."""
Make = TypeVar("Make")


@dataclass(frozen=True, slots=True)
class Place:
    """One hospital, who is in it aside.

    seed      of the study
    number    from 0, training hospitals first
    beyond    counts external hospitals from 0; negative for a training hospital
    patients  how many
    """

    seed: int
    number: int
    beyond: int
    patients: int

    @property
    def name(self) -> str:
        return f"H{self.number + 1:02d}"

    @property
    def external(self) -> bool:
        return self.beyond >= 0

    @property
    def sign(self) -> int:
        """±1: which way a shortcut points; it turns round from hospital to hospital."""
        return 1 if (self.number + self.seed) % 2 else -1

    @property
    def patient_seed(self) -> int:
        """Start of the random streams of its patients."""
        return int(self.random(PATIENTS).integers(2**31))

    def random(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.number, purpose])

    def make_of(self, makes: Sequence[Make]) -> Make:
        """Makes come in shuffled rounds, so that as many hospitals in a row from a round as there are makes own all."""
        turn, place = divmod(self.number, len(makes))
        return makes[int(np.random.default_rng([self.seed, turn, MAKES]).permutation(len(makes))[place])]


def places(
    seed: int, train: int, external: int, scale: float, sizes: tuple[Sequence[int], Sequence[int]]
) -> tuple[Place, ...]:
    """The hospitals of any phantom, training ones first. One depends on `seed`, its number and `train`, not on how
    many come after it.

    Args:
        seed: ≥ 0.
        train, external: numbers of hospitals, 1 ≤ train, 0 ≤ external, together at most 200.
        scale: multiplies every hospital's patients, > 0; at least 12 are left.
        sizes: patients of training and of external hospitals; they repeat where there are more.
    Raises:
        ConfigError: a number outside these ranges.
    """
    if seed < 0:
        raise ConfigError(f"phantom: seed is {seed}, wanted 0 or more")
    if train < 1 or external < 0 or train + external > MOST_HOSPITALS:
        raise ConfigError(
            f"phantom: {train} training and {external} external hospitals; wanted at least 1 and 0,"
            f" together at most {MOST_HOSPITALS}"
        )
    if not 0 < scale < float("inf"):
        raise ConfigError(f"phantom: scale is {scale}, wanted a positive number such as 0.25")
    usual = [sizes[0][number % len(sizes[0])] for number in range(train)]
    usual += [sizes[1][number % len(sizes[1])] for number in range(external)]
    counts = [max(SMALLEST_HOSPITAL, round(size * scale)) for size in usual]
    return tuple(Place(seed, number, number - train, count) for number, count in enumerate(counts))
