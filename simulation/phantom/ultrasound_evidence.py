"""What an ideal observer of an ultrasound lesion knows: Bayes' rule on the true latents, from which readers are drawn.

Nobody sees the latents through speckle, so that a network stays below this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simulation.phantom.patients import Lesion
from simulation.phantom.subtypes import BENIGN, LOOKS, MALIGNANT, Look, Subtype


def malignancy_log_odds(
    lesion: Lesion, benign: Sequence[Subtype] = BENIGN, malignant: Sequence[Subtype] = MALIGNANT
) -> float:
    """Log-odds that a lesion is malignant, where both sides are as likely, and the subtypes of each side too.

    The densities are those that `patients` draws from, before values are clipped to their range.
    """
    sides = [np.logaddexp.reduce([log_density(lesion, LOOKS[one]) for one in kinds]) for kinds in (malignant, benign)]
    return float(sides[0] - sides[1] - math.log(len(malignant) / len(benign)))


def log_density(lesion: Lesion, look: Look) -> float:
    """Log density of a lesion's latents among those of one subtype, less a constant."""
    median_mm, log_sd = look.size_mm
    values = (
        (lesion.echo_db, look.echo_db),
        (lesion.margin_mm, look.margin_mm),
        (lesion.irregularity, look.irregularity),
        (lesion.heterogeneity_db, look.heterogeneity_db),
        (lesion.posterior_db, look.posterior_db),
        (math.log(lesion.size_mm), (math.log(median_mm), log_sd)),
    )
    normal = sum(-0.5 * ((value - mean) / sd) ** 2 - math.log(sd) for value, (mean, sd) in values)
    return normal + math.log(look.halo if lesion.halo else 1 - look.halo)
