"""How contrast comes and goes: the textbook values of `ct` at any time after the bolus, in any person and room."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from simulation.phantom.anatomy import Tissue
from simulation.phantom.ct import TISSUE_HU, Curve
from simulation.phantom.lesion import Zone

KNOTS_S = (12.0, 35.0, 70.0, 180.0)
"""When the values of `ct` hold, seconds after the bolus begins; before the first nothing is enhanced."""
PLAIN_S = -math.inf

LesionCurves = Mapping[Zone, Curve]
"""Hounsfield units of each zone in the four phases of `ct`."""


def hu_at(curve: Curve, seconds: float, iodine: float = 1.0) -> float:
    """Hounsfield units of one curve.

    Args:
        iodine: factor of all enhancement.

    >>> hu_at((58, 70, 112, 96), 52.5), hu_at((58, 70, 112, 96), PLAIN_S), hu_at((58, 70, 112, 96), 70, iodine=0.5)
    (91.0, 58.0, 85.0)
    """
    enhanced = float(np.interp(seconds, KNOTS_S, curve)) - curve[0]
    return curve[0] + iodine * enhanced


def tissues_at(seconds: float, iodine: float) -> dict[Tissue, float]:
    """Every tissue of the body."""
    return {tissue: hu_at(curve, seconds, iodine) for tissue, curve in TISSUE_HU.items()}


def lesion_at(curves: LesionCurves, seconds: float, iodine: float) -> dict[Zone, float]:
    """Every zone of one lesion."""
    return {zone: hu_at(curve, seconds, iodine) for zone, curve in curves.items()}
