"""Each heat map on a network whose reason is planted, and Grad-CAM against the class activation map of a real one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fl_liver.client.explain.attention import attention_map
from fl_liver.client.explain.grad_cam import grad_cam
from fl_liver.client.explain.saliency import input_gradient
from fl_liver.client.explain.smoe import combined, smoe, smoe_scale
from fl_liver.client.explain.stages import over_image, seen
from fl_liver.errors import ConfigError
from fl_liver.models.lesion_model import Labels, LesionModel, Outputs
from fl_liver.models.resnet import resnet18
from tests.client.explain.conftest import (
    BOTTOM_LEFT,
    BOTTOM_RIGHT,
    TOP_LEFT,
    TOP_RIGHT,
    Planted,
    PlantedPair,
    inside,
)

BRIGHT_MINUS_DARK = [[1.0, -1.0]]
"""Of the fixture's image, whose squares are equal, the logit is 0."""
DISEASE, ABSENCE = [[1.0, -0.5]], [[0.5, -1.0]]
"""The logit is above 0, for which the bright square speaks; below 0, for which the dark one does."""


def test_grad_cam_points_at_what_speaks_for_the_class_and_never_at_what_speaks_against(image: Tensor) -> None:
    disease = grad_cam(Planted(DISEASE).eval(), {"lesion": image})["lesion"][0]
    absence = grad_cam(Planted(ABSENCE).eval(), {"lesion": image})["lesion"][0]
    assert inside(disease, TOP_RIGHT) == 1
    assert inside(absence, BOTTOM_LEFT) == 1
    assert disease.max() == absence.max() == 1


def test_grad_cam_is_high_where_it_matters_not_inverted(image: Tensor) -> None:
    """MONAI 1.6's default turns the map over: its maximum then lies where nothing is."""
    heat = grad_cam(Planted(DISEASE).eval(), {"lesion": image})["lesion"][0]
    assert heat[8, 24] > 0.99
    assert heat[24, 24] == 0


def test_grad_cam_asks_for_the_class_of_several_that_is_held_likeliest(image: Tensor) -> None:
    """The second of three; where every class is spoken against alone, nothing is shown."""
    model = Planted([[1.0, 0.0], [0.0, 1.5], [-1.0, -1.0]]).eval()
    assert inside(grad_cam(model, {"lesion": image})["lesion"][0], BOTTOM_LEFT) == 1
    against = Planted([[-2.0, -2.0], [-2.0, -3.0], [-1.0, -1.0]]).eval()
    assert not grad_cam(against, {"lesion": image})["lesion"].any()


def test_of_two_branches_each_image_gets_its_own_map(image: Tensor) -> None:
    maps = grad_cam(PlantedPair().eval(), {"lesion": image, "background": image.flip(3)})
    assert not maps["lesion"].any()
    assert inside(maps["background"][0], TOP_LEFT) == 1
    assert set(smoe(PlantedPair().eval(), {"lesion": image, "background": image})) == {"lesion", "background"}


class MeanNet(LesionModel):
    """A real ResNet-18, mean over the last map, one linear layer without bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.trunk = resnet18(in_channels=1, classes=0, width=8)
        self.fc = nn.Linear(64, 3, bias=False)

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        return Outputs(self.fc(self.trunk.pooled(inputs["lesion"])))

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        return outputs.logits.sum()


def test_grad_cam_of_a_network_that_ends_in_a_mean_is_the_class_activation_map_of_zhou() -> None:
    """relu(Σ w_k A_k), CVPR 2016: another formula, without gradients, that must give the same map."""
    model = MeanNet().eval()
    images = torch.randn(2, 1, 128, 128)
    inputs = {"lesion": images}
    with torch.no_grad():
        last = model.trunk.feature_map(images)
        likeliest = model.fc.weight[model(inputs).logits.argmax(1)]
        plain = (likeliest[:, :, None, None] * last).sum(1).relu()
    made = grad_cam(model, inputs)["lesion"]
    assert last.shape[2:] == (4, 4)
    torch.testing.assert_close(made, over_image(plain, images), atol=1e-5, rtol=1e-4)


def test_a_map_of_two_by_two_is_passed_over_for_a_finer_one() -> None:
    """64 px end at 2 × 2; its maximum would always be a corner of the image."""
    model, images = MeanNet().eval(), torch.randn(24, 1, 64, 64)
    sides = [one.shape[2] for one in seen(model, {"lesion": images}).scales["lesion"]]
    assert sides == [32, 16, 8, 4, 2]
    heat = grad_cam(model, {"lesion": images})["lesion"].sum(0)
    # Resized, a 2 × 2 map is one plane over the corner's 16 × 16 px; a 4 × 4 one over 8 × 8.
    assert len(set(heat[:8, :8].flatten().tolist())) == 1
    assert len(set(heat[:16, :16].flatten().tolist())) > 4


def test_saliency_lies_in_the_quadrant_that_the_answer_is_made_of(image: Tensor) -> None:
    bright = image + 2  # everywhere above 0, so that channel 0 has a slope everywhere
    heat = input_gradient(Planted([[1.0, 0.0]], BOTTOM_RIGHT).eval(), {"lesion": bright})["lesion"][0]
    assert inside(heat, BOTTOM_RIGHT) == 1
    assert heat[BOTTOM_RIGHT].min() == heat[BOTTOM_RIGHT].max() == 1


def test_saliency_adds_the_channels_without_their_signs() -> None:
    """Zhen takes the L1 norm; slopes of opposite sign must not cancel."""

    class Opposed(LesionModel):
        def forward(self, inputs: dict[str, Tensor]) -> Outputs:
            x = inputs["lesion"]
            return Outputs((x[:, 0, 1, 1] * 3 - x[:, 1, 1, 1] * 3 + x[:, 0, 0, 0])[:, None])

        def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
            return outputs.logits.sum()

    heat = input_gradient(Opposed(), {"lesion": torch.randn(1, 2, 2, 2)})["lesion"][0]
    torch.testing.assert_close(heat, torch.tensor([[1 / 6, 0], [0, 1.0]]))


def test_smoe_of_two_channels_is_the_number_worked_out_by_hand() -> None:
    """Channels 1 and 3: mean 2, log2 2 = 1, mean log2 = log2(3) / 2; 2 · (1 − 0.792481) = 0.415037. 5 and 5: 0."""
    maps = torch.tensor([[[[1.0, 5.0]], [[3.0, 5.0]]]])
    expected = 2 * (1 - math.log2(3) / 2)
    torch.testing.assert_close(smoe_scale(maps), torch.tensor([[[expected, 0.0]]]), atol=1e-5, rtol=1e-5)


def test_smoe_is_that_of_the_authors_for_random_maps() -> None:
    """LLNL fastcam: x + 1e-7; m·(log2 m − mean log2 x). Here in numpy, position by position."""
    maps = torch.rand(2, 7, 3, 4) * 5
    made = smoe_scale(maps)
    for b, i, j in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        x = [float(v) + 1e-7 for v in maps[b, :, i, j]]
        mean = sum(x) / 7
        by_hand = mean * (math.log2(mean) - sum(map(math.log2, x)) / 7)
        assert float(made[b, i, j]) == pytest.approx(by_hand, rel=1e-4)


def test_smoe_points_where_one_channel_fires_alone(image: Tensor) -> None:
    heat = smoe(Planted(BRIGHT_MINUS_DARK).eval(), {"lesion": image})["lesion"][0]
    quiet = heat[28, 28]
    assert heat[8, 24] > 2.5 * quiet
    assert heat[24, 8] > 2.5 * quiet


def test_smoe_weighs_its_scales_as_published_and_runs_no_gradient(image: Tensor) -> None:
    """Fine and coarse scale by hand: Φ of each standardised map, weights .18 and .15."""
    model = Planted(BRIGHT_MINUS_DARK).eval()
    heat = smoe(model, {"lesion": image.requires_grad_()})["lesion"]
    assert not heat.requires_grad
    with torch.no_grad():
        scales = model.trunk.stages(image)
        total = torch.zeros(32, 32)
        for weight, one in zip((0.18, 0.15), scales, strict=True):
            value = smoe_scale(one)[0]
            standard = (value - value.mean()) / value.std()
            phi = 0.5 * (1 + torch.erf(standard / math.sqrt(2)))
            total += weight * nn.functional.interpolate(phi[None, None], (32, 32), mode="bilinear")[0, 0]
    torch.testing.assert_close(heat[0], total / total.max(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("equal", ["channels", "positions", "both", "dead"])
def test_smoe_draws_no_structure_where_there_is_but_rounding(equal: str) -> None:
    """Equal activations differ in the last digit from position to position: no place may stand out for that."""
    torch.manual_seed(5)
    shape = {"channels": (1, 1, 9, 9), "positions": (1, 64, 1, 1), "both": (1, 1, 1, 1), "dead": (1, 1, 1, 1)}[equal]
    maps = (torch.rand(shape) + 0.3).expand(1, 64, 9, 9) * (0.0 if equal == "dead" else 1.0)
    maps = maps * (1 + 1e-7 * torch.randn(1, 64, 9, 9))
    heat = combined((maps,), torch.zeros(1, 1, 36, 36))
    assert float(heat.max() - heat.min()) < 1e-5


def test_smoe_still_tells_a_small_difference() -> None:
    """One position whose channels differ by a hundredth."""
    maps = torch.ones(1, 64, 9, 9)
    maps[0, ::2, 4, 4] = 1.01
    heat = combined((maps,), torch.zeros(1, 1, 9, 9))[0]
    assert heat[4, 4] == 1
    assert float(heat[0, 0]) < 0.5


def test_the_attention_map_is_the_networks_own(image: Tensor) -> None:
    heat = attention_map(Planted(BRIGHT_MINUS_DARK).eval(), {"lesion": image})["lesion"][0]
    assert float(heat[8, 24]) == pytest.approx(1, abs=1e-3)
    low = torch.tensor(-4.0).sigmoid() / torch.tensor(4.0).sigmoid()
    torch.testing.assert_close(heat[28, 28], low)


def test_methods_that_a_network_cannot_have_are_refused(image: Tensor) -> None:
    class Table(LesionModel):
        needs = ("features",)

        def forward(self, inputs: dict[str, Tensor]) -> Outputs:
            return Outputs(inputs["features"][:, :1])

        def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
            return outputs.logits.sum()

    with pytest.raises(ConfigError, match="reads no image"):
        grad_cam(Table(), {"features": torch.ones(1, 3)})
    with pytest.raises(ConfigError, match="no supervised attention"):
        attention_map(PlantedPair().eval(), {"lesion": image, "background": image})


def test_hooks_are_gone_afterwards(image: Tensor) -> None:
    model = Planted(BRIGHT_MINUS_DARK).eval()
    grad_cam(model, {"lesion": image})
    assert not any(module._forward_hooks for module in model.modules())
