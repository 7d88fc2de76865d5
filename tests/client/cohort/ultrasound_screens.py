"""Made-up screens of an ultrasound machine whose scan, text and header are known, for the tests of `ultrasound`."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter

from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.read.header import Header, header_from
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.client.cohort.read.region import UltrasoundRegion
from fl_liver.client.cohort.ultrasound.window import Window

Edges = tuple[int, int, int, int]
PLAIN = header_from(Dataset(), "1.2.840.10008.1.2.1")
BLACK = np.zeros((480, 640), dtype=np.uint8)


def header(*regions: UltrasoundRegion, rows: int = 480, columns: int = 640, **changes: Any) -> Header:
    return replace(PLAIN, rows=rows, columns=columns, regions=regions, bits_stored=8, bits_allocated=8, **changes)


def region(left: int, top: int, right: int, bottom: int, *, spatial: int = 1, data: int = 1) -> UltrasoundRegion:
    """Upper edges included, as in DICOM."""
    return UltrasoundRegion(spatial, data, left, top, right, bottom, (0.3, 0.3))


def edges(window: Window) -> Edges:
    return window.row_min_px, window.row_max_px, window.column_min_px, window.column_max_px


def overlap(found: Edges | None, truth: Edges) -> float:
    """Intersection over union."""
    assert found is not None
    height = max(0, min(found[1], truth[1]) - max(found[0], truth[0]))
    width = max(0, min(found[3], truth[3]) - max(found[2], truth[2]))
    areas = [(one[1] - one[0]) * (one[3] - one[2]) for one in (found, truth)]
    return height * width / (sum(areas) - height * width)


def speckle(shape: tuple[int, int], level: float, seed: int = 1) -> NDArray[np.float64]:
    """Log-compressed speckle at 3.2 grey levels a decibel, 10 dB darker at the bottom."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(2, *shape)), (0, 1.0, 1.8))
    power = (noise**2).sum(axis=0)
    depth_db = np.linspace(0, 10, shape[0])[:, None]
    grey: NDArray[np.float64] = np.clip(level + 3.2 * (10 * np.log10(power / power.mean() + 1e-4) - depth_db), 0, 255)
    return grey


def fan(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """What a convex probe sees: between two arcs and two radii."""
    rows, columns = shape
    deep, half_angle = 1.35 * rows, np.arcsin(min(0.99, columns / 2.7 / rows))
    down = np.arange(rows)[:, None] + 0.5 + deep - rows
    across = np.arange(columns)[None] + 0.5 - columns / 2
    radius = np.hypot(down, across)
    in_reach = (radius < deep) & (radius > (deep - rows) / np.cos(half_angle))
    return np.asarray(in_reach & (np.abs(np.arctan2(across, down)) < half_angle))


def screen(shape: str, *, rows: int = 480, level: float = 90, text: bool = True) -> tuple[NDArray[np.uint8], Edges]:
    """A scan on a 4:3 screen with a grey banner, a colour bar, a ruler and text; and where the scan truly is."""
    unit, columns = rows / 480, rows * 4 // 3
    picture = np.zeros((rows, columns), dtype=np.float32)
    size = (int(330 * unit), int(430 * unit))
    top, left = int(80 * unit), int(90 * unit)
    seen = np.ones(size, dtype=bool) if shape == "linear" else fan(size)
    picture[top : top + size[0], left : left + size[1]] = np.where(seen, speckle(size, level), 0)
    picture[: int(60 * unit)] = 26
    bar = int(160 * unit)
    picture[top : top + bar, columns - int(40 * unit) : columns - int(25 * unit)] = np.linspace(255, 0, bar)[:, None]
    ruler = left + size[1] + int(8 * unit)
    picture[top : top + size[0] : int(25 * unit), ruler : ruler + int(8 * unit)] = 170
    image = Image.fromarray(picture.astype(np.uint8))
    if text:
        write(image, (10, 8), "ZIEGENPETER ANNA 19530217", unit)
        write(image, (10, 32), "ABDOMEN GENERAL", unit)
        write(image, (10, 440), "Gain 58 DR 66", unit)
    down, across = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    truth = (top + down[0], top + down[-1] + 1, left + across[0], left + across[-1] + 1)
    return np.asarray(image), tuple(int(edge) for edge in truth)  # type: ignore[return-value]


def write(image: Image.Image, place: tuple[float, float], text: str, unit: float = 1.0) -> None:
    at = (place[0] * unit, place[1] * unit)
    ImageDraw.Draw(image).text(at, text, fill=230, font=ImageFont.load_default(size=15 * unit))


def as_jpeg(image: NDArray[np.uint8], quality: int = 75) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def public(shared_data: Path, name: str, frames: range = range(1)) -> tuple[Header, NDArray[Any]]:
    path = shared_data / "pydicom-samples" / f"{name}.dcm"
    found = read_header(path)
    return found, read_frames(path, found, frames)
