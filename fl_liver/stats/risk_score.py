"""HCC risk of one patient from the probabilities of the patient's images (Wang et al., 2021). Local: no sums.

Printed: −Σ wᵢ log10(1 − pᵢ) / n with wᵢ = pᵢ / Σ p. The weights already sum to 1, so a patient imaged twice as often
scores half: [0.9] gives 1.0, [0.9, 0.9] gives 0.5. Kept as printed; `per_image=False` drops the 1/n.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fl_liver.errors import DataError

LARGEST_P = 1 - 1e-12
"""Probabilities are held below 1, where the logarithm would be infinite: one such image alone scores 12."""


def hcc_risk_score(p: ArrayLike, *, per_image: bool = True) -> float:
    """The risk score of one patient; 0 where every probability is 0.

    Args:
        p: (n,) image probabilities in [0, 1].
        per_image: True is the formula as printed; False leaves out the division by n.
    Raises:
        DataError: no image, or a value outside [0, 1].

    >>> round(hcc_risk_score([0.9]), 6), round(hcc_risk_score([0.9, 0.9]), 6)
    (1.0, 0.5)
    >>> round(hcc_risk_score([0.9, 0.9], per_image=False), 6)
    1.0
    """
    values = np.asarray(p, dtype=np.float64).ravel()
    if values.size == 0 or not ((values >= 0) & (values <= 1)).all():
        raise DataError("HCC risk score: wanted at least one image probability, each in [0, 1]")
    total = values.sum()
    if total == 0:
        return 0.0
    score = -float((values / total * np.log10(1 - np.minimum(values, LARGEST_P))).sum())
    return score / values.size if per_image else score
