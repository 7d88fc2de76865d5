"""From a study to first weights, and back into a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_liver.errors import ConfigError, ProtocolError
from fl_liver.models.registry import (
    build_model,
    initial_vector,
    model_from_vector,
    model_vector,
    study_layout,
)
from fl_liver.parameters import vector_sha256
from fl_liver.study import Study
from fl_liver.study_files import load_study

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("lesion_us_fusion").changed(model={"width": 4, "image_px": 32})


def test_first_weights_come_from_the_seed_alone(study: Study) -> None:
    torch.manual_seed(1)
    one, _ = initial_vector(study)
    torch.manual_seed(2)
    two, _ = initial_vector(study)
    assert vector_sha256(one) == vector_sha256(two)
    assert vector_sha256(initial_vector(study.with_top(seed=7))[0]) != vector_sha256(one)


def test_drawing_first_weights_leaves_torchs_random_state(study: Study) -> None:
    before = torch.get_rng_state()
    initial_vector(study)
    assert torch.equal(torch.get_rng_state(), before)


def test_layout_without_weights_is_that_of_the_weights(study: Study) -> None:
    assert study_layout(study) == initial_vector(study)[1]


def test_a_vector_goes_through_a_model_unchanged(study: Study) -> None:
    vector, layout = initial_vector(study)
    changed = np.random.default_rng(0).normal(size=len(vector)).astype(np.float32)
    changed.setflags(write=False)  # as an array that came over the wire
    model = model_from_vector(study, changed, layout, CPU)
    np.testing.assert_array_equal(model_vector(model)[0], changed)
    assert not any(b.any() for name, b in model.named_buffers() if name.endswith("num_batches_tracked"))


def test_a_filled_model_answers_like_the_built_one(study: Study) -> None:
    """Laying out without storage must leave no tensor unfilled."""
    built = build_model(study).eval()
    filled = model_from_vector(study, *initial_vector(study), CPU).eval()
    image = torch.randn(2, 1, 32, 32)
    inputs = {"lesion": image, "background": image.flip(3)}
    torch.testing.assert_close(built(inputs).logits, filled(inputs).logits, rtol=1e-4, atol=1e-5)


def test_the_trunk_runs_channels_last_from_its_first_layer(study: Study) -> None:
    """One grey channel leaves torch the choice, and it would choose the slow order."""
    model = model_from_vector(study, *initial_vector(study), CPU)
    stem = model.get_submodule("lesion.backbone.conv1")
    out = stem(torch.zeros(2, 1, 32, 32))
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()


def test_two_models_of_one_study_share_nothing(study: Study) -> None:
    vector, layout = initial_vector(study)
    one, two = (model_from_vector(study, vector, layout, CPU) for _ in range(2))
    with torch.no_grad():
        next(one.parameters()).fill_(9)
    assert not torch.equal(next(one.parameters()), next(two.parameters()))


def test_an_unknown_model_is_refused_with_the_known_names(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"no model 'resnet' \(models: clinical, hcc_ct, lesion_us"):
        build_model(study.changed(model={"name": "resnet"}))


def test_an_image_study_cannot_have_the_clinical_model(study: Study) -> None:
    with pytest.raises(ConfigError, match="model 'clinical' does not read modality 'US'"):
        build_model(study.changed(model={"name": "clinical"}))


def test_a_layout_of_another_width_is_refused(study: Study) -> None:
    vector, layout = initial_vector(study.changed(model={"width": 8}))
    with pytest.raises(
        ConfigError, match=r"not that of model 'lesion_us_fusion' at width 4 \(first difference: lesion"
    ):
        model_from_vector(study, vector, layout, CPU)
    with pytest.raises(ProtocolError, match="different models"):
        model_from_vector(study, vector[:-1], layout, CPU)
