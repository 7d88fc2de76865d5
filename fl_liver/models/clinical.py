"""Diagnosis from clinical factors alone: logistic regression, multinomial where there are more than two classes.

No paper: the table that an image model has to beat. Input "features" (B, f), the study's factors after their own centre
and scale, NaN where missing. A missing factor counts as 0, its centre, and turns on an indicator of its own, so that
"not measured" has a weight too. Output (B, K). Weights start at zero: the loss is convex, and no draw is needed.

`model.width`, `image_px` and `dropout` of the study have no meaning here.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fl_liver.models.lesion_model import Labels, LesionModel, Outputs, classification_loss, output_count
from fl_liver.study import Study


class ClinicalModel(LesionModel):
    """One linear layer on f factors and f indicators of a missing factor."""

    needs = ("features",)

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * len(study.factor), output_count(study))
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        features = inputs["features"]
        missing = torch.isnan(features)
        known = torch.where(missing, 0.0, features)
        with torch.autocast(features.device.type, enabled=False):
            return Outputs(cast(Tensor, self.fc(torch.cat([known, missing.to(known.dtype)], 1))))

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        return classification_loss(outputs.logits, labels)


def build(study: Study) -> LesionModel:
    """The linear model for the study's factors and classes."""
    return ClinicalModel(study)
