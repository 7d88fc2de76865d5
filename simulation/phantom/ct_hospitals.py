"""Who takes part in a CT study: names, sizes, scanners and random streams of its virtual hospitals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulation.phantom.ct_makes import Maker
from simulation.phantom.ct_scanners import MAKERS, CtProtocols, CtScanner, ct_outside_the_hull, draw_ct_scanner
from simulation.phantom.hospitals import hospital_sizes

_CASES, _SCANNER, _PATIENTS, _MAKES, _DISEASE = range(5)  # purposes of the random streams; append only


@dataclass(frozen=True, slots=True, kw_only=True)
class CtRoom:
    """A hospital before its case mix is known.

    seed     start of the random streams of its patients
    entropy  starts the stream of its case mix
    """

    name: str
    external: bool
    seed: int
    patients: int
    scanner: CtScanner
    entropy: tuple[int, ...]

    def random(self) -> np.random.Generator:
        """For the case mix."""
        return np.random.default_rng(self.entropy)


def ct_rooms(
    seed: int,
    train: int,
    external: int,
    *,
    scale: float,
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
    usual: CtProtocols,
) -> tuple[CtRoom, ...]:
    """Training hospitals H01, H02, …, then the external ones, whose scanners lie outside the others' range.

    Arguments and errors are those of `hospitals.phantom_hospitals`.

    Args:
        sizes: patients of the training and of the external hospitals; they repeat where there are more.
        usual: what the training hospitals scan with.
    """
    counts = hospital_sizes(seed, train, external, scale, sizes)
    return tuple(_room(seed, number, number - train, count, usual) for number, count in enumerate(counts))


def _room(seed: int, number: int, beyond: int, patients: int, usual: CtProtocols) -> CtRoom:
    """`beyond` counts external hospitals from 0; it is negative for a training hospital."""
    random, sign = np.random.default_rng([seed, number, _SCANNER]), 1 if (number + seed) % 2 else -1
    scanner = draw_ct_scanner(random, _maker_of(seed, number), sign, usual)
    return CtRoom(
        name=f"H{number + 1:02d}",
        external=beyond >= 0,
        seed=int(np.random.default_rng([seed, number, _PATIENTS]).integers(2**31)),
        patients=patients,
        scanner=ct_outside_the_hull(scanner, usual, beyond % 2) if beyond >= 0 else scanner,
        entropy=(seed, number, _CASES),
    )


def has_disease(hospital_seed: int, index: int, prevalence: float) -> bool:
    """Whether patient `index` (from 0) has it: so spread over a hospital that the smallest one has some who do.

    >>> sum(has_disease(7, index, 0.25) for index in range(40))
    10
    """
    start = float(np.random.default_rng([hospital_seed, _DISEASE]).random())
    return int((index + 1) * prevalence + start) > int(index * prevalence + start)


def _maker_of(seed: int, number: int) -> Maker:
    """Makers come in shuffled rounds, so that any four hospitals in a row from a round own all four."""
    turn, place = divmod(number, len(MAKERS))
    return MAKERS[int(np.random.default_rng([seed, turn, _MAKES]).permutation(len(MAKERS))[place])]
