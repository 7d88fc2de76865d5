"""A few phantom images of each hospital for the report: what the differences between devices look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

PER_HOSPITAL = 2


def sample_images(hospitals: Path) -> dict[str, list[NDArray[np.uint8]]]:
    """Hospital → the first images of its first patients, grey (rows, columns). Only for phantom patients."""
    found: dict[str, list[NDArray[np.uint8]]] = {}
    for folder in sorted(path for path in hospitals.iterdir() if (path / "dicom").is_dir()):
        patients = sorted((folder / "dicom").iterdir())[:PER_HOSPITAL]
        found[folder.name] = [_first_frame(sorted(patient.glob("*.dcm"))[0]) for patient in patients]
    return found


def _first_frame(path: Path) -> NDArray[np.uint8]:
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array
    if int(dataset.get("NumberOfFrames", 1)) > 1:
        pixels = pixels[0]
    return np.asarray(pixels if pixels.ndim == 2 else pixels.mean(axis=-1), np.uint8)
