"""Benign or malignant liver nodules under 1 cm on CT, from one small patch round each.

Khalili et al., Sci Rep 10 (2020) 15248. Input "lesion" (B, 1, px, px), px = `augmentation.crop_px` (published: 24 out
of 32), else `image_px`; output 1 logit (log-odds of malignant) or one a class. Two convolutions of 16 channels, maximum
of 2×2, two of 32, maximum of 2×2, dropout, 64 units, dropout, output; 90,225 parameters at width 64 and 24 px.

The paper chose that network among 2 to 4 convolutions, 16 to 32 filters and 32 to 128 units: `model.layers`, `filters`
and `dense`, times width / 64. It does not print where 2 or 3 convolutions stand. Ours: of 3, two before the first
maximum and one before the second; of 2, one before each. Both maxima stay, so that the units always read a map of px/4.

Departs from the paper: each patch is standardised by itself before the first layer, since hospitals' contrast agents
shift Hounsfield units; the paper does not say what was done. The supplement that defines the network says no more than
the figure; borders of convolutions are filled with zeros, which gives the 6×6 map that the other numbers need, and
first weights are Glorot's, the default of Keras 2.0, in which it was written. The oversampling of its recipe is
`training.balance`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.models.lesion_model import Labels, LesionModel, Outputs, classification_loss, output_count
from fl_liver.models.trunk import Trunk
from fl_liver.models.trunks import input_channels, input_px
from fl_liver.study import Study


class PatchTrunk(Trunk):
    """(B, in_channels, px, px) → `filters` channels at px, twice as many at px / 2; the published four convolutions."""

    scale_layers = ("relu2", "relu4")
    first_convolution = "conv1"
    head = "fc."
    smallest_px = 4
    convolutions: ClassVar[tuple[int, int]] = (2, 2)
    """At px and at px / 2; they are numbered through, and `scale_layers` names the last of each."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__("nodule_ct", 4 * filters)
        self.feature_count = 2 * filters
        before, after = self.convolutions
        channels = (in_channels, *before * [filters], *after * [self.feature_count])
        for k, (inside, outside) in enumerate(pairwise(channels), 1):
            self.add_module(f"conv{k}", nn.Conv2d(inside, outside, 3, 1, 1))
            self.add_module(f"relu{k}", nn.ReLU(inplace=True))

    def walk(self, x: Tensor) -> Iterator[Tensor]:
        """Sides of px and px / 2."""
        before, after = self.convolutions
        for k in range(before):
            x = self._layer(k + 1, x)
        yield x
        x = functional.max_pool2d(x, 2)
        for k in range(before, before + after):
            x = self._layer(k + 1, x)
        yield x

    def _layer(self, k: int, x: Tensor) -> Tensor:
        convolved = self.get_submodule(f"conv{k}")(x)
        return cast(Tensor, self.get_submodule(f"relu{k}")(convolved))


class _ThreeConvolutions(PatchTrunk):
    """Two, maximum, one."""

    scale_layers = ("relu2", "relu3")
    convolutions = (2, 1)


class _TwoConvolutions(PatchTrunk):
    """One, maximum, one."""

    scale_layers = ("relu1", "relu2")
    convolutions = (1, 1)


PATCH_TRUNKS: dict[int, type[PatchTrunk]] = {2: _TwoConvolutions, 3: _ThreeConvolutions, 4: PatchTrunk}
"""By `model.layers`."""


class NoduleModel(LesionModel):
    """The small network: features are the `dense` units before the last layer.

    Raises:
        ConfigError: a width that leaves no whole numbers of filters and units, or a patch under 4 px.
    """

    def __init__(self, study: Study) -> None:
        super().__init__()
        asked = study.model
        self.px, self.dropout = input_px(study), asked.dropout
        filters, units = asked.filters * asked.width / 64, asked.dense * asked.width / 64
        if not (filters.is_integer() and units.is_integer()) or self.px < PatchTrunk.smallest_px:
            raise ConfigError(
                f"study {study.name}: nodule_ct at {asked.size} has {filters:g} filters and {units:g} dense units, and"
                f" reads {self.px} px; wanted whole numbers, which width 64 always gives, and"
                f" {PatchTrunk.smallest_px} px or more"
            )
        self.trunk = PATCH_TRUNKS[asked.layers](input_channels(study), int(filters))
        self.hidden = nn.Linear(self.trunk.feature_count * (self.px // 4) ** 2, int(units))
        self.fc = nn.Linear(int(units), output_count(study))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        patch = inputs["lesion"]
        if patch.shape[2:] != (self.px, self.px):
            raise ConfigError(
                f"nodule_ct reads patches of {self.px} × {self.px} px (augmentation.crop_px, else model.image_px),"
                f" found {patch.shape[2]} × {patch.shape[3]}; its layers belong to one size"
            )
        flat = functional.max_pool2d(self.trunk.feature_map(_standardised(patch)), 2).flatten(1)
        with torch.autocast(patch.device.type, enabled=False):
            kept = functional.dropout(flat.float(), self.dropout, self.training)
            features = functional.relu(self.hidden(kept))
            logits = self.fc(functional.dropout(features, self.dropout, self.training))
        return Outputs(cast(Tensor, logits), features=features)

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        return classification_loss(outputs.logits, labels)


def _standardised(patch: Tensor) -> Tensor:
    """(B, C, px, px) → the same with mean 0 and standard deviation 1 in each image; an even one becomes 0."""
    variance, mean = torch.var_mean(patch.float(), (1, 2, 3), keepdim=True, correction=0)
    return (patch.float() - mean) * (variance + 1e-8).rsqrt()


def build(study: Study) -> LesionModel:
    """The network for the study's patch and classes."""
    return NoduleModel(study)
