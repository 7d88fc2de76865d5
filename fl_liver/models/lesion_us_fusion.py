"""Benign or malignant focal liver lesion in B-mode ultrasound, from the lesion and the liver behind it (Model LB).

Yang et al., EBioMedicine 56 (2020) 102777. Inputs "lesion" and "background" (B, 1, H, W); output 1 logit (log-odds of
malignant) or one a class. Two ResNet-18 (or two of `model.trunk`) without shared weights; in each, dropout → batch
normalisation → linear; one linear layer on both branches' features (1024 at width 64). A study without
`task.background` gets Model L: the lesion branch alone, whose logits are the answer.

Taught with: cross-entropy of the last layer + cross-entropy of the lesion branch + triplet_weight × batch-hard triplet
loss on the lesion features + background_weight × cross-entropy of the kind of background.

Departs from the paper:
 * The paper gives the background branch "the same architecture" (512×1) and "the binary cross entropy loss", for three
   kinds of background; one output cannot hold three kinds. Here the branch has one output a kind and a softmax.
 * The weights of the loss terms are not printed; they are the study's (`training.triplet_weight`, `background_weight`).
   The classes are weighted by the hospital's own prevalence.
 * One grey input channel instead of grey copied to three: at the first layer this is the same function.
 * `model.norm = "group"` puts group in the place of batch normalisation, for training with differential privacy.
 * ImageNet start only where a local file is given to `fl-liver study check`; by default weights are drawn.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fl_liver.models.lesion_model import (
    Labels,
    LesionModel,
    Outputs,
    background_loss,
    batch_hard_triplet,
    classification_loss,
    output_count,
)
from fl_liver.models.normalisation import vector_norm
from fl_liver.models.trunk import Trunk
from fl_liver.models.trunks import study_trunk
from fl_liver.study import Norm, Study


class Branch(nn.Module):
    """Trunk → dropout → normalisation → linear. (B, C, H, W) → features (B, feature_count), logits (B, outputs)."""

    def __init__(self, trunk: Trunk, *, outputs: int, dropout: float, norm: Norm = "batch") -> None:
        super().__init__()
        self.backbone = trunk
        self.dropout = dropout
        self.bn = vector_norm(norm, self.backbone.feature_count)
        self.fc = nn.Linear(self.backbone.feature_count, outputs)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.backbone.pooled(image)
        # The heads stay in float32 under autocast: bfloat16 logits have 8 bits and would tie.
        with torch.autocast(image.device.type, enabled=False):
            features = self.bn(functional.dropout(pooled.float(), self.dropout, self.training))
            return features, self.fc(features)


class ModelL(LesionModel):
    """The lesion branch alone."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.triplet_weight = study.training.triplet_weight
        self.lesion = _branch(study, output_count(study))

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        features, logits = self.lesion(inputs["lesion"])
        return Outputs(logits, embedding=features, features=features)

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        total = classification_loss(outputs.logits, labels)
        if self.triplet_weight and outputs.embedding is not None:
            total = total + self.triplet_weight * batch_hard_triplet(outputs.embedding, labels.target)
        return total


class ModelLB(ModelL):
    """The lesion branch and, beside it, the liver background."""

    needs = ("lesion", "background")

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self.background_weight = study.training.background_weight
        self.background = _branch(study, len(study.task.background_classes))
        self.fc = nn.Linear(self.lesion.fc.in_features + self.background.fc.in_features, output_count(study))

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        lesion_features, lesion = self.lesion(inputs["lesion"])
        background_features, background = self.background(inputs["background"])
        features = torch.cat([lesion_features, background_features], 1)
        with torch.autocast(features.device.type, enabled=False):
            logits = cast(Tensor, self.fc(features))
        return Outputs(logits, lesion, background, lesion_features, features)

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        total = super().loss(outputs, labels)
        if outputs.lesion is not None:
            total = total + classification_loss(outputs.lesion, labels)
        if self.background_weight and outputs.background is not None and labels.background is not None:
            total = total + self.background_weight * background_loss(outputs.background, labels.background)
        return total


def _branch(study: Study, outputs: int) -> Branch:
    trunk = study_trunk(study, "resnet18")
    return Branch(trunk, outputs=outputs, dropout=study.model.dropout, norm=study.model.norm)


def build(study: Study) -> LesionModel:
    """Model LB, or Model L where the study names no background."""
    return ModelL(study) if study.task.background is None else ModelLB(study)
