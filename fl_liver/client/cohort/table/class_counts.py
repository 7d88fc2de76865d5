"""Classes of which a hospital has too few patients to say anything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.series.geometry import Fault


def class_count_faults(labels: NDArray[np.int64], classes: Mapping[str, str], least: int = 5) -> list[Fault]:
    """W_CLASS_COUNT_SMALL for each class with fewer than `least` patients, also none, in the order of `classes`.

    Args:
        labels: (n,) index into `classes`, as `Cohort.label`.
        classes: name → code, as `study.task.classes`.
    """
    counts = np.bincount(labels, minlength=len(classes))
    return [
        ("W_CLASS_COUNT_SMALL", f"class '{name}' has {counted(int(count), 'patient')}; wanted {least} or more")
        for name, count in zip(classes, counts, strict=True)
        if count < least
    ]
