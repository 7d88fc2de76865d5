"""The single-trunk systems: published sizes, what they read and give, and what they refuse to be asked."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fl_liver.client.explain.stages import seen
from fl_liver.client.train import local_positions
from fl_liver.errors import ConfigError
from fl_liver.models.lesion_model import Labels, Outputs, classification_loss
from fl_liver.models.nodule_ct import PATCH_TRUNKS
from fl_liver.models.registry import build_model, empty_model, initial_vector, model_from_vector, study_layout
from fl_liver.study import Study
from tests.models.small_studies import SEQUENCES, TYPES, attention_study, factors, study_of

SEVEN = (*TYPES, "other", "malignant")
MRI: dict[str, Any] = {
    "task": {"modality": "MR"},
    "cohort": {"sequences": SEQUENCES},
    "model": {"width": 8, "image_px": 80},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def size(study: Study) -> int:
    return sum(one.numel() for one in empty_model(study).parameters())


def published(name: str, px: int, **sections: Any) -> Study:
    return study_of(name, model={"width": 64, "image_px": px}, **sections)


def test_sizes_are_the_papers() -> None:
    """90,225: worked out by hand (160 + 2,320 + 4,640 + 9,248 + 73,792 + 65). 54,318,087: timm's 55,843,464 with 6
    channels (+ 864) and 7 classes (− 993 × 1537). ResNets: torchvision's without `fc`, with our heads and channels.
    """
    assert size(published("nodule_ct", 32, augmentation={"crop_px": 24})) == 90_225
    mri = {**MRI, "model": {"width": 64, "image_px": 299}}
    assert size(study_of("mri_clinical", classes=SEVEN, **mri)) == 54_318_087
    phases = {"sequences": ("arterial", "portal", "delayed")}
    assert size(published("hcc_ct", 224, task={"modality": "CT"}, cohort=phases)) == 21_797_672 - 513_000 + 513
    attention = attention_study(trunk="published", width=64, image_px=240)
    assert size(attention) == 25_557_032 - 2_049_000 - 2 * 64 * 49 + 2049 + 7 * 2049


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ({"layers": 2, "dense": 32}, 160 + 4_640 + 36_896 + 33),
        ({"layers": 3}, 160 + 2_320 + 4_640 + 73_792 + 65),
        ({"filters": 32, "dense": 128}, 320 + 9_248 + 18_496 + 36_928 + 295_040 + 129),
        ({"layers": 2, "filters": 32, "dense": 32, "width": 32}, 160 + 4_640 + 1152 * 16 + 16 + 17),
    ],
)
def test_sizes_of_the_papers_grid_are_those_worked_out_by_hand(shape: dict[str, int], parameters: int) -> None:
    """A convolution of a → b channels has 9ab + b, a layer of a → b units ab + b; 36 places are left of 24 × 24.

    320 = 9·32 + 32, 9,248 = 9·32·32 + 32, 18,496 = 9·32·64 + 64, 36,928 = 9·64·64 + 64, 295,040 = 36·64·128 + 128;
    36,896 = 36·32·32 + 32. The last: all of it × 32 / 64.
    """
    study = published("nodule_ct", 32, augmentation={"crop_px": 24}).changed(model=dict(shape))
    assert size(study) == parameters


def inputs_of(study: Study, count: int = 4) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    channels, px = len(study.cohort.sequences) or 1, study.augmentation.crop_px or study.model.image_px
    given = {"lesion": torch.randn(count, channels, px, px, generator=draw)}
    if study.model.clinical:
        given["features"] = torch.randn(count, len(study.factor), generator=draw)
    return given


SMALL: dict[str, Study] = {
    "nodule_ct": study_of("nodule_ct", augmentation={"crop_px": 24}),
    "three layers": study_of("nodule_ct", model={"layers": 3, "dense": 16}, augmentation={"crop_px": 24}),
    "two layers": study_of("nodule_ct", model={"layers": 2, "filters": 32}, augmentation={"crop_px": 24}),
    "hcc_ct": study_of("hcc_ct", task={"modality": "CT"}, cohort={"sequences": ("arterial", "portal", "delayed")}),
    "mri_clinical": study_of("mri_clinical", classes=SEVEN, **MRI),
    "with clinical": study_of(
        "mri_clinical", factor=factors(3), **{**MRI, "model": {**MRI["model"], "clinical": True}}
    ),
    "lesion_us_attention": attention_study(),
}


@pytest.mark.parametrize(
    ("name", "logits", "features"),
    [
        ("nodule_ct", 1, 8),
        ("three layers", 1, 2),
        ("two layers", 1, 8),
        ("hcc_ct", 1, 64),
        ("mri_clinical", 7, 192),
        ("with clinical", 1, 192 + 6),
        ("lesion_us_attention", 7, 64),
    ],
)
def test_shapes_of_the_outputs_and_float32_under_bfloat16(name: str, logits: int, features: int) -> None:
    """Features are the last hidden layer. A bfloat16 logit has 8 bits: patients would tie and the AUC would change."""
    study = SMALL[name]
    model = build_model(study).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        out: Outputs = model(inputs_of(study))
    assert out.features is not None
    assert (out.logits.shape, out.features.shape) == ((4, logits), (4, features))
    assert out.logits.dtype == out.features.dtype == torch.float32


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_is_taught(name: str) -> None:
    study = SMALL[name].changed(model={"dropout": 0.0})
    model, classes = build_model(study), len(study.task.classes)
    target = torch.arange(8) % classes
    labels = Labels(target, torch.ones(classes), mask=torch.rand(8, 1, 32, 32), smoothing=0.1)
    given = inputs_of(study, 8)
    if "features" in given:
        given["features"][::2] = math.nan
    model.loss(model(given), labels).backward()  # type: ignore[no-untyped-call]
    untaught = [key for key, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert untaught == []


@pytest.mark.parametrize("name", SMALL)
def test_a_model_filled_from_its_vector_answers_like_the_built_one(name: str) -> None:
    """Laying out on the meta device must leave no tensor unfilled, and no number outside the vector."""
    study = SMALL[name]
    vector, layout = initial_vector(study)
    assert layout == study_layout(study)
    built, filled = build_model(study).eval(), model_from_vector(study, vector, layout, torch.device("cpu")).eval()
    given = inputs_of(study)
    with torch.no_grad():
        torch.testing.assert_close(built(given).logits, filled(given).logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["nodule_ct", "hcc_ct", "mri_clinical"])
def test_the_loss_is_that_of_the_logits(name: str) -> None:
    study = SMALL[name]
    classes = len(study.task.classes)
    labels = Labels(torch.arange(8) % classes, torch.linspace(0.5, 1.5, classes), smoothing=0.1)
    model = build_model(study)
    out = model(inputs_of(study, 8))
    assert model.loss(out, labels) == classification_loss(out.logits, labels)


def test_a_nodules_patch_has_the_one_size_that_was_agreed() -> None:
    model = build_model(SMALL["nodule_ct"])
    with pytest.raises(ConfigError, match=r"reads patches of 24 × 24 px .* found 32 × 32"):
        model({"lesion": torch.zeros(2, 1, 32, 32)})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"width": 6},
            r"nodule_ct at width 6 has 1\.5 filters and 6 dense units, .* wanted whole numbers, which width 64",
        ),
        ({"width": 16, "dense": 6}, r"width 16, dense 6 has 4 filters and 1\.5 dense units"),
        ({"image_px": 3}, r"reads 3 px; wanted .* 4 px or more"),
    ],
)
def test_half_a_filter_or_unit_and_a_patch_of_three_pixels_are_refused(model: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(study_of("nodule_ct", model=model))


# What the papers' sequences are: channels after each convolution, "" is the maximum, then units.
SEQUENCE_OF: dict[str, tuple[tuple[int | str, ...], int]] = {
    "nodule_ct": ((2, 2, "", 4, 4, ""), 8),
    "three layers": ((2, 2, "", 4, ""), 2),
    "two layers": ((4, "", 8, ""), 8),
}


def plain_network(name: str) -> nn.Sequential:
    """The sequence written out with torch's own layers, made in the order of its layers."""
    layers: list[nn.Module] = []
    channels, (sequence, units) = 1, SEQUENCE_OF[name]
    for one in sequence:
        if isinstance(one, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, one, 3, padding="same"), nn.ReLU()]
            channels = one
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 36, units), nn.ReLU(), nn.Linear(units, 1))


@pytest.mark.parametrize("name", SEQUENCE_OF)
def test_a_nodule_network_is_the_papers_sequence_of_layers(name: str) -> None:
    """Oracle: torch's own layers, the weights copied in their order."""
    model, plain = build_model(SMALL[name]).eval(), plain_network(name)
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    patches = inputs_of(SMALL[name], 6)
    even = np.stack([(one - one.mean()) / one.std() for one in patches["lesion"].double().numpy()])
    standardised = torch.from_numpy(even).float()
    out = model(patches)
    torch.testing.assert_close(out.logits, plain(standardised))
    torch.testing.assert_close(out.features, plain[:-1](standardised))


@pytest.mark.parametrize("name", SEQUENCE_OF)
def test_a_seed_draws_a_nodule_networks_weights_in_the_order_of_its_layers(name: str) -> None:
    """So that the first weights of a study are the same in every version: torch's own draws first, Glorot's then."""
    study = SMALL[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(study.seed)
        plain = plain_network(name)
        for layer in plain:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
    model = build_model(study)
    drawn = [one for one in plain.state_dict().values() if one.ndim > 1]
    found = [one for one in model.state_dict().values() if one.ndim > 1]
    assert [torch.equal(one, other) for one, other in zip(drawn, found, strict=True)] == [True] * len(drawn)


def test_a_nodule_networks_layers_keep_their_names() -> None:
    """A model saved by an earlier version is read by them."""
    layers = ("trunk.conv1", "trunk.conv2", "trunk.conv3", "trunk.conv4", "hidden", "fc")
    assert list(build_model(SMALL["nodule_ct"]).state_dict()) == [
        f"{a}.{b}" for a in layers for b in ("weight", "bias")
    ]


@pytest.mark.parametrize("name", SEQUENCE_OF)
def test_a_patch_networks_scale_layers_are_the_last_of_each_size(name: str) -> None:
    """What heat maps hook on: oracle is the plain sequence up to either maximum."""
    study = SMALL[name]
    model, plain = build_model(study).eval(), plain_network(name)
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    trunk = model.get_submodule("trunk")
    assert isinstance(trunk, PATCH_TRUNKS[study.model.layers])
    patches = inputs_of(study)["lesion"]
    patches = (patches - patches.mean((1, 2, 3), keepdim=True)) / patches.std((1, 2, 3), keepdim=True, correction=0)
    pools = [k for k, layer in enumerate(plain) if isinstance(layer, nn.MaxPool2d)]
    wanted = [plain[:k](patches) for k in pools]
    for maps in (trunk.stages(patches), seen(model, {"lesion": patches}).scales["lesion"]):
        assert len(maps) == len(wanted) == len(trunk.scale_layers)
        for one, other in zip(maps, wanted, strict=True):
            torch.testing.assert_close(one, other)
    torch.testing.assert_close(trunk.feature_map(patches), wanted[-1])
    assert trunk.feature_count == wanted[-1].shape[1]
    assert not local_positions(study.changed(training={"strategy": "fedbn"})).size, "FedBN keeps nothing at home"
    assert trunk.get_parameter(f"{trunk.first_convolution}.weight").shape[1] == 1


def test_a_nodules_patch_tells_nothing_by_its_brightness() -> None:
    """Another contrast agent: gain and offset of the whole patch."""
    model, patches = build_model(SMALL["nodule_ct"]).eval(), inputs_of(SMALL["nodule_ct"], 6)["lesion"]
    torch.testing.assert_close(model({"lesion": patches}).logits, model({"lesion": 0.3 * patches + 0.4}).logits)


def test_dropout_stands_before_and_after_the_64_units() -> None:
    """One patch 64 times: the units differ from pass to pass, and an answer is not that of its units alone."""
    model = build_model(SMALL["nodule_ct"].changed(model={"dropout": 0.5})).train()
    out = model({"lesion": inputs_of(SMALL["nodule_ct"], 1)["lesion"].repeat(64, 1, 1, 1)})
    assert len(out.features.unique(dim=0)) > 32
    fixed = torch.nn.functional.linear(out.features, model.get_parameter("fc.weight"), model.get_parameter("fc.bias"))
    assert not torch.allclose(out.logits, fixed)


def test_a_nodule_network_begins_with_glorots_weights() -> None:
    """Keras 2.0's default: uniform in ± √(6 / (fan in + fan out)), biases 0."""
    hidden = build_model(published("nodule_ct", 24)).get_submodule("hidden")
    assert isinstance(hidden, nn.Linear)
    limit = math.sqrt(6 / (1152 + 64))
    assert 0.99 * limit < hidden.weight.abs().max() <= limit
    assert not hidden.bias.any()


def test_a_missing_factor_counts_as_its_centre_plus_its_indicator() -> None:
    study = SMALL["with clinical"]
    model, given = build_model(study).eval(), inputs_of(study, 1)
    fc = model.get_submodule("fc")
    assert isinstance(fc, nn.Linear)
    logits = []
    for value in (math.nan, 0.0):
        given["features"][0, 1] = value
        logits.append(model(given).logits)
    torch.testing.assert_close(logits[0] - logits[1], fc.weight[:, 192 + 3 + 1].unsqueeze(0))


def test_without_clinical_factors_are_not_read() -> None:
    assert build_model(study_of("mri_clinical", factor=factors(3), **MRI)).needs == ("lesion",)
    assert build_model(SMALL["with clinical"]).needs == ("lesion", "features")


@pytest.mark.parametrize(
    ("name", "sections", "message"),
    [
        ("nodule_ct", {"model": {"trunk": "resnet34"}}, "'nodule_ct' has no use for model.trunk 'resnet34'"),
        ("hcc_ct", {"model": {"clinical": True}, "factor": factors(1)}, "no use for model.clinical"),
        ("hcc_ct", {"model": {"layers": 2}}, "no use for model.layers 2, which shape nodule_ct alone"),
        ("lesion_us_fusion", {"model": {"filters": 32, "dense": 32}}, "no use for model.filters 32, dense 32, which"),
        (
            "hcc_ct",
            {"training": {"attention_weight": 0.1}, "cohort": {"masks": True}},
            "no use for training.attention_weight, lesion_us_attention has attention",
        ),
        (
            "hcc_ct",
            {"endpoint": [{"name": "again", "title": "t", "among": ["benign", "malignant"], "positive": ["benign"]}]},
            re.escape("no use for 1 [[endpoint]] sections"),
        ),
    ],
)
def test_what_a_model_does_not_do_is_refused(name: str, sections: dict[str, Any], message: str) -> None:
    """So that nobody believes it was done."""
    with pytest.raises(ConfigError, match=message):
        build_model(study_of(name, **sections))
    with pytest.raises(ConfigError, match=message):
        study_layout(study_of(name, **sections))


@pytest.mark.parametrize("name", ["hcc_ct", "mri_clinical", "lesion_us_attention"])
def test_group_normalisation_leaves_nothing_of_several_patients(name: str) -> None:
    """What private training needs."""
    grouped = SMALL[name].changed(model={"norm": "group", "dropout": 0.0})
    model = build_model(grouped).train()
    assert not [one for one in model.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    given = inputs_of(grouped, 3)
    with torch.no_grad():
        together, alone = model(given).logits[:1], model({key: one[:1] for key, one in given.items()}).logits
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
