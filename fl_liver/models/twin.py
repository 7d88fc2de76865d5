"""A network laid out as another one, with storage of its own and no numbers yet.

As `copy.deepcopy` and `to_empty`, in a tenth of the time: a round of a small hospital is shorter than those two take on
a network of a thousand layers.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def twin(model: M, device: torch.device) -> M:
    """Another network like `model`; its parameters and buffers lie on `device` and hold whatever was there."""
    return _twin(model, device, {})


def _twin(module: M, device: torch.device, made: dict[int, Any]) -> M:
    """`made`: id → copy, as of `deepcopy`, so that what is shared stays shared."""
    if id(module) in made:
        found: M = made[id(module)]
        return found
    other = module.__class__.__new__(module.__class__)
    made[id(module)] = other
    contents: dict[str, dict[str, Any]] = {
        "_parameters": {name: _empty(one, device, made) for name, one in module._parameters.items()},
        "_buffers": {name: _empty(one, device, made) for name, one in module._buffers.items()},
        "_modules": {name: None if one is None else _twin(one, device, made) for name, one in module._modules.items()},
    }
    for name, value in vars(module).items():
        if name in contents:
            vars(other)[name] = contents[name]
        elif type(value) in (dict, OrderedDict, set) and not value:  # hooks: twelve empty dictionaries a layer
            vars(other)[name] = type(value)()
        else:
            vars(other)[name] = copy.deepcopy(value, made)
    return other


def _empty(tensor: Tensor | None, device: torch.device, made: dict[int, Any]) -> Tensor | None:
    if tensor is None:
        return None
    if id(tensor) not in made:
        # Not `empty_like`: of a tensor without storage it takes 20 times as long.
        fresh = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        made[id(tensor)] = nn.Parameter(fresh, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fresh
    found: Tensor = made[id(tensor)]
    return found
