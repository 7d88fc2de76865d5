"""Random fields and outlines that every modality's picture is made of; float32 throughout, for speed."""

from __future__ import annotations

import numpy as np
import scipy.fft as fourier
from numpy.typing import NDArray

from simulation.phantom.patients import Lesion

Field = NDArray[np.float32]

_OUTLINE_HARMONICS = range(2, 9)


def blur(field: Field, sigma_rows_px: float, sigma_columns_px: float) -> Field:
    """Gaussian blur of a (rows, columns) field with periodic edges."""
    rows, columns = field.shape
    transfer = _transfer(fourier.fftfreq(rows), sigma_rows_px)[:, None] * _transfer(
        fourier.rfftfreq(columns), sigma_columns_px
    )
    spectrum = fourier.rfft2(field, workers=1)
    spectrum *= transfer
    return np.asarray(fourier.irfft2(spectrum, s=field.shape, workers=1, overwrite_x=True), dtype=np.float32)


def texture(random: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> Field:
    """Gaussian random field with standard deviation 1 and grain `sigma_px`."""
    field = blur(white(random, shape), sigma_px, sigma_px)
    return np.asarray(field / (field.std() + np.float32(1e-9)), dtype=np.float32)


def speckle_power(
    random: np.random.Generator, amplitude: Field, looks: int, sigma_rows_px: float, sigma_columns_px: float
) -> Field:
    """Echo power of `looks` averaged speckle patterns over scatterers of that amplitude; median 1.

    Fully developed speckle: independent complex scatterers, blurred by the point-spread function, squared.
    """
    rows, columns = amplitude.shape
    transfer = _transfer(fourier.fftfreq(rows), sigma_rows_px)[:, None] * _transfer(
        fourier.fftfreq(columns), sigma_columns_px
    )
    scatterers = white(random, (looks, rows, columns, 2)).view(np.complex64)[..., 0]
    scatterers *= amplitude
    spectrum = fourier.fft2(scatterers, workers=1, overwrite_x=True)
    spectrum *= transfer
    echo = fourier.ifft2(spectrum, workers=1, overwrite_x=True)
    power = np.square(echo.real).sum(0) + np.square(echo.imag).sum(0)
    return np.asarray(power / np.median(power), dtype=np.float32)


def distance_mm(
    random: np.random.Generator,
    shape: tuple[int, int],
    pixel_mm: float,
    lesion: Lesion,
    centre_px: tuple[float, float],
) -> Field:
    """Distance from an irregular star-shaped outline, negative inside; (rows, columns).

    The outline is an ellipse of the lesion's aspect and angle, whose radius carries random harmonics.
    """
    row, column = (np.arange(n, dtype=np.float32) for n in shape)
    y = (row[:, None] - np.float32(centre_px[0])) * np.float32(pixel_mm)
    x = (column[None] - np.float32(centre_px[1])) * np.float32(pixel_mm)
    cos, sin, stretch = (
        np.float32(v) for v in (np.cos(lesion.angle_rad), np.sin(lesion.angle_rad), lesion.aspect**0.5)
    )
    along, across = (x * cos + y * sin) / stretch, (y * cos - x * sin) * stretch
    radius = np.hypot(along, across) + np.float32(1e-6)
    direction = (along + np.complex64(1j) * across) / radius
    outline, power = np.ones(shape, np.float32), direction
    for harmonic in _OUTLINE_HARMONICS:
        power = power * direction
        phase = np.exp(1j * random.uniform(0, 2 * np.pi))
        outline += (power * np.complex64(lesion.irregularity * random.normal() / harmonic**0.5 * phase)).real
    return np.asarray(radius - np.float32(lesion.size_mm / 2) * outline.clip(0.4, 1.8), dtype=np.float32)


def inside(distance: Field, margin_mm: float) -> Field:
    """How much of each pixel belongs to the lesion, 0..1: a soft step over the margin."""
    steep = np.clip(distance / np.float32(0.45 * margin_mm), -30, 30)
    return np.asarray(1 / (1 + np.exp(steep)), dtype=np.float32)


def white(random: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """Independent values of mean 0 and standard deviation 1, each the sum of two uniform bytes.

    Everything made of them is blurred afterwards, which makes it Gaussian; normal deviates take six times as long.
    """
    size = int(np.prod(shape))
    first, second = np.frombuffer(random.bytes(2 * size), np.uint8).reshape(2, *shape)
    total: Field = first.astype(np.float32)
    total += second
    total -= 255
    total /= np.float32(((256**2 - 1) / 6) ** 0.5)
    return total


def _transfer(frequency: NDArray[np.floating], sigma_px: float) -> Field:
    return np.asarray(np.exp(-2 * (np.pi * sigma_px * frequency) ** 2), dtype=np.float32)
