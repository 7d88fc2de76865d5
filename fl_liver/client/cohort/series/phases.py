"""One SeriesInstanceUID that holds several volumes: which slices make each of them.

Diffusion is stored so by most machines, and its b-values part it without asking. Contrast phases are parted only where
the hospital's series.toml names what tells them apart: a guess here would mix phases without a word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.read.header import Header

SplitBy = Literal["temporal_position", "acquisition_number", "trigger_ms", "acquired_s", "echo_ms", "image_type"]
"""What series.toml may name; `echo_ms` and `image_type` part in-phase, opposed-phase, water and fat images."""
_B_VALUE = "b_value"
_KEYWORDS: dict[str, str] = {
    _B_VALUE: "DiffusionBValue",
    "temporal_position": "TemporalPositionIdentifier",
    "acquisition_number": "AcquisitionNumber",
    "trigger_ms": "TriggerTime",
    "echo_ms": "EchoTime",
    "image_type": "ImageType",
    "acquired_s": "AcquisitionTime",
}
_SAME_PLACE_MM = 1e-3
_SAME_COSINE = 2e-3


def split_phases(headers: Sequence[Header], by: Sequence[str]) -> list[list[int]] | None:
    """Indices of the slices of each volume, ascending; volumes in ascending order of what tells them apart.

    The first of b-value and then `by`, in its order, that parts the slices into volumes which each hold every place
    exactly once. None where the series is one volume, where nothing of `by` parts it so, or where a slice has no place.

    Args:
        by: names of `SplitBy`; the b-value needs no naming.
    """
    places = _places(headers)
    if places is None or len(set(places)) == len(headers):
        return None
    parted = (_parts(headers, places, name) for name in (_B_VALUE, *by))
    return next((parts for parts in parted if parts is not None), None)


def told_apart_by(headers: Sequence[Header]) -> str | None:
    """The DICOM keyword of what would part a series into whole volumes, "AcquisitionNumber" say; None where nothing."""
    places = _places(headers)
    if places is None or len(set(places)) == len(headers):
        return None
    return next((word for name, word in _KEYWORDS.items() if _parts(headers, places, name) is not None), None)


def _places(headers: Sequence[Header]) -> list[int] | None:
    """The place of each slice along the common normal, counted from 0; None without one orientation and all places."""
    positions = [header.position_mm for header in headers if header.position_mm is not None]
    axes = np.array([header.orientation for header in headers if header.orientation is not None], dtype=np.float64)
    if not headers or len(positions) < len(headers) or len(axes) < len(headers):
        return None
    if np.ptp(axes, axis=0).max() > _SAME_COSINE:
        return None
    normal = np.cross(axes[0, :3], axes[0, 3:])
    depth: NDArray[np.float64] = np.array(positions, dtype=np.float64) @ normal
    order = np.argsort(depth, kind="stable")
    rank = np.concatenate(([0], np.cumsum(np.diff(depth[order]) > _SAME_PLACE_MM)))
    places = np.empty(len(headers), dtype=np.int64)
    places[order] = rank
    return [int(place) for place in places]


def _parts(headers: Sequence[Header], places: list[int], name: str) -> list[list[int]] | None:
    """The slices grouped by one attribute, where each group holds every place exactly once and there are several."""
    groups: dict[tuple[bool, float | tuple[str, ...]], list[int]] = defaultdict(list)
    for i, header in enumerate(headers):
        value = header.image_type if name == "image_type" else getattr(header.acquisition, name)
        # A slice without the attribute is a value of its own: of some machines b = 0 is stored without a b-value.
        groups[value is not None, value if value is not None else 0.0].append(i)
    every = sorted(set(places))
    whole = all(sorted(places[i] for i in group) == every for group in groups.values())
    return [groups[key] for key in sorted(groups)] if len(groups) > 1 and whole else None
