"""Four physical features of a small nodule on CT, each with a known meaning for a reader.

Khalili et al., Sci Rep 10 (2020) 15248: size, attenuation and margin of a hypoattenuating nodule, the margin by two
measures. The supplement that defines them is not printed; here, of one patch in HU and the drawn nodule:

    area_mm2          drawn pixels × area of a pixel
    centre_hu         mean of the 3 × 3 pixels about the nodule's middle ("the central 9 pixels")
    edge_hu           mean HU of the pixels just outside the outline minus that of those just inside
    solidity          area / area of the convex hull, both from pixel corners: 1 for every convex polygon of pixels
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from fl_liver.client.explain.hit_rate import DRAWN
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study

NAMES = ("area_mm2", "centre_hu", "edge_hu", "solidity")
TITLES = ("Area, mm²", "Centre, HU", "Edge sharpness, HU", "Solidity")


@dataclass(frozen=True, slots=True)
class Physical:
    """The four features of one nodule."""

    area_mm2: float
    centre_hu: float
    edge_hu: float
    solidity: float

    @property
    def row(self) -> tuple[float, float, float, float]:
        """In the order of `NAMES`."""
        return self.area_mm2, self.centre_hu, self.edge_hu, self.solidity


def pixel_mm(study: Study) -> float:
    """Side of a pixel of the study's patches.

    Raises:
        ConfigError: patches without a size in mm, or without Hounsfield units.
    """
    if study.task.modality != "CT" or study.cohort.patch_mm is None or study.cohort.window_hu is None:
        raise ConfigError(
            f"study {study.name}: physical features are of CT patches of a known size in HU; wanted [cohort] patch_mm"
            " and window_hu"
        )
    return study.cohort.patch_mm / study.model.image_px


def in_hu(windowed: NDArray[np.float16], window_hu: tuple[float, float]) -> NDArray[np.float64]:
    """Undo `window_hu`: 0 … 1 → HU. What lay outside the window was cut off at its ends."""
    low, high = window_hu
    return low + windowed.astype(np.float64) * (high - low)


def physical(hu: NDArray[np.float64], mask: NDArray[np.float64], pixel_side_mm: float) -> Physical:
    """Features of one patch.

    hu    (H, W) Hounsfield units; mask (H, W) in 0 … 1, the drawn nodule
    Raises:
        DataError: another shape, or no nodule.
    """
    drawn = mask >= DRAWN
    if hu.shape != drawn.shape or hu.ndim != 2 or not drawn.any():
        raise DataError(f"patch {hu.shape} with a mask {mask.shape} of {int(drawn.sum())} px; wanted a drawn nodule")
    row, column = (round(float(middle)) for middle in ndimage.center_of_mass(drawn))
    centre = hu[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    outside, inside = margins(drawn)
    edge = float(hu[outside].mean() - hu[inside].mean()) if outside.any() else float("nan")
    return Physical(float(drawn.sum()) * pixel_side_mm**2, float(centre.mean()), edge, solidity(drawn))


def middle_one(mask: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mask with nothing but the lesion nearest to the patch's middle: a neighbour may lie in the patch too.

    Pixels that touch, also by a corner, are one lesion. mask (H, W) in 0 … 1; zeros stay zeros.
    """
    part, count = ndimage.label(mask >= DRAWN, np.ones((3, 3)))
    if count < 2:
        return mask
    away = np.hypot(*(np.indices(mask.shape) - (np.array(mask.shape) - 1)[:, None, None] / 2))
    nearest = 1 + int(np.argmin(ndimage.minimum(away, part, np.arange(1, count + 1))))
    return np.where(part == nearest, mask, 0.0)


def margins(drawn: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels that touch the outline along a side, outside and inside it.

    A nodule that fills its patch has none outside; the patch's own border is no outline.
    """
    outside = ndimage.binary_dilation(drawn) & ~drawn
    return outside, drawn & ~ndimage.binary_erosion(drawn, border_value=1)


def solidity(drawn: NDArray[np.bool_]) -> float:
    """Area / convex area.

    >>> shape = np.zeros((4, 4), bool); shape[:2, :2] = True; shape[:1, :4] = True   # 6 px; hull 7: corners cut
    >>> round(solidity(shape), 4)
    0.8571
    """
    rows, columns = np.nonzero(drawn)
    corners = np.concatenate([np.stack([rows + i, columns + j], 1) for i in (0, 1) for j in (0, 1)])
    return float(drawn.sum() / ConvexHull(corners).volume)
