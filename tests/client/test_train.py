"""Training and scoring of one hospital on small cohorts with a known answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import nn

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.train import (
    FitResult,
    fit,
    learning_rate,
    local_positions,
    pick_device,
    score,
    uses_bfloat16,
)
from fl_liver.errors import ConfigError, DataError, IncompleteError, ProtocolError, TrainingError
from fl_liver.models import registry
from fl_liver.models.clinical import ClinicalModel
from fl_liver.models.lesion_model import Outputs, output_count
from fl_liver.models.registry import initial_vector, model_from_vector, study_layout
from fl_liver.parameters import Vector, unflatten
from fl_liver.study import Study
from fl_liver.study_files import load_study

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def study() -> Study:
    training: dict[str, object] = {"batch_size": 16, "learning_rate": 0.03, "local_epochs": 2, "rounds": 15}
    training["precision"] = "float32"  # oracles are in float32, whatever the processor has
    return load_study("lesion_us_fusion").changed(model={"width": 4, "image_px": 32, "dropout": 0.1}, training=training)


def cohort_of(count: int = 24, views: int = 2, px: int = 32) -> Cohort:
    """Malignant lesions have a bright square; every third patient has one image less."""
    draw = np.random.default_rng(1)
    label = (np.arange(count) % 2).astype(np.int64)
    owner = np.repeat(np.arange(count), views - (np.arange(count) % 3 == 0))
    lesion, background = draw.standard_normal((2, len(owner), px, px))
    lesion[:, 8:24, 8:24] += 2.0 * label[owner][:, None, None] - 1
    factors = draw.normal(size=(count, 14))
    factors[:, 0] += 2 * label
    factors[::5, 1] = np.nan
    return Cohort(
        patients=tuple(f"p{i:03d}" for i in range(count)),
        label=label,
        part=np.zeros(count, np.int8),
        fold=np.full(count, -1, np.int8),
        factors=factors,
        background=draw.integers(-1, 3, count),
        size_mm=np.full(count, np.nan),
        images={"lesion": lesion.astype(np.float16), "background": background.astype(np.float16)},
        owner=owner,
        findings=(),
    )


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return cohort_of()


@pytest.fixture(scope="module")
def start(study: Study) -> Vector:
    return initial_vector(study)[0]


ALL = np.arange(24)


def run(study: Study, cohort: Cohort, vector: Vector, rows: NDArray[np.int64] = ALL, **keys: object) -> FitResult:
    defaults: dict[str, object] = {"round_number": 1, "seed_key": "H01", "device": CPU}
    return fit(study, cohort, vector, rows=rows, **(defaults | keys))  # type: ignore[arg-type]


def test_a_round_gives_the_same_bits_whatever_ran_before(study: Study, cohort: Cohort, start: Vector) -> None:
    """The serial and the process engine must agree exactly."""
    before = start.copy()
    one = run(study, cohort, start)
    torch.manual_seed(99)
    np.random.default_rng(3)
    state = torch.get_rng_state()
    two = run(study, cohort, start)
    np.testing.assert_array_equal(one.vector, two.vector)
    assert one == FitResult(one.vector, two.loss, 24, 2 * 3)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(start, before)


@pytest.mark.parametrize("other", [{"seed_key": "H02"}, {"round_number": 2}])
def test_another_hospital_or_round_draws_otherwise(
    study: Study, cohort: Cohort, start: Vector, other: dict[str, Any]
) -> None:
    assert not np.array_equal(run(study, cohort, start).vector, run(study, cohort, start, **other).vector)


def test_training_learns_an_easy_cohort(study: Study, cohort: Cohort, start: Vector) -> None:
    losses, vector = [], start
    for round_number in range(1, 6):
        result = run(study, cohort, vector, round_number=round_number)
        vector = result.vector
        losses.append(result.loss)
    assert losses[-1] < 0.6 * losses[0]
    positive = score(study, cohort, vector, rows=ALL, device=CPU)[:, 0]
    assert ((positive > 0) == (cohort.label == 1)).mean() >= 0.9


def test_a_table_study_learns_from_factors(study: Study, cohort: Cohort) -> None:
    raw = study.model_dump(mode="json", exclude_none=True)
    raw["task"] = {**raw["task"], "modality": "table", "background_classes": {}}
    del raw["task"]["background"]
    raw["model"] = {"name": "clinical"}
    raw["training"] = {**raw["training"], "learning_rate": 0.3, "local_epochs": 20}
    table = Study.model_validate(raw)
    result = run(table, cohort, initial_vector(table)[0])
    found = score(table, cohort, result.vector, rows=ALL, device=CPU)
    assert result.loss < math.log(2)
    assert found.shape == (24, 1)
    assert ((found[:, 0] > 0) == (cohort.label == 1)).mean() > 0.8


def prox(study: Study, mu: float) -> Study:
    return study.changed(training={"strategy": "fedprox", "mu": mu})


def test_a_strong_proximal_term_keeps_the_weights_near_the_received_ones(
    study: Study, cohort: Cohort, start: Vector
) -> None:
    weights = np.concatenate([np.full(e.size, "running" not in e.name) for e in study_layout(study).entries])
    free, weak, strong = (
        np.linalg.norm((run(one, cohort, start, epochs=10).vector - start)[weights])
        for one in (study, prox(study, 0.1), prox(study, 10.0))
    )
    assert strong < 0.5 * free
    assert strong < weak < free


def test_a_vanishing_proximal_term_is_plain_averaging(study: Study, cohort: Cohort, start: Vector) -> None:
    plain, tiny = run(study, cohort, start).vector, run(prox(study, 1e-12), cohort, start).vector
    np.testing.assert_allclose(tiny, plain, atol=1e-5)


def test_the_proximal_gradient_is_mu_times_the_distance(study: Study, cohort: Cohort, start: Vector) -> None:
    """One batch gives no distance yet, so that the first step must be that of plain training, to the bit."""
    one_batch: dict[str, object] = {"batch_size": 64, "local_epochs": 1}
    plain = run(study.changed(training=one_batch), cohort, start).vector
    near = run(prox(study, 5.0).changed(training=one_batch), cohort, start).vector
    np.testing.assert_array_equal(plain, near)


def test_only_the_asked_patients_are_learnt_from(study: Study, start: Vector) -> None:
    rows = np.arange(0, 24, 2) + np.arange(12) % 2
    changed = cohort_of()
    for name in changed.images:
        changed.images[name][~np.isin(changed.owner, rows)] = 7
    one, two = (run(study, one, start, rows=rows).vector for one in (cohort_of(), changed))
    np.testing.assert_array_equal(one, two)


def test_a_small_last_batch_is_left_out_but_an_only_batch_is_not(study: Study, cohort: Cohort, start: Vector) -> None:
    """24 patients have 40 images: 40 = 37 + 3 loses three; 3 images alone are trained on."""
    assert len(cohort.owner) == 40
    assert run(study.changed(training={"batch_size": 37}), cohort, start, epochs=1).batches == 1
    assert run(study.changed(training={"batch_size": 36}), cohort, start, epochs=1).batches == 2
    assert run(study, cohort, start, rows=np.array([0, 1]), epochs=1).batches == 1
    with pytest.raises(TrainingError, match="site H01, round 1: 1 images to train on, wanted 2 or more"):
        run(study, cohort, start, rows=np.array([0]))


def test_an_image_that_is_not_finite_names_site_round_and_batch(
    study: Study, start: Vector, caplog: pytest.LogCaptureFixture
) -> None:
    broken = cohort_of()
    broken.images["lesion"][:] = np.nan
    with pytest.raises(TrainingError, match=r"site H07, round 3, batch 1 of 3: the loss is nan; nothing of it is kept"):
        run(study, broken, start, seed_key="H07", round_number=3)
    assert np.isfinite(score(study, broken, start, rows=ALL, device=CPU)).all()
    assert "40 of 40 images have a score that is not finite; counted as 0" in caplog.text


def test_it_stops_between_batches_when_asked(study: Study, cohort: Cohort, start: Vector) -> None:
    asked: list[int] = []

    def after_two() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(
        IncompleteError, match="site H01, round 1: stopped before batch 3; the round can be asked again"
    ):
        run(study, cohort, start, should_stop=after_two)


def test_a_round_beyond_the_study_is_refused(study: Study, cohort: Cohort, start: Vector) -> None:
    with pytest.raises(ProtocolError, match="round 16: study lesion_us_fusion has rounds 1 to 15"):
        run(study, cohort, start, round_number=16)


def test_learning_rate_falls_along_a_cosine(study: Study) -> None:
    rates = [learning_rate(study, r) for r in range(1, 16)]
    assert rates[0] == pytest.approx(0.03)
    assert rates == sorted(rates, reverse=True)
    wanted = 1e-4 + (0.03 - 1e-4) * (1 + math.cos(math.pi * 5 / 15)) / 2
    assert rates[5] == pytest.approx(wanted)


def test_scores_are_in_the_order_of_the_rows_and_of_each_patients_own_images(
    study: Study, cohort: Cohort, start: Vector
) -> None:
    """Oracle: the model on one patient's images, sigmoid, mean, logit, in float64."""
    rows = np.array([5, 0, 17, 3])
    found = score(study, cohort, start, rows=rows, device=CPU)
    assert found.dtype == np.float64
    model = model_from_vector(study, start, study_layout(study), CPU).eval()
    for patient, value in zip(rows, found[:, 0], strict=True):
        mine = cohort.owner == patient
        images = {name: torch.from_numpy(one[mine]).float()[:, None] for name, one in cohort.images.items()}
        with torch.no_grad():
            p = torch.sigmoid(model(images).logits.double()).mean().item()
        assert value == pytest.approx(math.log(p / (1 - p)), rel=1e-4, abs=1e-4)


def test_a_patient_without_images_cannot_be_scored(study: Study, start: Vector) -> None:
    full = cohort_of()
    kept = full.owner != 4
    images = {name: one[kept] for name, one in full.images.items()}
    fields = {name: getattr(full, name) for name in Cohort.__slots__}
    short = Cohort(**{**fields, "images": images, "owner": full.owner[kept]})
    with pytest.raises(DataError, match="1 of 24 patients have no image to score"):
        score(study, short, start, rows=ALL, device=CPU)
    no_background = Cohort(**{**fields, "images": {"lesion": full.images["lesion"]}})
    with pytest.raises(
        DataError, match=r"no 'background' images, which model 'lesion_us_fusion' reads \(held: lesion\)"
    ):
        run(study, no_background, start)


class SaysShares(ClinicalModel):
    """The clinical model with a softmax or a sigmoid at its end."""

    def __init__(self, study: Study, head: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__(study)
        self.head = head

    def forward(self, inputs: dict[str, torch.Tensor]) -> Outputs:
        return Outputs(self.head(super().forward(inputs).logits))


def table_of(study: Study, classes: int) -> Study:
    raw = study.model_dump(mode="json", exclude_none=True)
    names = [f"c{index}" for index in range(classes)]
    raw["task"] = {"modality": "table", "classes": {name: name for name in names}, "positive": names[1:]}
    raw["model"] = {"name": "clinical"}
    return Study.model_validate(raw)


@pytest.mark.parametrize(
    ("classes", "head", "told"),
    [
        (3, nn.Softmax(dim=1), "its last step is a softmax"),
        (3, lambda z: z.exp() / z.exp().sum(1, keepdim=True), r"rows of 3 outputs lies in \[0, 1\] and sums to 1"),
        (3, lambda z: functional.softmax(z, 1).to(torch.bfloat16), "its last step is a softmax"),
        (2, lambda z: functional.softmax(torch.cat([torch.zeros_like(z), z], 1), 1)[:, 1:], "a softmax"),
        (2, nn.Sigmoid(), "its last step is a sigmoid"),
        (2, lambda z: torch.sigmoid(z[:, 0])[:, None].double(), "its last step is a sigmoid"),
    ],
    ids=["softmax", "by hand", "bfloat16", "column of a softmax", "sigmoid", "reshaped sigmoid"],
)
def test_a_network_that_returns_its_softmax_is_refused_with_the_reason(
    study: Study, cohort: Cohort, monkeypatch: pytest.MonkeyPatch, classes: int, head: Any, told: str
) -> None:
    """Trained or not: the same network is scored where it returns its logits."""
    table = table_of(study, classes)
    first = initial_vector(table)[0]
    trained = first + np.random.default_rng(2).normal(0, 2, len(first)).astype(np.float32)
    for vector in (first, trained):
        assert np.isfinite(score(table, cohort, vector, rows=ALL, device=CPU)).all()
    monkeypatch.setitem(registry.MODELS, "clinical", lambda study: SaysShares(study, head))
    monkeypatch.setattr(registry, "_laid_out", {})
    for vector in (first, trained):
        with pytest.raises(DataError, match=rf"model 'clinical' returns probabilities.*{told}.*sure patients tie"):
            score(table, cohort, vector, rows=ALL, device=CPU)


def test_untrained_networks_of_every_kind_are_scored(study: Study, cohort: Cohort) -> None:
    three = study.changed(task={"classes": {"a": "a", "b": "b", "c": "c"}, "positive": ["b", "c"]})
    for one in (study, three, three.changed(training={"precision": "bfloat16"})):
        found = score(one, cohort, initial_vector(one)[0], rows=ALL, device=CPU)
        assert found.shape == (24, output_count(one))
        assert np.isfinite(found).all()


def test_local_positions_are_exactly_batch_normalisation(study: Study, start: Vector) -> None:
    marked = np.zeros_like(start)
    marked[local_positions(study)] = 1
    for name, view in unflatten(marked, study_layout(study)).items():
        is_bn = ".bn" in name or "downsample.1" in name
        assert view.all() if is_bn else not view.any(), name


def test_devices_that_are_not_there_are_refused() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(TrainingError, match=r"device 'cuda:99': this machine shows \d+ GPUs"):
        pick_device("cuda:99")
    for wrong in ("gpu", "cuda:first", "cpu:0", ""):
        with pytest.raises(ConfigError, match="wanted auto, cpu or cuda:N"):
            pick_device(wrong)


def test_precision_of_the_study_overrides_the_processor(study: Study) -> None:
    assert uses_bfloat16(study.changed(training={"precision": "bfloat16"}), CPU)
    assert not uses_bfloat16(study.changed(training={"precision": "float32"}), CPU)


def test_bfloat16_trains_to_finite_weights_near_float32(study: Study, cohort: Cohort, start: Vector) -> None:
    """Emulated where the processor lacks it: slow, and still right."""
    lower = run(study.changed(training={"precision": "bfloat16"}), cohort, start)
    full = run(study.changed(training={"precision": "float32"}), cohort, start)
    assert np.isfinite(lower.vector).all()
    assert not np.array_equal(lower.vector, full.vector)
    assert lower.loss == pytest.approx(full.loss, rel=0.1)
