"""Label smoothing in both losses, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fl_liver.models.lesion_model import Labels, classification_loss


def test_one_logit_is_smoothed_as_two_classes() -> None:
    """ε = 0.2: targets 0.9 and 0.1, weights 2 and 0.5."""
    labels = Labels(torch.tensor([1, 0]), torch.tensor([0.5, 2.0]), smoothing=0.2)
    first, second = (1 / (1 + math.exp(-z)) for z in (0.3, -1.2))
    wanted = -2 * (0.9 * math.log(first) + 0.1 * math.log(1 - first)) / 2
    wanted -= 0.5 * (0.1 * math.log(second) + 0.9 * math.log(1 - second)) / 2
    assert classification_loss(torch.tensor([[0.3], [-1.2]]), labels).item() == pytest.approx(wanted, rel=1e-6)


def test_each_other_class_gets_its_share() -> None:
    """ε = 0.3 of three classes: 0.8 for the true one and 0.1 for each other."""
    logits = torch.tensor([[1.0, 0.0, -2.0]])
    labels = Labels(torch.tensor([1]), torch.tensor([1.0, 3.0, 1.0]), smoothing=0.3)
    logs = [z - math.log(math.e + 1 + math.exp(-2)) for z in (1.0, 0.0, -2.0)]
    wanted = -3 * (0.1 * logs[0] + 0.8 * logs[1] + 0.1 * logs[2])
    assert classification_loss(logits, labels).item() == pytest.approx(wanted, rel=1e-6)


def test_two_classes_say_the_same_with_one_logit_and_with_two() -> None:
    logit = torch.randn(6)
    target, weight = torch.tensor([0, 1, 1, 0, 1, 0]), torch.tensor([0.7, 1.9])
    one = classification_loss(logit[:, None], Labels(target, weight, smoothing=0.1))
    two = classification_loss(torch.stack([-logit / 2, logit / 2], 1), Labels(target, weight, smoothing=0.1))
    torch.testing.assert_close(one, two)
