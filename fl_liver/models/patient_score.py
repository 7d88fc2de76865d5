"""From the logits of a patient's images to the patient's score. Numpy, float64, never through a rounded probability.

A score near 1 has no digits left as a probability (1 − 1e-17 is 1) and would tie with others; as log-odds it has all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def patient_log_odds(logits: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log-odds of the mean probability over each patient's images.

    logits   (m, K) of m images, the images of one patient side by side; K = 1: log-odds of disease
    first    (n,) index of each patient's first image, ascending, first[0] = 0
    returns  (n, K); K = 1: log(p̄ / (1 − p̄)). K > 1: the same for each class against all others, where p is the softmax,
             so that a column is the score of a one-against-rest ROC, and the arg max is that of the mean probabilities.

    Both log Σp and log Σ(1 − p) are summed on the log scale; the number of images cancels.

    >>> score = patient_log_odds(np.array([[0.0], [np.log(3.0)]]), np.array([0]))  # p̄ = (.5 + .75) / 2
    >>> round(float(score[0, 0]), 12)
    0.510825623766
    """
    if len(first) == 0:
        return np.zeros((0, logits.shape[1]))
    yes, no = _log_probabilities(logits)
    return np.logaddexp.reduceat(yes, first) - np.logaddexp.reduceat(no, first)


def _log_probabilities(logits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log p and log(1 − p), both (m, K)."""
    classes = logits.shape[1]
    if classes == 1:
        return -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    yes = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    no = [np.logaddexp.reduce(np.delete(yes, k, axis=1), axis=1) for k in range(classes)]
    return yes, np.stack(no, axis=1)
