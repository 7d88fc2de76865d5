"""Groups that nobody named: K-means of nodules by their physical features, and by what the network says of them.

Khalili 2020 shows the four features by truth, and by "clusters of nodules with similar CNN derived malignancy
probability (k-means cluster plots)"; the number of clusters is not printed. Its figure 4 shows six, so six are made
here, fewer where there are few nodules. Lloyd's algorithm, k-means++ starts (scikit-learn), columns standardised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError

BY_PROBABILITY = 6
STARTS = 10


def clustered(values: NDArray[np.float64], count: int, *, seed: int = 2020) -> NDArray[np.int64]:
    """(n,) cluster of each row of (n, d), 0 … count − 1, numbered by the first column's mean, ascending.

    Raises:
        DataError: fewer different rows than clusters, or a value that is not finite.
    """
    from sklearn.cluster import KMeans

    if values.ndim != 2 or not np.isfinite(values).all():
        raise DataError(f"K-means of {values.shape}: wanted finite numbers, one row a nodule")
    if (different := len(np.unique(values, axis=0))) < count:
        raise DataError(f"K-means: {different} different rows, wanted {count} clusters or more of them")
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    label: NDArray[np.int64] = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(scaled)
    means = [values[label == cluster, 0].mean() for cluster in range(count)]
    place = np.empty(count, dtype=np.int64)
    place[np.argsort(means, kind="stable")] = np.arange(count)
    numbered: NDArray[np.int64] = place[label]
    return numbered


def by_probability(probability: NDArray[np.float64], *, seed: int = 2020) -> NDArray[np.int64]:
    """Clusters (n,) of (n,) probabilities, lowest first: six, or one for every five nodules where that is fewer."""
    different = len(np.unique(probability))
    count = max(1, min(BY_PROBABILITY, len(probability) // 5, different))
    return clustered(probability[:, None], count, seed=seed)
