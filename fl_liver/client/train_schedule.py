"""What a round begins with: its learning rate, its seed, the weights of its classes, the order of its images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fl_liver.client.train_material import Indices, Stage, require_selection
from fl_liver.errors import ProtocolError
from fl_liver.study import Study

SMALLEST_BATCH = 4
"""Smaller last batches are left out: batch normalisation over three images is noise."""


def learning_rate(study: Study, round_number: int, stage: Stage = "train") -> float:
    """Of all steps of a round, 1 … R; R is that of the stage.

    Over w `warmup_rounds` it rises linearly, r / (w + 1) of `learning_rate` in round r. The others are a cosine from
    `learning_rate` towards `final_learning_rate`, which it would reach in round R + 1, or steps: × `step_factor` after
    every `step_rounds`. A selection of few rounds warms up in all but its last at most.

    Raises:
        ProtocolError: a round that the stage does not have.
        ConfigError: a study without selection asked for its rate.
    """
    training = study.training
    rounds = training.rounds if stage == "train" else require_selection(study).rounds
    if not 1 <= round_number <= rounds:
        word = "rounds" if stage == "train" else "selection rounds"
        raise ProtocolError(f"round {round_number}: study {study.name} has {word} 1 to {rounds}")
    warmup = min(training.warmup_rounds, rounds - 1)
    if round_number <= warmup:
        return training.learning_rate * round_number / (warmup + 1)
    done = round_number - warmup - 1
    if training.schedule == "step":
        return float(training.learning_rate * training.step_factor ** (done // training.step_rounds))
    share = (1 + math.cos(math.pi * done / (rounds - warmup))) / 2
    return training.final_learning_rate + (training.learning_rate - training.final_learning_rate) * share


def round_seed(study: Study, seed_key: str, round_number: int, stage: Stage = "train") -> int:
    """The same for the same study seed, hospital and round; another one in the selection."""
    words = [str(study.seed), seed_key, str(round_number), *(["selection"] if stage == "selection" else [])]
    digest = hashlib.sha256("|".join(words).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def class_weights(study: Study, target: Indices) -> Tensor:
    """(K,) float32, 1 / (K × share of the class among `target`), shares held to 5 % or more; K ≥ 2 classes.

    Finite too where a hospital, or what a fold leaves of it, has a class only or none. 1 for each where the study
    balances otherwise or not at all, and where training is private: one patient's diagnosis would weigh in the
    gradient of all the others.
    """
    count = len(study.task.classes)
    if study.privacy.training is not None or study.training.balance != "weights":
        return torch.ones(count)
    share = np.bincount(target, minlength=count) / max(len(target), 1)
    return torch.from_numpy(1 / (count * share.clip(0.05, 0.95))).float()


def epoch_order(study: Study, target: Indices) -> Tensor:
    """Images of one epoch in a random order, drawn anew each time: all of them once, or as `oversample` says.

    Then, with replacement, `oversample` draws for each image of the largest class, and as many of every other class
    that is there (Khalili 2020).
    """
    if study.training.balance != "oversample" or not len(target):
        return torch.randperm(len(target))
    members = [torch.from_numpy(np.flatnonzero(target == one)) for one in np.unique(target)]
    draws = study.training.oversample * max(len(one) for one in members)
    drawn = torch.cat([one[torch.randint(len(one), (draws,))] for one in members])
    return drawn[torch.randperm(len(drawn))]


def batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """An order in batches; a last batch under SMALLEST_BATCH is left out unless it is the only one."""
    for chosen in torch.split(order, size):
        if len(chosen) >= SMALLEST_BATCH or len(chosen) == len(order):
            yield chosen
