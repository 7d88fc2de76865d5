"""ε of a study's private training: follows from the study and the rounds alone, so that server and hospital agree.

The patient is the unit: two data sets are neighbours where one patient, with all images, stands in one of them only. A
step is the Gaussian mechanism on a Poisson sample of the patients, a round is `steps_per_round` of them, and steps add
up in Rényi divergence (Mironov, Talwar, Zhang, arXiv 1908.10530); ε by Proposition 12 of Canonne, Kamath, Steinke,
NeurIPS 2020. The arithmetic is Google's `dp-accounting`; it is imported only where a study asks for privacy.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from fl_liver.errors import ConfigError, PrivacyError
from fl_liver.study import PrivateTraining, Study

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512, 1024)
"""Rényi orders that are tried. Whole ones: their divergence is a finite sum, without a series that has to converge."""


def require_private(study: Study) -> PrivateTraining:
    """The study's `[privacy.training]`. Raises ConfigError where it has none."""
    if study.privacy.training is None:
        raise ConfigError(
            f"study {study.name}: has no [privacy.training], so its training has no epsilon; add the section"
        )
    return study.privacy.training


def steps_per_round(study: Study) -> int:
    """Optimiser steps of one hospital in one round: local_epochs × round(1 / sampling_rate).

    Raises:
        ConfigError: the study has no `[privacy.training]`.
    """
    return study.training.local_epochs * round(1 / require_private(study).sampling_rate)


def planned_rounds(study: Study) -> dict[str, int]:
    """Federation → rounds, as the study plans them: "train" and, with folds, "not-fold-K"."""
    names = ["train", *(f"not-fold-{fold}" for fold in range(study.cohort.folds))]
    return dict.fromkeys(names, study.training.rounds)


def training_epsilon(study: Study, rounds: Mapping[str, int] | None = None) -> float:
    """ε at the study's δ that training spends on any patient of any hospital; the same number at all of them.

    Args:
        rounds: federation → rounds begun, repeated ones counted again; by default the study's plan. A patient is in
            one fold and so in every federation but one of "not-fold-K": all are added up but the shortest of these.
            A hospital that missed rounds has spent less.
    Raises:
        ConfigError: no `[privacy.training]`, or `dp-accounting` is not installed.
    """
    private = require_private(study)
    begun = planned_rounds(study) if rounds is None else rounds
    without = [begun.get(f"not-fold-{fold}", 0) for fold in range(study.cohort.folds)]
    steps = steps_per_round(study) * (sum(begun.values()) - min(without, default=0))
    return _epsilon(private.sampling_rate, private.noise_multiplier, private.delta, steps)


def training_privacy(study: Study, rounds: Mapping[str, int] | None = None) -> dict[str, float | str] | None:
    """What a report says of private training: ε after `rounds` (see `training_epsilon`), δ, the unit, and the noise.

    None for a study without it. Nothing in it is of one hospital.
    """
    if (private := study.privacy.training) is None:
        return None
    return {
        "unit": "patient",
        "epsilon": training_epsilon(study, rounds),
        "delta": private.delta,
        "max_epsilon": private.max_epsilon,
        "noise_multiplier": private.noise_multiplier,
        "patient_clip_norm": private.patient_clip_norm,
        "sampling_rate": private.sampling_rate,
    }


def require_affordable(study: Study) -> None:
    """Does nothing for a study without private training.

    Raises:
        PrivacyError: its plan spends more than its `max_epsilon`.
    """
    if (private := study.privacy.training) is None:
        return
    spent = training_epsilon(study)
    if spent > private.max_epsilon:
        raise PrivacyError(
            f"study {study.name}: its rounds would spend epsilon {spent:.3g} at delta {private.delta:g}, max_epsilon is"
            f" {private.max_epsilon:g}; raise noise_multiplier, or lower sampling_rate, local_epochs or rounds"
        )


@lru_cache(maxsize=64)
def _epsilon(rate: float, noise_multiplier: float, delta: float, steps: int) -> float:
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.rdp import RdpAccountant
    except ImportError as error:
        raise ConfigError("private training needs dp-accounting: install fl_liver[dp]") from error
    if steps == 0:
        return 0.0
    accountant = RdpAccountant(ORDERS)
    accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise_multiplier)), steps)
    return float(accountant.get_epsilon(delta))
