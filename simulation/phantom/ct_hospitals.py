"""Who takes part in a CT study: names, sizes, scanners and random streams of its virtual hospitals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl_liver.errors import ConfigError
from simulation.phantom.ct_makes import Maker
from simulation.phantom.ct_scanners import MAKERS, CtProtocols, CtScanner, ct_outside_the_hull, draw_ct_scanner
from simulation.phantom.hospitals import MOST_HOSPITALS, SMALLEST_HOSPITAL

_CASES, _SCANNER, _PATIENTS, _MAKES = range(4)  # purposes of the random streams; append only


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
    sizes: tuple[Sequence[int], Sequence[int]],
    usual: CtProtocols,
) -> tuple[CtRoom, ...]:
    """Training hospitals H01, H02, …, then the external ones, whose scanners lie outside the others' range.

    A hospital depends on `seed`, its number and `train`, not on how many come after it.

    Args:
        seed: ≥ 0.
        train, external: numbers of hospitals, 1 ≤ train, 0 ≤ external, together at most 200.
        scale: multiplies every hospital's patients, > 0; at least 12 are left.
        sizes: patients of the training and of the external hospitals; they repeat where there are more.
        usual: what the training hospitals scan with.
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
    rooms = []
    for number in range(train + external):
        beyond = number - train
        like = sizes[beyond >= 0]
        patients = like[(beyond if beyond >= 0 else number) % len(like)]
        scanner = draw_ct_scanner(
            np.random.default_rng([seed, number, _SCANNER]),
            _maker_of(seed, number),
            1 if (number + seed) % 2 else -1,
            usual,
        )
        rooms.append(
            CtRoom(
                name=f"H{number + 1:02d}",
                external=beyond >= 0,
                seed=int(np.random.default_rng([seed, number, _PATIENTS]).integers(2**31)),
                patients=max(SMALLEST_HOSPITAL, round(patients * scale)),
                scanner=ct_outside_the_hull(scanner, usual, beyond % 2) if beyond >= 0 else scanner,
                entropy=(seed, number, _CASES),
            )
        )
    return tuple(rooms)


def _maker_of(seed: int, number: int) -> Maker:
    """Makers come in shuffled rounds, so that any four hospitals in a row from a round own all four."""
    turn, place = divmod(number, len(MAKERS))
    return MAKERS[int(np.random.default_rng([seed, turn, _MAKES]).permutation(len(MAKERS))[place])]
