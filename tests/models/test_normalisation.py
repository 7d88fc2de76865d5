"""Group normalisation in the place of batch normalisation: an image's answer is its own, and nothing runs along."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fl_liver.client.train import local_positions
from fl_liver.models.lesion_model import Outputs
from fl_liver.models.normalisation import map_norm, vector_norm
from fl_liver.models.registry import build_model, initial_vector, study_layout
from fl_liver.models.resnet import ResNet, resnet18, resnet50
from fl_liver.study import Norm, Study
from fl_liver.study_files import load_study


def study(norm: Norm, width: int = 8) -> Study:
    return load_study("lesion_us_fusion").changed(model={"width": width, "image_px": 32, "norm": norm, "dropout": 0.0})


def answers(norm: Norm, images: torch.Tensor) -> torch.Tensor:
    model = build_model(study(norm)).train()
    with torch.no_grad():
        outputs: Outputs = model({"lesion": images, "background": images.flip(3)})
    return outputs.logits


def test_an_answer_depends_on_the_other_images_with_batch_normalisation_only() -> None:
    images = torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(answers("group", images)[:2], answers("group", images[:2]), rtol=1e-4, atol=1e-5)
    assert (answers("batch", images)[:2] - answers("batch", images[:2])).abs().max() > 1e-2


def test_names_are_those_of_batch_normalisation_without_running_statistics() -> None:
    batch, group = (list(build_model(study(norm)).state_dict()) for norm in ("batch", "group"))
    running = ("running_mean", "running_var", "num_batches_tracked")
    assert group == [name for name in batch if not name.endswith(running)]
    assert len(group) < len(batch)


def test_the_vector_holds_weights_alone_and_nothing_stays_in_a_hospital() -> None:
    grouped = study("group")
    vector, layout = initial_vector(grouped)
    assert layout == study_layout(grouped)
    assert len(vector) == sum(one.numel() for one in build_model(grouped).parameters())
    assert not [entry.name for entry in layout.entries if "running" in entry.name]
    assert len(local_positions(grouped)) == 0


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (128, 32), (512, 32), (16, 8), (32, 16), (8, 4), (4, 2), (12, 2), (1, 1), (6, 1)]
)
def test_there_are_32_groups_or_as_many_as_leave_two_channels_in_each(channels: int, groups: int) -> None:
    layer = map_norm("group")(channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


def test_a_vector_is_one_group() -> None:
    """So that 2 of 64 numbers are not brought to ±1 each."""
    found = vector_norm("group", 64)(torch.arange(64.0)[None] ** 2)
    torch.testing.assert_close(found, nn.functional.layer_norm(torch.arange(64.0)[None] ** 2, (64,)))


@pytest.mark.parametrize(("make", "layers"), [(resnet18, 20), (resnet50, 53)])
def test_every_layer_of_a_resnet_is_replaced(make: Callable[..., ResNet], layers: int) -> None:
    model = make(in_channels=1, classes=0, width=8, norm="group")
    assert not [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
    assert len([one for one in model.modules() if isinstance(one, nn.GroupNorm)]) == layers


def test_logits_stay_float32_under_bfloat16() -> None:
    model = build_model(study("group")).eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert model({"lesion": images, "background": images}).logits.dtype == torch.float32


@pytest.mark.parametrize(("layer", "shape"), [(map_norm("group")(8), (4, 8, 5, 5)), (vector_norm("group", 8), (4, 8))])
def test_groups_are_normalised_in_float32_under_autocast(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """As on a GPU; in bfloat16 a processor takes five times as long, and 8 bits are few for a mean."""
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(maps)
    assert found.dtype == torch.float32
    assert torch.equal(found, layer(maps.float()))
