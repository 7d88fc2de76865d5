"""The physical features of every nodule of a cohort, each with what the network says of it, ready to be compared."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.explain.clusters import by_probability, clustered
from fl_liver.client.explain.explained import Explained
from fl_liver.client.explain.hit_rate import DRAWN
from fl_liver.client.explain.physical import NAMES, in_hu, middle_one, physical, pixel_mm
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study


@dataclass(frozen=True, slots=True, eq=False)
class Nodules:
    """n nodules, each in its image with the largest area.

    values       feature → (n,) float64
    truth        (n,) 1 where disease
    probability  (n,) clusters of the network's probability, lowest first; `levels` their means
    alike        (n,) two clusters of the four features, K-means; 1 has the larger area
    """

    values: dict[str, NDArray[np.float64]] = field(repr=False)
    truth: NDArray[np.int64]
    probability: NDArray[np.int64]
    levels: tuple[float, ...]
    alike: NDArray[np.int64]

    def p_value(self, feature: str, group: NDArray[np.int64]) -> float:
        """Kruskal–Wallis over the groups (of two, the rank-sum test's); NaN where there is one group or one value."""
        known = np.isfinite(self.values[feature])
        parts = [self.values[feature][(group == one) & known] for one in np.unique(group)]
        parts = [one for one in parts if len(one)]
        if len(parts) < 2 or len(np.unique(np.concatenate(parts))) < 2:
            return float("nan")
        return float(stats.kruskal(*parts).pvalue)

    @property
    def agreement(self) -> float:
        """Share of nodules whose cluster of features is their truth, under the better of both namings."""
        same = float((self.alike == self.truth).mean())
        return max(same, 1 - same)


def nodules_of(study: Study, cohort: Cohort, explained: Explained) -> Nodules:
    """Features of the explained nodules that have a drawn outline.

    Raises:
        ConfigError: no patches in HU of a known size, or no masks.
        DataError: fewer than two different nodules.
    """
    side_mm, window = pixel_mm(study), study.cohort.window_hu
    if "mask" not in cohort.images or window is None:
        raise ConfigError(f"study {study.name}: physical features need drawn nodules; set [cohort] masks = true")
    rows = explained.rows[explained.chosen]
    masks = cohort.images["mask"][rows].astype(np.float64)
    drawn = (masks >= DRAWN).any((1, 2))
    patches = in_hu(cohort.images["lesion"][rows], window)
    found = [physical(patches[i], middle_one(masks[i]), side_mm).row for i in np.flatnonzero(drawn)]
    if len(set(found)) < 2:
        raise DataError(f"{len(found)} drawn nodules; physical features are compared between two or more")
    values, says = np.array(found), explained.probability[drawn]
    level = by_probability(says)
    positive = [list(study.task.classes).index(name) for name in study.task.positive]
    truth = np.isin(cohort.label[explained.patients[drawn]], positive).astype(np.int64)
    # A nodule that fills its patch has no outer margin.
    known = np.where(np.isfinite(values), values, np.nanmean(values, axis=0))
    return Nodules(
        values=dict(zip(NAMES, values.T, strict=True)),
        truth=truth,
        probability=level,
        levels=tuple(float(says[level == one].mean()) for one in np.unique(level)),
        alike=clustered(known, 2),
    )
