"""One hospital's training and scoring: a vector in, a vector or its patients' scores out. Nothing is sent or stored.

Everything random is drawn from a seed of the study, the hospital's name and the round, so that a round gives the same
bits whichever process runs it, after whatever, on the same kind of machine with the same number of threads. (On a GPU,
cuDNN may choose other kernels from run to run.) Private training (`train_private`) is the exception: nothing of it can
be drawn again. Threads and processes are the caller's business.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.scores import BEYOND, require_logits
from fl_liver.client.train_material import Indices, Material, material_of, targets
from fl_liver.client.train_private import PatientGradients, private_seed, private_steps
from fl_liver.errors import ConfigError, DataError, IncompleteError, NotFiniteError, ProtocolError, TrainingError
from fl_liver.models.augmentation import augmented, plain
from fl_liver.models.lesion_model import Labels, LesionModel, batchnorm_names
from fl_liver.models.patient_score import patient_log_odds
from fl_liver.models.registry import empty_model, model_from_vector, model_vector, study_layout
from fl_liver.parameters import Vector, check_finite
from fl_liver.study import Study

log = logging.getLogger("fl_liver.site")

SMALLEST_BATCH = 4
"""Smaller last batches are left out: batch normalisation over three images is noise."""
SCORE_BATCH = 256
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


def pick_device(name: str) -> torch.device:
    """ "auto" (the first GPU, else the processor), "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: another word.
        TrainingError: a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise ConfigError(f"device '{name}': wanted auto, cpu or cuda:N")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= found:
        raise TrainingError(
            f"device '{name}': this machine shows {found} GPUs to torch; wanted auto, cpu or a GPU that is there"
        )
    return torch.device("cuda", int(number or 0))


def uses_bfloat16(study: Study, device: torch.device) -> bool:
    """Whether convolutions run in bfloat16: as the study says, or, on "auto", where the hardware multiplies it.

    Without such hardware it is emulated and slower than float32.
    """
    if study.training.precision != "auto":
        return study.training.precision == "bfloat16"
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else _processor_has_bfloat16()


def learning_rate(study: Study, round_number: int) -> float:
    """Cosine over rounds 1 … R: `learning_rate` in round 1, falling towards `final_learning_rate` after round R."""
    training = study.training
    if not 1 <= round_number <= training.rounds:
        raise ProtocolError(f"round {round_number}: study {study.name} has rounds 1 to {training.rounds}")
    share = (1 + math.cos(math.pi * (round_number - 1) / training.rounds)) / 2
    return training.final_learning_rate + (training.learning_rate - training.final_learning_rate) * share


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
    should_stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train on the patients `rows` from the received `vector`, which is left as it was.

    Args:
        round_number: 1 … study.training.rounds; sets the learning rate and, unless training is private, the draws.
        seed_key: the hospital's name, or another word for a model that is not one hospital's ("pooled").
        epochs: passes over the images; by default the study's `local_epochs`.
        should_stop: asked before every batch.
    Raises:
        NotFiniteError: a loss or weight that is not finite, with hospital, round and batch.
        TrainingError: too few images.
        DataError: the cohort lacks an input of the model.
        IncompleteError: `should_stop` said so; nothing of the round is kept.
        ProtocolError: a vector of another layout, a round that the study does not have.
        ConfigError: `epochs` in a study with private training.
    """
    layout, where = study_layout(study), f"site {seed_key}, round {round_number}"
    private = study.privacy.training is not None
    if private and epochs is not None:
        raise ConfigError(
            f"{where}: {epochs} epochs asked; private training takes the study's own, which epsilon counts"
        )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(private_seed() if private else _seed(study, seed_key, round_number))
        model = model_from_vector(study, vector, layout, device).train()
        material = material_of(study, cohort, rows, model.needs, device)
        class_weight = _class_weight(study, cohort.label[rows])
        step = _Step(study, model, class_weight, learning_rate(study, round_number))
        if private:
            gradients = PatientGradients(study, model, material, class_weight)
            loss, batches = 0.0, private_steps(study, gradients, step.take, should_stop=should_stop, where=where)
        else:
            loss, batches = _epochs(step, study, material, epochs, should_stop, where)
    trained, _ = model_vector(model)
    check_finite(trained, layout, f"{where}: update")
    return FitResult(trained, loss, len(rows), batches)


def score(study: Study, cohort: Cohort, vector: Vector, *, rows: Indices, device: torch.device) -> NDArray[np.float64]:
    """Log-odds of each patient of `rows`, (n, K) float64 in the order of `rows` (see `patient_log_odds`).

    A logit that is not finite is no error: a model can be made so that this tells something about one patient. It
    counts as 0, or as the largest number of its sign, and is in the hospital's log.

    Raises:
        DataError: a patient without images, or a network that returns its softmax or sigmoid (`require_logits`).
    """
    model = model_from_vector(study, vector, study_layout(study), device).eval()
    patients, place = np.unique(rows, return_inverse=True)
    material = material_of(study, cohort, patients, model.needs, device)
    first = np.searchsorted(material.owner, patients)
    absent = np.setdiff1d(patients, material.owner)
    if len(absent):
        raise DataError(f"{len(absent)} of {len(patients)} patients have no image to score; wanted one or more each")
    batches = torch.split(torch.arange(len(material.target), device=device), SCORE_BATCH)
    with torch.inference_mode(), _autocast(study, device):
        parts = [model(material.batch(chosen, plain)).logits.double().cpu().numpy() for chosen in batches]
    _require_logits(study, model, material, device)
    return patient_log_odds(_finite(np.concatenate(parts), study.name), first)[place]


def _require_logits(study: Study, model: LesionModel, material: Material, device: torch.device) -> None:
    """See `require_logits`. Looks at what the network makes of noise: of patients it would be an answer about them."""
    noise = material.like(_PROBES, torch.Generator().manual_seed(study.seed))
    with torch.enable_grad(), _autocast(study, device):
        logits = model(noise.batch(torch.arange(_PROBES, device=device), plain)).logits
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


class _Step:
    """One optimiser step after another on one model."""

    def __init__(self, study: Study, model: LesionModel, class_weight: Tensor, rate: float) -> None:
        training = study.training
        self._study, self._model = study, model
        self._parameters = list(model.parameters())
        self._class_weight = class_weight.to(self._parameters[0].device)
        self._received = [one.detach().clone() for one in self._parameters] if training.mu else []
        self._optimiser = torch.optim.SGD(
            self._parameters,
            lr=rate,
            momentum=training.momentum,
            nesterov=training.momentum > 0,
            weight_decay=training.weight_decay,
            fused=True,
        )

    def __call__(self, material: Material, chosen: Tensor) -> Tensor:
        """The batch's loss, detached and left on its device: reading it here would wait for a GPU."""
        labels = Labels(material.target[chosen], self._class_weight, material.background[chosen])
        with _autocast(self._study, chosen.device):
            outputs = self._model(material.batch(chosen, augmented))
        loss = self._model.loss(outputs, labels)
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

    def _pull_back(self) -> None:
        """FedProx: the gradient of ½μ‖w − w_received‖² (Li et al., MLSys 2020)."""
        if not self._received:
            return
        taught = [(p, p.grad, r) for p, r in zip(self._parameters, self._received, strict=True) if p.grad is not None]
        away = torch._foreach_sub([p.detach() for p, _, _ in taught], [received for _, _, received in taught])
        torch._foreach_add_([gradient for _, gradient, _ in taught], away, alpha=self._study.training.mu)


def _class_weight(study: Study, label: Indices) -> Tensor:
    """1 / (K × share of the class among the hospital's own training patients), shares held to 5 % or more.

    1 for each where training is private: one patient's diagnosis would weigh in the gradient of all the others.
    """
    count = len(study.task.classes)
    if study.privacy.training is not None:
        return torch.ones(count)
    share = np.bincount(targets(study, label), minlength=count) / max(len(label), 1)
    return torch.from_numpy(1 / (count * share.clip(0.05, 0.95))).float()


def _batches(count: int, size: int) -> Iterator[Tensor]:
    """A random order in batches; a last batch under SMALLEST_BATCH is left out unless it is the only one."""
    for chosen in torch.split(torch.randperm(count), size):
        if len(chosen) >= SMALLEST_BATCH or len(chosen) == count:
            yield chosen


def _epochs(
    step: _Step,
    study: Study,
    material: Material,
    epochs: int | None,
    should_stop: Callable[[], bool],
    where: str,
) -> tuple[float, int]:
    """All passes of a round: mean loss an image, and how many batches."""
    if len(material.target) < 2:
        raise TrainingError(f"{where}: {len(material.target)} images to train on, wanted 2 or more")
    means = [
        _epoch(step, material, study.training.batch_size, should_stop, where)
        for _ in range(study.training.local_epochs if epochs is None else epochs)
    ]
    return float(np.mean([mean for mean, _ in means])) if means else math.nan, sum(batches for _, batches in means)


def _epoch(
    step: _Step, material: Material, batch_size: int, should_stop: Callable[[], bool], where: str
) -> tuple[float, int]:
    """One pass over the images: mean loss an image, and how many batches."""
    losses: list[Tensor] = []
    sizes: list[int] = []
    for chosen in _batches(len(material.target), batch_size):
        if should_stop():
            raise IncompleteError(f"{where}: stopped before batch {len(losses) + 1}; the round can be asked again")
        losses.append(step(material, chosen.to(material.target.device)))
        sizes.append(len(chosen))
    # Looked at once an epoch, so that a GPU is not waited for after every batch.
    values = torch.stack(losses).double().cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise NotFiniteError(
            f"{where}, batch {bad[0] + 1} of {len(values)}: the loss is {values[bad[0]]}; nothing of it is kept;"
            " look for images that are not finite, or lower the learning rate"
        )
    return float(np.average(values, weights=sizes)), len(values)


def _autocast(study: Study, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=uses_bfloat16(study, device))


def _seed(study: Study, seed_key: str, round_number: int) -> int:
    digest = hashlib.sha256(f"{study.seed}|{seed_key}|{round_number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@lru_cache(maxsize=1)
def _processor_has_bfloat16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags
