"""NIfTI volumes of public data sets as arrays in the patient: RAS turned into DICOM's LPS, axes in DICOM's order.

A NIfTI affine counts towards right, anterior, superior; DICOM counts towards left, posterior, superior. SimpleITK turns
the one into the other. Axes are then exchanged and reversed, never resampled, so that rows run to the left, columns to
the back and slices to the head: pictures of all sets lie alike, and every voxel stays where it was.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid, from_sitk, to_sitk
from fl_liver.errors import DataError

SUFFIXES = (".nii.gz", ".nii")
LEAST_LESION_ML = 0.05
"""A part below this (a ball of 4.6 mm) is a speck of the drawing, not a lesion, unless nothing else is drawn."""
_BLOCK = 1 << 20


def nifti_stem(path: Path) -> str:
    """The name without .nii or .nii.gz; "" for another file.

    >>> nifti_stem(Path("a/liver_7.nii.gz")), nifti_stem(Path("liver.nrrd"))
    ('liver_7', '')
    """
    return next((path.name[: -len(end)] for end in SUFFIXES if path.name.endswith(end)), "")


def read_nifti(path: Path) -> tuple[NDArray[Any], Grid]:
    """(slices, rows, columns) with the header's scale applied, and where the voxels lie (LPS, axial where it can be).

    What is no number in the file comes as 0: SimpleITK's reader has no other way.

    Raises:
        DataError: no such file, cut short, not three-dimensional, or with a sheared or absent geometry.
    """
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    image = _attempt(path, lambda: _reader(path).Execute())
    if image.GetDimension() != 3:
        raise DataError(f"{path}: {image.GetDimension()} axes, wanted 3; is it a volume of one series?")
    _refuse_cut(path, image.GetNumberOfPixels())
    values, grid = from_sitk(_attempt(path, lambda: in_lps(image)))
    if values.ndim != 3:
        raise DataError(f"{path}: several values a voxel, wanted one; is it a volume of one series?")
    return values, grid


def in_lps(image: Any) -> Any:
    """A SimpleITK image with its axes exchanged and reversed so that they run nearest to left, posterior, superior."""
    import SimpleITK

    return SimpleITK.DICOMOrient(image, "LPS")


def painted_like(path: Path, paint: Callable[[NDArray[np.uint16]], None]) -> NDArray[np.uint16]:
    """A mask painted in a file's own order of voxels, then turned as `read_nifti` turns it.

    Of the file only the header is read.

    Args:
        paint: draws into zeros of the file's (k, j, i).
    Raises:
        DataError: no such file, or not a volume.
    """
    import SimpleITK

    header = _reader(path)
    _attempt(path, header.ReadImageInformation)
    labels = np.zeros(header.GetSize()[::-1], dtype=np.uint16)
    paint(labels)
    drawn = SimpleITK.GetImageFromArray(labels)
    drawn.SetDirection(header.GetDirection())  # the one thing that says how axes are turned
    turned, _ = from_sitk(in_lps(drawn))
    return turned.astype(np.uint16)


def spacing_mm(path: Path) -> tuple[float, float]:
    """(in the plane, between slices) of the header alone, the plane being the two most alike axes.

    Raises:
        DataError: no such file, or not a volume.
    """
    reader = _reader(path)
    _attempt(path, reader.ReadImageInformation)
    edges = sorted(float(edge) for edge in reader.GetSpacing())
    if len(edges) != 3:
        raise DataError(f"{path}: {len(edges)} axes, wanted 3; is it a volume of one series?")
    return (edges[0], edges[2]) if edges[2] - edges[1] >= edges[1] - edges[0] else (edges[2], edges[0])


def separate_lesions(drawn: NDArray[np.bool_], grid: Grid) -> NDArray[np.uint16]:
    """One label for each part that hangs together, corners included, from the largest: 1, 2, …

    Parts below `LEAST_LESION_ML` are left out, unless all are; then the largest stays.
    """
    import SimpleITK

    parts = SimpleITK.ConnectedComponent(to_sitk(drawn.astype(np.uint8), grid), True)
    labels: NDArray[Any] = SimpleITK.GetArrayFromImage(SimpleITK.RelabelComponent(parts, sortByObjectSize=True))
    sizes = np.bincount(labels.ravel())[1:] * grid.voxel_mm3 / 1000
    kept = max(1, int((sizes >= LEAST_LESION_ML).sum()))
    labels[labels > kept] = 0
    found: NDArray[np.uint16] = labels.astype(np.uint16)
    return found


def write_mask(labels: NDArray[np.uint16], grid: Grid, path: Path) -> None:
    """A mask as a hospital's folder holds it, .nii.gz."""
    import SimpleITK

    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(to_sitk(labels, grid), str(path), useCompression=True)


def _reader(path: Path) -> Any:
    import SimpleITK

    if not path.is_file():
        raise DataError(f"{path}: no such file; is the data set whole?")
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    return reader


def _attempt(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError as error:  # all that SimpleITK raises; the reason is its last line
        reason = str(error).strip().splitlines()[-1].strip() or "unknown"
        raise DataError(f"{path}: not a NIfTI volume that can be read ({reason}); fetch the file again") from None


def _refuse_cut(path: Path, voxels: int) -> None:
    """SimpleITK takes a file that was cut short, and what is missing for zeros; in a large one it overlooks damage.

    Reads to the end: a gzip file says there whether it is whole.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            header = file.read(352)
            wanted, there = _promised(header, voxels), len(header)
            while there <= wanted and (block := file.read(_BLOCK)):
                there += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the compressed file is cut short or damaged ({error}); fetch it again") from None
    except (ValueError, OverflowError, struct.error) as error:
        raise DataError(f"{path}: a header that contradicts itself ({type(error).__name__}); fetch it again") from None
    if there < wanted:
        raise DataError(f"{path}: the file is cut short (its header promises {wanted} bytes); fetch it again")


def _promised(header: bytes, voxels: int) -> int:
    """Bytes of a whole file."""
    order = "<" if header[:4] == b"\x5c\x01\0\0" else ">"
    bits, offset = struct.unpack_from(order + "h", header, 72)[0], struct.unpack_from(order + "f", header, 108)[0]
    return int(offset) + voxels * int(bits) // 8
