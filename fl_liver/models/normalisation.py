"""The layer between a convolution and its ReLU: batch normalisation, or a group normalisation that sees one image only.

Group normalisation is Wu and He, ECCV 2018. It has no running statistics, so that nothing of several patients is mixed,
kept or sent: what training with differential privacy needs (`privacy.training` of a study).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from fl_liver.study import Norm

GROUPS = 32
"""The paper's default."""


def map_norm(norm: Norm, eps: float = 1e-5) -> Callable[[int], nn.Module]:
    """channels → layer for maps (B, channels, H, W); `eps` is that of batch normalisation."""
    return partial(nn.BatchNorm2d, eps=eps) if norm == "batch" else _group_norm


class GroupNorm(nn.GroupNorm):
    """In float32 also under autocast, as torch's own autocast has it on a GPU.

    On a processor torch runs it in bfloat16, which takes five times as long: half of a training step of `hcc_ct`.
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.float())


def vector_norm(norm: Norm, size: int) -> nn.Module:
    """Layer for vectors (B, size). One group: the mean of a small group of numbers would be all that they say."""
    return nn.BatchNorm1d(size) if norm == "batch" else GroupNorm(1, size)


def _group_norm(channels: int) -> nn.Module:
    """32 groups, fewer where a group would be a single channel: on a map of one pixel that would always be 0."""
    return GroupNorm(math.gcd(GROUPS, max(channels // 2, 1)), channels)
