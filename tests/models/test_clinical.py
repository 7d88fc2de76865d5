"""The table model: what a missing factor does, and what the linear layer learns."""

from __future__ import annotations

import math

import pytest
import torch

from fl_liver.models.clinical import ClinicalModel
from fl_liver.models.registry import build_model
from fl_liver.study import Study

RAW = {
    "name": "table",
    "title": "t",
    "task": {"modality": "table", "classes": {"a": "a", "b": "b", "c": "c"}, "positive": ["c"]},
    "model": {"name": "clinical"},
    "sites": {"train": ["H01", "H02", "H03"]},
    "factor": [{"name": "age", "column": "age", "label": "Age"}, {"name": "male", "column": "sex", "label": "Male"}],
}


@pytest.fixture
def model() -> ClinicalModel:
    found = build_model(Study.model_validate(RAW))
    assert isinstance(found, ClinicalModel)
    return found


def test_it_starts_without_an_opinion(model: ClinicalModel) -> None:
    out = model({"features": torch.randn(4, 2)})
    assert out.logits.shape == (4, 3)
    assert not out.logits.any()


def test_a_missing_factor_counts_as_its_centre_plus_its_indicator(model: ClinicalModel) -> None:
    torch.nn.init.normal_(model.fc.weight)
    missing = model({"features": torch.tensor([[math.nan, 2.0]])}).logits
    centre = model({"features": torch.tensor([[0.0, 2.0]])}).logits
    torch.testing.assert_close(missing - centre, model.fc.weight[:, 2].unsqueeze(0))


def test_two_classes_have_one_log_odds() -> None:
    task = {**RAW["task"], "classes": {"a": "a", "c": "c"}}  # type: ignore[dict-item]
    two = Study.model_validate({**RAW, "task": task})
    assert build_model(two)({"features": torch.zeros(5, 2)}).logits.shape == (5, 1)
