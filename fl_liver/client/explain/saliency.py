"""Input-gradient saliency: how much each pixel could move the answer.

Simonyan et al., arXiv 1312.6034 (2013); over channels by the L1 norm, as Zhen et al., Front Oncol 10 (2020) 680, take
it. They print the gradient of the loss; for two classes it is that of the logit times (p − y), one factor an image, so
that the map is the same. Here it is that of the logit of the class that the network holds likeliest, for any number of
classes, and needs no truth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fl_liver.client.explain.stages import image_names, likeliest_logit, over_image
from fl_liver.models.lesion_model import LesionModel


def input_gradient(model: LesionModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Image name → Σ_c |∂y/∂x_c|, (B, H, W) float32 in 0 … 1, its maximum 1."""
    names = image_names(model)
    with torch.enable_grad():
        watched = {name: value.detach().requires_grad_(name in names) for name, value in inputs.items()}
        total = likeliest_logit(model, model(watched)).sum()
        slopes = torch.autograd.grad(total, [watched[name] for name in names], allow_unused=True)
    return {
        name: over_image(torch.zeros_like(inputs[name][:, 0]) if slope is None else slope.abs().sum(1), inputs[name])
        for name, slope in zip(names, slopes, strict=True)
    }
