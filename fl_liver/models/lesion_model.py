"""What every model takes, gives and is taught with, so that training and scoring know no paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fl_liver.errors import ConfigError
from fl_liver.study import Study


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model says about B images (or B patients of a table study).

    logits      (B, K)  K = 1: log-odds of `study.task.positive`; otherwise one logit a class, in the study's order
    lesion      (B, K)  the lesion branch's own logits, where there is a branch of its own
    background  (B, Kb) logits of the kinds of liver background, where they are taught
    embedding   (B, d)  features that the triplet loss compares
    features    (B, d)  the last hidden layer, which t-SNE draws
    attention   (B, 1, h, w) log-odds that a lesion lies there, where attention is taught
    """

    logits: Tensor
    lesion: Tensor | None = None
    background: Tensor | None = None
    embedding: Tensor | None = None
    features: Tensor | None = None
    attention: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What is true of B images.

    target        (B,) int64; K = 1: 1 where the class is in `study.task.positive`; otherwise the class index
    class_weight  (max(K, 2),) float32, weight of an image of each target
    background    (B,) int64, kind of background, −1 where unknown; None where the study has none
    mask          (B, 1, H, W) float32 in 0 … 1, where the lesion was drawn; None where attention is not taught
    smoothing     ε of label smoothing
    """

    target: Tensor
    class_weight: Tensor
    background: Tensor | None = None
    mask: Tensor | None = None
    smoothing: float = 0.0


class LesionModel(nn.Module, ABC):
    """Base of the published systems. `needs` names the inputs that `forward` reads."""

    needs: tuple[str, ...] = ("lesion",)

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        """inputs: "lesion", "background" (B, C, H, W) float32; "features" (B, f), factors, NaN where missing."""

    @abstractmethod
    def loss(self, outputs: Outputs, labels: Labels) -> Tensor:
        """Scalar float32, every term with its weight."""

    def readout(self, outputs: Outputs, endpoint: str = "") -> Tensor:
        """Logits of one question: (B, K) of the study's own, or (B, 1) or (B, classes) of a further `[[endpoint]]`.

        Raises:
            ConfigError: the network does not answer that endpoint.
        """
        if endpoint:
            raise ConfigError(f"this network has no readout '{endpoint}'; it answers its study's own question alone")
        return outputs.logits


def output_count(study: Study) -> int:
    """K: 1 for two classes, otherwise one output a class."""
    classes = len(study.task.classes)
    return 1 if classes == 2 else classes


def classification_loss(logits: Tensor, labels: Labels) -> Tensor:
    """Mean over the batch of class_weight[target] × cross-entropy; binary where there is one logit.

    logits (B, K). The mean divides by B, not by the sum of weights, so that a rare image does not fill a batch's loss.
    With smoothing ε, a class's target is (1 − ε)·y + ε / classes; one logit stands for two classes.
    """
    weight, smoothing = labels.class_weight[labels.target], labels.smoothing
    if logits.shape[1] == 1:
        target = labels.target.to(logits.dtype)
        if smoothing:
            target = target * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits[:, 0], target, weight)
    loss = functional.cross_entropy(logits, labels.target, reduction="none", label_smoothing=smoothing)
    return (loss * weight).mean()


def background_loss(logits: Tensor, kind: Tensor) -> Tensor:
    """Mean cross-entropy over the images whose background is known; 0 where none is. logits (B, Kb), kind (B,)."""
    total = functional.cross_entropy(logits, kind, ignore_index=-1, reduction="sum")
    return total / (kind >= 0).sum().clamp_min(1)


def batch_hard_triplet(embedding: Tensor, target: Tensor) -> Tensor:
    """Batch-hard triplet loss with soft margin: mean softplus(farthest positive − nearest negative), Euclidean.

    embedding (B, d), target (B,). Images without a positive or a negative in the batch do not count; 0 where none is
    left. Source: Hermans, Beyer, Leibe, arXiv 1703.07737 (2017), equation 5.
    """
    rows = embedding.float()
    square = rows.square().sum(1)
    # By the matrix product, not cdist: its backward is ten times as dear at this size.
    squared = (square[:, None] + square[None, :] - 2 * rows @ rows.t()).clamp_min(1e-12)
    same = target[:, None] == target[None, :]
    itself = torch.eye(len(target), dtype=torch.bool, device=target.device)
    positive = squared.masked_fill(~same | itself, -1).amax(1)
    negative = squared.masked_fill(same, torch.inf).amin(1)
    usable = (positive >= 0) & torch.isfinite(negative)
    gap = torch.where(usable, positive, 1).sqrt() - torch.where(usable, negative, 1).sqrt()
    return (functional.softplus(gap) * usable).sum() / usable.sum().clamp_min(1)


def batchnorm_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the weights, biases and running statistics of batch normalisation: what FedBN keeps in the hospital."""
    return tuple(
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
