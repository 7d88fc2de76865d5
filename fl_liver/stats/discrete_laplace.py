"""Discrete Laplace noise in shares, one a hospital, so that nobody knows the noise of a sum.

A discrete Laplace variable, P(k) ∝ α^|k|, is the difference of two geometric ones, and a geometric variable is the sum
of t negative-binomial ones with parameter 1/t (Polya). Each hospital adds the difference of two Polya(1/t, α) numbers:
the shares of any t hospitals add up to the whole noise, those of n > t hospitals to more than that. So the promise
holds as long as t honest hospitals' shares are in the sum, whatever the others do.

Numbers come from the operating system (`secrets`) by inversion of a table in integers of 128 bits: no floating-point
number decides on a draw (Mironov, CCS 2012), and the table is within 2⁻¹⁰⁰ of the distribution.
"""

from __future__ import annotations

import bisect
import secrets
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import ConfigError

_BITS = 128
_DIGITS = 60
_LEAST_EPSILON = 0.05
"""Below this the table grows beyond use, and the noise beyond any histogram."""


def noise_share(cells: int, epsilon: float, honest: int) -> NDArray[np.int64]:
    """(cells,) one hospital's share of the noise; shares of `honest` hospitals are discrete Laplace with α = e^−ε.

    Raises:
        ConfigError: ε below 0.05, or honest below 1.
    """
    table = _polya_table(epsilon, honest)

    def draw() -> int:
        return bisect.bisect_right(table, secrets.randbits(_BITS))

    return np.array([draw() - draw() for _ in range(cells)], np.int64)


def noise_variance(epsilon: float, honest: int, sites: int) -> float:
    """Variance of the noise in one cell of a sum over `sites` hospitals: (sites/honest) · 2α/(1 − α)²."""
    alpha = float(np.exp(-epsilon))
    return sites / honest * 2.0 * alpha / (1.0 - alpha) ** 2


@lru_cache(maxsize=16)
def _polya_table(epsilon: float, honest: int) -> tuple[int, ...]:
    """⌊2¹²⁸ · P(X <= k)⌋, k = 0, 1, … until nothing is left; X negative binomial, r = 1/honest, mean rα/(1−α)."""
    if not epsilon >= _LEAST_EPSILON or honest < 1:
        raise ConfigError(f"noise of ε = {epsilon} for {honest} hospitals: wanted ε >= {_LEAST_EPSILON}, 1 or more")
    with localcontext() as context:
        context.prec = _DIGITS
        alpha, r = (-Decimal(epsilon)).exp(), Decimal(1) / honest
        mass = (r * (1 - alpha).ln()).exp()
        total, whole, table, k = mass, Decimal(2) ** _BITS, [], 0
        while mass * whole >= 1:
            table.append(int(total * whole))
            mass *= alpha * (k + r) / (k + 1)
            total += mass
            k += 1
    return tuple(table)
