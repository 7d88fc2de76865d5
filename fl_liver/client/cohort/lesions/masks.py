"""Masks drawn in ITK-SNAP, 3D Slicer and the like: read from NIfTI, NRRD or MHA, and brought onto an image's grid.

SimpleITK reads them, with one fixed parser for each file name. A header is looked at before any voxel is: a few
kilobytes of gzip may hold gigabytes. DICOM SEG is read in `seg`, contours in `rtstruct`.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.series.grid import Grid, Mask, from_sitk

MAX_MASK_BYTES = 1 << 30
MOST_LABEL = 65535

_READERS = {".nii": "NiftiImageIO", ".nii.gz": "NiftiImageIO", ".nrrd": "NrrdImageIO", ".mha": "MetaImageIO"}
MASK_SUFFIXES = tuple(_READERS)
_NUMBER = re.compile(r"(8|16|32|64)-bit (?:unsigned integer|signed integer|float)")
# A label stored as a scaled integer comes back as 1.00001.
_WHOLE = 1e-3
_SAME_PLACE_MM = 0.1
_MOST_NAMES = 1000
_NIFTI_2_HEADER = 540
_BLOCK = 1 << 20
# Volume of a voxel over the product of its edges: 1 where they are perpendicular, 0 where they lie in one plane.
_FLAT = 1e-3


def read_mask_file(path: Path) -> Mask:
    """Read a label map.

    Args:
        path: .nii, .nii.gz, .nrrd or .mha; three-dimensional, whole numbers from 0 to 65535 of any number type.
    Raises:
        UnusableError: E_ROI_UNREADABLE, E_TRUNCATED, E_TOO_LARGE (over 1 GiB once unpacked), E_ROI_LABELS (a voxel
            is not such a number) or E_ROI_EMPTY.
    """
    try:
        values, grid, names = _read(path)
    except UnusableError:
        raise
    except Exception as error:  # the one broad catch of mask files: SimpleITK's message quotes the path
        raise unusable("E_ROI_UNREADABLE", f"the mask stops its reader ({type(error).__name__})") from None
    edges = float(np.prod(grid.spacing_mm))
    if not (np.isfinite(grid.origin_mm).all() and np.isfinite(edges) and grid.voxel_mm3 > _FLAT * edges > 0):
        raise unusable("E_ROI_UNREADABLE", "the directions of the mask's axes lie in one plane, or are no numbers")
    return Mask(_as_labels(values), grid, names)


def on_grid_of(mask: Mask, grid: Grid) -> Mask:
    """The same mask with its array in the order and extent of `grid`, where both count the same lattice of voxels.

    Programs store axes reversed or exchanged, and cut a mask down to what was drawn; DICOM SEG leaves empty slices out.
    All of that is put right by positions. A mask on another lattice is refused, never resampled.

    Raises:
        UnusableError: E_ROI_GRID_MISMATCH, or E_ROI_EMPTY.
    """
    if mask.grid.agrees_with(grid, _SAME_PLACE_MM):
        return replace(mask, grid=grid)
    first, count = _extent(mask.labels)
    turn = _turn(mask.grid, grid, count, gaps=bool(mask.references))
    corner = np.rint(grid.index_of(mask.grid.position_mm(first))).astype(np.int64)
    far = np.array(np.meshgrid(*([0, n - 1] for n in count), indexing="ij")).reshape(3, -1).T
    off_mm = float(np.abs(mask.grid.position_mm(first + far) - grid.position_mm(corner + far @ turn)).max())
    if off_mm > _SAME_PLACE_MM:
        raise unusable("E_ROI_GRID_MISMATCH", f"voxels of the mask lie {off_mm:.2g} mm beside those of the image")
    low, high = np.minimum(corner, corner + (count - 1) @ turn), np.maximum(corner, corner + (count - 1) @ turn)
    if (low < 0).any() or (high >= grid.shape).any():
        raise unusable("E_ROI_GRID_MISMATCH", "the lesion is drawn partly outside the image")
    source = np.abs(turn).argmax(axis=0)
    where = [corner[axis] + turn[source[axis], axis] * np.arange(count[source[axis]]) for axis in range(3)]
    labels = np.zeros(grid.shape, dtype=np.uint16)
    drawn = tuple(slice(start, start + n) for start, n in zip(first, count, strict=True))
    labels[np.ix_(*where)] = mask.labels[drawn].transpose(source)
    return replace(mask, labels=labels, grid=grid)


def layered(regions: Iterable[tuple[int, NDArray[np.bool_]]]) -> list[NDArray[np.uint16]]:
    """Regions that may overlap, painted into as few label arrays as it takes, each region whole in one of them.

    Args:
        regions: (label, (slices, rows, columns)), all of one shape; empty ones are left out.
    Raises:
        UnusableError: E_TOO_LARGE where the layers would take more than 1 GiB.
    """
    layers: list[NDArray[np.uint16]] = []
    for label, region in regions:
        if not region.any():
            continue
        free = next((layer for layer in layers if not layer[region].any()), None)
        if free is None:
            if 2 * region.size * (len(layers) + 1) > MAX_MASK_BYTES:
                raise unusable("E_TOO_LARGE", f"{len(layers) + 1} layers of overlapping regions on a large grid")
            free = np.zeros(region.shape, dtype=np.uint16)
            layers.append(free)
        free[region] = label
    return layers


def _read(path: Path) -> tuple[NDArray[Any], Grid, dict[int, str]]:
    import SimpleITK

    suffix = next((end for end in _READERS if path.name.lower().endswith(end)), None)
    if suffix is None or not path.is_file():
        raise unusable("E_ROI_UNREADABLE", "not a plain file, or none of " + ", ".join(MASK_SUFFIXES))
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # warnings would print the path
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(_READERS[suffix])
    reader.SetFileName(str(path))
    _refuse_detached(path, suffix)
    reader.ReadImageInformation()
    size, kind = reader.GetSize(), SimpleITK.GetPixelIDValueAsString(reader.GetPixelIDValue())
    number = _NUMBER.fullmatch(kind)
    if len(size) != 3 or min(size) < 1 or number is None:
        found = " × ".join(str(n) for n in size)
        raise unusable("E_ROI_UNREADABLE", f"{found} voxels of type {kind}, wanted three axes and one number a voxel")
    count = int(np.prod(size, dtype=object)) * int(number[1]) // 8
    if count > MAX_MASK_BYTES:
        raise unusable("E_TOO_LARGE", f"{count} bytes of mask, at most {MAX_MASK_BYTES} are read")
    if suffix in (".nii", ".nii.gz"):
        _refuse_cut_nifti(path, suffix, int(np.prod(size, dtype=object)))
    names = _slicer_names(reader)
    values, grid = from_sitk(reader.Execute())
    return values, grid, names


def _refuse_detached(path: Path, suffix: str) -> None:
    """A header that names another file as its data could point anywhere."""
    if suffix not in (".nrrd", ".mha"):
        return
    with path.open("rb") as file:
        start = file.read(1 << 16)
    header = start.partition(b"\n\n")[0] if suffix == ".nrrd" else start.partition(b"LOCAL")[0]
    lines = [line.strip().lower() for line in header.splitlines()]
    if any(line.startswith((b"data file:", b"datafile:")) for line in lines):
        raise unusable("E_ROI_UNREADABLE", "the voxels stand in another file; save the mask as one file")
    if suffix == ".mha" and not (lines and lines[-1].replace(b" ", b"") == b"elementdatafile="):
        raise unusable("E_ROI_UNREADABLE", "the voxels stand in another file; save the mask as one file")


def _refuse_cut_nifti(path: Path, suffix: str, voxels: int) -> None:
    """SimpleITK takes a NIfTI file that was cut short, and what is missing for background.

    Reads to the end: a gzip file says there whether it is whole.
    """
    with gzip.open(path) if suffix == ".nii.gz" else path.open("rb") as file:
        header = file.read(352)
        order = "<" if header[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
        second = struct.unpack(order + "i", header[:4])[0] == _NIFTI_2_HEADER
        bits = struct.unpack_from(order + "h", header, 14 if second else 72)[0]
        offset = struct.unpack_from(order + ("q" if second else "f"), header, 168 if second else 108)[0]
        wanted, there = int(offset) + voxels * bits // 8, len(header)
        try:
            while there <= wanted and (block := file.read(_BLOCK)):
                there += len(block)
        except EOFError:
            raise unusable("E_TRUNCATED", "the compressed mask ends early") from None
    if there < wanted:
        raise unusable("E_TRUNCATED", f"{there} bytes of mask, its header promises {wanted}")


def _slicer_names(reader: Any) -> dict[int, str]:
    """What 3D Slicer calls the labels, in a .seg.nrrd."""
    names: dict[int, str] = {}
    for number in range(_MOST_NAMES):
        keys = f"Segment{number}_LabelValue", f"Segment{number}_Name"
        if not all(reader.HasMetaDataKey(key) for key in keys):
            break
        value = reader.GetMetaData(keys[0])
        if value.isdigit():
            names[int(value)] = reader.GetMetaData(keys[1])
    return names


def _as_labels(values: NDArray[Any]) -> NDArray[np.uint16]:
    least, most = float(values.min()), float(values.max())
    if not (least >= -_WHOLE and most <= MOST_LABEL):
        raise unusable("E_ROI_LABELS", f"values from {least:g} to {most:g}, labels go from 0 to {MOST_LABEL}")
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if float(np.abs(values - whole).max()) > _WHOLE:
            raise unusable("E_ROI_LABELS", "values that are not whole numbers; labels are 0, 1, 2, …")
        values = whole
    labels: NDArray[np.uint16] = values.astype(np.uint16)
    if not labels.any():
        raise unusable("E_ROI_EMPTY", f"{labels.size} voxels, all 0")
    return labels


def _extent(labels: NDArray[np.uint16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First index and count along each axis of the smallest block that holds everything drawn."""
    first, count = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        drawn = np.flatnonzero(labels.any(axis=others))
        if not len(drawn):
            raise unusable("E_ROI_EMPTY", f"{labels.size} voxels, all 0")
        first[axis], count[axis] = drawn[0], drawn[-1] - drawn[0] + 1
    return first, count


def _turn(mask: Grid, grid: Grid, count: NDArray[np.int64], *, gaps: bool) -> NDArray[np.int64]:
    """(3, 3): row a says how many voxels of `grid` one step along the mask's axis a is; one entry a row and column.

    Along an axis on which only one slice is drawn the length of a step means nothing. With `gaps`, a step may be
    several slices: a DICOM SEG lists the slices that it has, and nothing is drawn on the others.
    """
    steps = mask.steps_mm @ np.linalg.inv(grid.steps_mm)
    turn = np.rint(steps).astype(np.int64)
    longest = np.abs(steps).argmax(axis=1)
    for axis in range(3):
        if count[axis] == 1:
            turn[axis] = 0
            turn[axis, longest[axis]] = 1
    most = np.abs(turn).max(axis=0)
    allowed = (most[0] == 1 or gaps) and most[1] == most[2] == 1
    if not allowed or sorted(longest) != [0, 1, 2] or (np.count_nonzero(turn, axis=1) != 1).any():
        raise unusable("E_ROI_GRID_MISMATCH", f"voxels of {_size(mask)} mm, the image has {_size(grid)} mm")
    return turn


def _size(grid: Grid) -> str:
    return " × ".join(f"{length:.3g}" for length in grid.spacing_mm)
