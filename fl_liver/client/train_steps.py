"""One optimiser step after another on one model: the batch as the study changes it, the loss, the gradient, the step.

On a GPU nothing here waits for it: draws are made on the processor and sent ahead, losses are read once an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fl_liver.client.train_hardware import autocast
from fl_liver.client.train_material import Material
from fl_liver.client.train_schedule import batches, epoch_order
from fl_liver.errors import IncompleteError, NotFiniteError, TrainingError
from fl_liver.models.augmentation import MASK, Views
from fl_liver.models.lesion_model import LesionModel
from fl_liver.study import Study


class Steps:
    """A model, its optimiser, and how its gradient comes to be."""

    def __init__(self, study: Study, model: LesionModel, class_weight: Tensor, rate: float) -> None:
        training = study.training
        self._study, self._model = study, model
        self._views = Views(study.augmentation)
        self._parameters = list(model.parameters())
        self._class_weight = class_weight.to(self._parameters[0].device)
        self._received = [one.detach().clone() for one in self._parameters] if training.mu else []
        self._optimiser = torch.optim.SGD(
            self._parameters,
            lr=rate,
            momentum=training.momentum,
            nesterov=training.nesterov and training.momentum > 0,
            weight_decay=training.weight_decay,
            fused=True,
        )

    def __call__(self, material: Material, chosen: Tensor) -> Tensor:
        """The batch's loss, detached and left on its device: reading it here would wait for a GPU."""
        loss = self._loss(material, chosen)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._pull_back()
        torch.nn.utils.clip_grad_norm_(self._parameters, self._study.training.clip_norm, foreach=True)
        self._optimiser.step()
        return loss.detach()

    def take(self, gradients: Sequence[Tensor]) -> None:
        """A step along gradients of the parameters that `train_private` made, in their order."""
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(gradient)  # in its own order of memory, for "fused"
        self._pull_back()
        self._optimiser.step()

    def _loss(self, material: Material, chosen: Tensor) -> Tensor:
        training, inputs = self._study.training, self._views.train(material.inputs, chosen)
        if training.mixup:
            share, partner = mixing(training.mixup, len(chosen), chosen.device)
            inputs = {name: one.lerp(one.index_select(0, partner), share) for name, one in inputs.items()}
        mask = inputs.pop(MASK, None)
        with autocast(self._study, chosen.device):
            outputs = self._model(inputs)
        labels = material.labels(chosen, self._class_weight, mask, training.label_smoothing)
        loss = self._model.loss(outputs, labels)
        if not training.mixup:
            return loss
        partners = material.labels(chosen[partner], self._class_weight, mask, training.label_smoothing)
        return loss.lerp(self._model.loss(outputs, partners), share)

    def _pull_back(self) -> None:
        """FedProx: the gradient of ½μ‖w − w_received‖² (Li et al., MLSys 2020)."""
        if not self._received:
            return
        taught = [(p, p.grad, r) for p, r in zip(self._parameters, self._received, strict=True) if p.grad is not None]
        away = torch._foreach_sub([p.detach() for p, _, _ in taught], [received for _, _, received in taught])
        torch._foreach_add_([gradient for _, gradient, _ in taught], away, alpha=self._study.training.mu)


def mixing(alpha: float, count: int, device: torch.device) -> tuple[float, Tensor]:
    """Mixup of one batch (Zhang 2018): the second images' share, of Beta(α, α), and which image is whose second.

    Where all images are of one class it mixes them all the same: the label stays, the pictures are new. A factor that
    one of two patients lacks is missing in their mixture.
    """
    share = torch.distributions.Beta(alpha, alpha).sample().item()
    return share, torch.randperm(count).to(device)


def run_epochs(
    step: Steps,
    study: Study,
    material: Material,
    epochs: int | None,
    should_stop: Callable[[], bool],
    where: str,
) -> tuple[float, int]:
    """All passes of a round: mean loss an image, and how many batches.

    Raises:
        TrainingError: fewer than 2 images.
        NotFiniteError: a loss that is not.
        IncompleteError: `should_stop` said so.
    """
    if len(material.target) < 2:
        raise TrainingError(f"{where}: {len(material.target)} images to train on, wanted 2 or more")
    target = material.target.cpu().numpy()
    means: list[tuple[float, int]] = []
    for _ in range(study.training.local_epochs if epochs is None else epochs):
        order = epoch_order(study, target)
        means.append(_epoch(step, material, list(batches(order, study.training.batch_size)), should_stop, where))
    return float(np.mean([mean for mean, _ in means])) if means else math.nan, sum(count for _, count in means)


def _epoch(
    step: Steps, material: Material, parts: Sequence[Tensor], should_stop: Callable[[], bool], where: str
) -> tuple[float, int]:
    """One pass: mean loss an image, and how many batches."""
    losses: list[Tensor] = []
    for chosen in parts:
        if should_stop():
            raise IncompleteError(f"{where}: stopped before batch {len(losses) + 1}; the round can be asked again")
        losses.append(step(material, chosen.to(material.target.device)))
    # Looked at once an epoch, so that a GPU is not waited for after every batch.
    values = torch.stack(losses).double().cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise NotFiniteError(
            f"{where}, batch {bad[0] + 1} of {len(values)}: the loss is {values[bad[0]]}; nothing of it is kept;"
            " look for images that are not finite, or lower the learning rate"
        )
    return float(np.average(values, weights=[len(chosen) for chosen in parts])), len(values)
