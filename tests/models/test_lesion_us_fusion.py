"""Model LB and Model L of Yang 2020: size, branches, terms of the loss."""

from __future__ import annotations

import pytest
import torch

from fl_liver.models.lesion_model import (
    Labels,
    Outputs,
    background_loss,
    batch_hard_triplet,
    classification_loss,
)
from fl_liver.models.lesion_us_fusion import Branch
from fl_liver.models.registry import build_model, empty_model
from fl_liver.models.resnet import resnet18
from fl_liver.models.trunk import trunks_of
from fl_liver.study import Study
from fl_liver.study_files import load_study

SMALL: dict[str, object] = {"width": 4, "image_px": 32}


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("lesion_us_fusion").changed(model=SMALL)


def images(count: int = 8, px: int = 32) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"lesion": torch.randn(count, 1, px, px), "background": torch.randn(count, 1, px, px)}


def labels(count: int = 8) -> Labels:
    return Labels(torch.arange(count) % 2, torch.tensor([0.8, 1.3]), torch.arange(count) % 4 - 1)


def test_published_size_is_the_prototypes_but_for_two_stated_differences() -> None:
    """The prototype counted 22,357,123 with 3 input channels and 1 background output. Three kinds of background add two
    rows of 512 weights and a bias; one grey channel instead of three drops 2 × 64 × 7 × 7 weights in each branch.
    """
    model = empty_model(load_study("lesion_us_fusion").changed(model={"width": 64, "image_px": 224}))
    assert sum(one.numel() for one in model.parameters()) == 22_357_123 + 2 * 513 - 2 * (2 * 64 * 49)


def test_published_size_with_the_prototypes_own_shapes() -> None:
    with torch.device("meta"):
        branch = Branch(resnet18(classes=0), outputs=1, dropout=0.5)
    assert 2 * sum(one.numel() for one in branch.parameters()) + 1025 == 22_357_123


def test_the_answer_depends_on_both_branches(study: Study) -> None:
    model, inputs = build_model(study).eval(), images()
    for image in inputs.values():
        image.requires_grad_()
    model(inputs).logits.sum().backward()
    for name, image in inputs.items():
        assert image.grad is not None, name
        assert image.grad.abs().sum() > 0, name


def test_every_weight_is_taught(study: Study) -> None:
    model = build_model(study)
    model.loss(model(images()), labels()).backward()  # type: ignore[no-untyped-call]
    untaught = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert untaught == []


def test_branches_share_no_weights(study: Study) -> None:
    state = build_model(study).state_dict()
    assert not torch.equal(state["lesion.backbone.conv1.weight"], state["background.backbone.conv1.weight"])


def test_loss_is_the_sum_of_its_four_terms(study: Study) -> None:
    model, target = build_model(study), labels()
    out: Outputs = model(images())
    assert out.lesion is not None
    assert out.background is not None
    assert out.embedding is not None
    assert target.background is not None
    wanted = (
        classification_loss(out.logits, target)
        + classification_loss(out.lesion, target)
        + 0.1 * batch_hard_triplet(out.embedding, target.target)
        + 0.3 * background_loss(out.background, target.background)
    )
    torch.testing.assert_close(model.loss(out, target), wanted)


def test_shapes_of_the_outputs(study: Study) -> None:
    out = build_model(study).eval()(images(3))
    every = (out.logits, out.lesion, out.background, out.embedding, out.features)
    assert [tuple(one.shape) for one in every if one is not None] == [(3, 1), (3, 1), (3, 3), (3, 32), (3, 64)]


def test_both_branches_may_have_another_trunk(study: Study) -> None:
    model = build_model(study.changed(model={"trunk": "resnet50", "width": 4}))
    assert [one.architecture for one in trunks_of(model).values()] == ["resnet50", "resnet50"]
    assert model.eval()(images(2)).logits.shape == (2, 1)


def test_without_background_it_is_model_l(study: Study) -> None:
    raw = study.model_dump(mode="json", exclude_none=True)
    raw["task"] = {**raw["task"], "background_classes": {}}
    del raw["task"]["background"]
    model = build_model(Study.model_validate(raw))
    assert model.needs == ("lesion",)
    assert not [name for name in model.state_dict() if name.startswith("background")]
    out = model({"lesion": images()["lesion"]})
    assert out.background is None
    assert out.logits.shape == (8, 1)
    assert torch.isfinite(model.loss(out, labels()))


def test_logits_stay_float32_under_bfloat16(study: Study) -> None:
    """A bfloat16 logit has 8 bits: patients would tie and the AUC would change."""
    model = build_model(study).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert model(images()).logits.dtype == torch.float32
