"""Private training: what one patient can change, what noise is added, and that nothing else of them gets out."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torch.func import functional_call, grad, vmap

from fl_liver.client import train_private
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.train import FitResult, fit, score
from fl_liver.client.train_material import Material, material_of
from fl_liver.client.train_private import PatientGradients, noised, poisson_sample
from fl_liver.errors import ConfigError, IncompleteError
from fl_liver.models import small_map
from fl_liver.models.augmentation import Views
from fl_liver.models.lesion_model import Labels, LesionModel
from fl_liver.models.registry import initial_vector, model_from_vector, model_vector, study_layout
from fl_liver.parameters import Vector
from fl_liver.study import Study
from fl_liver.study_files import load_study
from fl_liver.study_training import Augmentation
from fl_liver.toml_file import parse
from tests.client.test_train import ALL, CPU, cohort_of

PLAIN = Views(Augmentation()).plain
UNLIKELY = 1e-6
ROUNDING = 1e-5


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def private(study: Study, **keys: float) -> Study:
    """`study` with private training; by default one step a round over all patients, without noise to speak of."""
    section = {
        "noise_multiplier": 1e-13,
        "patient_clip_norm": 1e6,
        "sampling_rate": 1.0,
        "expected_patients": 10.0,
        "max_epsilon": 1e30,
        **keys,
    }
    return study.changed(privacy={"training": section})


@pytest.fixture(scope="module")
def study() -> Study:
    """Model LB, width 4, without dropout."""
    return private(
        load_study("lesion_us_fusion").changed(
            model={"width": 4, "image_px": 32, "dropout": 0.0, "norm": "group"},
            training={"max_weight": 1, "triplet_weight": 0, "rounds": 5, "learning_rate": 0.1, "momentum": 0.0},
        )
    )


@pytest.fixture(scope="module")
def table() -> Study:
    raw = load_study("lesion_us_fusion").model_dump(mode="json", exclude_none=True)
    raw["task"] = {**raw["task"], "modality": "table", "background_classes": {}}
    del raw["task"]["background"]
    raw["model"] = {"name": "clinical"}
    raw["training"] |= {"max_weight": 1, "triplet_weight": 0, "learning_rate": 1.0}
    return private(parse(raw, Study, "table"))


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return cohort_of()


@pytest.fixture
def as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images without flips and shifts, so that the others' gradients stay when a patient goes."""
    monkeypatch.setattr(Views, "train", Views.plain)


def run(study: Study, cohort: Cohort, vector: Vector, rows: NDArray[np.int64] = ALL, **keys: Any) -> FitResult:
    return fit(study, cohort, vector, rows=rows, **{"round_number": 1, "seed_key": "H01", "device": CPU, **keys})


def drawn_weights(study: Study) -> Vector:
    """Weights as after some training: a table model starts at zero, where gradients are all alike."""
    vector = initial_vector(study)[0]
    return vector + np.random.default_rng(5).normal(0, 0.1, len(vector)).astype(np.float32)


def gradients_of(study: Study, cohort: Cohort, vector: Vector) -> tuple[PatientGradients, LesionModel, Material]:
    model = model_from_vector(study, vector, study_layout(study), CPU).train()
    material = material_of(study, cohort, np.arange(len(cohort.patients)), model.needs, CPU)
    return PatientGradients(study, model, material, torch.ones(len(study.task.classes))), model, material


def flat(tensors: Any) -> Tensor:
    return torch.cat([one.detach().flatten().double() for one in tensors])


def reference(model: LesionModel, material: Material) -> dict[int, Tensor]:
    """Patient → gradient of the mean loss over the patient's images, by torch.func instead of a loop."""

    def loss(weights: dict[str, Tensor], inputs: dict[str, Tensor], target: Tensor, kind: Tensor) -> Tensor:
        return model.loss(functional_call(model, weights, (inputs,)), Labels(target, torch.ones(2), kind))

    weights = {name: one.detach() for name, one in model.named_parameters()}
    count = {int(patient): int((material.owner == patient).sum()) for patient in np.unique(material.owner)}
    found: dict[int, Tensor] = {}
    for images in sorted(set(count.values())):
        patients = [patient for patient in count if count[patient] == images]
        places = torch.from_numpy(np.array([np.flatnonzero(material.owner == patient) for patient in patients]))
        inputs = PLAIN(material.inputs, places.flatten())
        shaped = {name: one.view(len(patients), images, *one.shape[1:]) for name, one in inputs.items()}
        each = vmap(grad(loss), in_dims=(None, 0, 0, 0))(
            weights, shaped, material.target[places], material.background[places]
        )
        found |= {patient: flat(one[i] for one in each.values()) for i, patient in enumerate(patients)}
    return found


@pytest.mark.parametrize("clip_norm", [1e6, 0.5])
def test_the_sum_is_that_of_gradients_by_torch_func(
    study: Study, as_they_are: None, monkeypatch: pytest.MonkeyPatch, clip_norm: float
) -> None:
    """Some patients have one image, some two: every patient counts once. At 0.5 all are cut, at 1e6 none is.

    At 64 px: at 32 the last map is one pixel, and dividing two channels by their spread loses float32's digits.
    """
    larger = private(study.changed(model={"image_px": 64}), patient_clip_norm=clip_norm)
    gradients, model, material = gradients_of(larger, cohort_of(9, px=64), initial_vector(larger)[0])
    found = flat(gradients.clipped_sum(gradients.patients))
    monkeypatch.setattr(small_map, "LARGEST_MAP_PX", 0)  # its backward pass is not one of torch.func's
    each = reference(model, material)
    assert len(each) == 9
    norms = [float(one.norm()) for one in each.values()]
    assert (min(norms) > 0.5) if clip_norm == 0.5 else (max(norms) < 1e6)
    wanted = torch.stack([one * min(1.0, clip_norm / float(one.norm())) for one in each.values()]).sum(0)
    assert float((found - wanted).norm()) < 1e-4 * float(wanted.norm())


@settings(max_examples=60)
@given(
    patient=st.integers(0, 23),
    others=st.sets(st.integers(0, 23)),
    clip_norm=st.floats(1e-3, 1e3),
    scale=st.sampled_from([1.0, 1e4, 1e30, np.inf, np.nan]),
)
def test_one_patient_moves_the_sum_by_at_most_the_clip_norm(
    table: Study, cohort: Cohort, patient: int, others: set[int], clip_norm: float, scale: float
) -> None:
    """Whatever the patient's values are, also where they overflow."""
    factors = cohort.factors.copy()
    factors[patient] *= scale
    changed = dataclasses.replace(cohort, factors=factors)
    gradients, _, _ = gradients_of(private(table, patient_clip_norm=clip_norm), changed, drawn_weights(table))
    without = np.array(sorted(others - {patient}), np.int64)
    apart = flat(gradients.clipped_sum(np.append(without, patient))) - flat(gradients.clipped_sum(without))
    assert float(apart.norm()) <= clip_norm * (1 + ROUNDING * (1 + len(without)))


@pytest.mark.parametrize("clip_norm", [0.01, 1.0])
def test_a_patients_images_together_move_the_sum_by_at_most_the_clip_norm(
    study: Study, cohort: Cohort, as_they_are: None, clip_norm: float
) -> None:
    gradients, _, _ = gradients_of(private(study, patient_clip_norm=clip_norm), cohort, initial_vector(study)[0])
    every = flat(gradients.clipped_sum(ALL))
    apart = [float((every - flat(gradients.clipped_sum(np.delete(ALL, patient)))).norm()) for patient in (0, 1, 23)]
    assert max(apart) <= clip_norm * (1 + 24 * ROUNDING)
    assert max(apart) > 0.99 * clip_norm


def test_without_noise_or_clipping_a_step_is_plain_gradient_descent(
    study: Study, cohort: Cohort, as_they_are: None
) -> None:
    """Oracle: autograd of Σ over patients of their mean loss, equal class weights, / expected_patients, torch's SGD.
    Two thirds of these patients are malignant, so that weights from their prevalence would show.
    """
    rows = np.concatenate([np.arange(1, 24, 2), np.arange(0, 12, 2)])
    start = initial_vector(study)[0]
    model = model_from_vector(study, start, study_layout(study), CPU).train()
    material = material_of(study, cohort, rows, model.needs, CPU)
    loss = torch.zeros(())
    for patient in rows:
        chosen = torch.from_numpy(np.flatnonzero(material.owner == patient))
        labels = Labels(material.target[chosen], torch.ones(2), material.background[chosen])
        loss = loss + model.loss(model(PLAIN(material.inputs, chosen)), labels)
    (loss / 10.0).backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=study.training.weight_decay).step()
    found = run(study, cohort, start, rows=rows).vector
    wanted = model_vector(model)[0]
    assert np.linalg.norm(found - wanted) < 1e-3 * np.linalg.norm(wanted - start)


def test_the_weights_move_by_normal_noise_of_the_stated_size(study: Study, cohort: Cohort) -> None:
    """Clipped to nothing, a step is −rate × noise_multiplier × clip / expected_patients × a standard normal."""
    still = study.changed(training={"weight_decay": 0.0})
    start = np.zeros_like(initial_vector(study)[0])
    loud = private(still, noise_multiplier=3e6, patient_clip_norm=1e-6)
    moved = run(loud, cohort, start).vector.astype(np.float64) / (0.1 * 3.0 / 10.0)
    assert len(moved) > 50_000
    assert stats.kstest(moved, "norm").pvalue > UNLIKELY


def test_every_number_gets_noise_of_its_own(study: Study) -> None:
    asked: list[int] = []

    def ones(count: int) -> NDArray[np.float64]:
        asked.append(count)
        return np.ones(count)

    section = private(study, noise_multiplier=3.0, patient_clip_norm=0.5, expected_patients=2.0).privacy.training
    assert section is not None
    found = noised([torch.zeros(2, 3), torch.full((4,), 1.0)], section, ones)
    assert asked == [6, 4]
    assert found[0].tolist() == [[0.75] * 3] * 2
    assert found[1].tolist() == [1.25] * 4


def test_each_patient_is_drawn_independently_with_the_rate() -> None:
    """Counts of 4000 draws of 30 patients: mean, variance and correlation of two patients as of Bernoulli numbers."""
    patients = np.arange(100, 130)
    drawn = np.array([np.isin(patients, poisson_sample(patients, 0.2)) for _ in range(4000)])
    assert stats.binomtest(int(drawn.sum()), drawn.size, 0.2).pvalue > UNLIKELY
    assert stats.chisquare(drawn.sum(0), [drawn.sum() / 30] * 30).pvalue > UNLIKELY
    sizes = np.bincount(drawn.sum(1), minlength=31)
    wanted = stats.binom.pmf(np.arange(31), 30, 0.2) * 4000
    assert stats.chisquare([*sizes[:12], sizes[12:].sum()], [*wanted[:12], wanted[12:].sum()]).pvalue > UNLIKELY


def test_the_rates_one_and_almost_none() -> None:
    assert poisson_sample(ALL, 1.0).tolist() == ALL.tolist()
    assert poisson_sample(ALL, 1e-12).size == 0


def test_a_step_in_which_nobody_is_drawn_is_noise_alone(
    table: Study, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_private, "poisson_sample", lambda patients, rate: patients[:0])
    start = initial_vector(table)[0]
    loud = run(private(table, noise_multiplier=1.0, patient_clip_norm=1.0), cohort, start)
    assert loud.batches == 1
    assert (loud.vector != start).all()


def test_nothing_of_it_can_be_drawn_again(study: Study, cohort: Cohort) -> None:
    """With no noise to speak of, patients, flips and shifts still differ; torch's own state stays as it was."""
    start = initial_vector(study)[0]
    sampled = private(study, sampling_rate=0.5)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one, two = run(study, cohort, start), run(study, cohort, start)
    assert np.abs(one.vector - two.vector).max() > 1e-5
    assert not np.array_equal(run(sampled, cohort, start).vector, run(sampled, cohort, start).vector)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_told_beside_the_weights_follows_from_the_study(study: Study, cohort: Cohort) -> None:
    start = initial_vector(study)[0]
    result = run(private(study, sampling_rate=0.3), cohort, start, rows=ALL[:9])
    assert (result.loss, result.batches) == (0.0, 3)


def test_a_patient_whose_gradient_is_not_finite_is_left_out_in_silence(
    table: Study, cohort: Cohort, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused round would tell that this patient is there. The hospital's own log knows."""
    factors = cohort.factors.copy()
    factors[3, 0] = np.inf
    broken = dataclasses.replace(cohort, factors=factors)
    start = drawn_weights(table)
    with caplog.at_level(logging.WARNING, "fl_liver.site"):
        found = run(table, broken, start).vector
    np.testing.assert_allclose(found, run(table, cohort, start, rows=np.delete(ALL, 3)).vector, atol=1e-5)
    assert "site H01, round 1: 1 gradients of patients were not finite and left out" in caplog.text


def test_the_proximal_term_pulls_back(study: Study, cohort: Cohort) -> None:
    start = initial_vector(study)[0]
    many = private(study, sampling_rate=0.1, patient_clip_norm=1.0)
    near = many.changed(training={"strategy": "fedprox", "mu": 5.0})
    far, close = (np.linalg.norm(run(one, cohort, start).vector - start) for one in (many, near))
    assert close < 0.7 * far


def test_it_stops_between_steps_when_asked(study: Study, cohort: Cohort) -> None:
    asked: list[int] = []

    def after_two() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(IncompleteError, match="site H01, round 1: stopped before step 3; the round can be asked again"):
        run(private(study, sampling_rate=0.1), cohort, initial_vector(study)[0], should_stop=after_two)


def test_other_epochs_than_the_studys_are_refused(study: Study, cohort: Cohort) -> None:
    with pytest.raises(
        ConfigError, match="3 epochs asked; private training takes the study's own, which epsilon counts"
    ):
        run(study, cohort, initial_vector(study)[0], epochs=3)


def always_the_same(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def test_it_learns_where_the_noise_is_low(study: Study, cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fl_liver.client.gaussian.os.urandom", always_the_same(1))
    vector = initial_vector(study)[0]
    low = private(study, noise_multiplier=0.01, patient_clip_norm=1.0, sampling_rate=0.25, expected_patients=6.0)
    low = low.changed(training={"learning_rate": 0.3, "momentum": 0.9, "local_epochs": 2})
    for number in (1, 2, 3):
        vector = run(low, cohort, vector, round_number=number).vector
    positive = score(low, cohort, vector, rows=ALL, device=CPU)[:, 0]
    assert stats.mannwhitneyu(positive[1::2], positive[::2]).statistic / 144 > 0.9


def test_a_table_study_learns_at_an_epsilon_of_eight(table: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 patients, σ = 1: what a hospital of that size can learn from one factor that tells the class."""
    from fl_liver.accountant import training_epsilon

    monkeypatch.setattr("fl_liver.client.gaussian.os.urandom", always_the_same(2))
    cohort, rows = cohort_of(count=200, px=8), np.arange(200)
    loud = private(table, noise_multiplier=1.0, patient_clip_norm=1.0, sampling_rate=0.1, expected_patients=20.0)
    loud = loud.changed(training={"rounds": 10, "momentum": 0.0})
    vector = initial_vector(loud)[0]
    for number in range(1, 11):
        vector = run(loud, cohort, vector, rows=rows, round_number=number).vector
    positive = score(loud, cohort, vector, rows=rows, device=CPU)[:, 0]
    assert training_epsilon(loud) < 8
    assert stats.mannwhitneyu(positive[1::2], positive[::2]).statistic / 10_000 > 0.8
