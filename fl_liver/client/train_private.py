"""The gradient of training with patient-level differential privacy: one a patient, cut, summed, noised.

Source: Abadi et al., CCS 2016, algorithm 1, with all images of a patient as one example. What a step gives depends on
one patient by at most `patient_clip_norm` (L2), whatever the weights that it starts from: the server chose those.
Draws of patients and noise come from the operating system (`client.gaussian`); what they cost is `fl_liver.accountant`.
The optimiser is that of `client.train`, and sees nothing else of the patients.

Patient after patient, in float32. `torch.func.vmap` gives the same numbers (a test says so); on a processor it is as
fast at 8 patients of 4 images and slower below, and it holds all their gradients at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_liver.accountant import require_private, steps_per_round
from fl_liver.client.gaussian import normals, uniforms
from fl_liver.client.train_material import Indices, Material
from fl_liver.errors import IncompleteError
from fl_liver.models.augmentation import MASK, Views
from fl_liver.models.lesion_model import LesionModel
from fl_liver.study import PrivateTraining, Study

log = logging.getLogger("fl_liver.site")
Draw = Callable[[int], NDArray[np.float64]]


def private_seed() -> int:
    """A seed for torch's flips, shifts and dropout that the study does not give.

    From a known seed the draws of one patient would follow from how many images came before, that is, from the others.
    """
    return int.from_bytes(os.urandom(8), "big") >> 1


class PatientGradients:
    """Gradients of the mean loss over each patient's images, on one model whose weights change between calls.

    class_weight: (K,), which must not depend on the patients.
    """

    def __init__(self, study: Study, model: LesionModel, material: Material, class_weight: Tensor) -> None:
        self._model, self._material = model, material
        self._clip_norm = require_private(study).patient_clip_norm
        self._views = Views(study.augmentation)
        self._smoothing = study.training.label_smoothing
        self._weights = list(model.parameters())
        self._device = material.target.device
        self._class_weight = class_weight.to(self._device)
        self.patients = np.unique(material.owner)
        self.left_out = 0
        """Patients' gradients that were not finite. Refusing the round instead would tell of one patient."""

    def clipped_sum(self, drawn: Indices) -> list[Tensor]:
        """Σ over the patients `drawn` of gradient × min(1, clip_norm / its L2 norm), a tensor for each parameter."""
        total = [torch.zeros_like(one) for one in self._weights]
        for patient in drawn:
            gradient = self._of_patient(patient)
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient)))
            if not torch.isfinite(norm):
                self.left_out += 1
                continue
            share = (self._clip_norm / norm.clamp_min(self._clip_norm)).item()
            torch._foreach_add_(total, gradient, alpha=share)
        return total

    def _of_patient(self, patient: int) -> tuple[Tensor, ...]:
        first, end = (int(np.searchsorted(self._material.owner, patient, side)) for side in ("left", "right"))
        chosen = torch.arange(first, end, device=self._device)
        inputs = self._views.train(self._material.inputs, chosen)
        labels = self._material.labels(chosen, self._class_weight, inputs.pop(MASK, None), self._smoothing)
        loss = self._model.loss(self._model(inputs), labels)
        return torch.autograd.grad(loss, self._weights, materialize_grads=True)


def private_steps(
    study: Study,
    gradients: PatientGradients,
    step: Callable[[Sequence[Tensor]], None],
    *,
    should_stop: Callable[[], bool],
    where: str,
) -> int:
    """One round: `step` gets noised gradients of the model's parameters, in their order; returns the steps taken.

    Raises:
        IncompleteError: `should_stop` said so.
        ConfigError: the study has no private training.
    """
    count, private = steps_per_round(study), require_private(study)
    for number in range(count):
        if should_stop():
            raise IncompleteError(f"{where}: stopped before step {number + 1}; the round can be asked again")
        drawn = poisson_sample(gradients.patients, private.sampling_rate)
        step(noised(gradients.clipped_sum(drawn), private))
    if gradients.left_out:
        log.warning(
            "%s: %d gradients of patients were not finite and left out; look for images that are not finite",
            where,
            gradients.left_out,
        )
    return count


def poisson_sample(patients: Indices, rate: float) -> Indices:
    """Each patient with probability `rate`, independently of the others; possibly none."""
    return patients[uniforms(len(patients)) <= rate]


def noised(sums: Sequence[Tensor], private: PrivateTraining, draw: Draw = normals) -> list[Tensor]:
    """(sum + N(0, (noise_multiplier × patient_clip_norm)²)) / expected_patients, each number its own draw.

    `draw`: count → standard normals; another one than the default is for tests.
    """
    scale = private.noise_multiplier * private.patient_clip_norm
    result: list[Tensor] = []
    for one in sums:
        noise = torch.from_numpy((draw(one.numel()) * scale).astype(np.float32)).view(one.shape)
        result.append((one + noise.to(one.device)) / private.expected_patients)
    return result
