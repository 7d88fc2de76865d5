"""What a network is taught with: the images of some patients and what is true of them, on one device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.errors import DataError
from fl_liver.study import Study

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Material:
    """The images (or, in a table study, the patients) of some rows on one device: m of them.

    inputs      name → (m, H, W), or "features" → (m, f)
    target      (m,) int64; background (m,) int64, −1 where unknown
    owner       (m,) patient index of each image, ascending; stays in numpy
    """

    inputs: dict[str, Tensor]
    target: Tensor
    background: Tensor
    owner: Indices

    def like(self, count: int, noise: torch.Generator) -> Material:
        """`count` inputs of the same shapes and types that are nobody's: uniform bytes, or standard normals."""
        inputs: dict[str, Tensor] = {}
        for name, values in self.inputs.items():
            shape = (count, *values.shape[1:])
            made = (
                torch.randn(shape, generator=noise)
                if values.is_floating_point()
                else torch.randint(256, shape, generator=noise)
            )
            inputs[name] = made.to(values.device, values.dtype)
        blank = torch.zeros(count, dtype=torch.int64, device=self.target.device)
        return Material(inputs, blank, blank - 1, np.arange(count))

    def batch(self, chosen: Tensor, view: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
        """The chosen images (B,) as the model reads them, through `augmented` or `plain`; features as they are."""
        return {
            name: values[chosen] if name == "features" else view(values, chosen) for name, values in self.inputs.items()
        }


def material_of(study: Study, cohort: Cohort, rows: Indices, needs: tuple[str, ...], device: torch.device) -> Material:
    """All images of the patients `rows`.

    Raises:
        DataError: the cohort lacks an input of the model.
    """
    patients = np.unique(rows)
    if needs == ("features",):
        owner = patients
        inputs = {"features": torch.from_numpy(cohort.factors[patients].astype(np.float32)).to(device)}
    else:
        chosen = np.flatnonzero(np.isin(cohort.owner, patients))
        owner = cohort.owner[chosen]
        absent = [name for name in needs if name not in cohort.images]
        if absent:
            held = ", ".join(cohort.images) or "none"
            raise DataError(
                f"the cohort has no '{absent[0]}' images, which model '{study.model.name}' reads (held: {held})"
            )
        inputs = {name: torch.from_numpy(cohort.images[name][chosen]).to(device) for name in needs}
    target = torch.from_numpy(targets(study, cohort.label)[owner]).to(device)
    return Material(inputs, target, torch.from_numpy(cohort.background[owner]).to(device), owner)


def targets(study: Study, label: Indices) -> Indices:
    """0/1 for disease where there are two classes, otherwise the class index; (n,) → (n,)."""
    if len(study.task.classes) > 2:
        return label.astype(np.int64)
    names = list(study.task.classes)
    return np.isin(label, [names.index(name) for name in study.task.positive]).astype(np.int64)
