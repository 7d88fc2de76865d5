"""ResNet-18, -34 and -50, key for key those of torchvision, at any width and number of input channels.

He et al., CVPR 2016, with the stride of a bottleneck in its 3×3 convolution as torchvision has it ("v1.5"). Input
(B, in_channels, H, W); each stage halves the map: 224 px end at 7×7, 64 px at 2×2. Written here because torchvision
does not import beside CPU-only torch; a published ImageNet checkpoint loads without renaming at width 64.

With `norm="group"` the layers keep torchvision's names (`bn1`, …), as its own `norm_layer` does; running statistics go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from torch import Tensor, nn

from fl_liver.models.normalisation import map_norm
from fl_liver.models.small_map import SmallMapConv2d
from fl_liver.models.trunk import Trunk
from fl_liver.study import Norm


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and the way round them. (B, channels_in, H, W) → (B, planes, H/stride, W/stride)."""

    expansion = 1

    def __init__(
        self,
        channels_in: int,
        planes: int,
        stride: int,
        downsample: nn.Module | None,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = SmallMapConv2d(channels_in, planes, 3, stride, 1)
        self.bn1 = norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = SmallMapConv2d(planes, planes, 3, 1, 1)
        self.bn2 = norm(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return cast(Tensor, self.relu(out))


class Bottleneck(nn.Module):
    """1×1, 3×3 (strided), 1×1 to four times the planes, and the way round them."""

    expansion = 4

    def __init__(
        self,
        channels_in: int,
        planes: int,
        stride: int,
        downsample: nn.Module | None,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = SmallMapConv2d(channels_in, planes, 1)
        self.bn1 = norm(planes)
        self.conv2 = SmallMapConv2d(planes, planes, 3, stride, 1)
        self.bn2 = norm(planes)
        self.conv3 = SmallMapConv2d(planes, 4 * planes, 1)
        self.bn3 = norm(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return cast(Tensor, self.relu(out))


class ResNet(Trunk):
    """Stem, four stages of `blocks[k]` blocks, mean over the map, and `fc` where `classes` > 0."""

    scale_layers = ("relu", "layer1", "layer2", "layer3", "layer4")
    first_convolution = "conv1"
    head = "fc."

    def __init__(
        self,
        architecture: str,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, int, int, int],
        *,
        in_channels: int = 3,
        classes: int = 1000,
        width: int = 64,
        norm: Norm = "batch",
    ) -> None:
        super().__init__(architecture, width)
        layer = map_norm(norm)
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = layer(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for k, count in enumerate(blocks):
            stage = _stage(block, channels, width * 2**k, count, stride=1 if k == 0 else 2, norm=layer)
            self.add_module(f"layer{k + 1}", stage)
            channels = width * 2**k * block.expansion
        self.feature_count = channels
        self.fc = nn.Linear(channels, classes) if classes else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def walk(self, x: Tensor) -> Iterator[Tensor]:
        """Sides of H/2 after the stem, then H/4, H/8, H/16, H/32, rounded up."""
        x = self.relu(self.bn1(self.conv1(x)))
        yield x
        x = self.maxpool(x)
        for k in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{k}")(x)
            yield x

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes), or the features where there are no classes."""
        pooled = self.pooled(x)
        return pooled if self.fc is None else cast(Tensor, self.fc(pooled))


def resnet18(*, in_channels: int = 3, classes: int = 1000, width: int = 64, norm: Norm = "batch") -> ResNet:
    """11,689,512 parameters at the published size."""
    return ResNet(
        "resnet18", BasicBlock, (2, 2, 2, 2), in_channels=in_channels, classes=classes, width=width, norm=norm
    )


def resnet34(*, in_channels: int = 3, classes: int = 1000, width: int = 64, norm: Norm = "batch") -> ResNet:
    """21,797,672 parameters at the published size."""
    return ResNet(
        "resnet34", BasicBlock, (3, 4, 6, 3), in_channels=in_channels, classes=classes, width=width, norm=norm
    )


def resnet50(*, in_channels: int = 3, classes: int = 1000, width: int = 64, norm: Norm = "batch") -> ResNet:
    """25,557,032 parameters at the published size."""
    return ResNet(
        "resnet50", Bottleneck, (3, 4, 6, 3), in_channels=in_channels, classes=classes, width=width, norm=norm
    )


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    channels_in: int,
    planes: int,
    count: int,
    *,
    stride: int,
    norm: Callable[[int], nn.Module],
) -> nn.Sequential:
    channels_out = planes * block.expansion
    downsample: nn.Module | None = None
    if stride != 1 or channels_in != channels_out:
        downsample = nn.Sequential(SmallMapConv2d(channels_in, channels_out, 1, stride), norm(channels_out))
    first = block(channels_in, planes, stride, downsample, norm)
    return nn.Sequential(first, *(block(channels_out, planes, 1, None, norm) for _ in range(count - 1)))
