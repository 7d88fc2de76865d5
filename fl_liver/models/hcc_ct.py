"""Hepatocellular carcinoma or not on CT, slice by slice; NoduleNet and HCCNet are both this network.

Wang et al., Br J Cancer 125 (2021) 1111–1121. Input "lesion" (B, C, H, W), C = the number of `cohort.sequences` or 1;
output 1 logit (log-odds of `task.positive`) or one a class. ResNet-34 (or `model.trunk`), mean over the map, one linear
layer. In a study with `[selection]` the first federation learns it as NoduleNet, on whether a lesion lies in the image.

Departs from the paper:
 * One logit instead of two: the difference of the two is what a softmax over two classes reads.
 * The paper does not say how the phases of one slice enter; here each is an input channel.
 * `model.dropout` stands before the last layer; the paper names none (`dropout = 0`).
 * The shipped study normalises groups of channels, not batches (`model.norm`; `:published` has the paper's).
 * ImageNet start only where a local file is given to `fl-liver study check`; by default weights are drawn.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fl_liver.models.lesion_model import Labels, LesionModel, Outputs, classification_loss, output_count
from fl_liver.models.trunks import study_trunk
from fl_liver.study import Study


class HccModel(LesionModel):
    """Trunk → mean over the map → dropout → linear."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.trunk, self.dropout = study_trunk(study, "resnet34"), study.model.dropout
        self.fc = nn.Linear(self.trunk.feature_count, output_count(study))

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        pooled = self.trunk.pooled(inputs["lesion"])
        # The head stays in float32 under autocast: bfloat16 logits have 8 bits and would tie.
        with torch.autocast(pooled.device.type, enabled=False):
            features = pooled.float()
            logits = self.fc(functional.dropout(features, self.dropout, self.training))
        return Outputs(cast(Tensor, logits), features=features)

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        return classification_loss(outputs.logits, labels)


def build(study: Study) -> LesionModel:
    """The network for the study's sequences and classes."""
    return HccModel(study)
