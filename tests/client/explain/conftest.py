"""Networks whose reasons are known: what fires, and what the answer is made of, is planted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from fl_liver.models.lesion_model import Labels, LesionModel, Outputs
from fl_liver.models.trunk import Trunk

SIDE = 32
TOP_LEFT, TOP_RIGHT = (slice(0, 16), slice(0, 16)), (slice(0, 16), slice(16, 32))
BOTTOM_LEFT, BOTTOM_RIGHT = (slice(16, 32), slice(0, 16)), (slice(16, 32), slice(16, 32))


class PlantedTrunk(Trunk):
    """Channel 0 fires where the image is bright, channel 1 where it is dark; then means of 4 × 4 px."""

    scale_layers: ClassVar[tuple[str, ...]] = ("fine", "coarse")
    first_convolution: ClassVar[str] = "conv"
    head: ClassVar[str] = "none."

    def __init__(self, channels: int = 1) -> None:
        super().__init__("planted", 2)
        self.feature_count = 2
        self.conv = nn.Conv2d(channels, 2, 1, bias=False)
        self.conv.weight.data = torch.cat([torch.ones(1, channels, 1, 1), -torch.ones(1, channels, 1, 1)])
        self.fine, self.coarse = nn.ReLU(), nn.AvgPool2d(4)

    def walk(self, x: Tensor) -> Iterator[Tensor]:
        fine = self.fine(self.conv(x))
        yield fine
        yield self.coarse(fine)


class Planted(LesionModel):
    """Logits: `weights` (K, 2) times the mean over `where` of the two channels; the attention is channel 0's."""

    needs: tuple[str, ...] = ("lesion",)

    def __init__(self, weights: list[list[float]], where: tuple[slice, slice] = (slice(None), slice(None))) -> None:
        super().__init__()
        self.trunk = PlantedTrunk()
        self.weights = nn.Parameter(torch.tensor(weights))
        self.where = tuple(slice(*(None if edge is None else edge // 4 for edge in (s.start, s.stop))) for s in where)

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        last = self.trunk.feature_map(inputs["lesion"])
        features = last[:, :, self.where[0], self.where[1]].mean((2, 3))
        return Outputs(features @ self.weights.t(), features=features, attention=8 * last[:, :1] - 4)

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        return outputs.logits.sum()


class PlantedPair(LesionModel):
    """Two trunks; only the second one's image, "background", counts."""

    needs: tuple[str, ...] = ("lesion", "background")

    def __init__(self) -> None:
        super().__init__()
        self.lesion, self.background = PlantedTrunk(), PlantedTrunk()

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        self.lesion.feature_map(inputs["lesion"])
        return Outputs(self.background.pooled(inputs["background"])[:, :1])

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        return outputs.logits.sum()


def inside(heat: Tensor, where: tuple[slice, slice]) -> float:
    """Share of a heat map (H, W) that lies in a quadrant."""
    return float(heat[where].sum() / heat.sum())


@pytest.fixture
def image() -> Tensor:
    """(1, 1, 32, 32): a bright square top right, a dark one bottom left, grey elsewhere."""
    made = torch.zeros(1, 1, SIDE, SIDE)
    made[0, 0, 4:12, 20:28] = 1
    made[0, 0, 20:28, 4:12] = -1
    return made
