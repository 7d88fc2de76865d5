"""Pooling where an attention map looks, and what teaches that map.

Schmauch et al., Diagn Interv Imaging 100 (2019) 227–233, equation 3. The map's size is the network's own (8×11 for
ResNet-50 at 240×345, 7×10 for DenseNet-121); masks come down to it, never the map up to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor


def attention_pool(features: Tensor, logits: Tensor, scales: Sequence[float]) -> Tensor:
    """x_k = Σ p·x_kij / Σ p with p = sigmoid(λ·logit), one average for each λ, side by side.

    features  (B, C, h, w)  last map of the trunk
    logits    (B, 1, h, w)  log-odds that a lesion lies there
    scales    λ ≥ 0; 0 is the plain average, the larger the closer to the likeliest pixel
    returns   (B, C × len(scales)), float32
    """
    # p / Σ p is the softmax of log p: where all p are below what a float32 holds, the ratio still is a number.
    scaled = logits.float().flatten(2) * torch.tensor(scales, device=logits.device).view(1, -1, 1)
    share = functional.logsigmoid(scaled).softmax(2)  # (B, scales, h·w)
    return torch.bmm(share, features.float().flatten(2).transpose(1, 2)).flatten(1)


def attention_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean binary cross-entropy between the map and the share of each of its pixels that the drawn lesion covers.

    logits (B, 1, h, w); mask (B, 1, H, W) in 0 … 1, any size.
    """
    covered = functional.adaptive_avg_pool2d(mask.float(), (logits.shape[2], logits.shape[3]))
    return functional.binary_cross_entropy_with_logits(logits.float(), covered)
