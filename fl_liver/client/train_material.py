"""What a network is taught with: the images of some patients and what is true of them, on one device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.errors import ConfigError, DataError
from fl_liver.models.augmentation import MASK
from fl_liver.models.lesion_model import Labels
from fl_liver.study import Selection, Study

Indices = NDArray[np.int64]
Stage = Literal["train", "selection"]
"""Which federation: the study's own, or the one before it that learns on which images a lesion is visible."""


@dataclass(frozen=True, slots=True)
class Material:
    """The images (or, in a table study, the patients) of some rows on one device: m of them.

    inputs      name → (m, H, W) or (m, C, H, W), or "features" → (m, f); "mask" where attention is taught
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

    def labels(self, chosen: Tensor, class_weight: Tensor, mask: Tensor | None = None, smoothing: float = 0) -> Labels:
        """What is true of the chosen images (B,); `mask` (B, 1, H, W) as it was augmented with them."""
        return Labels(self.target[chosen], class_weight, self.background[chosen], mask, smoothing)


def material_of(study: Study, cohort: Cohort, rows: Indices, needs: tuple[str, ...], device: torch.device) -> Material:
    """All images of the patients `rows`, as scoring sees them.

    Raises:
        DataError: the cohort lacks an input of the model.
    """
    if needs == ("features",):
        owner = np.unique(rows)
        inputs = {"features": _features(cohort, owner)}
    else:
        chosen = np.flatnonzero(np.isin(cohort.owner, rows))
        owner, inputs = cohort.owner[chosen], _inputs(study, cohort, chosen, needs)
    return _material(cohort, inputs, targets(study, cohort.label)[owner], owner, device)


def training_material(
    study: Study,
    cohort: Cohort,
    rows: Indices,
    needs: tuple[str, ...],
    device: torch.device,
    *,
    stage: Stage = "train",
    visible: NDArray[np.float64] | None = None,
) -> Material:
    """The images of the patients `rows` that a stage learns from, and their masks where attention is taught.

    "selection": all images; the target is whether a lesion is visible, that is, whether the image's mask is not empty.
    "train": all images or, with `visible` (log-odds of each image of the cohort, NaN where nobody looked), those that
    `selected` says.

    Raises:
        DataError: the cohort lacks an input of the model, or masks; `visible` is not that of its images.
        ConfigError: the study has no `[selection]`, or one of more than two classes.
    """
    if needs == ("features",):
        return material_of(study, cohort, rows, needs, device)
    chosen = np.flatnonzero(np.isin(cohort.owner, rows))
    if stage == "selection":
        require_selection(study)
        target = _has_lesion(study, cohort, chosen)
    else:
        if visible is not None:
            chosen = selected(study, cohort, chosen, visible)
        target = targets(study, cohort.label)[cohort.owner[chosen]]
    names = (*needs, MASK) if study.training.attention_weight else needs
    return _material(cohort, _inputs(study, cohort, chosen, names), target, cohort.owner[chosen], device)


def selected(study: Study, cohort: Cohort, images: Indices, visible: NDArray[np.float64]) -> Indices:
    """Of some images (k,), those that the second federation learns from: Wang 2021, NoduleNet to HCCNet.

    All images of patients without the disease. Of those with it, the images whose log-odds that a lesion is visible
    reach the study's threshold; of a patient without any, the likeliest (the first of several).
    """
    rules = require_selection(study)
    if visible.shape != cohort.owner.shape:
        raise DataError(
            f"log-odds of visible lesions: {visible.shape}, and the cohort has {len(cohort.owner)} images; make them"
            " again"
        )
    threshold = math.log(rules.threshold / (1 - rules.threshold)) if rules.threshold else -math.inf
    seen = np.nan_to_num(visible[images], nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    owner = cohort.owner[images]
    kept = (targets(study, cohort.label)[owner] == 0) | (seen >= threshold)
    for patient in np.setdiff1d(owner, owner[kept]):
        mine = np.flatnonzero(owner == patient)
        kept[mine[np.argmax(seen[mine])]] = True
    found: Indices = images[kept]
    return found


def require_selection(study: Study) -> Selection:
    """The study's `[selection]`.

    Raises:
        ConfigError: it has none, or more than two classes.
    """
    if study.selection is None:
        raise ConfigError(f"study {study.name}: no [selection], so that no federation learns where lesions are visible")
    if len(study.task.classes) != 2:
        raise ConfigError(
            f"study {study.name}: [selection] asks the network a question of two answers; it has"
            f" {len(study.task.classes)} classes, wanted 2"
        )
    return study.selection


def targets(study: Study, label: Indices) -> Indices:
    """0/1 for disease where there are two classes, otherwise the class index; (n,) → (n,)."""
    if len(study.task.classes) > 2:
        return label.astype(np.int64)
    names = list(study.task.classes)
    return np.isin(label, [names.index(name) for name in study.task.positive]).astype(np.int64)


def _has_lesion(study: Study, cohort: Cohort, images: Indices) -> Indices:
    _require(study, cohort, (MASK,))
    masks = cohort.images[MASK]
    # One image at a time: a copy of all chosen masks would double a large cohort's memory.
    return np.array([bool(masks[image].any()) for image in images], np.int64)


def _features(cohort: Cohort, owner: Indices) -> Tensor:
    return torch.from_numpy(cohort.factors[owner].astype(np.float32))


def _inputs(study: Study, cohort: Cohort, images: Indices, names: tuple[str, ...]) -> dict[str, Tensor]:
    _require(study, cohort, tuple(name for name in names if name != "features"))
    return {
        name: _features(cohort, cohort.owner[images])
        if name == "features"
        else torch.from_numpy(cohort.images[name][images])
        for name in names
    }


def _require(study: Study, cohort: Cohort, names: tuple[str, ...]) -> None:
    absent = [name for name in names if name not in cohort.images]
    if absent:
        held = ", ".join(cohort.images) or "none"
        raise DataError(
            f"the cohort has no '{absent[0]}' images, which model '{study.model.name}' reads (held: {held})"
        )


def _material(
    cohort: Cohort, inputs: dict[str, Tensor], target: Indices, owner: Indices, device: torch.device
) -> Material:
    return Material(
        {name: values.to(device) for name, values in inputs.items()},
        torch.from_numpy(target).to(device),
        torch.from_numpy(cohort.background[owner]).to(device),
        owner,
    )
