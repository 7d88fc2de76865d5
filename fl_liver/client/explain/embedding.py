"""The last hidden layer in two dimensions: t-SNE (van der Maaten and Hinton, JMLR 9, 2008), as three of the papers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError

PERPLEXITY = 50.0
"""Zhen 2020; (n − 1) / 3 where that is less."""
LEAST = 4


def embedded(features: NDArray[np.float32], *, seed: int = 2020) -> NDArray[np.float64]:
    """(m, d) features → (m, 2) places. Equal arguments give equal places on the same kind of machine.

    Distances between groups and sizes of groups mean nothing in a t-SNE; who lies beside whom does.

    Raises:
        DataError: fewer than 4 images, or a feature that is not finite.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if features.ndim != 2 or len(features) < LEAST:
        raise DataError(f"t-SNE of {features.shape}: wanted {LEAST} images or more with their features")
    if not np.isfinite(features).all():
        raise DataError("t-SNE: a feature is not finite; look at the model's training")
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    with threadpool_limits(1):  # threads that share cores with other processes wait for each other: minutes for seconds
        return np.asarray(places.fit_transform(features.astype(np.float64)), dtype=np.float64)
