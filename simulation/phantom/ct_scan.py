"""What a hospital's CT makes of a noiseless volume, and nodules whose edge is as soft as the lesion's own."""

from __future__ import annotations

import numpy as np
import scipy.fft as fourier
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid
from simulation.phantom.body import SUB_SLICES, planes
from simulation.phantom.ct import HIGHEST_HU, LOWEST_HU
from simulation.phantom.ct_scanners import CtScanner
from simulation.phantom.fields import white
from simulation.phantom.lesion import SolidLesion

Volume = NDArray[np.float32]


def scanned(hu: Volume, grid: Grid, scanner: CtScanner, random: np.random.Generator) -> NDArray[np.int16]:
    """(slices, rows, columns): blurred by the point-spread function, with noise of the kernel's grain, whole units."""
    pixel_mm = grid.spacing_mm[2]
    rows, columns = hu.shape[1:]
    frequency2 = fourier.fftfreq(rows)[:, None] ** 2 + fourier.rfftfreq(columns) ** 2
    blur, grain = (
        _transfer(frequency2, sigma / pixel_mm) for sigma in (scanner.optics.blur_mm, scanner.optics.grain_mm)
    )
    power = _mean_power(grain, columns)
    spectrum = fourier.rfft2(hu, workers=1)
    spectrum *= blur
    noise = fourier.rfft2(white(random, hu.shape), workers=1)
    noise *= grain * np.float32(scanner.optics.noise_hu / power**0.5)
    spectrum += noise
    image = fourier.irfft2(spectrum, s=(rows, columns), workers=1, overwrite_x=True)
    image += scanner.offset_hu
    return np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU).astype(np.int16)


def add_soft_lesion(
    hu: Volume,
    grid: Grid,
    thickness_mm: float,
    lesion: SolidLesion,
    *,
    inside_hu: float,
    margin_mm: float,
    rim_hu: float,
) -> None:
    """Paint a lesion over what is there, in place, mixed with it over `margin_mm` at its outline; partial volume.

    Args:
        rim_hu: what its outermost part, as wide as the margin, adds.
    """
    radius_mm = float(np.prod(lesion.radii_mm)) ** (1 / 3)
    box = _box(grid, lesion, reach_mm=1.5 * margin_mm + thickness_mm)
    positions = planes(grid, thickness_mm, SUB_SLICES)
    cut = [at[tuple(part if n > 1 else slice(None) for part, n in zip(box, at.shape, strict=True))] for at in positions]
    beyond_mm = (lesion.depth(*cut) - 1) * np.float32(radius_mm)
    share = 1 / (1 + np.exp(np.clip(beyond_mm / np.float32(0.45 * margin_mm), -30, 30)))
    rim = np.exp(-((beyond_mm / np.float32(max(margin_mm, 0.6))) ** 2))
    slices, _, rows, columns = box
    part = hu[slices, rows, columns]
    part += (share * (np.float32(inside_hu) - part[:, None]) + np.float32(rim_hu) * share * rim).mean(axis=1)


def _box(grid: Grid, lesion: SolidLesion, reach_mm: float) -> tuple[slice, slice, slice, slice]:
    """Of (slices, planes, rows, columns), on an axial grid."""
    reach = (np.array(lesion.reach_mm)[::-1] + reach_mm) / np.array(grid.spacing_mm)
    index = grid.index_of(lesion.centre_mm)
    first = np.clip(np.floor(index - reach), 0, grid.shape).astype(int).tolist()
    last = np.clip(np.ceil(index + reach) + 1, 0, grid.shape).astype(int).tolist()
    return slice(first[0], last[0]), slice(None), slice(first[1], last[1]), slice(first[2], last[2])


def _transfer(frequency2: NDArray[np.floating], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(np.exp(-2 * (np.pi * sigma_px) ** 2 * frequency2), np.float32)


def _mean_power(transfer: NDArray[np.float32], columns: int) -> float:
    """Variance that white noise of variance 1 has left: the half spectrum stands for a whole one."""
    weight = np.full(transfer.shape[1], 2.0)
    weight[0] = 1.0
    if columns % 2 == 0:
        weight[-1] = 1.0
    return float((np.square(transfer, dtype=np.float64) * weight).sum() / (transfer.shape[0] * columns))
