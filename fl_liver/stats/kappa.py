"""Cohen's kappa: agreement of two raters beyond chance.

Cohen, Educ Psychol Meas 20 (1960) 37-46; Fleiss, Cohen and Everitt, Psychol Bull 72 (1969) 323-327 for the two standard
errors: the one under no agreement tests kappa = 0 (R irr::kappa2), the other (`ase`) gives an interval (R vcd::Kappa).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fl_liver.stats.conversation import Conversation
from fl_liver.stats.cross_table import cross_table, shaped
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.levels import learn_levels
from fl_liver.stats.result import json_fields


@dataclass(frozen=True, slots=True)
class CohenKappa:
    """`z` and `p` test kappa = 0; `ase` is the standard error for an interval. NaN where chance alone agrees fully."""

    kappa: float
    z: float
    p: float
    ase: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """JSON values as the analysis contract names them; a number that is not finite is null."""
        return json_fields(self)


def kappa_of_table(table: NDArray[np.int64]) -> CohenKappa:
    """Cohen's kappa of a (K, K) table of counts, rater a along the rows.

    >>> round(kappa_of_table(np.array([[171, 47], [26, 141]])).kappa, 4)      # Wang 2021, table 2, prints 0.620
    0.6196
    """
    n = int(table.sum())
    rows, columns = (table.sum(axis).tolist() for axis in (1, 0))
    chance = sum(row * column for row, column in zip(rows, columns, strict=True))
    if n == 0 or chance == n * n:
        return CohenKappa(kappa=math.nan, z=math.nan, p=math.nan, ase=math.nan, n=n)
    kappa = (n * int(np.trace(table)) - chance) / (n * n - chance)
    # pe + pe² − Σ p q (p + q), over the common denominator n³, so that nothing cancels in floating point
    cubic = sum(row * column * (row + column) for row, column in zip(rows, columns, strict=True))
    null_variance = (chance * n * n + chance * chance - cubic * n) / n**4 / n
    se = math.sqrt(max(null_variance, 0.0)) / (1 - chance / n**2)
    z = kappa / se if se else math.nan
    return CohenKappa(kappa=kappa, z=z, p=float(2 * stats.norm.sf(abs(z))), ase=_ase(table, kappa), n=n)


def cohen_kappa(raters: tuple[str, str], *, min_cell: int = 5) -> Conversation[CohenKappa]:
    """Agreement of two raters' columns, over the levels that either uses.

    Raises:
        PrivacyError: a rater gave a level to fewer than `min_cell` patients. The table's cells have no floor.
    """
    levels = yield from learn_levels(raters, min_cell=min_cell)
    both: dict[str, Sequence[str]] = dict.fromkeys(raters, levels)
    (total,) = yield [cross_table(both, margins=True)]
    table = shaped(total, both)
    require_somebody(int(table.sum()), f"kappa of '{raters[0]}' and '{raters[1]}'")
    for rater, counts in zip(raters, (table.sum(1), table.sum(0)), strict=True):
        require_floor({f"{rater} = {level}": int(m) for level, m in zip(levels, counts, strict=True)}, min_cell)
    return kappa_of_table(table)


def _ase(table: NDArray[np.int64], kappa: float) -> float:
    n = table.sum()
    p = table / n
    row, column = p.sum(1), p.sum(0)
    chance = float(row @ column)
    diagonal = float((np.diag(p) * (1 - (row + column) * (1 - kappa)) ** 2).sum())
    off = p * (column[:, None] + row[None, :]) ** 2
    rest = (1 - kappa) ** 2 * float(off.sum() - np.trace(off))
    variance = diagonal + rest - (kappa - chance * (1 - kappa)) ** 2
    return math.sqrt(max(variance, 0.0) / n) / (1 - chance)
