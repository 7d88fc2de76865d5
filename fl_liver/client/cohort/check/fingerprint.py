"""What a hospital's usable series look like in numbers: spacing, slices, intensities and makers, kind by kind.

A hospital whose T2 is 3 mm thick where all others have 7 is seen here before it is seen in a result. Stays inside.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fl_liver.client.cohort.series.series import Series


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of one measure, ascending; never empty."""

    values: tuple[float, ...]

    @property
    def minimum(self) -> float:
        return self.values[0]

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def maximum(self) -> float:
        return self.values[-1]


@dataclass(frozen=True, slots=True)
class Intensity:
    """Percentiles of the grey values (HU in CT) of one series within `region`, such as "lesion" or "body"."""

    region: str
    p5: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """n usable series of one kind; a spread is None where no series of the kind has the measure.

    intensity   region → spreads of the 5th, 50th and 95th percentiles of its series
    makers      (maker, series), most frequent first; "" where the tag is empty
    """

    what: str
    n: int
    slices: Spread | None
    row_mm: Spread | None
    column_mm: Spread | None
    slice_mm: Spread | None
    intensity: tuple[tuple[str, tuple[Spread, Spread, Spread]], ...] = ()
    makers: tuple[tuple[str, int], ...] = ()


def fingerprints(
    series: Sequence[Series], intensities: Mapping[str, Sequence[Intensity]] | None = None
) -> tuple[Fingerprint, ...]:
    """One fingerprint for each kind of usable series, by name of the kind.

    Args:
        intensities: by the series' pseudonym, the percentiles that the caller took where it read pixels.
    """
    groups: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        if one.usable:
            groups[one.kind or one.modality or "unknown"].append(one)
    return tuple(_of_kind(what, groups[what], intensities or {}) for what in sorted(groups))


def spread(values: Iterable[float | None]) -> Spread | None:
    """The spread of the values that are there and finite; None where there is none.

    >>> spread([3.0, None, 1.0])
    Spread(values=(1.0, 3.0))
    """
    there = sorted(float(v) for v in values if v is not None and np.isfinite(v))
    return Spread(tuple(there)) if there else None


def _of_kind(what: str, series: Sequence[Series], intensities: Mapping[str, Sequence[Intensity]]) -> Fingerprint:
    row, column, between = (spread(one.spacing_mm[axis] for one in series if one.spacing_mm) for axis in range(3))
    counted = Counter(one.members[0].header.manufacturer if one.members else "" for one in series)
    return Fingerprint(
        what=what,
        n=len(series),
        slices=spread(one.slices for one in series),
        row_mm=row,
        column_mm=column,
        slice_mm=between,
        intensity=_by_region([entry for one in series for entry in intensities.get(one.id, ())]),
        makers=tuple(sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))),
    )


def _by_region(entries: Sequence[Intensity]) -> tuple[tuple[str, tuple[Spread, Spread, Spread]], ...]:
    found = []
    for region in sorted({entry.region for entry in entries}):
        here = [entry for entry in entries if entry.region == region]
        low, middle, high = (spread(getattr(entry, name) for entry in here) for name in ("p5", "p50", "p95"))
        if low and middle and high:
            found.append((region, (low, middle, high)))
    return tuple(found)
