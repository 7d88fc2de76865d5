"""SMOE scale: how unevenly a position's channels fire, from one forward pass, over all scales of the network.

Mundhenk, Chen and Friedland, "Efficient saliency maps for explainable AI", arXiv 1911.11293 (2019), used by Wang 2021.
At one position with channels x_1 … x_C > 0 (after the rectifier) of mean m:

    SMOE = m · (log2 m − mean_k log2 x_k)

It is 0 where all channels are equal. Each scale's map is put on the normal distribution function, Φ((v − mean) / sd)
over its own positions, resized and averaged with the paper's weights of five scales. No gradient and no class is asked:
the map says where the network looks, not what for. (Their colour picture "LOVI" of the scales is not made.)
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from fl_liver.client.explain.stages import over_image, seen
from fl_liver.models.lesion_model import LesionModel

WEIGHTS = (0.18, 0.15, 0.37, 0.40, 0.72)
"""Of the scales, largest map first, as published; a sixth counts as the fifth."""
_ABOVE_ZERO = 1e-7
_NO_GAP = 1e-6
"""log2 m − mean log2 x, below which channels are equal: a float32 logarithm of x / m = 1 is off by 2e-7, and channels
that differ by 0.2 % give 3e-6."""
_NO_SPREAD = 1e-5
"""Of a map, as a share of its mean: what rounding leaves where all positions are equal is some 1e-7."""


def smoe(model: LesionModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Image name → (B, H, W) float32 in 0 … 1, its maximum 1. Scales of one position tell nothing and are left out."""
    with torch.no_grad():
        found = seen(model, inputs)
        return {name: combined(scales, inputs[name]) for name, scales in found.scales.items()}


def smoe_scale(activation: Tensor) -> Tensor:
    """(B, C, h, w) → (B, h, w), 0 or above."""
    x = activation.float().relu() + _ABOVE_ZERO
    mean = x.mean(1)
    gap = -(x / mean[:, None]).log2().mean(1)  # the formula's difference, whose terms alone may be −23
    return torch.where(gap > _NO_GAP, mean * gap, torch.zeros_like(gap))


def combined(scales: tuple[Tensor, ...], image: Tensor) -> Tensor:
    """The weighted mean of the scales' maps over the image, (B, H, W), divided by its maximum."""
    size = image.shape[2:]
    total = torch.zeros((len(image), 1, *size), device=image.device)
    for number, activation in enumerate(scales):
        if activation.shape[2:].numel() > 1:
            one = _on_normal(smoe_scale(activation))[:, None]
            weight = WEIGHTS[min(number, len(WEIGHTS) - 1)]
            total += weight * torch.nn.functional.interpolate(one, size, mode="bilinear", align_corners=False)
    return over_image(total[:, 0], image)


def _on_normal(values: Tensor) -> Tensor:
    """Φ of each map's own standardised values; ½ everywhere where they are all the same but for rounding."""
    mean, spread = values.mean((1, 2), keepdim=True), values.std((1, 2), keepdim=True)
    alike = spread <= _NO_SPREAD * mean
    standard = (values - mean) / torch.where(alike, torch.ones_like(spread), spread)
    return cast(Tensor, torch.special.ndtr(torch.where(alike, torch.zeros_like(values), standard)))
