"""Random crops, geometry and intensities for a batch of grey images or sequences, without a loop over images.

What may change is the study's `[augmentation]`, which says the order; everything is drawn from torch's CPU random
state, on every device the same. Crops, shifts by whole pixels, flips and symmetries move pixels and never mix them.
Where a study asks for more (`augmentation_warp`), each image is resampled once, bilinearly, about its middle.

Khalili 2020 counts 768 variants of a patch of 32 pixels for crops of 24, 4 rotations and reflections. Shifts of up to 4
pixels either way are 9 × 9 crops, and a square has 8 symmetries: 648, which is what is drawn here. (8 × 8 crops, 4
rotations and 3 choices of a reflection give 768; 4 of those 12 symmetries are the same picture as others.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from fl_liver.errors import ConfigError
from fl_liver.models.augmentation_warp import resamples, warp_of, warped
from fl_liver.study_training import Augmentation

UNCHANGED = frozenset({"features"})
"""Inputs that are no images."""
MASK = "mask"
"""Goes with "lesion", whatever happens to that."""


@dataclass(frozen=True, slots=True)
class Views:
    """From what a cohort holds to what a network reads: `train` as the study augments, `plain` as scoring sees it.

    inputs   name → (m, H, W) or (m, C, H, W) of any floating dtype, standardised; "mask" of the same images as
             "lesion", 0 … 1; "features" (m, f), which are handed on as they are
    chosen   (B,) int64 on the same device
    returns  name → (B, C, h, w) float32, h = w = `crop_px` where the study crops; "features" (B, f)

    Raises:
        ConfigError: images smaller than the crop, or symmetries of a square asked of others.
    """

    study: Augmentation

    def train(self, inputs: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
        """Each image with draws of its own; all channels of an image, and its mask, with the same."""
        made: dict[str, Tensor] = {}
        for name, values in inputs.items():
            if name in UNCHANGED:
                made[name] = values[chosen]
            elif name != MASK:
                images, mask = self._augmented(values, inputs.get(MASK) if name == "lesion" else None, chosen)
                made |= {name: images} if mask is None else {name: images, MASK: mask}
        return made

    def plain(self, inputs: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
        """The images as they are, or their middle where the study crops."""
        return {
            name: values[chosen] if name in UNCHANGED else self._middle(_picked(values, chosen).float())
            for name, values in inputs.items()
        }

    def _augmented(self, images: Tensor, mask: Tensor | None, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        spread = torch.tensor([self.study.gain_sd, self.study.offset_sd]).view(2, 1, 1, 1, 1)
        gain, offset = (torch.randn(2, len(chosen), 1, 1, 1) * spread).to(images.device)
        if mask is None:
            made = _picked(images, chosen).float()
            return self._moved(torch.addcmul(offset, made, gain + 1, out=made)), None
        # Side by side before anything is moved, so that all of it is moved in one go.
        made = torch.cat([_picked(images, chosen), _picked(mask, chosen)], 1).float()
        torch.addcmul(offset, made[:, :-1], gain + 1, out=made[:, :-1])
        moved = self._moved(made)
        return moved[:, :-1], moved[:, -1:]

    def _moved(self, images: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, h, w)"""
        if self.study.crop_px is not None:
            reach = [side - self.study.crop_px for side in self._require_crop(images)]
            images = _windows(images, reach, self.study.crop_px, self.study.crop_px)
        height, width = images.shape[2:]
        if self.study.symmetries and height != width:
            raise ConfigError(
                f"augmentation.symmetries turns squares by 90°; these images are {height} × {width}; give crop_px, or"
                " flip_horizontal and flip_vertical"
            )
        if resamples(self.study):
            return warped(images, warp_of(self.study, len(images), height, width))
        if self.study.shift_px:
            reach_px = min(self.study.shift_px, height - 1, width - 1)
            padded = functional.pad(images, (reach_px,) * 4, mode="reflect")
            images = _windows(padded, [2 * reach_px] * 2, height, width)
        return _turned(images, self.study)

    def _middle(self, images: Tensor) -> Tensor:
        side = self.study.crop_px
        if side is None:
            return images
        top, left = ((found - side) // 2 for found in self._require_crop(images))
        return images[:, :, top : top + side, left : left + side]

    def _require_crop(self, images: Tensor) -> tuple[int, int]:
        height, width = images.shape[2:]
        if self.study.crop_px is not None and min(height, width) < self.study.crop_px:
            raise ConfigError(
                f"augmentation.crop_px {self.study.crop_px} is larger than the images, {height} × {width}; raise"
                " model.image_px, or lower crop_px"
            )
        return height, width


def _picked(images: Tensor, chosen: Tensor) -> Tensor:
    """(m, H, W) or (m, C, H, W) → (B, C, H, W), in their own type. Ten times as fast as `images[chosen]` in float16."""
    picked = images.index_select(0, chosen)
    return picked.unsqueeze(1) if picked.ndim == 3 else picked


def _windows(images: Tensor, reach: list[int], height: int, width: int) -> Tensor:
    """A random window of each image; its corner lies in 0 … reach, rows first."""
    count = len(images)
    if reach[0] == reach[1]:
        corner = torch.randint(0, reach[0] + 1, (2, count))
    else:
        corner = torch.stack([torch.randint(0, most + 1, (count,)) for most in reach])
    corner = corner.to(images.device)
    # Every window as a view, one index for all: twice as fast as indexing pixels, and no loop over images.
    windows = images.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, corner[0], corner[1]]


def _turned(images: Tensor, study: Augmentation) -> Tensor:
    """Flips, each with p = ½; with transposition, those of both axes are the 8 symmetries of a square."""
    if study.flip_horizontal or study.symmetries:
        images = torch.where(_half(images), images.flip(3), images)
    if study.flip_vertical or study.symmetries:
        images = torch.where(_half(images), images.flip(2), images)
    return torch.where(_half(images), images.transpose(2, 3), images) if study.symmetries else images


def _half(images: Tensor) -> Tensor:
    return (torch.rand(len(images), 1, 1, 1) < 0.5).to(images.device)
