"""Networks against torchvision and timm: names, shapes, sizes, and logits of weights that both were filled with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fl_liver.errors import ConfigError
from fl_liver.models.densenet import densenet121
from fl_liver.models.inception_resnet import SMALLEST_PX, Residual, inception_resnet_v2
from fl_liver.models.trunk import Trunk, trunks_of
from fl_liver.models.trunks import TRUNKS
from tests.models.reference_outputs import SHAPES, STORED, described, fill, images

REFERENCE: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
"""Made by tests/models/reference_outputs.py."""


def on_meta(make: Callable[..., Trunk], **keys: Any) -> Trunk:
    with torch.device("meta"):
        return make(**keys)


@pytest.mark.parametrize("name", SHAPES)
def test_names_shapes_sizes_and_logits_are_the_references(name: str) -> None:
    found, wanted = described(TRUNKS[name](), SHAPES[name]), REFERENCE[name]
    logits = torch.tensor(found.pop("logits"))
    assert found == {key: value for key, value in wanted.items() if key != "logits"}
    torch.testing.assert_close(logits, torch.tensor(wanted["logits"]), rtol=2e-4, atol=2e-4)
