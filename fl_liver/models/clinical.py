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
        factors = clinical_vector(inputs["features"])
        with torch.autocast(factors.device.type, enabled=False):
            return Outputs(cast(Tensor, self.fc(factors)))

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        return classification_loss(outputs.logits, labels)


def clinical_vector(factors: Tensor) -> Tensor:
    """(B, f), NaN where missing → (B, 2f): the factors, 0 where missing, then f indicators of a missing one."""
    missing = torch.isnan(factors)
    return torch.cat([torch.where(missing, 0.0, factors), missing.to(factors.dtype)], 1)


def build(study: Study) -> LesionModel:
    """The linear model for the study's factors and classes."""
    return ClinicalModel(study)
