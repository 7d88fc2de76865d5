"""Random flips, shifts and intensities for a batch of grey images, in one gather and one multiply-add."""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT_PX = 4
"""Largest shift along either axis; what comes in at the edge is the image's own reflection."""
INTENSITY_SD = 0.1
"""Standard deviation of the gain (about 1) and of the offset (about 0) on standardised images."""


def augmented(images: Tensor, chosen: Tensor) -> Tensor:
    """The chosen images, each with its own mirror image, shift, gain and offset.

    images   (m, H, W) any floating dtype, standardised
    chosen   (B,) int64 on the same device
    returns  (B, 1, H, W) float32

    Draws from torch's CPU random state, on every device the same: horizontal flip with p = ½, integer shifts in
    ±SHIFT_PX, gain and offset normal with INTENSITY_SD.
    """
    count, (height, width) = len(chosen), images.shape[1:]
    draws = torch.rand(3, count, 1)
    gain_offset = (torch.randn(2, count, 1, 1) * INTENSITY_SD).to(images.device)
    rows = _reflected(height, draws[0])
    columns = _reflected(width, draws[1])
    columns = torch.where(draws[2] < 0.5, columns.flip(1), columns).to(images.device)
    picked = images[chosen[:, None, None], rows.to(images.device)[:, :, None], columns[:, None, :]].float()
    return torch.addcmul(gain_offset[1], picked, gain_offset[0] + 1).unsqueeze(1)


def plain(images: Tensor, chosen: Tensor) -> Tensor:
    """The chosen images as they are: (m, H, W), (B,) → (B, 1, H, W) float32."""
    return images[chosen].float().unsqueeze(1)


def _reflected(length: int, draw: Tensor) -> Tensor:
    """(B, 1) uniform draws → (B, length) source indices, shifted by up to SHIFT_PX and reflected at both ends."""
    reach = min(SHIFT_PX, length - 1)
    shift = (draw * (2 * reach + 1)).long() - reach
    source = (torch.arange(length) + shift).abs()
    return (length - 1) - ((length - 1) - source).abs()
