"""Inception-ResNet-v2, key for key timm's `inception_resnet_v2`, at any width of 4, 8, 12, … and any input channels.

Szegedy et al., AAAI 2017; the numbers of channels are those of Google's published weights, which timm's are. Input
(B, in_channels, H, W), 75 px or more a side: convolutions and pools have no border, so that 299 px end at 8×8 and 96 px
at 1×1. Channels are the published ones × width / 64. A published ImageNet checkpoint loads at width 64.

With `norm="group"` the layers keep timm's names; running statistics go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.models.normalisation import map_norm
from fl_liver.models.trunk import Trunk
from fl_liver.study import Norm

EPS = 1e-3
"""Of batch normalisation; torch's own default is 1e-5."""
Side = int | tuple[int, int]


class ConvNorm(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(
        self, channels: tuple[int, int], kernel: Side, stride: int, padding: Side, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, stride, padding, bias=False)
        self.bn = norm(channels[1])
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.relu(self.bn(self.conv(x))))


class Branches(nn.Module):
    """Several ways side by side, channels joined."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        for k, branch in enumerate(branches):
            self.add_module(f"branch{k}", branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


class Residual(nn.Module):
    """x + scale × 1×1 convolution of the joined branches, then ReLU. (B, channels, H, W) → the same shape."""

    def __init__(self, channels: tuple[int, int], scale: float, *branches: nn.Module, relu: bool = True) -> None:
        super().__init__()
        self.scale, self.relu, self.count = scale, relu, len(branches)
        for k, branch in enumerate(branches):
            self.add_module(f"branch{k}", branch)
        self.conv2d = nn.Conv2d(*channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.get_submodule(f"branch{k}")(x) for k in range(self.count)], 1)
        out = torch.add(x, self.conv2d(joined), alpha=self.scale)
        return out.relu_() if self.relu else out


class Layers:
    """Layers by their published numbers of channels, made with those × width / 64."""

    def __init__(self, width: int, norm: Norm) -> None:
        self._width, self._norm = width, map_norm(norm, EPS)

    def conv(self, inside: int, outside: int, kernel: Side = 1, stride: int = 1, padding: Side = 0) -> ConvNorm:
        return ConvNorm((self._of(inside), self._of(outside)), kernel, stride, padding, self._norm)

    def first(self, in_channels: int) -> ConvNorm:
        return ConvNorm((in_channels, self._of(32)), 3, 2, 0, self._norm)

    def residual(self, joined: int, channels: int, scale: float, *branches: nn.Module, relu: bool = True) -> Residual:
        return Residual((self._of(joined), self._of(channels)), scale, *branches, relu=relu)

    def _of(self, published: int) -> int:
        return published * self._width // 64


class InceptionResNetV2(Trunk):
    """Stem, 10 + 20 + 10 residual blocks at three scales, mean over the map, and `classif` where `classes` > 0.

    Raises:
        ConfigError: a width at which some number of channels would be no whole number.
    """

    scale_layers = ("conv2d_2b", "conv2d_4a", "repeat", "repeat_1", "conv2d_7b")
    first_convolution = "conv2d_1a.conv"
    head = "classif."
    smallest_px = 75

    def __init__(self, *, in_channels: int = 3, classes: int = 1000, width: int = 64, norm: Norm = "batch") -> None:
        super().__init__("inception_resnet_v2", width)
        if width % 4:
            raise ConfigError(
                f"inception_resnet_v2 at width {width}: its channels are multiples of 16 × width / 64; wanted 4, 8, …"
            )
        layers = Layers(width, norm)
        self.conv2d_1a = layers.first(in_channels)
        self.conv2d_2a = layers.conv(32, 32, 3)
        self.conv2d_2b = layers.conv(32, 64, 3, 1, 1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = layers.conv(64, 80)
        self.conv2d_4a = layers.conv(80, 192, 3)
        self.maxpool_5a = nn.MaxPool2d(3, 2)
        self.mixed_5b = _mixed_5b(layers)
        self.repeat = nn.Sequential(*(_block35(layers) for _ in range(10)))
        self.mixed_6a = _mixed_6a(layers)
        self.repeat_1 = nn.Sequential(*(_block17(layers) for _ in range(20)))
        self.mixed_7a = _mixed_7a(layers)
        self.repeat_2 = nn.Sequential(*(_block8(layers, 0.2) for _ in range(9)))
        self.block8 = _block8(layers, 1.0, relu=False)
        self.conv2d_7b = layers.conv(2080, 1536)
        self.feature_count = 1536 * width // 64
        self.classif = nn.Linear(self.feature_count, classes) if classes else None

    def walk(self, x: Tensor) -> Iterator[Tensor]:
        """At 299 px sides of 147, 71, 35, 17 and 8."""
        for name, module in self.named_children():
            if name != "classif":
                x = module(x)
            if name in self.scale_layers:
                yield x

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes), or the features where there are no classes."""
        pooled = self.pooled(x)
        return pooled if self.classif is None else cast(Tensor, self.classif(pooled))


def _mixed_5b(layers: Layers) -> nn.Module:
    """192 → 320 channels."""
    conv = layers.conv
    return Branches(
        conv(192, 96),
        nn.Sequential(conv(192, 48), conv(48, 64, 5, 1, 2)),
        nn.Sequential(conv(192, 64), conv(64, 96, 3, 1, 1), conv(96, 96, 3, 1, 1)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv(192, 64)),
    )


def _block35(layers: Layers) -> nn.Module:
    """Inception-ResNet-A: 320 channels, 35×35 at 299 px."""
    conv = layers.conv
    return layers.residual(
        128,
        320,
        0.17,
        conv(320, 32),
        nn.Sequential(conv(320, 32), conv(32, 32, 3, 1, 1)),
        nn.Sequential(conv(320, 32), conv(32, 48, 3, 1, 1), conv(48, 64, 3, 1, 1)),
    )


def _mixed_6a(layers: Layers) -> nn.Module:
    """320 → 1088 channels, half the side."""
    conv = layers.conv
    return Branches(
        conv(320, 384, 3, 2),
        nn.Sequential(conv(320, 256), conv(256, 256, 3, 1, 1), conv(256, 384, 3, 2)),
        nn.MaxPool2d(3, 2),
    )


def _block17(layers: Layers) -> nn.Module:
    """Inception-ResNet-B: 1088 channels, 17×17 at 299 px."""
    conv = layers.conv
    return layers.residual(
        384,
        1088,
        0.1,
        conv(1088, 192),
        nn.Sequential(conv(1088, 128), conv(128, 160, (1, 7), 1, (0, 3)), conv(160, 192, (7, 1), 1, (3, 0))),
    )


def _mixed_7a(layers: Layers) -> nn.Module:
    """1088 → 2080 channels, half the side."""
    conv = layers.conv
    return Branches(
        nn.Sequential(conv(1088, 256), conv(256, 384, 3, 2)),
        nn.Sequential(conv(1088, 256), conv(256, 288, 3, 2)),
        nn.Sequential(conv(1088, 256), conv(256, 288, 3, 1, 1), conv(288, 320, 3, 2)),
        nn.MaxPool2d(3, 2),
    )


def _block8(layers: Layers, scale: float, *, relu: bool = True) -> nn.Module:
    """Inception-ResNet-C: 2080 channels, 8×8 at 299 px."""
    conv = layers.conv
    return layers.residual(
        448,
        2080,
        scale,
        conv(2080, 192),
        nn.Sequential(conv(2080, 192), conv(192, 224, (1, 3), 1, (0, 1)), conv(224, 256, (3, 1), 1, (1, 0))),
        relu=relu,
    )


def inception_resnet_v2(
    *, in_channels: int = 3, classes: int = 1000, width: int = 64, norm: Norm = "batch"
) -> InceptionResNetV2:
    """55,843,464 parameters at the published size."""
    return InceptionResNetV2(in_channels=in_channels, classes=classes, width=width, norm=norm)
