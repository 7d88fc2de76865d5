"""A few images of each hospital side by side. Phantom images only: a real patient's image never reaches this page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fl_liver.errors import DataError
from fl_liver.server.report.style import PAGE_WIDTH_IN, Drawing, axes_at, in_house_style

Image = NDArray[Any]
PER_HOSPITAL = 3
SHOWN = (1.0, 99.0)
"""Percentiles of an image that are shown black and white."""
ACROSS = 3
MOST_HOSPITALS = 24
SIDE_IN = 0.92


def grey(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """An image as the network sees it, for people: (H, W), or (C, H, W), whose first channel is shown; on any scale."""
    first = (image[0] if image.ndim == 3 else image).astype(np.float32)
    low, high = np.percentile(first, SHOWN)
    made: NDArray[np.uint8] = ((first - low) / max(float(high - low), 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return made


@in_house_style
def draw_samples(samples: Mapping[str, Sequence[Image]]) -> Drawing:
    """Three images a hospital, three hospitals a row, the first 24 hospitals.

    samples   hospital → (height, width) uint8 arrays, 0 black to 255 white
    Raises:
        DataError: an image is not a 2-D uint8 array.
    """
    shown = dict(list(samples.items())[:MOST_HOSPITALS])
    rows = -(-len(shown) // ACROSS)
    figure = Figure(figsize=(PAGE_WIDTH_IN, rows * (SIDE_IN + 0.34) + 0.1))
    for place, (hospital, images) in enumerate(shown.items()):
        row, column = divmod(place, ACROSS)
        left_in = 0.05 + column * (PAGE_WIDTH_IN / ACROSS)
        bottom_in = 0.08 + (rows - 1 - row) * (SIDE_IN + 0.34)
        figure.text(
            left_in / PAGE_WIDTH_IN,
            (bottom_in + SIDE_IN + 0.06) / figure.get_size_inches()[1],
            hospital,
            weight="bold",
            va="bottom",
        )
        for k, image in enumerate(images[:PER_HOSPITAL]):
            _image(figure, left_in + k * (SIDE_IN + 0.04), bottom_in, hospital, image)
    caption = "Phantom lesions as the network sees them: drawn by a program, not images of patients."
    if len(samples) > len(shown):
        caption += f" The first {len(shown)} of {len(samples)} hospitals."
    return Drawing("samples", figure, f"Sample phantom images of {', '.join(shown)}.", caption)


def _image(figure: Figure, left_in: float, bottom_in: float, hospital: str, image: Image) -> None:
    if image.ndim != 2 or image.dtype != np.uint8:
        raise DataError(
            f"sample image of {hospital}: found {image.dtype} of {image.ndim} dimensions, wanted 2-D uint8; "
            "the report was not written"
        )
    axes = axes_at(figure, left_in, bottom_in, SIDE_IN, SIDE_IN)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set_axis_off()
