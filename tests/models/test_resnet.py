"""ResNets against torchvision's published sizes and key names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fl_liver.models.resnet import ResNet, resnet18, resnet34, resnet50
from fl_liver.models.small_map import SmallMapConv2d, weight_gradient


def torchvision_names(blocks: tuple[int, ...], convolutions: int) -> list[str]:
    """Names in torchvision 0.28's state dict, by its rule: a basic block has 2 convolutions and its first stage no
    downsample; a bottleneck has 3, and every stage has one.
    """

    def bn(prefix: str) -> list[str]:
        return [f"{prefix}.{x}" for x in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]

    names = ["conv1.weight", *bn("bn1")]
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            for k in range(1, convolutions + 1):
                names += [f"layer{stage}.{block}.conv{k}.weight", *bn(f"layer{stage}.{block}.bn{k}")]
            if block == 0 and (stage > 1 or convolutions == 3):
                names += [f"layer{stage}.0.downsample.0.weight", *bn(f"layer{stage}.0.downsample.1")]
    return [*names, "fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("make", "blocks", "convolutions", "parameters"),
    [
        (resnet18, (2, 2, 2, 2), 2, 11_689_512),
        (resnet34, (3, 4, 6, 3), 2, 21_797_672),
        (resnet50, (3, 4, 6, 3), 3, 25_557_032),
    ],
)
def test_names_and_sizes_are_torchvisions(
    make: Callable[..., ResNet], blocks: tuple[int, ...], convolutions: int, parameters: int
) -> None:
    """Parameter counts as torchvision's documentation prints them for its ImageNet weights."""
    with torch.device("meta"):
        model = make()
    assert list(model.state_dict()) == torchvision_names(blocks, convolutions)
    assert sum(one.numel() for one in model.parameters()) == parameters


@pytest.mark.parametrize(("make", "features"), [(resnet18, 64), (resnet50, 256)])
def test_each_stage_halves_the_map_and_width_scales_the_channels(make: Callable[..., ResNet], features: int) -> None:
    model = make(in_channels=2, classes=0, width=8).eval()
    image = torch.zeros(1, 2, 64, 96)
    assert model.feature_map(image).shape == (1, features, 2, 3)
    assert model(image).shape == (1, features) == (1, model.feature_count)


def test_width_one_channel_one_has_no_classifier_without_classes() -> None:
    assert not [name for name in resnet18(in_channels=1, classes=0, width=4).state_dict() if name.startswith("fc")]


@pytest.mark.parametrize(
    ("channels_in", "channels_out", "px", "kernel", "stride"),
    [(5, 7, 2, 3, 1), (5, 7, 5, 3, 2), (3, 4, 6, 1, 2), (4, 8, 5, 1, 2), (20, 4, 6, 1, 2), (20, 4, 5, 1, 2)],
)
def test_gradients_of_small_maps_equal_torchs(
    channels_in: int, channels_out: int, px: int, kernel: int, stride: int
) -> None:
    """Oracle: autograd of `nn.Conv2d` in float64."""
    torch.manual_seed(0)
    padding = kernel // 2
    mine = SmallMapConv2d(channels_in, channels_out, kernel, stride, padding)
    theirs = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False).double()
    theirs.weight.data = mine.weight.data.double()
    x = torch.randn(3, channels_in, px, px, requires_grad=True)
    y = x.detach().double().requires_grad_()
    push = torch.randn_like(mine(x))
    mine(x).backward(push)
    theirs(y).backward(push.double())
    assert x.grad is not None
    assert y.grad is not None
    assert mine.weight.grad is not None
    assert theirs.weight.grad is not None
    torch.testing.assert_close(mine.weight.grad.double(), theirs.weight.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-5, atol=1e-5)


def test_weight_gradient_of_one_pixel_is_the_outer_product() -> None:
    x, gradient = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1), torch.tensor([5.0]).view(1, 1, 1, 1)
    assert weight_gradient(x, gradient, 1, 1, 0).flatten().tolist() == [10.0, 15.0]
