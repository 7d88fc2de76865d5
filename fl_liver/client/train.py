"""One hospital's training and scoring: a vector in, a vector or its patients' scores out. Nothing is sent or stored.

Everything random is drawn from a seed of the study, the hospital's name, the round and the stage, so that a round gives
the same bits whichever process runs it, after whatever, on the same kind of machine with the same number of threads.
(On a GPU, cuDNN may choose other kernels from run to run.) Private training (`train_private`) is the exception: nothing
of it can be drawn again. Threads and processes are the caller's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.scores import BEYOND, require_logits
from fl_liver.client.train_hardware import autocast, pick_device, uses_bfloat16
from fl_liver.client.train_material import Indices, Material, Stage, material_of, targets, training_material
from fl_liver.client.train_private import PatientGradients, private_seed, private_steps
from fl_liver.client.train_schedule import class_weights, learning_rate, round_seed
from fl_liver.client.train_steps import Steps, run_epochs
from fl_liver.errors import ConfigError, DataError
from fl_liver.models.augmentation import Views
from fl_liver.models.lesion_model import LesionModel, batchnorm_names
from fl_liver.models.patient_score import patient_log_odds
from fl_liver.models.registry import empty_model, model_from_vector, model_vector, study_layout
from fl_liver.parameters import Vector, check_finite
from fl_liver.study import Study

__all__ = [
    "FitResult",
    "Scored",
    "fit",
    "learning_rate",
    "local_positions",
    "pick_device",
    "score",
    "score_both",
    "score_images",
    "uses_bfloat16",
]

log = logging.getLogger("fl_liver.site")

SCORE_BATCH = 256
SCORE_PIXELS = SCORE_BATCH * 128 * 128
"""Of a batch that is scored, over all channels: larger images go fewer at a time, so that their maps fit in memory."""
_PROBES = 8
_SAME_NUMBERS = frozenset({"Clone", "Select", "Slice", "Squeeze", "ToCopy", "Transpose", "Unsqueeze", "View"})
"""Autograd's names of steps that hand numbers on: the step before them is looked at."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a hospital's training gave.

    `loss` is the mean over the images of all batches, proximal term left out. It is 0 where training is private: the
    loss leaves the hospital, and noise for it would cost ε.
    """

    vector: Vector
    loss: float
    patients: int
    batches: int


@dataclass(frozen=True, slots=True)
class Scored:
    """What a network says of some patients, and of each of their images.

    patients   (n, K) float64 log-odds, in the order of the rows that were asked
    images     (k,) indices of their images in the cohort, ascending; none in a table study
    logits     (k, K) float64, the network's of each of these images
    """

    patients: NDArray[np.float64]
    images: Indices
    logits: NDArray[np.float64]


def fit(
    study: Study,
    cohort: Cohort,
    vector: Vector,
    *,
    rows: Indices,
    round_number: int,
    seed_key: str,
    device: torch.device,
    epochs: int | None = None,
    stage: Stage = "train",
    visible: NDArray[np.float64] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train on the patients `rows` from the received `vector`, which is left as it was.

    Args:
        round_number: 1 … the stage's rounds; sets the learning rate and, unless training is private, the draws.
        seed_key: the hospital's name, or another word for a model that is not one hospital's ("pooled").
        epochs: passes over the images; by default the study's `local_epochs`.
        stage: "selection" learns on which images a lesion is visible, before "train" (`study.Selection`).
        visible: log-odds of that for each image of the cohort, from `score_images`; without it all images are used.
        should_stop: asked before every batch.
    Raises:
        NotFiniteError: a loss or weight that is not finite, with hospital, round and batch.
        TrainingError: too few images. One class alone is trained on: the other hospitals have the others.
        DataError: the cohort lacks an input of the model, or masks that the study teaches with.
        IncompleteError: `should_stop` said so; nothing of the round is kept.
        ProtocolError: a vector of another layout, a round that the stage does not have.
        ConfigError: `epochs` in a study with private training, a selection that the study does not make, images
            smaller than the study's crop.
    """
    layout, where = study_layout(study), f"site {seed_key}, round {round_number}"
    private = study.privacy.training is not None
    if private and epochs is not None:
        raise ConfigError(
            f"{where}: {epochs} epochs asked; private training takes the study's own, which epsilon counts"
        )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(private_seed() if private else round_seed(study, seed_key, round_number, stage))
        rate = learning_rate(study, round_number, stage)
        model = model_from_vector(study, vector, layout, device).train()
        material = training_material(study, cohort, rows, model.needs, device, stage=stage, visible=visible)
        among = targets(study, cohort.label[rows]) if stage == "train" else material.target.cpu().numpy()
        class_weight = class_weights(study, among)
        step = Steps(study, model, class_weight, rate)
        if private:
            gradients = PatientGradients(study, model, material, class_weight)
            loss, batches = 0.0, private_steps(study, gradients, step.take, should_stop=should_stop, where=where)
        else:
            loss, batches = run_epochs(step, study, material, epochs, should_stop, where)
    trained, _ = model_vector(model)
    check_finite(trained, layout, f"{where}: update")
    return FitResult(trained, loss, len(rows), batches)


def score(
    study: Study, cohort: Cohort, vector: Vector, *, rows: Indices, device: torch.device, endpoint: str = ""
) -> NDArray[np.float64]:
    """The patients of `score_both` alone, (n, K)."""
    return score_both(study, cohort, vector, rows=rows, device=device, endpoint=endpoint).patients


def score_both(
    study: Study, cohort: Cohort, vector: Vector, *, rows: Indices, device: torch.device, endpoint: str = ""
) -> Scored:
    """Log-odds of each patient of `rows` (see `patient_log_odds`), with the logits of the images that they are made of.

    `endpoint`: one of the study's `[[endpoint]]`s instead of its own question. A logit that is not finite is no error:
    a model can be made so that this tells something about one patient. It counts as 0, or as the largest number of its
    sign, and is in the hospital's log.

    Raises:
        DataError: a patient without images, or a network that returns its softmax or sigmoid (`require_logits`).
        ConfigError: the network does not answer that endpoint; images smaller than the study's crop.
    """
    patients, place = np.unique(rows, return_inverse=True)
    material, logits = _logits(study, cohort, vector, patients, device, endpoint)
    first = np.searchsorted(material.owner, patients)
    absent = np.setdiff1d(patients, material.owner)
    if len(absent):
        raise DataError(f"{len(absent)} of {len(patients)} patients have no image to score; wanted one or more each")
    found = patient_log_odds(logits, first, study.model.patient)[place]
    if study.task.modality == "table":
        return Scored(found, np.empty(0, np.int64), logits[:0])
    return Scored(found, _images_of(cohort, patients), logits)


def score_images(
    study: Study, cohort: Cohort, vector: Vector, *, rows: Indices, device: torch.device, endpoint: str = ""
) -> tuple[Indices, NDArray[np.float64]]:
    """Each image of the patients `rows`: its index in the cohort, (k,) ascending, and its logits, (k, K) float64.

    Raises:
        DataError: a table study, or a network that returns its softmax or sigmoid (`require_logits`).
        ConfigError: as `score`.
    """
    if study.task.modality == "table":
        raise DataError(f"study {study.name} reads a table; it has no images to score")
    return _images_of(cohort, rows), _logits(study, cohort, vector, rows, device, endpoint)[1]


def _images_of(cohort: Cohort, rows: Indices) -> Indices:
    """In the order of `material_of`."""
    return np.flatnonzero(np.isin(cohort.owner, rows))


def _logits(
    study: Study, cohort: Cohort, vector: Vector, rows: Indices, device: torch.device, endpoint: str
) -> tuple[Material, NDArray[np.float64]]:
    """What is there of the patients `rows`, and its finite logits, (k, K) float64."""
    model = model_from_vector(study, vector, study_layout(study), device).eval()
    material, views = material_of(study, cohort, rows, model.needs, device), Views(study.augmentation)
    largest = max(values[0].numel() for values in material.inputs.values()) if len(material.owner) else 1
    size = min(SCORE_BATCH, max(SCORE_PIXELS // max(largest, 1), 1))
    batches = torch.split(torch.arange(len(material.target), device=device), size)
    with torch.inference_mode(), autocast(study, device):
        outputs = (model(views.plain(material.inputs, chosen)) for chosen in batches)
        parts = [model.readout(one, endpoint).double().cpu().numpy() for one in outputs]
    _require_logits(study, model, material, endpoint, device)
    return material, _finite(np.concatenate(parts), study.name)


def _require_logits(study: Study, model: LesionModel, material: Material, endpoint: str, device: torch.device) -> None:
    """See `require_logits`. Looks at what the network makes of noise: of patients it would be an answer about them."""
    noise = material.like(_PROBES, torch.Generator().manual_seed(study.seed))
    probes = Views(study.augmentation).plain(noise.inputs, torch.arange(_PROBES, device=device))
    with torch.enable_grad(), autocast(study, device):
        logits = model.readout(model(probes), endpoint)
    found = logits.detach().double().cpu().numpy()
    require_logits(found, _last_operation(logits), f"study {study.name}: model '{study.model.name}'")


def _finite(logits: NDArray[np.float64], study: str) -> NDArray[np.float64]:
    wrong = int((~np.isfinite(logits)).any(1).sum())
    if wrong:
        log.error("study %s: %d of %d images have a score that is not finite; counted as 0", study, wrong, len(logits))
    return np.nan_to_num(logits, nan=0.0, posinf=BEYOND, neginf=-BEYOND)


def _last_operation(logits: Tensor) -> str:
    """What computed these numbers last, in lower case ("addmm", "sigmoid"); "" where autograd did not follow it."""
    node = logits.grad_fn
    while node is not None and node.name().partition("Backward")[0] in _SAME_NUMBERS:
        node = node.next_functions[0][0]
    return "" if node is None else node.name().partition("Backward")[0].lower()


def local_positions(study: Study) -> Indices:
    """Where batch normalisation lies in the flat vector, ascending: what FedBN keeps in the hospital."""
    names = set(batchnorm_names(empty_model(study)))
    layout = study_layout(study)
    inside = [np.full(entry.size, entry.name in names) for entry in layout.entries]
    return np.flatnonzero(np.concatenate(inside))
