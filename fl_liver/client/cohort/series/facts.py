"""What `recognise` knows of a series: the facts of its headers that tell a sequence or a contrast phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fl_liver.client.cohort.read.acquisition import Acquisition
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.series.geometry import orientation_name
from fl_liver.errors import DataError

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """One volume.

    acquisition   of its slice acquired first
    acquired_s    seconds after midnight at which the first slice was acquired; above 86400 after the midnight of a scan
    contrast      whether any slice names an agent; False proves nothing
    contrast_s    seconds after midnight at which the agent was given
    b_value       the largest, s/mm²
    echoes        different echo times
    slices        different places; images where places are not stated
    orientation   "axial", "oblique axial", "coronal", …; None where not stated
    """

    modality: str
    image_type: tuple[str, ...]
    acquisition: Acquisition
    acquired_s: float | None = field(default=None, repr=False)
    contrast: bool = False
    contrast_s: float | None = field(default=None, repr=False)
    b_value: float | None = None
    echoes: int = 1
    rows: int = 0
    slices: int = 0
    orientation: str | None = None


def facts_of(headers: Sequence[Header]) -> SeriesFacts:
    """Sum up the headers of one series, in any order; the frames of an enhanced file are given one by one.

    Raises:
        DataError: no header was given.
    """
    if not headers:
        raise DataError("a series without headers has no facts; give the header of at least one slice")
    times = unwrapped([one.acquisition.acquired_s for one in headers])
    # Not by position in the list: facts must not depend on the order of files.
    ranked = sorted(zip(times, headers, strict=True), key=lambda pair: (_last(pair[0]), pair[1].instance_number))
    acquired_s, first = ranked[0]
    stated = [one.acquisition for one in headers]
    return SeriesFacts(
        modality=first.modality,
        image_type=first.image_type,
        acquisition=replace(first.acquisition, acquired_s=acquired_s),
        acquired_s=acquired_s,
        contrast=any(one.contrast for one in stated),
        contrast_s=min((one.contrast_s for one in stated if one.contrast_s is not None), default=None),
        b_value=max((one.b_value for one in stated if one.b_value is not None), default=None),
        echoes=max(1, len({round(one.echo_ms, 1) for one in stated if one.echo_ms is not None})),
        rows=first.rows,
        slices=_places(headers),
        orientation=_orientation(first),
    )


def unwrapped(times_s: Sequence[float | None]) -> list[float | None]:
    """Times of day of one study; where they span midnight, those after it count on beyond 86400.

    >>> unwrapped([86390.0, 5.0, None])
    [86390.0, 86405.0, None]
    """
    known = [time for time in times_s if time is not None]
    spans_midnight = bool(known) and max(known) - min(known) > _DAY_S / 2
    return [t + _DAY_S if t is not None and spans_midnight and t < _DAY_S / 2 else t for t in times_s]


def _last(time: float | None) -> float:
    return float("inf") if time is None else time


def _places(headers: Sequence[Header]) -> int:
    """Different positions; images where any has none. Several phases or directions at one place count once."""
    placed = [one.position_mm for one in headers if one.position_mm is not None]
    if len(placed) < len(headers):
        return sum(one.frames if one.frame == 0 else 1 for one in headers)
    return len({tuple(round(value, 2) for value in position) for position in placed})


def _orientation(header: Header) -> str | None:
    if header.orientation is None:
        return None
    axes = np.array(header.orientation, dtype=np.float64)
    normal = np.cross(axes[:3], axes[3:])
    return orientation_name(normal) if float(np.linalg.norm(normal)) > 0 else None
