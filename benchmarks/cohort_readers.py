"""The readers that the cohort is compared with, each as people use it: a folder in, a volume out, or an error."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmread

Reader = Callable[[Path], int]
"""Slices of the volume that was built; any exception is a refusal."""


def simpleitk(folder: Path) -> int:
    """GDCM's own order of the names, as in SimpleITK's example."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return int(SimpleITK.GetArrayFromImage(reader.Execute()).shape[0])


def monai(folder: Path) -> int:
    """LoadImage with the reader that MONAI picks for a DICOM folder without ITK."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of being imported, which say nothing of the series
        from monai.data import PydicomReader
        from monai.transforms import LoadImage

    return int(LoadImage(reader=PydicomReader(), image_only=True)(str(folder)).shape[-1])


def highdicom(folder: Path) -> int:
    """The strictest of them."""
    from highdicom import get_volume_from_series

    return int(get_volume_from_series([dcmread(path) for path in sorted(folder.iterdir())]).array.shape[0])


def pydicom_alone(folder: Path) -> int:
    """Decode every file, in no order and without a check: the floor of any reader that uses pydicom."""
    return len([dcmread(path).pixel_array for path in sorted(folder.iterdir())])


READERS: dict[str, tuple[str, Reader]] = {
    "SimpleITK": ("SimpleITK", simpleitk),
    "MONAI": ("monai", monai),
    "highdicom": ("highdicom", highdicom),
}


def installed() -> dict[str, Reader]:
    return {name: read for name, (module, read) in READERS.items() if importlib.util.find_spec(module) is not None}


def verdict(read: Reader, folder: Path, slices: int) -> str:
    """What a reader does with a damaged series: refuse it, or build a volume, with or without a word on the side."""
    built, error, said = _heard(read, folder)
    if error is not None:
        return f"refused ({type(error).__name__})"
    less = "" if built == slices else f" of {built} slices"
    return f"volume{less}, {'warned' if said else 'silent'}"


def _heard(read: Reader, folder: Path) -> tuple[int, Exception | None, bool]:
    """Slices, error, and whether anything was said to standard error (also by C code) or as a Python warning."""
    with tempfile.TemporaryFile() as heard, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = os.dup(2)
        os.dup2(heard.fileno(), 2)
        built, error = 0, None
        try:
            built = read(folder)
        except Exception as refusal:  # the answer of this reader, whatever its type
            error = refusal
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        return built, error, bool(caught) or heard.tell() > 0
