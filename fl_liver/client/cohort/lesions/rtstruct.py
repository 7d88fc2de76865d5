"""RTSTRUCT: contours drawn slice by slice in radiotherapy planning, filled on the grid of the images.

A voxel belongs to a region where its centre lies inside an odd number of the region's contours on that slice, so that a
contour within a contour is a hole. Points are projected by the grid, so that oblique slices are as good as axial ones.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from fl_liver.client.cohort.codes import UnusableError, counted, unusable
from fl_liver.client.cohort.lesions.masks import MOST_LABEL, layered
from fl_liver.client.cohort.read.dicom import examine
from fl_liver.client.cohort.series.grid import Grid, Mask

MAX_FILE_BYTES = 256 << 20
_CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
# In slices: a contour is flat, and contours of one slice lie in one plane, within this.
_SAME_PLANE = 0.2


@dataclass(frozen=True, slots=True)
class _Region:
    """One region of interest: closed contours as (points, 3) positions in mm."""

    label: int
    name: str
    frame_uid: str
    contours: tuple[NDArray[np.float64], ...]


def read_rtstruct(path: Path, grid: Grid, frame_uid: str) -> list[Mask]:
    """Fill the closed contours of a file on the grid of the series that they were drawn on.

    Labels count the regions in the file's order, from 1; single points and open lines are left out. There are as many
    masks as layers of overlapping regions. Region names are free text, for the hospital's own screen.

    Args:
        frame_uid: FrameOfReferenceUID of the series.
    Raises:
        UnusableError: E_ROI_UNREADABLE, E_TOO_LARGE, E_ROI_FRAME, E_ROI_EMPTY (no closed contour, or none with a
            voxel's centre inside), or E_ROI_GRID_MISMATCH (contours beside the stack, across slices, or on planes
            closer than slices).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            dataset = _dataset(path)
            regions, references = list(_regions(dataset)), frozenset(_references(dataset))
    except UnusableError:
        raise
    except Exception as error:  # the one broad catch of contours: damaged files raise a dozen types
        raise unusable("E_ROI_UNREADABLE", f"the contours stop their reader ({type(error).__name__})") from None
    if not regions:
        raise unusable("E_ROI_EMPTY", "the file holds no closed contour")
    elsewhere = sum(not frame_uid or region.frame_uid != frame_uid for region in regions)
    if elsewhere:
        found = f"{counted(elsewhere, 'region')} of {len(regions)} in another frame of reference, or in none"
        raise unusable("E_ROI_FRAME", found)
    layers = layered((region.label, filled(region.contours, grid)) for region in regions)
    if not layers:
        raise unusable("E_ROI_EMPTY", "no voxel has its centre inside a contour")
    return [
        Mask(layer, grid, {one.label: one.name for one in regions if (layer == one.label).any()}, frame_uid, references)
        for layer in layers
    ]


def filled(contours: tuple[NDArray[np.float64], ...], grid: Grid) -> NDArray[np.bool_]:
    """The voxels of `grid` whose centres lie inside an odd number of `contours`.

    Args:
        contours: (points, 3) positions in mm each, in the planes of the slices.
    Raises:
        UnusableError: E_ROI_GRID_MISMATCH.
    """
    region = np.zeros(grid.shape, dtype=np.bool_)
    planes: dict[int, list[float]] = defaultdict(list)
    for contour in contours:
        index = grid.index_of(contour)
        if float(np.ptp(index[:, 0])) > _SAME_PLANE:
            raise unusable("E_ROI_GRID_MISMATCH", "a contour runs across the slices instead of along one")
        plane = float(index[:, 0].mean())
        number = round(plane)
        if not -0.5 <= plane <= grid.shape[0] - 0.5:
            raise unusable("E_ROI_GRID_MISMATCH", "a contour lies above or below all slices")
        number = min(max(number, 0), grid.shape[0] - 1)
        planes[number].append(plane)
        if max(planes[number]) - min(planes[number]) > _SAME_PLANE:
            raise unusable("E_ROI_GRID_MISMATCH", "contours of one region lie on planes closer than the slices")
        _flip_inside(region[number], index[:, 1:])
    return region


def _flip_inside(image: NDArray[np.bool_], polygon: NDArray[np.float64]) -> None:
    """Turn every pixel of `image` whose centre lies inside a polygon of (row, column) points, which closes itself.

    Even-odd rule: a centre is inside where an odd number of edges cross its row to the left of it.
    """
    rows, columns = image.shape
    crossed = np.zeros((rows, columns + 1), dtype=np.int64)
    for (r0, c0), (r1, c1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        (r0, c0), (r1, c1) = sorted(((r0, c0), (r1, c1)))
        here = np.arange(max(0, int(np.ceil(r0))), min(rows, int(np.ceil(r1))))
        if here.size:
            at = c0 + (here - r0) * (c1 - c0) / (r1 - r0)
            np.add.at(crossed, (here, np.clip(np.ceil(at), 0, columns).astype(np.int64)), 1)
    image ^= (np.cumsum(crossed, axis=1)[:, :columns] % 2).astype(np.bool_)


def _dataset(path: Path) -> Dataset:
    reading = examine(path)
    if reading.refusal is not None and reading.refusal.code != "W_NOT_AN_IMAGE":
        raise reading.refusal
    if reading.header is None or reading.header.modality != "RTSTRUCT":
        raise unusable("E_ROI_UNREADABLE", "another object than contours")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise unusable("E_TOO_LARGE", f"{path.stat().st_size} bytes of contours, at most {MAX_FILE_BYTES} are read")
    return dcmread(path)


def _regions(dataset: Dataset) -> Iterator[_Region]:
    """Every region with a closed contour of three points or more."""
    contours: dict[int, tuple[NDArray[np.float64], ...]] = {}
    for item in dataset.ROIContourSequence:
        contours[int(item.ReferencedROINumber)] = tuple(_closed_contours(item))
    for label, roi in enumerate(dataset.StructureSetROISequence, start=1):
        drawn = contours.get(int(roi.ROINumber), ())
        if drawn and label <= MOST_LABEL:
            name, frame_uid = str(roi.get("ROIName", "")), str(roi.get("ReferencedFrameOfReferenceUID", ""))
            yield _Region(label, name, frame_uid, drawn)


def _closed_contours(item: Dataset) -> Iterator[NDArray[np.float64]]:
    for contour in item.get("ContourSequence", ()):
        if str(contour.ContourGeometricType).strip() not in _CLOSED:
            continue
        points = np.array(contour.ContourData, dtype=np.float64)
        if points.size != 3 * int(contour.NumberOfContourPoints) or not np.isfinite(points).all():
            raise unusable("E_ROI_UNREADABLE", f"a contour of {points.size} numbers, wanted 3 for each of its points")
        if len(points) >= 9:
            yield points.reshape(-1, 3)


def _references(dataset: Dataset) -> Iterator[str]:
    """The images that contours were drawn on."""
    for roi in dataset.ROIContourSequence:
        for contour in roi.get("ContourSequence", ()):
            for image in contour.get("ContourImageSequence", ()):
                yield str(image.ReferencedSOPInstanceUID)
