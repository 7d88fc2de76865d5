"""Liver tumours on MRI, up to seven classes, from six sequences at one position and, if asked, clinical factors.

Zhen et al., Front Oncol 10 (2020) 680. Input "lesion" (B, C, H, W), a channel for each of `cohort.sequences`; with
`model.clinical` also "features" (B, f), the study's factors, NaN where missing. Output 1 logit (log-odds of
`task.positive`) for two classes, or one a class. Inception-ResNet-v2 (or `model.trunk`), mean over the map, dropout,
clinical vector beside it, one linear layer; 54,318,087 parameters with 6 sequences and 7 classes at width 64.

Departs from the paper:
 * A factor is one number, 0 or 1 for a band, not a pair of which one is 1: with the bias of the last layer the same
   function. A missing one counts as 0 and turns on an indicator of its own (`clinical.clinical_vector`).
 * The text of its t-SNE has a "2048-dimensional" last hidden layer; that of Inception-ResNet-v2 has 1536.
 * ImageNet start only where a local file is given to `fl-liver study check`; by default weights are drawn.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fl_liver.models.clinical import clinical_vector
from fl_liver.models.lesion_model import Labels, LesionModel, Outputs, classification_loss, output_count
from fl_liver.models.trunks import study_trunk
from fl_liver.study import Study


class MriModel(LesionModel):
    """Trunk → mean over the map → dropout → [image features, clinical vector] → linear."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.trunk, self.dropout = study_trunk(study, "inception_resnet_v2"), study.model.dropout
        self.needs = ("lesion", "features") if study.model.clinical else ("lesion",)
        clinical = 2 * len(study.factor) if study.model.clinical else 0
        self.fc = nn.Linear(self.trunk.feature_count + clinical, output_count(study))

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        pooled = self.trunk.pooled(inputs["lesion"])
        # The head stays in float32 under autocast: bfloat16 logits have 8 bits and would tie.
        with torch.autocast(pooled.device.type, enabled=False):
            beside = [clinical_vector(inputs["features"]).float()] if "features" in self.needs else []
            image = pooled.float()
            logits = self.fc(torch.cat([functional.dropout(image, self.dropout, self.training), *beside], 1))
            return Outputs(cast(Tensor, logits), features=torch.cat([image, *beside], 1))

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        return classification_loss(outputs.logits, labels)


def build(study: Study) -> LesionModel:
    """The network for the study's sequences, classes and factors."""
    return MriModel(study)
