"""What every network below a head offers: its last map, the mean over it, and one map a scale for explanations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn


class Trunk(nn.Module, ABC):
    """A published network without what reads its features.

    architecture       its name, as a study's `model.trunk` writes it
    scale_layers       names of submodules, one a scale from the finest to the last: the output of each is that scale's
                       map after its ReLU, so that a hook on it sees what `stages` gives
    first_convolution  name of the submodule that reads the image's channels
    head               beginning of the names of the published classifier, which no study keeps
    smallest_px        sides of the smallest image that it can read
    width              64 is the published size
    feature_count      channels of the last map
    """

    scale_layers: ClassVar[tuple[str, ...]]
    first_convolution: ClassVar[str]
    head: ClassVar[str]
    smallest_px: ClassVar[int] = 1

    def __init__(self, architecture: str, width: int) -> None:
        super().__init__()
        self.architecture, self.width = architecture, width
        self.feature_count = 0

    @abstractmethod
    def walk(self, x: Tensor) -> Iterator[Tensor]:
        """(B, in_channels, H, W) → the maps of `stages`, one after the other."""

    def stages(self, x: Tensor) -> list[Tensor]:
        """(B, in_channels, H, W) → one map a scale, (B, c, h, w), in the order of `scale_layers`."""
        return list(self.walk(x))

    def feature_map(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) → (B, feature_count, h, w), the last of `stages`; the others are let go."""
        last = x
        for stage in self.walk(x):
            last = stage
        return last

    def pooled(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) → (B, feature_count): the mean over the last map."""
        return self.feature_map(x).mean((2, 3))


def trunks_of(model: nn.Module) -> dict[str, Trunk]:
    """The trunks inside a model by name, in its own order: one, two where there are two branches, or none."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Trunk)}
