"""One projective resampling for a random resized crop, aspect, rotation, shift, perspective, flips and symmetries.

A warp is a 3 × 3 matrix an image that takes output to source positions, both from −1 to 1 between the image's outer
edges, columns first. What lies outside the source is its reflection.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

from fl_liver.study_training import Augmentation

CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


def resamples(study: Augmentation) -> bool:
    """Whether the study asks for more than whole pixels moved."""
    return study.area is not None or study.rotation_deg > 0 or study.perspective > 0


def warp_of(study: Augmentation, count: int, height: int, width: int) -> Tensor:
    """(count, 3, 3) float64 on the processor, drawn from torch's random state.

    An output position is flipped, drawn in perspective, shifted, rotated about the middle, and put into the crop.
    """
    warp = _crops(study, count)
    if study.rotation_deg:
        warp = warp @ _rotations(_between(-study.rotation_deg, study.rotation_deg, count), height, width)
    if study.shift_px:
        shift_px = min(study.shift_px, height - 1, width - 1)
        warp = warp @ _shifts(_between(-shift_px, shift_px, 2, count), height, width)
    if study.perspective:
        warp = warp @ _perspectives(study.perspective, count)
    return warp @ _flips(study, count)


def warped(images: Tensor, warp: Tensor) -> Tensor:
    """(B, C, H, W) float32 resampled bilinearly along (B, 3, 3)."""
    count, _, height, width = images.shape
    device = images.device
    # Not `affine_grid`: it is projective, and one product over all pixels is ten times as fast on a processor.
    rows, columns = (_middles(side, device) for side in (height, width))
    places = torch.stack([columns.repeat(height), rows.repeat_interleave(width), rows.new_ones(height * width)])
    source = warp.to(device, torch.float32) @ places
    if (warp[:, 2, :2] != 0).any():
        # Where the horizon of an extreme perspective lies in the picture this is not finite: torch takes that as −1.
        source = source[:, :2] / source[:, 2:]
    grid = source[:, :2].view(count, 2, height, width).permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _middles(count: int, device: torch.device) -> Tensor:
    """Where the middles of `count` pixels lie between −1 and 1."""
    return (torch.arange(count, device=device, dtype=torch.float32) * 2 + 1) / count - 1


def _between(low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, dtype=torch.float64)


def _matrices(count: int) -> Tensor:
    return torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)


def _crops(study: Augmentation, count: int) -> Tensor:
    """Random resized crops: area uniform, columns over rows log-uniform, an axis cut at the image's own side."""
    warp = _matrices(count)
    if study.area is None:
        return warp
    area = _between(*study.area, count)
    aspect = _between(math.log(study.aspect[0]), math.log(study.aspect[1]), count).exp()
    for axis, share in enumerate(((area * aspect).sqrt(), (area / aspect).sqrt())):
        share = share.clamp(max=1.0)
        warp[:, axis, axis] = share
        warp[:, axis, 2] = _between(-1.0, 1.0, count) * (1 - share)
    return warp


def _rotations(degrees: Tensor, height: int, width: int) -> Tensor:
    """In pixels, so that a picture that is no square is turned and not sheared."""
    warp, angle = _matrices(len(degrees)), torch.deg2rad(degrees)
    warp[:, 0, 0] = warp[:, 1, 1] = angle.cos()
    warp[:, 0, 1] = -angle.sin() * height / width
    warp[:, 1, 0] = angle.sin() * width / height
    return warp


def _shifts(pixels: Tensor, height: int, width: int) -> Tensor:
    """pixels (2, B), columns first."""
    warp = _matrices(pixels.shape[1])
    warp[:, 0, 2], warp[:, 1, 2] = 2 * pixels[0] / width, 2 * pixels[1] / height
    return warp


def _perspectives(most: float, count: int) -> Tensor:
    """In half of the images, each corner moves inwards by up to `most` of half a side along either axis."""
    drawn = torch.rand(count, 1, 1, dtype=torch.float64) < 0.5
    corners = torch.tensor(CORNERS, dtype=torch.float64)
    moved = corners * (1 - most * torch.rand(count, 4, 2, dtype=torch.float64))
    return torch.where(drawn, homography(moved, corners.expand(count, 4, 2)), _matrices(count))


def homography(seen: Tensor, source: Tensor) -> Tensor:
    """The (B, 3, 3) matrices that take four points `seen` to four `source`, both (B, 4, 2); last entry 1."""
    (x, y), (u, v) = seen.unbind(2), source.unbind(2)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    along = torch.stack([x, y, one, none, none, none, -x * u, -y * u], 2)
    across = torch.stack([none, none, none, x, y, one, -x * v, -y * v], 2)
    entries = torch.linalg.solve(torch.cat([along, across], 1), torch.cat([u, v], 1))
    return torch.cat([entries, one[:, :1]], 1).view(-1, 3, 3)


def _flips(study: Augmentation, count: int) -> Tensor:
    """Each with p = ½; with transposition, those of both axes are the 8 symmetries of a square."""
    warp = _matrices(count)
    for axis, wanted in enumerate((study.flip_horizontal, study.flip_vertical)):
        if wanted or study.symmetries:
            warp[:, axis, axis] = torch.where(torch.rand(count) < 0.5, -1.0, 1.0).double()
    if study.symmetries:
        turned = torch.rand(count, 1, 1) < 0.5
        warp = torch.where(turned, warp[:, [1, 0, 2]], warp)
    return warp
