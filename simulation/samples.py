"""A few phantom lesions of each hospital for the report, as the network sees them: how much devices differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.site import load_site
from fl_liver.server.report.sample_images import grey
from fl_liver.study import Study

PER_HOSPITAL = 3


def sample_images(study: Study, hospitals: Path, taking_part: Sequence[str]) -> dict[str, list[NDArray[np.uint8]]]:
    """Hospital → the first lesion image of its first patients, grey (rows, columns). Only for phantom patients.

    Of several sequences the first is shown.
    """
    found: dict[str, list[NDArray[np.uint8]]] = {}
    for name in taking_part:
        cohort = load_cohort(load_site(hospitals / name / "site.toml"), study)
        first = np.searchsorted(cohort.owner, np.arange(min(PER_HOSPITAL, len(cohort.patients))))
        found[name] = [grey(cohort.images["lesion"][index]) for index in first]
    return found
