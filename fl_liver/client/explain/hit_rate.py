"""How often a heat map points at the lesion that a person drew.

The pointing game (Zhang et al., ECCV 2016, without its margin): a map hits where its maximum lies in the mask. Maps of
few positions have their maximum on many pixels: half of them or more must lie inside. A stricter form asks the same of
a map's highest pixels, say the upper 2 %. What chance gives is the lesion's share of the image, stated beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError
from fl_liver.stats.proportion import Proportion, as_proportion

DRAWN = 0.5
"""Share of a pixel that the lesion covers, from which it counts as lesion."""
TOP = 0.02


@dataclass(frozen=True, slots=True)
class HitRate:
    """One method's rates over images with a lesion, Clopper–Pearson 95 %; `by_chance` is the lesion's mean share."""

    maximum: Proportion
    top: Proportion
    by_chance: float


def hits(maps: NDArray[np.float32], masks: NDArray[np.float32], top: float | None = None) -> NDArray[np.bool_]:
    """Whether each map hits, (m,).

    maps    (m, H, W) ≥ 0; a map of zeros points nowhere and misses
    masks   (m, H, W) in 0 … 1, the drawn lesion
    top     share of the pixels that are looked at, the highest; by default the maximum alone, with all that tie
    Raises:
        DataError: shapes that differ, or a mask without a lesion: such images are not asked about.
    """
    if maps.shape != masks.shape or maps.ndim != 3:
        raise DataError(f"heat maps {maps.shape} and masks {masks.shape}: wanted (images, rows, columns) twice, equal")
    drawn = masks >= DRAWN
    if not drawn.any((1, 2)).all():
        raise DataError(f"{int((~drawn.any((1, 2))).sum())} of {len(drawn)} masks are empty; hits are asked of lesions")
    flat = maps.reshape(len(maps), maps.shape[1] * maps.shape[2])
    count = 1 if top is None else max(1, math.ceil(top * flat.shape[1]))
    least = np.partition(flat, -count, axis=1)[:, -count] if len(flat) else flat[:, :0].sum(1)
    looked_at = (flat >= least[:, None]) & (flat > 0)
    inside = (looked_at & drawn.reshape(flat.shape)).sum(1)
    found: NDArray[np.bool_] = looked_at.any(1) & (2 * inside >= looked_at.sum(1))
    return found


def hit_rate(maximum: NDArray[np.bool_], top: NDArray[np.bool_], share: NDArray[np.float64]) -> HitRate:
    """Of images that are taken as independent: one a patient (`Explained.rate`), or the interval is too narrow.

    share   (m,) of the image that the lesion covers
    """
    return HitRate(
        as_proportion(int(maximum.sum()), len(maximum)),
        as_proportion(int(top.sum()), len(top)),
        float(share.mean()) if len(share) else math.nan,
    )
