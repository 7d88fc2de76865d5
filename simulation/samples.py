"""A few phantom lesions of each hospital for the report, as the network sees them: how much devices differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.site import load_site
from fl_liver.study import Study

PER_HOSPITAL = 3
DARKEST, BRIGHTEST = 1.0, 99.0
"""Percentiles of an image that are shown black and white."""


def sample_images(study: Study, hospitals: Path, taking_part: Sequence[str]) -> dict[str, list[NDArray[np.uint8]]]:
    """Hospital → the first lesion image of its first patients, grey (rows, columns). Only for phantom patients.

    Of several sequences the first is shown.
    """
    found: dict[str, list[NDArray[np.uint8]]] = {}
    for name in taking_part:
        cohort = load_cohort(load_site(hospitals / name / "site.toml"), study)
        first = np.searchsorted(cohort.owner, np.arange(min(PER_HOSPITAL, len(cohort.patients))))
        found[name] = [_grey(cohort.images["lesion"][index]) for index in first]
    return found


def _grey(image: NDArray[np.float16]) -> NDArray[np.uint8]:
    """(H, W) or (C, H, W), on any scale."""
    first = (image[0] if image.ndim == 3 else image).astype(np.float32)
    low, high = np.percentile(first, [DARKEST, BRIGHTEST])
    grey: NDArray[np.uint8] = ((first - low) / max(float(high - low), 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return grey
