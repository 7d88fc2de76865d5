"""An AUC from one histogram, for a learning curve: one exchange, and a bound on how far it is from the exact one."""

from __future__ import annotations

import numpy as np

from fl_liver.stats import keys
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.delong import auc_and_variance
from fl_liver.stats.refine import BINARY_LEVELS, FIRST_BITS, bins_question


def coarse_auc(score: str, label: str, *, key: keys.Key = "logit32") -> Conversation[float | None]:
    """AUC of 2¹² bins; None where a class has nobody. Off by at most half the share of pairs that share a bin."""
    question = bins_question(score, label, BINARY_LEVELS, key, np.zeros(1, np.uint64), 0, FIRST_BITS)
    (total,) = yield [question]
    negatives, positives = total.reshape(2, -1)
    if not negatives.any() or not positives.any():
        return None
    return float(auc_and_variance(negatives, positives)[0])
