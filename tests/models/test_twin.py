"""A twin against `copy.deepcopy`."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fl_liver.models.registry import MODELS, build_model
from fl_liver.models.twin import twin
from fl_liver.study_files import load_study, shipped_studies

CPU = torch.device("cpu")


class Odd(nn.Module):
    """One layer twice, a weight under two names, layers in a plain list, a buffer that does not travel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.order: list[Any] = [self.second, self.first]
        self.by_name = {"first": self.first}
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64), persistent=False)
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.order:
            x = layer(x)
        return x


def test_what_is_shared_stays_shared_and_nothing_is_shared_with_the_original() -> None:
    one = Odd()
    other = twin(one, CPU)
    assert other.again is other.first
    assert other.second.weight is other.first.weight
    assert other.order == [other.second, other.first]
    assert other.by_name == {"first": other.first}
    assert not {id(each) for each in other.modules()} & {id(each) for each in one.modules()}
    assert not {each.data_ptr() for each in other.parameters()} & {each.data_ptr() for each in one.parameters()}
    assert [each.requires_grad for each in other.parameters()] == [each.requires_grad for each in one.parameters()]
    assert other.state_dict().keys() == one.state_dict().keys()
    assert other.get_buffer("count").dtype == torch.int64
    calls: list[int] = []
    other.first.register_forward_hook(lambda *_: calls.append(1))
    one(torch.zeros(1, 3))
    assert not calls


@pytest.mark.parametrize("name", [name for name in shipped_studies() if name in MODELS])
def test_a_twin_with_the_same_weights_says_the_same(name: str) -> None:
    """Oracle: a deep copy. Laid out without storage, as the registry does it."""
    study = load_study(name)
    model = build_model(study)
    laid_out = copy.deepcopy(model).to("meta")
    other = twin(laid_out, CPU)
    other.load_state_dict(model.state_dict())
    assert [name for name, _ in other.named_modules()] == [name for name, _ in model.named_modules()]
    assert repr(other) == repr(model)
    assert other.training == model.training
    for (key, one), (same, found) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert key == same
        assert torch.equal(one, found)
