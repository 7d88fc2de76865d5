"""DICOM SEG: segmentations that programs and viewers write beside the images (BINARY, FRACTIONAL and LABELMAP).

highdicom reads them (extra `seg`). Its volumes are right-handed, so that axial slices run from head to feet, the other
way round from ours: the affine is taken over here, and `masks.on_grid_of` puts the voxels in order by position.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.lesions.masks import MAX_MASK_BYTES, layered
from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.series.grid import Grid, Mask, triple
from fl_liver.errors import ConfigError


def read_seg(path: Path) -> list[Mask]:
    """Read a segmentation: its segments' numbers are the labels.

    Segments may overlap, and one array cannot hold two labels in a voxel: there are as many masks as layers of overlap,
    nearly always one, each segment whole in one of them. A FRACTIONAL segment holds where at least half of
    MaximumFractionalValue is stored, whether that means occupancy or probability. Segment labels are free text: they
    stand in `Mask.names`, for the hospital's own screen.

    Returns:
        Masks on the file's own lattice, from its first to its last slice; slices that the file leaves out are empty.
    Raises:
        ConfigError: highdicom is not installed.
        UnusableError: E_ROI_UNREADABLE, E_ROI_GRID_MISMATCH (slices that are not evenly stacked), E_ROI_EMPTY,
            E_TOO_LARGE, or what `read.dicom` refuses a file for.
    """
    highdicom = _highdicom()
    if read_header(path).modality != "SEG":
        raise unusable("E_ROI_UNREADABLE", "another object than a segmentation")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            return _masks(highdicom.seg.segread(path))
    except UnusableError:
        raise
    except Exception as error:  # the one broad catch of segmentations: damaged ones raise a dozen types
        raise unusable("E_ROI_UNREADABLE", f"the segmentation stops its reader ({type(error).__name__})") from None


def check_references(mask: Mask, sop_uids: Collection[str]) -> Fault | None:
    """E_SEG_REFERENCES where a mask was drawn on images that are not in a series; None where it names no images."""
    missing = len(mask.references - set(sop_uids))
    if not missing:
        return None
    return "E_SEG_REFERENCES", f"{missing} of {len(mask.references)} images that it was drawn on are not in the series"


def _highdicom() -> ModuleType:
    try:
        import highdicom
    except ImportError:
        raise ConfigError(
            "DICOM SEG is read through highdicom, which is not installed: pip install fl_liver[seg]"
        ) from None
    module: ModuleType = highdicom
    return module


def _masks(seg: Any) -> list[Mask]:
    described = len(seg.PerFrameFunctionalGroupsSequence)
    if described != int(seg.NumberOfFrames):
        raise unusable("E_ROI_UNREADABLE", f"{described} frames described, {seg.NumberOfFrames} stored")
    geometry = seg.get_volume_geometry()
    if geometry is None:
        raise unusable("E_ROI_GRID_MISMATCH", "the segmentation's slices are not evenly stacked")
    grid = _grid(geometry)
    if 2 * int(np.prod(grid.shape, dtype=object)) > MAX_MASK_BYTES:
        raise unusable("E_TOO_LARGE", f"{' × '.join(str(n) for n in grid.shape)} voxels between first and last slice")
    layers = _layers(seg)
    if not any(layer.any() for layer in layers):
        raise unusable("E_ROI_EMPTY", f"no voxel in any of {len(seg.SegmentSequence)} segments")
    names = {int(one.SegmentNumber): str(one.get("SegmentLabel", "")) for one in seg.SegmentSequence}
    references, frame_uid = frozenset(_references(seg)), str(seg.get("FrameOfReferenceUID", ""))
    present = (set(np.unique(layer).tolist()) - {0} for layer in layers)
    return [
        Mask(layer, grid, {label: names.get(label, "") for label in sorted(labels)}, frame_uid, references)
        for layer, labels in zip(layers, present, strict=True)
    ]


def _grid(geometry: Any) -> Grid:
    """highdicom's affine takes (slice, row, column, 1) to LPS; its columns are our steps."""
    affine = np.asarray(geometry.affine, dtype=np.float64)
    slices, rows, columns = (int(n) for n in geometry.spatial_shape)
    return Grid((slices, rows, columns), *(triple(affine[:3, column]) for column in (3, 0, 1, 2)))


def _layers(seg: Any) -> list[NDArray[np.uint16]]:
    numbers = [int(number) for number in seg.segment_numbers if number != 0]
    if seg.SegmentationType == "LABELMAP":
        volume = seg.get_volume(segment_numbers=numbers, combine_segments=True, dtype=np.uint16)
        return [volume.array]
    return layered((number, _region(seg, number)) for number in numbers)


def _region(seg: Any, number: int) -> NDArray[np.bool_]:
    stored = seg.get_volume(segment_numbers=[number], rescale_fractional=False).array[..., 0]
    if seg.SegmentationType != "FRACTIONAL":
        return np.asarray(stored != 0)
    return np.asarray(stored >= int(seg.MaximumFractionalValue) / 2)


def _references(dataset: Dataset) -> Iterator[str]:
    """The images that the file names as its source: of the whole object, and of each frame."""
    for series in dataset.get("ReferencedSeriesSequence", ()):
        yield from _instances(series.get("ReferencedInstanceSequence", ()))
    shared = dataset.get("SharedFunctionalGroupsSequence", ())
    for group in (*shared, *dataset.get("PerFrameFunctionalGroupsSequence", ())):
        for derivation in group.get("DerivationImageSequence", ()):
            yield from _instances(derivation.get("SourceImageSequence", ()))


def _instances(items: Any) -> Iterator[str]:
    for item in items:
        uid = str(item.get("ReferencedSOPInstanceUID", ""))
        if uid:
            yield uid
