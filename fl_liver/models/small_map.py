"""Convolution whose weight gradient is one matrix product where the map is small.

On processors without AVX-512 oneDNN's weight gradient is slow on maps of a few pixels: 2.3 ms against 0.9 ms for
128 channels at 2×2, batch 16, and 116 ms against 60 ms for 512 channels at 7×7 (one AVX2 core). Forward pass and input
gradient are torch's own. Rounding differs from torch's, the mathematics does not.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LARGEST_MAP_PX = 49
"""Output pixels up to which the matrix product wins; 7×7 is the last stage at 224 px."""
NARROW = 16
"""With fewer input channels a strided 1×1 convolution is a plain one on every second pixel: the same numbers.

oneDNN's own weight gradient (torch 2.13, AVX2, channels last) writes past its memory with 1 to 6 channels: the process
dies now and then, under `MALLOC_CHECK_=3` always. 8 channels are right there; AVX-512 has 16 and could not be tried.
"""


class SmallMapConv2d(nn.Conv2d):
    """`nn.Conv2d` of torch, same weights and names: square kernel, no dilation, no groups, no bias."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size == (1, 1) and self.stride != (1, 1) and self.in_channels < NARROW:
            return functional.conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight)
        taught = torch.is_grad_enabled() and self.weight.requires_grad
        pixels = (x.shape[2] // self.stride[0]) * (x.shape[3] // self.stride[1])
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not (taught and plain and pixels <= LARGEST_MAP_PX):
            return super().forward(x)
        return cast(Tensor, _Convolution.apply(x, self.weight, self.stride[0], self.padding[0]))  # type: ignore[no-untyped-call]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
        to_input = None
        if ctx.needs_input_grad[0]:
            to_input = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, [True, False, False]
            )[0]
        return to_input, weight_gradient(x, gradient, weight.shape[2], ctx.stride, ctx.padding), None, None


def weight_gradient(x: Tensor, gradient: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Σ over images and pixels of output gradient × the window that it came from.

    x         (B, i, H, W)  input of the convolution
    gradient  (B, o, h, w)  of the loss at its output
    returns   (o, i, kernel, kernel), channels last in memory
    """
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)  # (B, h, w, i, kernel, kernel)
    rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * x.shape[1])
    outputs = gradient.shape[1]
    product = gradient.permute(0, 2, 3, 1).reshape(-1, outputs).t() @ rows
    return product.view(outputs, kernel, kernel, x.shape[1]).permute(0, 3, 1, 2)
