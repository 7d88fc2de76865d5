"""Random flips, shifts and intensities for a batch of grey images, without a loop over images."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
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
    reach = min(SHIFT_PX, height - 1, width - 1)
    gain_offset = (torch.randn(2, count, 1, 1) * INTENSITY_SD).to(images.device)
    corner = torch.randint(0, 2 * reach + 1, (2, count)).to(images.device)
    mirrored = (torch.rand(count, 1, 1) < 0.5).to(images.device)
    picked = torch.addcmul(gain_offset[1], images[chosen].float(), gain_offset[0] + 1)
    padded = functional.pad(picked.unsqueeze(1), (reach,) * 4, mode="reflect").squeeze(1)
    # Every window as a view, one index for all: twice as fast as indexing pixels, and no loop over images.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)
    shifted = windows[torch.arange(count, device=images.device), corner[0], corner[1]]
    return torch.where(mirrored, shifted.flip(2), shifted).unsqueeze(1)


def plain(images: Tensor, chosen: Tensor) -> Tensor:
    """The chosen images as they are: (m, H, W), (B,) → (B, 1, H, W) float32."""
    return images[chosen].float().unsqueeze(1)
