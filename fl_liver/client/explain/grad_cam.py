"""Grad-CAM: where the last feature map speaks for the class that the network holds likeliest.

Selvaraju et al., ICCV 2017 (arXiv 1610.02391), equations 1 and 2: L = relu(Σ_k α_k A_k), α_k = mean over positions of
∂y/∂A_k, with y that class's logit, before any softmax. High is important; nothing is inverted.

Departs from the paper: where the last map is smaller than 4 × 4, as that of 64 px images after ResNet's five halvings,
the deepest one that is not is taken; at the published sizes that is the last one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fl_liver.client.explain.stages import likeliest_logit, over_image, seen
from fl_liver.models.lesion_model import LesionModel

LEAST_SIDE_PX = 4


def grad_cam(model: LesionModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Image name → (B, H, W) float32 in 0 … 1, its maximum 1; zeros where nothing speaks for the class."""
    with torch.enable_grad():
        # An input that wants gradients: a trunk whose weights are frozen still has a graph.
        watched = {name: value.detach().requires_grad_(name != "features") for name, value in inputs.items()}
        found = seen(model, watched)
        maps = {name: _map_of(scales) for name, scales in found.scales.items()}
        total = likeliest_logit(model, found.outputs).sum()
        slopes = torch.autograd.grad(total, list(maps.values()), allow_unused=True)
    return {
        name: over_image(weighted(one.detach(), slope), inputs[name])
        for (name, one), slope in zip(maps.items(), slopes, strict=True)
    }


def weighted(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """relu(Σ_k α_k A_k) of (B, C, h, w) each: (B, h, w). Zeros where the logit does not depend on the map."""
    if gradient is None:
        return torch.zeros_like(activation[:, 0])
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu()


def _map_of(scales: tuple[Tensor, ...]) -> Tensor:
    large = [one for one in scales if min(one.shape[2:]) >= LEAST_SIDE_PX]
    return large[-1] if large else scales[0]
