"""Detection and characterisation of focal liver lesions in B-mode ultrasound by one network with supervised attention.

Schmauch et al., Diagn Interv Imaging 100 (2019) 227–233. Input "lesion" (B, 1, H, W), the whole scan (published:
240×345); ResNet-50 or DenseNet-121 (`model.trunk`); a 1×1 convolution gives the attention map; for each λ of
`model.scales` the map's features are averaged where it looks (`attention`); one linear layer gives all answers side by
side: 1 log-odds of `task.positive` among all images, then for each `[[endpoint]]` in the study's order 1 log-odds of
its `positive`, or one logit for each of its `among`. Lesion or none, malignant or benign, five types: 1 + 1 + 5 = 7.

Taught with: cross-entropy of the first question over all images + that of each endpoint over the images of its `among`
+ attention_weight × cross-entropy between the map and the drawn lesion. An image weighs its class's weight in each
question (`training.balance`).

Departs from the paper:
 * The types are one softmax; the paper speaks of seven neurons, "one for each prediction", and of one classification
   into five, whose AUCs are one-against-rest.
 * The weight of the attention's term is not printed; it is the study's (`training.attention_weight`).
 * One grey input channel instead of grey copied to three: at the first layer this is the same function.
 * `model.dropout` stands before the last layer; the paper names none (`dropout = 0`).
 * The shipped study normalises groups of channels, not batches (`model.norm`; `:published` has the paper's): averages
   of running statistics over hospitals whose pictures differ stay far behind pooled training.
 * ImageNet start only where a local file is given to `fl-liver study check`; by default weights are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.models.attention import attention_loss, attention_pool
from fl_liver.models.lesion_model import Labels, LesionModel, Outputs
from fl_liver.models.trunks import study_trunk
from fl_liver.study import Study


@dataclass(frozen=True, slots=True)
class Question:
    """One of the answers side by side.

    outputs  where its logits lie among all
    answer   for each value of `Labels.target`: the class of the question that it is, −1 where it is not asked
    """

    outputs: slice
    answer: tuple[int, ...]

    def loss(self, logits: Tensor, labels: Labels) -> Tensor:
        """Mean over the images that are asked of weight × cross-entropy; 0 where none is. logits (B, outputs)."""
        answer = torch.tensor(self.answer, device=logits.device)[labels.target]
        asked = answer >= 0
        own = logits[:, self.outputs]
        if own.shape[1] == 1:
            soft = answer * (1 - labels.smoothing) + labels.smoothing / 2
            each = functional.binary_cross_entropy_with_logits(own[:, 0], soft.to(own.dtype), reduction="none")
        else:
            each = functional.cross_entropy(
                own, answer.clamp_min(0), reduction="none", label_smoothing=labels.smoothing
            )
        weight = labels.class_weight[labels.target] * asked
        return (each * weight).sum() / asked.sum().clamp_min(1)


class AttentionModel(LesionModel):
    """Trunk → attention map → averages where it looks → dropout → one linear layer for all questions."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.trunk, self.dropout = study_trunk(study, "resnet50"), study.model.dropout
        self.scales, self.attention_weight = study.model.scales, study.training.attention_weight
        self.questions = questions_of(study)
        self.attention = nn.Conv2d(self.trunk.feature_count, 1, 1)
        outputs = max(one.outputs.stop for one in self.questions.values())
        self.fc = nn.Linear(self.trunk.feature_count * len(self.scales), outputs)

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        last = self.trunk.feature_map(inputs["lesion"])
        # The heads stay in float32 under autocast: bfloat16 logits have 8 bits and would tie.
        with torch.autocast(last.device.type, enabled=False):
            attention = self.attention(last.float())
            features = attention_pool(last, attention, self.scales)
            logits = self.fc(functional.dropout(features, self.dropout, self.training))
        return Outputs(cast(Tensor, logits), features=features, attention=attention)

    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        total = torch.stack([one.loss(outputs.logits, labels) for one in self.questions.values()]).sum()
        if self.attention_weight and outputs.attention is not None:
            if labels.mask is None:
                raise ConfigError("attention is taught with the drawn lesions, and there are none: cohort.masks = true")
            total = total + self.attention_weight * attention_loss(outputs.attention, labels.mask)
        return total

    def readout(self, outputs: Outputs, endpoint: str = "") -> Tensor:
        if endpoint not in self.questions:
            known = ", ".join(repr(name) for name in self.questions if name)
            raise ConfigError(f"this network has no readout '{endpoint}'; its study's endpoints are {known or 'none'}")
        return outputs.logits[:, self.questions[endpoint].outputs]


def questions_of(study: Study) -> dict[str, Question]:
    """The study's own question under "", then its endpoints by name."""
    classes = list(study.task.classes)
    # With two classes a target is 1 for the one that is disease, whatever its place among the classes.
    targets = classes if len(classes) > 2 else sorted(classes, key=lambda name: name in study.task.positive)
    own = Question(slice(0, 1), tuple(int(name in study.task.positive) for name in targets))
    questions, stop = {"": own}, 1
    for one in study.endpoint:
        place = {name: int(name in one.positive) if one.positive else k for k, name in enumerate(one.among)}
        size = 1 if one.positive else len(one.among)
        questions[one.name] = Question(slice(stop, stop + size), tuple(place.get(name, -1) for name in targets))
        stop += size
    return questions


def build(study: Study) -> LesionModel:
    """The network for the study's questions."""
    return AttentionModel(study)
