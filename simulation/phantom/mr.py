"""What MR makes of a body: signal by tissue and sequence, diffusion decay, coil shading and Rician noise.

Signals are relative to the liver before contrast. Values are typical of 1.5 T, rounded; lesions follow the table of
the prototype for the classes of Zhen et al. (2020).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.anatomy import Tissue
from simulation.phantom.body import Appearance, Body, paint, planes
from simulation.phantom.lesion import LesionKind, Zone

MR_SEQUENCES: tuple[SequenceKind, ...] = ("t2", "dwi", "t1_pre", "arterial", "portal", "equilibrium")
DYNAMIC: tuple[SequenceKind, ...] = ("t1_pre", "arterial", "portal", "equilibrium")
LIVER_ADC = 1.10
"""10⁻³ mm²/s."""
_SHADING_MM = 170.0

_Row = tuple[float, float, float, float, float, float, float]
TISSUE_MR: dict[Tissue, _Row] = {
    Tissue.AIR: (0, 0, 1, 0, 0, 0, 0),
    Tissue.FAT: (2.1, 0.25, 0.1, 0.42, 0.43, 0.45, 0.45),
    Tissue.CAVITY: (1.9, 0.22, 0.1, 0.40, 0.41, 0.44, 0.44),
    Tissue.MUSCLE: (0.55, 0.75, 1.4, 0.80, 0.86, 1.05, 1.10),
    Tissue.LUNG: (0.08, 0.05, 1.0, 0.06, 0.08, 0.08, 0.08),
    Tissue.BONE: (0.12, 0.08, 0.5, 0.15, 0.15, 0.16, 0.16),
    Tissue.MARROW: (1.2, 0.5, 0.5, 0.55, 0.66, 0.80, 0.82),
    Tissue.CANAL: (4.0, 4.0, 3.0, 0.30, 0.30, 0.32, 0.33),
    Tissue.LIVER: (1.0, 1.0, LIVER_ADC, 1.0, 1.25, 1.90, 1.70),
    Tissue.SPLEEN: (1.9, 1.9, 0.80, 0.75, 1.95, 1.85, 1.60),
    Tissue.KIDNEY: (2.0, 2.2, 1.95, 0.85, 2.30, 2.45, 2.25),
    Tissue.STOMACH: (2.4, 1.8, 2.5, 0.55, 0.56, 0.58, 0.60),
    Tissue.GAS: (0, 0, 1, 0, 0, 0, 0),
    Tissue.GALLBLADDER: (4.2, 4.2, 3.0, 0.50, 0.50, 0.52, 0.54),
    Tissue.BOWEL: (1.5, 1.3, 1.8, 0.65, 0.95, 1.25, 1.20),
    Tissue.AORTA: (0.15, 0.10, 3.0, 0.60, 3.50, 2.40, 1.95),
    Tissue.CAVA: (0.25, 0.15, 3.0, 0.60, 0.95, 2.30, 1.95),
    Tissue.PORTAL_VEIN: (0.5, 0.30, 3.0, 0.60, 1.45, 2.60, 1.95),
    Tissue.HEPATIC_VEIN: (0.5, 0.30, 3.0, 0.60, 0.80, 2.40, 1.95),
    Tissue.HEART: (0.6, 0.40, 2.0, 0.70, 2.40, 2.20, 1.85),
}
"""T2, diffusion at b = 0, diffusion coefficient in 10⁻³ mm²/s, then the four phases of the T1 dynamic."""

_Added = tuple[float, float, float, float, float]
LESION_MR: dict[LesionKind, tuple[_Row, dict[Zone, _Added]]] = {
    "cyst": ((3.2, 3.2, 2.9, 0.45, 0.42, 0.38, 0.40), {}),
    "hemangioma": (
        (2.5, 2.5, 1.75, 0.65, 0.72, 0.90, 1.30),
        {Zone.NODULE: (0, 0, 1.3, 0.5, 0.05), Zone.CORE: (0, 0, 0, -0.2, -0.15)},
    ),
    "fnh": ((1.15, 1.15, 1.20, 0.92, 1.75, 1.15, 1.05), {Zone.CORE: (0.7, 0, -0.35, -0.35, 0.25)}),
    "other_benign": ((1.5, 1.5, 1.20, 0.80, 1.15, 1.05, 1.0), {}),
    "hcc": (
        (1.45, 1.5, 0.98, 0.80, 1.55, 0.82, 0.72),
        {Zone.RIM: (0, 0, 0, 0.2, 0.3), Zone.CORE: (0.4, -0.05, -0.35, -0.1, -0.05)},
    ),
    "metastasis": (
        (1.6, 1.6, 0.95, 0.72, 0.80, 0.76, 0.75),
        {Zone.RIM: (0, 0, 0.5, 0.35, 0.2), Zone.CORE: (0.6, -0.05, -0.15, -0.15, -0.1)},
    ),
    "other_malignant": (
        (1.55, 1.55, 1.0, 0.75, 0.85, 0.88, 0.98),
        {Zone.RIM: (0, 0, 0.4, 0.2, 0.05), Zone.CORE: (-0.2, 0, -0.1, 0, 0.15)},
    ),
}
"""The bulk as above, but its T1 relative to the liver in the same phase; and what other zones add to it in T2 and the
four phases."""
_NOTHING: _Added = (0, 0, 0, 0, 0)


def mr_appearance(body: Body, kind: SequenceKind, b_value: float = 0.0) -> Appearance:
    """Signal of each tissue in one sequence; `b_value` in s/mm² for diffusion."""
    signal = {tissue: _signal(row, kind, b_value) for tissue, row in TISSUE_MR.items()}
    liver = signal[Tissue.LIVER] if kind in DYNAMIC else 1.0
    looks = []
    for lesion in body.lesions:
        row, zones = LESION_MR[lesion.kind]
        bulk = _signal(row, kind, b_value)
        looks.append({zone: max(0.0, bulk + _added(zones.get(zone, _NOTHING), kind)) * liver for zone in Zone})
    return Appearance(signal, tuple(looks))


def mr_volume(
    labels: NDArray[np.uint8],
    grid: Grid,
    appearance: Appearance,
    random: np.random.Generator,
    *,
    noise: float,
    shading: float,
) -> NDArray[np.float32]:
    """Labels of `body.sections` → signal, (slices, rows, columns), the liver before contrast about 1.

    Args:
        noise: standard deviation in each channel of the receiver, relative to the liver.
        shading: 0..0.5, how much the coils' sensitivity varies over the body.
    """
    return received(paint(labels, appearance), grid, random, noise=noise, shading=shading)


def received(
    signal: NDArray[np.float32],
    grid: Grid,
    random: np.random.Generator,
    *,
    noise: float,
    shading: float,
    softening: int = 1,
) -> NDArray[np.float32]:
    """A noiseless image as the receiver makes it, magnitudes; `softening` passes of an in-plane point spread.

    The other arguments are those of `mr_volume`.
    """
    for _ in range(softening):
        signal = _softened(signal)
    signal *= _coils(grid, shading)
    real, imaginary = (random.standard_normal(signal.shape, np.float32) for _ in range(2))
    real *= np.float32(noise)
    real += signal
    imaginary *= np.float32(noise)
    real *= real  # np.hypot takes three times as long
    imaginary *= imaginary
    real += imaginary
    return np.sqrt(real, out=real)


def stored_signal(signal: NDArray[np.float32], gain: float) -> NDArray[np.uint16]:
    """Signal → 12-bit stored values, `gain` for the liver before contrast."""
    stored: NDArray[np.uint16] = np.rint(signal * np.float32(gain)).clip(0, 4095).astype(np.uint16)
    return stored


def _signal(row: _Row, kind: SequenceKind, b_value: float) -> float:
    if kind == "t2":
        return row[0]
    if kind == "dwi":
        return row[1] * math.exp(-b_value * row[2] / 1000)
    return row[3 + DYNAMIC.index(kind)]


def _added(row: _Added, kind: SequenceKind) -> float:
    if kind == "dwi":
        return 0.0
    return row[0] if kind == "t2" else row[1 + DYNAMIC.index(kind)]


def _softened(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A pixel in eight of each neighbour: an in-plane point spread of half a pixel."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    along = padded[:, :, 1:-1] * np.float32(0.75)
    along += padded[:, :, :-2] * np.float32(0.125)
    along += padded[:, :, 2:] * np.float32(0.125)
    both = along[:, 1:-1] * np.float32(0.75)
    both += along[:, :-2] * np.float32(0.125)
    both += along[:, 2:] * np.float32(0.125)
    return both


def _coils(grid: Grid, shading: float) -> NDArray[np.float32]:
    """Sensitivity of surface coils, brightest in front and behind; broadcastable to the grid."""
    middle = grid.position_mm([(n - 1) / 2 for n in grid.shape])
    x, y, z = (
        (at[:, 0] - np.float32(m)) / np.float32(_SHADING_MM)
        for at, m in zip(planes(grid, 0.0, number=1), middle, strict=True)
    )
    sensitivity: NDArray[np.float32] = np.exp(
        np.float32(shading) * (np.float32(1.5) * y * y - np.float32(0.5) * y + np.float32(0.4) * x - z * z)
    )
    return sensitivity
