"""One patient's pixels and drawn lesions, looked at in a guarded process: what is wrong, and pictures for a person.

Runs in a worker (`read.decoders`); what goes in and comes out is small, volumes stay inside. A file that ends or stops
the worker is found afterwards, one by one, by `blame`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.check.contact_sheet import Tile, box_tile, tile_from_slice, volume_tiles
from fl_liver.client.cohort.check.fingerprint import Intensity
from fl_liver.client.cohort.codes import UnusableError, counted, finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.lesions.boxes import Box, require_inside
from fl_liver.client.cohort.lesions.drawn import Drawn, read_drawn
from fl_liver.client.cohort.lesions.roi_checks import largest_diameter_mm, present_labels, roi_faults, volume_ml
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.image_hash import image_hashes
from fl_liver.client.cohort.read.pixels import read_slices
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.series.grid import Volume
from fl_liver.client.cohort.series.series import Series, Slice
from fl_liver.client.cohort.series.volume import read_volume
from fl_liver.client.cohort.ultrasound.still_look import look_at_still

LIVER_WINDOW_HU = (-110.0, 190.0)
_AIR_HU = (-1100.0, -900.0)
_BODY_HU = -600.0
_PEAK_HU = 100.0
_MOST_HU = 4095.0
_STILLS = frozenset({"US", "IVUS"})
CASE_S = 300.0
"""Wall time for one patient's images."""

_SHOWN_FRAMES = 8


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """One patient as the headers tell of him; `series` are the usable ones, `shown` whether pictures are wanted."""

    case: str
    series: tuple[Series, ...]
    masks: tuple[Path, ...] = field(default=(), repr=False)
    boxes: tuple[Box, ...] = ()
    shown: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CaseFound:
    """hashes: SHA-256 of the pixels of every image that is not blank; intensities: (series, percentiles)."""

    findings: tuple[Finding, ...] = ()
    hashes: frozenset[str] = frozenset()
    tiles: tuple[Tile, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    intensities: tuple[tuple[str, Intensity], ...] = ()


def look_at(files: CaseFiles) -> CaseFound:
    """Decode every usable series of a patient, and hold what was drawn against them."""
    drawn = read_drawn(files.masks, files.series)
    told = [finding(code, files.case, cause, series_id) for (code, cause), series_id in drawn.faults]
    found = [CaseFound(tuple(told), notes=_notes(drawn))]
    for series in files.series:
        try:
            found.append(_stills(series, files) if series.modality in _STILLS else _volume(series, files, drawn))
        except UnusableError as error:
            found.append(CaseFound((error.finding(files.case, series.id),)))
    return CaseFound(
        findings=tuple(one for part in found for one in part.findings),
        hashes=frozenset().union(*(part.hashes for part in found)),
        tiles=tuple(tile for part in found for tile in part.tiles),
        notes=tuple(note for part in found for note in part.notes),
        intensities=tuple(one for part in found for one in part.intensities),
    )


def blame(one: Slice) -> None:
    """Decode one file, so that the one that ends its process is known."""
    read_slices(one.path, [one.header])


def _notes(drawn: Drawn) -> tuple[str, ...]:
    """Of each lesion; they are numbered where a mask has several."""
    found: list[str] = []
    for one in drawn.masks:
        labels = present_labels(one.mask)
        for label in labels:
            name = "lesion" if len(labels) == 1 else f"lesion {label}:"
            found.append(f"{name} {largest_diameter_mm(one.mask, label):.0f} mm, {volume_ml(one.mask, label):.1f} ml")
    return tuple(found)


def _volume(series: Series, files: CaseFiles, drawn: Drawn) -> CaseFound:
    if series.grid is None:
        return CaseFound()
    volume = read_volume(series)
    mask, own = drawn.on(series), drawn.of(series.id)
    faults = _hounsfield_faults(volume, series.header) if series.modality == "CT" else []
    faults += [] if own is None else roi_faults(own, volume.grid)
    window = LIVER_WINDOW_HU if series.modality == "CT" else None
    title = series.kind or series.modality
    return CaseFound(
        findings=tuple(finding(code, files.case, cause, series.id) for code, cause in faults),
        hashes=image_hashes(volume.values),
        tiles=_tiles(title, volume, mask, window, files, series) if files.shown else (),
        intensities=tuple((series.id, one) for one in _intensities(volume, mask)),
    )


def _tiles(
    title: str,
    volume: Volume,
    mask: NDArray[np.uint16] | None,
    window: tuple[float, float] | None,
    files: CaseFiles,
    series: Series,
) -> tuple[Tile, ...]:
    """One tile a series where there are several, and one whole slice, so that a patient's sequences stand in a row.

    Of several lesions each has a tile of its own.
    """
    volumes = [one.id for one in files.series if one.grid is not None]
    values, spacing_mm, whole = volume.values, volume.grid.spacing_mm, series.id == volumes[0]
    labels = [] if mask is None else [int(label) for label in np.flatnonzero(np.bincount(mask.ravel())) if label]
    if mask is None or len(labels) < 2:
        count = 3 if len(volumes) == 1 else 1
        return volume_tiles(title, values, mask, spacing_mm, count, window=window, whole=whole)
    tiles = volume_tiles(title, values, mask, spacing_mm, 0, window=window, whole=whole)
    for label in labels:
        named = f"lesion {label}, {title}"
        tiles += volume_tiles(named, values, mask == label, spacing_mm, 1, window=window, whole=False)
    return tiles


def _hounsfield_faults(volume: Volume, header: Header) -> list[Fault]:
    """W_HU_RANGE, judged on some pixels of sixteen slices.

    Air is taken for air where it forms a peak; an image without one (cropped, or a test pattern) is not judged by it.
    """
    every = max(1, min(volume.values.shape[1:]) // 64)
    sparse = volume.values[:: max(1, len(volume.values) // 16), ::every, ::every].astype(np.float32)
    if header.padding is not None:
        sparse = sparse[sparse != header.padding * header.slope + header.intercept]
    if not sparse.size:
        return []
    if float(sparse.max()) > _MOST_HU:
        return [("W_HU_RANGE", f"values to {sparse.max():.0f} HU, at most {_MOST_HU:.0f} are to be expected")]
    air = sparse[sparse < _BODY_HU]
    if air.size > sparse.size / 20 and float(np.subtract(*np.percentile(air, (75, 25)))) < _PEAK_HU:
        median = float(np.median(air))
        if not _AIR_HU[0] <= median <= _AIR_HU[1]:
            return [("W_HU_RANGE", f"air at {median:.0f} HU, wanted {_AIR_HU[0]:.0f} to {_AIR_HU[1]:.0f}")]
    if header.intercept == 0 and not air.size and _share(sparse, -10, 100) > 0.2 and _share(sparse, 900, 1300) > 0.1:
        return [("W_HU_RANGE", "air near 0 and soft tissue near 1000: the rescale intercept is missing")]
    return []


def _share(values: NDArray[np.float32], low: float, high: float) -> float:
    return float(((values >= low) & (values <= high)).mean())


def _intensities(volume: Volume, mask: NDArray[np.uint16] | None) -> list[Intensity]:
    """Of the image (values above its smallest, every fourth row and column) and of the lesion: 5 %, 50 %, 95 %."""
    sparse = volume.values[:, ::4, ::4]
    regions = {"image": sparse[sparse > sparse.min()]}
    if mask is not None and mask.any():
        regions["lesion"] = volume.values[mask > 0]
    return [
        Intensity(name, *(float(v) for v in np.percentile(values, (5, 50, 95))))
        for name, values in regions.items()
        if values.size
    ]


def _stills(series: Series, files: CaseFiles) -> CaseFound:
    faults: list[Fault] = []
    hashes: set[str] = set()
    tiles: list[Tile] = []
    for one in series.members:
        boxes = [box for box in files.boxes if box.sop_uid == one.header.sop_uid]
        frames = sorted({box.frame for box in boxes} or {0})[:_SHOWN_FRAMES]
        still = look_at_still(one.path, one.header, frames)
        faults += still.faults
        for frame, grey in zip(frames, still.grey, strict=True):
            hashes |= image_hashes(grey[None])
            here = [box for box in boxes if box.frame == frame]
            for box in here:
                require_inside(box, *grey.shape)
            if files.shown:
                tiles.append(_still_tile(series, one, grey, here, still.mm_per_px))
    return CaseFound(
        findings=tuple(finding(code, files.case, cause, series.id) for code, cause in _summed(faults)),
        hashes=frozenset(hashes),
        tiles=tuple(tiles),
    )


def _still_tile(series: Series, one: Slice, grey: NDArray[Any], boxes: list[Box], mm_per_px: float | None) -> Tile:
    title = f"{series.kind or 'still'} {one.header.instance_number}"
    if boxes:
        return box_tile(title, grey, boxes, mm_per_px)
    return tile_from_slice(title, grey, None, None if mm_per_px is None else (mm_per_px, mm_per_px))


def _summed(faults: Sequence[Fault]) -> list[Fault]:
    """One fault for each code and cause, with the number of images that have it."""
    counts: dict[Fault, int] = {}
    for fault in faults:
        counts[fault] = counts.get(fault, 0) + 1
    return [(code, f"{counted(n, 'image')}: {cause}") for (code, cause), n in counts.items()]
