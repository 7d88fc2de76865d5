"""Losses against direct sums."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fl_liver.models.lesion_model import (
    Labels,
    background_loss,
    batch_hard_triplet,
    batchnorm_names,
    classification_loss,
)


def brute_force_triplet(rows: torch.Tensor, target: torch.Tensor) -> float:
    """Hermans 2017, equation 5 with softplus, by loops in float64."""
    terms = []
    points, kinds = rows.double().tolist(), target.tolist()
    for i, (point, kind) in enumerate(zip(points, kinds, strict=True)):
        far = [math.dist(point, points[j]) for j in range(len(points)) if kinds[j] == kind and j != i]
        near = [math.dist(point, points[j]) for j in range(len(points)) if kinds[j] != kind]
        if far and near:
            terms.append(math.log1p(math.exp(max(far) - min(near))))
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize("kinds", [[0, 1] * 6, [0] * 11 + [1], [0, 1, 2] * 4])
def test_triplet_loss_equals_brute_force(kinds: list[int]) -> None:
    torch.manual_seed(3)
    rows, target = torch.randn(12, 5), torch.tensor(kinds)
    assert batch_hard_triplet(rows, target).item() == pytest.approx(brute_force_triplet(rows, target), rel=1e-5)


def test_triplet_loss_of_one_class_is_zero_with_a_finite_gradient() -> None:
    rows = torch.randn(6, 3, requires_grad=True)
    loss = batch_hard_triplet(rows, torch.zeros(6, dtype=torch.int64))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert rows.grad is not None
    assert not rows.grad.any()


def test_triplet_loss_of_equal_images_has_a_finite_gradient() -> None:
    """Two views can be the same frame: the distance 0 must not give a gradient of 0/0."""
    rows = torch.ones(4, 3, requires_grad=True)
    batch_hard_triplet(rows, torch.tensor([0, 0, 1, 1])).backward()  # type: ignore[no-untyped-call]
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()


def test_unknown_background_is_left_out() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    kind = torch.tensor([0, -1, 2, -1, 1])
    loss = background_loss(logits, kind)
    known = kind >= 0
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits[known], kind[known]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[~known].any()


def test_background_loss_is_zero_where_no_background_is_known() -> None:
    assert background_loss(torch.randn(3, 3), torch.full((3,), -1)).item() == 0


def test_two_class_loss_is_the_weighted_cross_entropy() -> None:
    """Oracle: −w log p by hand, p = 1/(1 + e^−z)."""
    labels = Labels(torch.tensor([1, 0]), torch.tensor([0.5, 2.0]))
    wanted = (-2 * math.log(1 / (1 + math.exp(-0.3))) - 0.5 * math.log(1 - 1 / (1 + math.exp(1.2)))) / 2
    assert classification_loss(torch.tensor([[0.3], [-1.2]]), labels).item() == pytest.approx(wanted, rel=1e-6)


def test_seven_class_loss_is_the_weighted_cross_entropy() -> None:
    logits = torch.randn(4, 7)
    labels = Labels(torch.tensor([6, 0, 3, 3]), torch.arange(1.0, 8.0))
    wanted = -(logits.log_softmax(1)[torch.arange(4), labels.target] * torch.tensor([7.0, 1.0, 4.0, 4.0])).mean()
    torch.testing.assert_close(classification_loss(logits, labels), wanted)


def test_batchnorm_names_are_weights_biases_and_running_statistics() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Conv2d(1, 1, 1))
    assert batchnorm_names(model) == ("1.weight", "1.bias", "1.running_mean", "1.running_var")
