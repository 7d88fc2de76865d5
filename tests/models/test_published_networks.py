"""Networks against torchvision and timm: names, shapes, sizes, and logits of weights that both were filled with."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.models.inception_resnet import inception_resnet_v2
from fl_liver.models.resnet import Bottleneck
from fl_liver.models.trunk import Trunk
from fl_liver.models.trunks import TRUNKS, study_trunk
from tests.models.reference_outputs import LOGITS, SHAPES, STORED, described, fill, images
from tests.models.small_studies import study_of

REFERENCE: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
"""Made by tests/models/reference_outputs.py."""
CLOSE = 2e-4


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", SHAPES)
def test_names_shapes_sizes_and_logits_are_the_references(name: str) -> None:
    found, wanted = described(TRUNKS[name](), SHAPES[name]), REFERENCE[name]
    logits = torch.tensor(found.pop("logits"))
    assert found == {key: value for key, value in wanted.items() if key != "logits"}
    torch.testing.assert_close(logits, torch.tensor(wanted["logits"]), rtol=CLOSE, atol=CLOSE)


def filled(name: str) -> Trunk:
    model = TRUNKS[name]()
    fill(model.state_dict())
    return model.eval()


def differs(model: Trunk, name: str) -> bool:
    with torch.inference_mode():
        found = model(images(SHAPES[name]))[:, list(LOGITS)]
    return not torch.allclose(found, torch.tensor(REFERENCE[name]["logits"]), rtol=CLOSE, atol=CLOSE)


def test_the_stored_logits_see_a_stride_in_the_wrong_convolution() -> None:
    """He et al. stride the 1×1, torchvision ("v1.5") the 3×3 convolution of a bottleneck."""
    model = filled("resnet50")
    assert not differs(model, "resnet50")
    block = cast(Bottleneck, model.get_submodule("layer3.0"))
    block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    assert differs(model, "resnet50")


def test_the_stored_logits_see_details_of_inception() -> None:
    """Its ε is .001, not torch's 1e-5; its average pool does not count the border; its last block has no ReLU."""
    name = "inception_resnet_v2"
    model = filled(name)
    assert not differs(model, name)
    changed = copy.deepcopy(model)
    for module in changed.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5
    assert differs(changed, name)
    pool = model.get_submodule("mixed_5b.branch3.0")
    for module, attribute, value in (
        (pool, "count_include_pad", True),
        (model.get_submodule("block8"), "relu", True),
        (model.get_submodule("repeat.3"), "scale", 0.1),
    ):
        before = getattr(module, attribute)
        setattr(module, attribute, value)
        assert differs(model, name), attribute
        setattr(module, attribute, before)
    assert not differs(model, name)


def test_the_stored_logits_see_a_pool_that_keeps_the_odd_last_row() -> None:
    model = filled("densenet121")
    pool = cast(nn.AvgPool2d, model.get_submodule("features.transition2.pool"))
    pool.ceil_mode = True
    assert differs(model, "densenet121")


@pytest.mark.parametrize(
    ("name", "size", "last"),
    [
        ("resnet50", (240, 345), (8, 11)),
        ("densenet121", (240, 345), (7, 10)),
        ("inception_resnet_v2", (299, 299), (8, 8)),
        ("resnet34", (224, 224), (7, 7)),
        ("densenet121", (224, 224), (7, 7)),
    ],
)
def test_the_last_map_has_the_published_size(name: str, size: tuple[int, int], last: tuple[int, int]) -> None:
    """8×11 for ResNet-50 is Schmauch 2019's own number; DenseNet's pools leave a row and a column out."""
    with torch.device("meta"):
        found = TRUNKS[name](in_channels=1, classes=0).feature_map(torch.zeros(2, 1, *size))
    assert tuple(found.shape[2:]) == last


@pytest.mark.parametrize("name", TRUNKS)
def test_stages_are_what_hooks_on_the_scale_layers_see(name: str) -> None:
    model = TRUNKS[name](in_channels=2, classes=0, width=8).eval()
    seen: list[Tensor] = []
    for layer in model.scale_layers:
        model.get_submodule(layer).register_forward_hook(lambda _module, _given, made: seen.append(made))
    with torch.inference_mode():
        stages = model.stages(torch.randn(1, 2, 96, 80))
        seen, hooked = [], seen
        last = model.feature_map(torch.randn(1, 2, 96, 80))
    assert [one.shape for one in stages] == [one.shape for one in hooked]
    for stage, one in zip(stages, hooked, strict=True):
        assert torch.equal(stage, one)
        assert (one >= 0).all()
    sides = [one.shape[2] for one in stages]
    assert all(small <= big / 2 + 1 for big, small in pairwise(sides))
    assert last.shape == stages[-1].shape == (1, model.feature_count, *last.shape[2:])


@pytest.mark.parametrize("name", TRUNKS)
@pytest.mark.parametrize("channels", [1, 6])
def test_width_scales_every_number_of_channels(name: str, channels: int) -> None:
    """All but the first convolution's input and the affine pairs shrink with the square: a quarter has about 1/16."""
    with torch.device("meta"):
        small, whole = (TRUNKS[name](in_channels=channels, classes=0, width=w) for w in (16, 64))
    assert small.feature_count * 4 == whole.feature_count
    assert small.get_parameter(f"{small.first_convolution}.weight").shape[1] == channels
    count = [sum(one.numel() for one in model.parameters()) for model in (small, whole)]
    assert 15 < count[1] / count[0] < 16


@pytest.mark.parametrize("name", ["densenet121", "inception_resnet_v2"])
def test_the_smallest_image_is_read_and_a_smaller_one_refused(name: str) -> None:
    least = TRUNKS[name](width=8).smallest_px
    trunk = study_trunk(study_of("hcc_ct", model={"image_px": least}), name).eval()
    with torch.inference_mode():
        assert trunk.feature_map(torch.zeros(1, 1, least, least)).shape[2:] == (1, 1)
        with pytest.raises(RuntimeError):
            trunk(torch.zeros(1, 1, least - 1, least - 1))
    with pytest.raises(ConfigError, match=rf"{name} reads {least} px a side or more, the study gives {least - 1}"):
        study_trunk(study_of("hcc_ct", model={"image_px": least - 1}), name)


def test_what_counts_is_the_side_after_the_crop() -> None:
    cropped = study_of("hcc_ct", model={"image_px": 96}, augmentation={"crop_px": 64})
    with pytest.raises(ConfigError, match="the study gives 64"):
        study_trunk(cropped, "inception_resnet_v2")


@pytest.mark.parametrize(("name", "width"), [("densenet121", 7), ("inception_resnet_v2", 6)])
def test_a_width_without_whole_channels_is_refused(name: str, width: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} at width {width}"):
        TRUNKS[name](width=width)


@pytest.mark.parametrize("name", ["densenet121", "inception_resnet_v2"])
def test_group_normalisation_keeps_the_names_and_sees_one_image_at_a_time(name: str) -> None:
    batch, group = (TRUNKS[name](in_channels=1, classes=0, width=8, norm=norm) for norm in ("batch", "group"))
    running = ("running_mean", "running_var", "num_batches_tracked")
    assert list(group.state_dict()) == [key for key in batch.state_dict() if not key.endswith(running)]
    assert not [one for one in group.modules() if isinstance(one, nn.BatchNorm2d)]
    x = torch.randn(3, 1, 96, 96, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(group(x)[:1], group(x[:1]), rtol=1e-3, atol=1e-4)


def test_a_quarter_of_inception_is_the_reduced_default() -> None:
    with torch.device("meta"):
        model = inception_resnet_v2(in_channels=6, classes=7, width=16)
    assert 3.3e6 < sum(one.numel() for one in model.parameters()) < 3.5e6
