"""Who takes part in a CT study: names, sizes, scanners and random streams of its virtual hospitals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulation.phantom.ct_scanners import MAKERS, CtProtocols, CtScanner, ct_outside_the_hull, draw_ct_scanner
from simulation.phantom.places import SCANNER, Place, places

_DISEASE = 4  # purpose of a random stream, beside those of `places`; append only


@dataclass(frozen=True, slots=True)
class CtRoom:
    """A hospital before its case mix is known."""

    place: Place
    scanner: CtScanner


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

    Arguments and errors are those of `places.places`.

    Args:
        usual: what the training hospitals scan with.
    """
    return tuple(CtRoom(place, _scanner(place, usual)) for place in places(seed, train, external, scale, sizes))


def _scanner(place: Place, usual: CtProtocols) -> CtScanner:
    scanner = draw_ct_scanner(place.random(SCANNER), place.make_of(MAKERS), place.sign, usual)
    return ct_outside_the_hull(scanner, usual, place.beyond % 2) if place.external else scanner


def has_disease(hospital_seed: int, index: int, prevalence: float) -> bool:
    """Whether patient `index` (from 0) has it: so spread over a hospital that the smallest one has some who do.

    >>> sum(has_disease(7, index, 0.25) for index in range(40))
    10
    """
    start = float(np.random.default_rng([hospital_seed, _DISEASE]).random())
    return int((index + 1) * prevalence + start) > int(index * prevalence + start)
