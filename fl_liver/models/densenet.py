"""DenseNet-121, key for key that of torchvision, at any even width and number of input channels.

Huang et al., CVPR 2017. Input (B, in_channels, H, W), 29 px or more a side; the last map is 7×7 at 224 px and 7×10 at
240×345, a row and a column less than a ResNet's, because average pools leave out an odd last row. `width` channels
leave the first convolution; growth is width / 2. A published ImageNet checkpoint loads at width 64.

With `norm="group"` the layers keep torchvision's names; running statistics go.
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

LAYERS = (6, 12, 24, 16)
BOTTLENECK = 4
"""The 1×1 convolution of a dense layer gives 4 × growth channels."""


class DenseLayer(nn.Module):
    """Norm, ReLU, 1×1, norm, ReLU, 3×3. (B, channels_in, H, W) → (B, growth, H, W), the new channels alone."""

    def __init__(self, channels_in: int, growth: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm1 = norm(channels_in)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels_in, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = norm(BOTTLENECK * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.relu1(self.norm1(x)))
        return cast(Tensor, self.conv2(self.relu2(self.norm2(out))))


class DenseBlock(nn.Module):
    """Each layer reads all channels before it. (B, channels_in, H, W) → (B, channels_in + layers × growth, H, W)."""

    def __init__(self, layers: int, channels_in: int, growth: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        for k in range(layers):
            self.add_module(f"denselayer{k + 1}", DenseLayer(channels_in + k * growth, growth, norm))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], 1)
        return x


class DenseNet(Trunk):
    """Stem, four dense blocks with a transition after each but the last, and `classifier` where `classes` > 0.

    Raises:
        ConfigError: an odd width, whose half is no number of channels.
    """

    scale_layers = ("features.relu0", *(f"features.transition{k}.relu" for k in (1, 2, 3)), "relu5")
    first_convolution = "features.conv0"
    head = "classifier."
    smallest_px = 29

    def __init__(self, *, in_channels: int = 3, classes: int = 1000, width: int = 64, norm: Norm = "batch") -> None:
        super().__init__("densenet121", width)
        if width % 2:
            raise ConfigError(f"densenet121 at width {width}: growth is width / 2; wanted an even width")
        layer, channels = map_norm(norm), width
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(in_channels, width, 7, 2, 3, bias=False))
        self.features.add_module("norm0", layer(width))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for k, count in enumerate(LAYERS, 1):
            self.features.add_module(f"denseblock{k}", DenseBlock(count, channels, width // 2, layer))
            channels += count * (width // 2)
            if k < len(LAYERS):
                self.features.add_module(f"transition{k}", _transition(channels, layer))
                channels //= 2
        self.features.add_module("norm5", layer(channels))
        self.relu5 = nn.ReLU(inplace=True)
        self.feature_count = channels
        self.classifier = nn.Linear(channels, classes) if classes else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def walk(self, x: Tensor) -> Iterator[Tensor]:
        """Half the side after each: the stem's map, what goes into each transition's convolution, the last map."""
        for name, module in self.features.named_children():
            if name == "relu0":
                x = module(x)
                yield x
            elif name.startswith("transition"):
                x = module.get_submodule("relu")(module.get_submodule("norm")(x))
                yield x
                x = module.get_submodule("pool")(module.get_submodule("conv")(x))
            else:
                x = module(x)
        yield self.relu5(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes), or the features where there are no classes."""
        pooled = self.pooled(x)
        return pooled if self.classifier is None else cast(Tensor, self.classifier(pooled))


def _transition(channels: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """Norm, ReLU, 1×1 to half the channels, mean of 2×2 pixels."""
    transition = nn.Sequential()
    transition.add_module("norm", norm(channels))
    transition.add_module("relu", nn.ReLU(inplace=True))
    transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
    transition.add_module("pool", nn.AvgPool2d(2, 2))
    return transition


def densenet121(*, in_channels: int = 3, classes: int = 1000, width: int = 64, norm: Norm = "batch") -> DenseNet:
    """7,978,856 parameters at the published size."""
    return DenseNet(in_channels=in_channels, classes=classes, width=width, norm=norm)
