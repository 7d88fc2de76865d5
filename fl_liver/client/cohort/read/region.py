"""Where on the screen of an ultrasound machine the image lies, as its header says (PS3.3 C.8.5.5)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from fl_liver.client.cohort.read.elements import number, whole

_EDGES = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
_CM = 3.0


@dataclass(frozen=True, slots=True)
class UltrasoundRegion:
    """One item of SequenceOfUltrasoundRegions.

    spatial_format, data_type   1 and 1 are two-dimensional tissue; others are Doppler, M-mode, curves
    x_min_px … y_max_px         columns and rows from 0; the upper ones belong to the region
    mm_per_px                   (rows, columns); None where the unit is not cm
    """

    spatial_format: int
    data_type: int
    x_min_px: int
    y_min_px: int
    x_max_px: int
    y_max_px: int
    mm_per_px: tuple[float, float] | None


def regions_from(dataset: Dataset) -> tuple[UltrasoundRegion, ...]:
    """Every region with four edges; () where the header has none."""
    found = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        edges = [whole(item, edge) for edge in _EDGES]
        if None in edges:
            continue
        x_min, y_min, x_max, y_max = (edge or 0 for edge in edges)
        spatial, data = (whole(item, name) for name in ("RegionSpatialFormat", "RegionDataType"))
        region = UltrasoundRegion(
            -1 if spatial is None else spatial, -1 if data is None else data, x_min, y_min, x_max, y_max, _pixel(item)
        )
        found.append(region)
    return tuple(found)


def _pixel(item: Dataset) -> tuple[float, float] | None:
    units = [number(item, f"PhysicalUnits{axis}Direction") for axis in "YX"]
    rows_cm, columns_cm = (abs(number(item, f"PhysicalDelta{axis}") or 0.0) for axis in "YX")
    if units != [_CM, _CM] or not (rows_cm > 0 and columns_cm > 0):
        return None
    return 10 * rows_cm, 10 * columns_cm
