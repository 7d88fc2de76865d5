"""What the papers' recipes change in local training: rates, balance, mixup, masks, factors beside images."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from fl_liver.client import train_steps
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.train import FitResult, fit, learning_rate
from fl_liver.client.train_schedule import class_weights, epoch_order
from fl_liver.client.train_steps import mixing
from fl_liver.errors import ConfigError, DataError, TrainingError
from fl_liver.models.registry import initial_vector
from fl_liver.study import Study
from fl_liver.study_files import load_study
from tests.client.probe import Seen, probe_study, probed
from tests.client.test_train import ALL, CPU, cohort_of

UNLIKELY = 1e-6


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return probed(monkeypatch)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """24 patients, 40 images; the mask is the lesion's own picture, so that one shows where the other went."""
    plain = cohort_of()
    lesion = np.random.default_rng(7).random((40, 32, 32)).astype(np.float16)
    return dataclasses.replace(plain, images={**plain.images, "lesion": lesion, "mask": lesion.copy()})


def run(study: Study, cohort: Cohort, **keys: Any) -> FitResult:
    defaults: dict[str, Any] = {"rows": ALL, "round_number": 1, "seed_key": "H01", "device": CPU}
    return fit(study, cohort, initial_vector(study)[0], **(defaults | keys))


# -- rates ------------------------------------------------------------------------------------------------------------


def with_rate(**keys: Any) -> Study:
    return load_study("lesion_us_fusion").changed(training={"learning_rate": 0.2, "final_learning_rate": 0.02, **keys})


def test_a_warm_up_rises_linearly_and_leaves_the_others_to_the_cosine() -> None:
    """Oracle: by hand, and the plain cosine of a study with as many rounds as are left."""
    study = with_rate(rounds=12, warmup_rounds=4)
    rates = [learning_rate(study, number) for number in range(1, 13)]
    assert rates[:5] == pytest.approx([0.04, 0.08, 0.12, 0.16, 0.2])
    plain = with_rate(rounds=8)
    assert rates[4:] == pytest.approx([learning_rate(plain, number) for number in range(1, 9)])
    assert rates[8] == pytest.approx((0.2 + 0.02) / 2)


def test_steps_halve_the_rate_every_so_many_rounds() -> None:
    """Zhen 2020: 0.1 × 0.5 every 20 epochs."""
    study = with_rate(schedule="step", rounds=60, step_rounds=20, learning_rate=0.1)
    rates = [learning_rate(study, number) for number in (1, 20, 21, 40, 41, 60)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    warm = with_rate(schedule="step", rounds=60, step_rounds=20, warmup_rounds=1, learning_rate=0.1)
    assert [learning_rate(warm, number) for number in (1, 2, 21, 22)] == pytest.approx([0.05, 0.1, 0.1, 0.05])


def test_a_nesterov_step_looks_ahead(seen: Seen, cohort: Cohort) -> None:
    """After one step the velocity is the gradient g: plain momentum moves by g, Nesterov's by (1 + 0.9)·g."""
    ahead, plain = (probe_study(training={"momentum": 0.9, "nesterov": flag}) for flag in (True, False))
    start = initial_vector(plain)[0]
    np.testing.assert_allclose(
        run(ahead, cohort).vector - start, 1.9 * (run(plain, cohort).vector - start), rtol=1e-4, atol=1e-7
    )


# -- balance ----------------------------------------------------------------------------------------------------------


def balance(name: str, **keys: Any) -> Study:
    return load_study("lesion_us_fusion").changed(training={"balance": name, **keys})


def test_oversampling_shows_both_classes_equally_often_and_with_replacement() -> None:
    """Khalili 2020: the larger class twice over, the other as often as makes both equal."""
    torch.manual_seed(1)
    target = np.array([0] * 30 + [1] * 10)
    study = balance("oversample", oversample=2)
    orders = [epoch_order(study, target).numpy() for _ in range(200)]
    counts = np.array([np.bincount(order, minlength=40) for order in orders])
    assert {(order < 30).sum() for order in orders} == {60}
    assert {len(order) for order in orders} == {120}
    drawn = counts.sum(0)
    assert stats.chisquare(drawn[:30]).pvalue > UNLIKELY
    assert stats.chisquare(drawn[30:]).pvalue > UNLIKELY
    assert counts[:, :30].var() == pytest.approx(2 * 29 / 30, rel=0.1), "with replacement: as a multinomial"
    assert np.mean([(order[:60] < 30).mean() for order in orders]) == pytest.approx(0.5, abs=0.02), "in random order"


@pytest.mark.parametrize("name", ["weights", "none"])
def test_without_oversampling_an_epoch_shows_every_image_once(name: str) -> None:
    torch.manual_seed(2)
    order = epoch_order(balance(name), np.array([0, 0, 1, 1, 1]))
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]


def test_classes_weigh_alike_where_they_are_balanced_otherwise() -> None:
    target = np.array([0, 0, 0, 1])
    assert class_weights(balance("weights"), target).tolist() == pytest.approx([1 / 1.5, 1 / 0.5])
    assert class_weights(balance("none"), target).tolist() == [1, 1]
    assert class_weights(balance("oversample"), target).tolist() == [1, 1]


@pytest.mark.parametrize("name", ["weights", "oversample", "none"])
@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_a_hospital_of_one_class_trains_to_finite_weights(seen: Seen, cohort: Cohort, name: str, mixup: float) -> None:
    """So may a fold be. Mixup then mixes pictures of one class: their label stays what it was."""
    study = probe_study(training={"balance": name, "mixup": mixup, "oversample": 2})
    result = run(study, cohort, rows=np.arange(0, 24, 2))
    assert np.isfinite(result.vector).all()
    assert math.isfinite(result.loss)
    assert set(seen.labels.target.tolist()) == {0}


def test_a_class_that_a_hospital_lacks_is_not_drawn_and_its_weight_is_finite() -> None:
    three = load_study("lesion_us_fusion").changed(
        task={"classes": {"a": "a", "b": "b", "c": "c"}, "positive": ["c"]}, training={"balance": "oversample"}
    )
    torch.manual_seed(3)
    assert np.bincount(np.array([0, 0, 0, 2])[epoch_order(three, np.array([0, 0, 0, 2]))]).tolist() == [3, 0, 3]
    weights = class_weights(three.changed(training={"balance": "weights"}), np.array([0, 0, 0, 2]))
    assert weights.tolist() == pytest.approx([1 / 2.25, 1 / 0.15, 1 / 0.75])
    assert torch.isfinite(class_weights(balance("weights"), np.array([], np.int64))).all()


def test_oversampling_of_one_image_is_still_one_image(seen: Seen, cohort: Cohort) -> None:
    study = probe_study(training={"balance": "oversample", "oversample": 9})
    with pytest.raises(TrainingError, match="site H01, round 1: 1 images to train on, wanted 2 or more"):
        run(study, cohort, rows=np.array([0]))


# -- mixup ------------------------------------------------------------------------------------------------------------


def test_shares_are_of_the_beta_distribution_and_each_image_is_once_a_partner() -> None:
    torch.manual_seed(4)
    drawn = [mixing(0.2, 7, CPU) for _ in range(800)]
    assert stats.kstest([share for share, _ in drawn], stats.beta(0.2, 0.2).cdf).pvalue > UNLIKELY
    assert all(sorted(partner.tolist()) == list(range(7)) for _, partner in drawn)
    torch.manual_seed(4)
    assert mixing(0.2, 7, CPU)[0] == drawn[0][0]


def test_mixup_mixes_pictures_masks_factors_and_both_losses(
    seen: Seen, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: 0.75 · a + 0.25 · b by hand, with each image's follower as its partner."""
    monkeypatch.setattr(train_steps, "mixing", lambda alpha, count, device: (0.25, torch.arange(count).roll(-1)))
    study = probe_study(training={"mixup": 0.2, "attention_weight": 1.0}, cohort={"masks": True})
    run(study, cohort)
    (inputs, first), (_, second) = seen
    pictures = torch.from_numpy(cohort.images["lesion"]).float()[:, None]
    pairs = (0.75 * pictures[:, None] + 0.25 * pictures[None, :]).flatten(0, 1).flatten(1)
    far = torch.cdist(inputs["lesion"].flatten(1), pairs, compute_mode="donot_use_mm_for_euclid_dist")
    assert far.amin(1).max() < 1e-4, "each is a mixture of two"
    a, b = far.argmin(1) // 40, far.argmin(1) % 40
    assert torch.equal(a.roll(-1), b)
    table = torch.from_numpy(cohort.factors[cohort.owner]).float()
    torch.testing.assert_close(inputs["features"], 0.75 * table[a] + 0.25 * table[b], equal_nan=True)
    target = torch.from_numpy(cohort.label[cohort.owner])
    assert torch.equal(first.target, target[a])
    assert torch.equal(second.target, target[b])
    for labels in (first, second):
        assert labels.mask is not None
        assert torch.equal(labels.mask, inputs["lesion"])


def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses(
    seen: Seen, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_steps, "mixing", lambda alpha, count, device: (0.25, torch.arange(count).roll(-1)))
    study = probe_study(training={"mixup": 0.2})
    loss = run(study, cohort).loss
    start = torch.from_numpy(initial_vector(study)[0])
    (inputs, first), (_, second) = seen
    image = inputs["lesion"]
    rows = torch.stack([image.mean((1, 2, 3)), image[:, 0, 16, 16]], 1)
    logit = torch.cat([rows, torch.nan_to_num(inputs["features"][:, :2])], 1) @ start[:4] + start[4]
    parts = [
        torch.nn.functional.binary_cross_entropy_with_logits(logit, one.target.float(), one.class_weight[one.target])
        for one in (first, second)
    ]
    assert loss == pytest.approx((0.75 * parts[0] + 0.25 * parts[1]).item(), rel=1e-5)


# -- what reaches the network -----------------------------------------------------------------------------------------


def test_masks_go_to_the_loss_where_attention_is_taught_and_never_to_the_network(seen: Seen, cohort: Cohort) -> None:
    """Shifts and flips included: the mask is the lesion's own picture here."""
    moving = {"shift_px": 4, "flip_horizontal": True}
    taught = probe_study(training={"attention_weight": 1.0}, cohort={"masks": True}, augmentation=moving)
    run(taught, cohort)
    assert sorted(seen.inputs) == ["features", "lesion"]
    masks = [seen.labels.mask]
    assert masks[0] is not None
    assert torch.equal(masks[0], seen.inputs["lesion"])
    run(probe_study(cohort={"masks": True}), cohort)
    masks.append(seen.labels.mask)
    assert masks[1] is None
    bare = dataclasses.replace(cohort, images={"lesion": cohort.images["lesion"]})
    with pytest.raises(DataError, match=r"the cohort has no 'mask' images, .* \(held: lesion\)"):
        run(taught, bare)


def test_each_image_comes_with_its_own_patients_factors(seen: Seen, cohort: Cohort) -> None:
    run(probe_study(), cohort)
    pictures = torch.from_numpy(cohort.images["lesion"]).float()
    place = torch.cdist(seen.inputs["lesion"].flatten(1), pictures.flatten(1)).argmin(1)
    wanted = torch.from_numpy(cohort.factors[cohort.owner[place]]).float()
    torch.testing.assert_close(seen.inputs["features"], wanted, equal_nan=True)
    assert torch.equal(seen.labels.target, torch.from_numpy(cohort.label[cohort.owner[place]]))


def test_smoothing_is_handed_to_the_loss(seen: Seen, cohort: Cohort) -> None:
    run(probe_study(training={"label_smoothing": 0.1}), cohort)
    assert seen.labels.smoothing == 0.1


def test_everything_at_once_gives_the_same_bits_again(seen: Seen, cohort: Cohort) -> None:
    study = probe_study(
        training={
            "mixup": 0.2,
            "balance": "oversample",
            "oversample": 2,
            "label_smoothing": 0.1,
            "attention_weight": 1.0,
            "batch_size": 16,
            "warmup_rounds": 2,
        },
        cohort={"masks": True},
        augmentation={"shift_px": 2, "area": [0.7, 1.0], "rotation_deg": 10.0, "perspective": 0.2, "symmetries": True},
    )
    one = run(study, cohort)
    torch.manual_seed(99)
    two = run(study, cohort)
    np.testing.assert_array_equal(one.vector, two.vector)
    assert one.loss == two.loss
    assert one.batches == 2 * 2 * 20 // 16
    assert not np.array_equal(run(study, cohort, round_number=2).vector, one.vector)


def test_images_smaller_than_the_crop_are_refused(seen: Seen, cohort: Cohort) -> None:
    with pytest.raises(ConfigError, match="crop_px 33 is larger than the images, 32 × 32"):
        run(probe_study(augmentation={"crop_px": 33}), cohort)
