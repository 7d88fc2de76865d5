"""What CT makes of a body: Hounsfield units by tissue and contrast phase, noise as a kernel leaves it.

Values are typical of an adult at 120 kV, rounded; the lesions follow the textbook: HCC lights up early and washes out,
a haemangioma fills from its edge, a metastasis stays dark inside a rim, a cyst is water, an intrahepatic cholangio-
carcinoma (other malignant) takes up contrast late.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.anatomy import Tissue
from simulation.phantom.body import Appearance, Body, paint
from simulation.phantom.fields import texture
from simulation.phantom.lesion import LesionKind, Zone

CT_PHASES: tuple[SequenceKind, ...] = ("plain", "arterial", "portal", "delayed")
AIR_HU, LOWEST_HU, HIGHEST_HU = -1000, -1024, 3071

Curve = tuple[float, float, float, float]
TISSUE_HU: dict[Tissue, Curve] = {
    Tissue.AIR: (-1000, -1000, -1000, -1000),
    Tissue.FAT: (-105, -105, -104, -104),
    Tissue.CAVITY: (-98, -96, -94, -94),
    Tissue.MUSCLE: (54, 58, 64, 63),
    Tissue.LUNG: (-840, -835, -832, -832),
    Tissue.BONE: (620, 622, 625, 624),
    Tissue.MARROW: (165, 170, 182, 178),
    Tissue.CANAL: (22, 23, 24, 24),
    Tissue.LIVER: (58, 70, 112, 96),
    Tissue.SPLEEN: (48, 118, 124, 102),
    Tissue.KIDNEY: (32, 150, 178, 168),
    Tissue.STOMACH: (26, 27, 28, 28),
    Tissue.GAS: (-960, -960, -960, -960),
    Tissue.GALLBLADDER: (8, 8, 9, 10),
    Tissue.BOWEL: (35, 52, 66, 60),
    Tissue.AORTA: (42, 318, 162, 118),
    Tissue.CAVA: (40, 72, 142, 116),
    Tissue.PORTAL_VEIN: (41, 112, 172, 124),
    Tissue.HEPATIC_VEIN: (40, 62, 156, 120),
    Tissue.HEART: (41, 210, 150, 118),
}
"""Plain, arterial, portal venous, delayed."""

_SAME: Curve = (0, 0, 0, 0)
LESION_HU: dict[LesionKind, tuple[Curve, dict[Zone, Curve]]] = {
    "cyst": ((6, 6, 7, 7), {}),
    "hemangioma": ((38, 44, 74, 122), {Zone.NODULE: (0, 190, 92, 2), Zone.CORE: (-2, -4, -14, -12)}),
    "fnh": ((52, 146, 117, 99), {Zone.CORE: (-8, -58, -24, 22)}),
    "other_benign": ((50, 92, 106, 92), {}),
    "hcc": ((47, 122, 99, 72), {Zone.RIM: (0, 0, 14, 34), Zone.CORE: (-10, -42, -34, -24)}),
    "metastasis": ((41, 48, 60, 64), {Zone.RIM: (0, 44, 26, 14), Zone.CORE: (-8, -12, -18, -16)}),
    "other_malignant": ((42, 52, 72, 100), {Zone.RIM: (0, 36, 18, 4), Zone.CORE: (-2, -6, 2, 14)}),
}
"""Of the bulk in each phase, and what other zones differ from it."""


def ct_appearance(body: Body, phase: SequenceKind) -> Appearance:
    """Hounsfield units in one phase."""
    at = CT_PHASES.index(phase)
    looks = []
    for lesion in body.lesions:
        bulk, zones = LESION_HU[lesion.kind]
        looks.append({zone: bulk[at] + zones.get(zone, _SAME)[at] for zone in Zone})
    return Appearance({tissue: curve[at] for tissue, curve in TISSUE_HU.items()}, tuple(looks))


def ct_volume(
    labels: NDArray[np.uint8],
    grid: Grid,
    appearance: Appearance,
    random: np.random.Generator,
    *,
    noise_hu: float,
    grain_mm: float,
) -> NDArray[np.int16]:
    """Labels of `body.sections` → Hounsfield units, (slices, rows, columns), −1024 to 3071.

    Args:
        noise_hu: standard deviation.
        grain_mm: standard deviation of the kernel's blur; sharp kernels have less and are noisier.
    """
    hu = paint(labels, appearance)
    sigma_px = grain_mm / grid.spacing_mm[2]
    for plane in hu:
        plane += noise_hu * texture(random, (plane.shape[0], plane.shape[1]), sigma_px)
    return np.clip(np.rint(hu), LOWEST_HU, HIGHEST_HU).astype(np.int16)


def outside_circle(grid: Grid) -> NDArray[np.bool_]:
    """(rows, columns): True where no ray passed, outside the circle of reconstruction."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in grid.shape[1:])
    return np.asarray(np.hypot(rows[:, None], columns) > max(grid.shape[1:]) / 2)
