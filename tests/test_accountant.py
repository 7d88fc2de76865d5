"""ε of private training against published figures, an independent formula and a second accountant."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterable

import pytest

from fl_liver.accountant import (
    ORDERS,
    planned_rounds,
    require_affordable,
    require_private,
    steps_per_round,
    training_epsilon,
    training_privacy,
)
from fl_liver.errors import ConfigError, PrivacyError
from fl_liver.study import Study
from fl_liver.study_files import load_study


def private(rate: float, noise: float, rounds: int, delta: float = 1e-5, **cohort: object) -> Study:
    section = {
        "noise_multiplier": noise,
        "patient_clip_norm": 1.0,
        "sampling_rate": rate,
        "expected_patients": 4.0,
        "delta": delta,
        "max_epsilon": 8.0,
    }
    training: dict[str, object] = {"rounds": rounds, "local_epochs": 1, "max_weight": 1, "triplet_weight": 0}
    return load_study("lesion_us_fusion").changed(
        model={"norm": "group"}, training=training, cohort=cohort, privacy={"training": section}
    )


def renyi(rate: float, noise: float, order: int) -> float:
    """Mironov, Talwar, Zhang 2019, section 3.3: log Σ C(α,k) (1−q)^(α−k) q^k exp((k² − k) / 2σ²) / (α − 1)."""
    terms = [
        math.log(math.comb(order, k))
        + (order - k) * math.log1p(-rate)
        + k * math.log(rate)
        + (k * k - k) / 2 / noise**2
        for k in range(order + 1)
    ]
    largest = max(terms)
    return (largest + math.log(sum(math.exp(one - largest) for one in terms))) / (order - 1)


def tight(rate: float, noise: float, steps: int, orders: Iterable[int]) -> float:
    """ε at δ = 1e-5 by Canonne, Kamath, Steinke 2020, Proposition 12."""
    return min(
        steps * renyi(rate, noise, order) + math.log1p(-1 / order) - math.log(1e-5 * order) / (order - 1)
        for order in orders
    )


def test_the_independent_formula_gives_the_published_figures() -> None:
    # Abadi 2016, section 3.2, converted as before 2020 (Mironov 2017, Proposition 3): "ε ≈ 1.26"
    abadi = min(10_000 * renyi(0.01, 4.0, order) + math.log(1e5) / (order - 1) for order in range(2, 65))
    assert abadi == pytest.approx(1.26, abs=0.005)
    # opacus.ai/api/compute_dp_sgd_privacy.html: 2.39 at order 5
    assert tight(0.01, 1.0, 300, (2, 5, 10, 20, 100)) == tight(0.01, 1.0, 300, (5,)) == pytest.approx(2.39, abs=0.005)


@pytest.mark.parametrize(
    ("rate", "noise", "rounds"), [(0.1, 1.0, 15), (0.1, 2.0, 15), (0.25, 1.5, 20), (0.01, 4.0, 100), (0.5, 8.0, 3)]
)
def test_epsilon_is_that_of_the_independent_formula(rate: float, noise: float, rounds: int) -> None:
    study = private(rate, noise, rounds)
    wanted = tight(rate, noise, rounds * steps_per_round(study), ORDERS)
    assert training_epsilon(study) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("rate", "noise", "rounds"), [(0.1, 1.0, 15), (0.1, 2.0, 15), (0.25, 1.5, 20)])
def test_epsilon_bounds_that_of_privacy_loss_distributions_and_not_by_much(
    rate: float, noise: float, rounds: int
) -> None:
    """The PLD accountant is exact up to its grid; Rényi orders give something away."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    study = private(rate, noise, rounds)
    exact = PLDAccountant(value_discretization_interval=1e-3)
    exact.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), rounds * steps_per_round(study))
    assert exact.get_epsilon(1e-5) < training_epsilon(study) < 1.2 * exact.get_epsilon(1e-5)


def test_an_epoch_visits_each_patient_once_on_average() -> None:
    assert [steps_per_round(private(rate, 1.0, 1)) for rate in (1.0, 0.5, 0.3, 0.1, 0.06)] == [1, 2, 3, 10, 17]
    twice = private(0.1, 1.0, 1).changed(training={"local_epochs": 2})
    assert steps_per_round(twice) == 20


def test_repeated_rounds_count_and_no_round_costs_nothing() -> None:
    study = private(0.1, 1.0, 15)
    spent = [training_epsilon(study, {"train": rounds}) for rounds in (0, 1, 15, 16)]
    assert spent[0] == 0
    assert spent == sorted(spent)
    assert spent[2] == training_epsilon(study) < spent[3]


def test_cross_fitting_spends_as_many_federations_as_there_are_folds() -> None:
    """A patient of fold 2 is in "train" and in "not-fold-K" for K = 0, 1, 3, 4."""
    study = private(0.1, 2.0, 6, folds=5, calibration=0.0)
    assert planned_rounds(study) == {"train": 6} | {f"not-fold-{fold}": 6 for fold in range(5)}
    whole = private(0.1, 2.0, 5 * 6)
    assert training_epsilon(study) == training_epsilon(whole)
    # Interrupted in the second of them: a patient of any other fold is in both.
    assert training_epsilon(study, {"train": 6, "not-fold-0": 6, "not-fold-1": 2}) == training_epsilon(
        whole, {"train": 14}
    )


def test_a_federation_that_the_study_does_not_know_counts_in_full() -> None:
    study = private(0.1, 2.0, 6, folds=2, calibration=0.0)
    rounds = {"train": 6, "not-fold-0": 6, "not-fold-1": 6, "not-fold-7": 1, "fold-0": 1}
    assert training_epsilon(study, rounds) == training_epsilon(private(0.1, 2.0, 6), {"train": 14})


def test_a_plan_above_max_epsilon_is_refused_with_the_way_out() -> None:
    require_affordable(private(0.1, 1.2, 15))
    require_affordable(load_study("lesion_us_fusion"))
    with pytest.raises(
        PrivacyError,
        match=r"study lesion_us_fusion: its rounds would spend epsilon 9\.56 at delta 1e-05, max_epsilon is 8; raise",
    ):
        require_affordable(private(0.1, 1.0, 15))


def test_a_report_says_epsilon_delta_and_the_unit() -> None:
    study = private(0.1, 1.2, 15)
    told = training_privacy(study, {"train": 16})
    assert told is not None
    assert (told["unit"], told["delta"], told["max_epsilon"]) == ("patient", 1e-5, 8.0)
    assert told["epsilon"] == training_epsilon(study, {"train": 16}) > training_epsilon(study)
    assert training_privacy(load_study("clinical")) is None


def test_a_study_without_private_training_has_no_epsilon() -> None:
    for ask in (training_epsilon, steps_per_round, require_private):
        with pytest.raises(ConfigError, match=r"study clinical: has no \[privacy\.training\]"):
            ask(load_study("clinical"))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ConfigError, match=r"private training needs dp-accounting: install fl_liver\[dp\]"):
        training_epsilon(private(0.1, 1.2345, 3))


def test_the_accountant_needs_neither_torch_nor_the_library_until_it_is_asked() -> None:
    code = "import sys, fl_liver.accountant; sys.exit('torch' in sys.modules or 'dp_accounting' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
