"""From the logits of a patient's images to the patient's score. Numpy, float64, never through a rounded probability.

A score near 1 has no digits left as a probability (1 − 1e-17 is 1) and would tie with others; as log-odds it has all.

The rule is the study's `model.patient`:

"mean"          log-odds of the mean probability p̄; the arg max over classes is that of the summed probabilities
"risk"          Wang 2021, corrected: r = −Σ wᵢ log10(1 − pᵢ), wᵢ = pᵢ / Σp
"risk_printed"  Wang 2021 as printed: the same / n. The weights already sum to one, so that a patient imaged twice as
                often scores half: p = [.9] has r = 1, p = [.9, .9] has .5; hospitals that image more would score lower.

A risk r is given as the log-odds of the probability 1 − 10⁻ʳ, that is log(10ʳ − 1), which rises with r: for one image
it is that image's logit, and `10⁻ʳ = 1 / (1 + exp(score))` gives r back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import ConfigError
from fl_liver.study_training import PatientRule

_SMALL = -40.0
"""Below it log(1 + eˣ) is eˣ to the last digit, and eˣ itself may be too small for a float64."""

_TINY = 1e-300


def patient_log_odds(
    logits: NDArray[np.float64], first: NDArray[np.int64], rule: PatientRule = "mean"
) -> NDArray[np.float64]:
    """The score of each patient from its images.

    logits   (m, K) of m images, the images of one patient side by side; K = 1: log-odds of disease
    first    (n,) index of each patient's first image, ascending, first[0] = 0
    returns  (n, K), any number. K > 1 (rule "mean" alone): each class against all others, where p is the softmax, so
             that a column is the score of a one-against-rest ROC

    Raises:
        ConfigError: a risk score of more than one output.

    >>> score = patient_log_odds(np.array([[0.0], [np.log(3.0)]]), np.array([0]))  # p̄ = (.5 + .75) / 2
    >>> round(float(score[0, 0]), 12)
    0.510825623766
    >>> twice = np.log([[9.0], [9.0]])  # p = [.9, .9]
    >>> [round(float(np.log10(1 + np.exp(patient_log_odds(twice, np.array([0]), rule)[0, 0]))), 12)
    ...  for rule in ("risk", "risk_printed")]
    [1.0, 0.5]
    """
    if rule != "mean" and logits.shape[1] != 1:
        raise ConfigError(
            f"model.patient '{rule}' is a score of one disease, the network has {logits.shape[1]} outputs;"
            " wanted 'mean', or a study of two classes"
        )
    if len(first) == 0:
        return np.zeros((0, logits.shape[1]))
    if rule != "mean":
        return _risk_log_odds(logits, first, divided=rule == "risk_printed")
    yes, no = _log_probabilities(logits)
    return np.logaddexp.reduceat(yes, first) - np.logaddexp.reduceat(no, first)


def _risk_log_odds(logits: NDArray[np.float64], first: NDArray[np.int64], *, divided: bool) -> NDArray[np.float64]:
    """log(10ʳ − 1), (n, 1). With s = r·ln 10 = Σ wᵢ log(1 + exp zᵢ), of which log s is summed on the log scale."""
    yes = -np.logaddexp(0, -logits)
    log_s = np.logaddexp.reduceat(yes + _log_softplus(logits), first) - np.logaddexp.reduceat(yes, first)
    if divided:
        log_s = log_s - np.log(np.diff(first, append=len(logits)))[:, None]
    s = np.exp(log_s)
    # log(eˢ − 1): s itself for a large one; for a small one log s + log((eˢ − 1) / s), whose last part is s / 2.
    large = s + np.log1p(-np.exp(-np.maximum(s, 1)))
    middle = np.clip(s, _TINY, 1)
    found: NDArray[np.float64] = np.where(s > 1, large, log_s + np.log(np.expm1(middle) / middle))
    return found


def _log_softplus(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(log(1 + eᶻ))."""
    return np.where(z < _SMALL, z, np.log(np.logaddexp(0, np.maximum(z, _SMALL))))


def _log_probabilities(logits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log p and log(1 − p), both (m, K)."""
    classes = logits.shape[1]
    if classes == 1:
        return -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    yes = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    no = [np.logaddexp.reduce(np.delete(yes, k, axis=1), axis=1) for k in range(classes)]
    return yes, np.stack(no, axis=1)
