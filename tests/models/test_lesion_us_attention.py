"""Supervised attention of Schmauch 2019: where it averages, what teaches it, and which question has which logits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from fl_liver.errors import ConfigError
from fl_liver.models.attention import attention_loss, attention_pool
from fl_liver.models.lesion_model import Labels, Outputs
from fl_liver.models.lesion_us_attention import questions_of
from fl_liver.models.registry import build_model
from tests.models.small_studies import TYPES, attention_study, study_of

ONES = torch.ones(6)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_scale_of_zero_is_the_plain_average_bit_for_bit() -> None:
    """Whatever the map says. 64 pixels of whole numbers: every sum and quotient is exact, so equality is too."""
    features = maps(2, 3, 8, 8).mul(8).round()
    found = attention_pool(features, 50 * maps(2, 1, 8, 8, seed=1), (0.0,))
    assert torch.equal(found, features.mean((2, 3)))


def test_a_scale_of_zero_is_the_plain_average_at_the_papers_map() -> None:
    features = maps(2, 3, 8, 11)
    torch.testing.assert_close(attention_pool(features, maps(2, 1, 8, 11), (0.0,)), features.mean((2, 3)))


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_a_scale_weighs_by_the_sigmoid(scale: float) -> None:
    """Equation 3 as printed, in float64."""
    features, logits = maps(2, 3, 4, 5), maps(2, 1, 4, 5, seed=1)
    p = torch.sigmoid(scale * logits.double())
    wanted = (p * features).sum((2, 3)) / p.sum((2, 3))
    torch.testing.assert_close(attention_pool(features, logits, (scale,)).double(), wanted, rtol=1e-5, atol=1e-6)


def test_several_scales_stand_side_by_side_in_their_order() -> None:
    features, logits = maps(2, 3, 4, 5), maps(2, 1, 4, 5, seed=1)
    both = attention_pool(features, logits, (0.25, 1.0))
    torch.testing.assert_close(both[:, :3], attention_pool(features, logits, (0.25,)))
    torch.testing.assert_close(both[:, 3:], attention_pool(features, logits, (1.0,)))


def test_one_sure_pixel_is_the_answer_and_a_map_sure_of_nothing_is_still_a_number() -> None:
    """Where each p is below what float32 holds, Σp·x / Σp would be 0 / 0."""
    features, logits = maps(1, 3, 4, 5), torch.full((1, 1, 4, 5), -400.0)
    torch.testing.assert_close(attention_pool(features, logits, (1.0,)), features.mean((2, 3)))
    logits[0, 0, 2, 3] = 20.0
    torch.testing.assert_close(attention_pool(features, logits, (1.0,)), features[:, :, 2, 3])


@pytest.mark.parametrize(("rows", "columns"), [(8, 11), (7, 10)])
def test_a_mask_comes_down_to_the_real_map_by_area(rows: int, columns: int) -> None:
    """ResNet-50's map and DenseNet-121's at 240×345. Oracle: torch's own area resize; the covered share stays."""
    mask = torch.zeros(1, 1, 240, 345)
    mask[..., 60:120, 100:190] = 1
    logits = maps(1, 1, rows, columns)
    small = functional.interpolate(mask, (rows, columns), mode="area")
    torch.testing.assert_close(attention_loss(logits, mask), functional.binary_cross_entropy_with_logits(logits, small))
    assert small.mean() == pytest.approx(mask.mean().item(), rel=0.1)


def test_half_a_covered_pixel_is_taught_one_half() -> None:
    """At log-odds 0 the cross-entropy is log 2 whatever the share; its slope is p − share."""
    logits, mask = torch.zeros(1, 1, 1, 2, requires_grad=True), torch.zeros(1, 1, 4, 8)
    mask[..., :, 4:6] = 1
    loss = attention_loss(logits, mask)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[[[0.25, 0.0]]]]))


@pytest.mark.parametrize(("trunk", "size"), [("published", (8, 11)), ("densenet121", (7, 10))])
def test_the_map_is_the_trunks_own(trunk: str, size: tuple[int, int]) -> None:
    model = build_model(attention_study(trunk=trunk, width=4, image_px=240)).eval()
    with torch.no_grad():
        out: Outputs = model({"lesion": torch.zeros(1, 1, 240, 345)})
    assert out.attention is not None
    assert tuple(out.attention.shape) == (1, 1, *size)


def test_seven_neurons_answer_three_questions() -> None:
    """Detection 1, malignancy 1, type 5, in this order."""
    model = build_model(attention_study(scales=[0.25, 1.0])).eval()
    out = model({"lesion": maps(3, 1, 32, 32)})
    assert out.features.shape == (3, 2 * 64)
    found = [model.readout(out, name) for name in ("", "malignant", "type")]
    assert [tuple(one.shape) for one in found] == [(3, 1), (3, 1), (3, 5)]
    assert torch.equal(torch.cat(found, 1), out.logits)
    with pytest.raises(ConfigError, match="no readout 'size'; its study's endpoints are 'malignant', 'type'"):
        model.readout(out, "size")


def test_each_question_has_its_own_truth() -> None:
    found = {name: one.answer for name, one in questions_of(attention_study()).items()}
    assert found == {"": (0, 1, 1, 1, 1, 1), "malignant": (-1, 0, 1, 0, 0, 1), "type": (-1, 0, 1, 2, 3, 4)}


def test_with_two_classes_a_target_of_one_is_disease_wherever_it_stands() -> None:
    """`Labels.target` of a two-class study is 1 for disease, not the class's index."""
    study = study_of("lesion_us_attention", classes=("malignant", "benign"), task={"positive": ["malignant"]})
    assert questions_of(study)[""].answer == (0, 1)


def test_loss_is_the_sum_of_its_terms_each_over_the_images_it_is_about() -> None:
    """Images 0 and 3 have no lesion: malignancy and type are about the other four. Oracle: torch's own losses."""
    model, target = build_model(attention_study()), torch.tensor([0, 1, 2, 0, 4, 5])
    mask = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    out = model({"lesion": maps(6, 1, 32, 32)})
    found = model.loss(out, Labels(target, ONES, mask=mask))
    bce, some = functional.binary_cross_entropy_with_logits, torch.tensor([1, 2, 4, 5])
    assert out.attention is not None
    wanted = (
        bce(out.logits[:, 0], torch.tensor([0.0, 1, 1, 0, 1, 1]))
        + bce(out.logits[some, 1], torch.tensor([0.0, 1, 0, 1]))
        + functional.cross_entropy(out.logits[some, 2:], torch.tensor([0, 1, 3, 4]))
        + 0.5 * attention_loss(out.attention, mask)
    )
    torch.testing.assert_close(found, wanted)


def test_a_weight_and_smoothing_count_in_every_question() -> None:
    study = attention_study().changed(training={"attention_weight": 0.0})
    model, weight = build_model(study), torch.tensor([0.5, 2.0, 1.0, 1.0, 1.0, 3.0])
    out = model({"lesion": maps(2, 1, 32, 32)})
    found = model.loss(out, Labels(torch.tensor([0, 5]), weight, smoothing=0.2))
    bce = functional.binary_cross_entropy_with_logits
    detection = bce(out.logits[:, 0], torch.tensor([0.1, 0.9]), torch.tensor([0.5, 3.0]))
    malignancy = 3 * bce(out.logits[1, 1], torch.tensor(0.9))
    kind = 3 * functional.cross_entropy(out.logits[1:, 2:], torch.tensor([4]), label_smoothing=0.2)
    torch.testing.assert_close(found, detection + malignancy + kind)


def test_a_batch_without_lesions_teaches_detection_alone() -> None:
    study = attention_study().changed(training={"attention_weight": 0.0})
    model = build_model(study)
    out = model({"lesion": maps(4, 1, 32, 32)})
    found = model.loss(out, Labels(torch.zeros(4, dtype=torch.int64), ONES))
    wanted = functional.binary_cross_entropy_with_logits(out.logits[:, 0], torch.zeros(4))
    torch.testing.assert_close(found, wanted)
    found.backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)


def test_attention_without_masks_is_refused_not_left_out() -> None:
    model = build_model(attention_study())
    out = model({"lesion": maps(2, 1, 32, 32)})
    with pytest.raises(ConfigError, match=r"taught with the drawn lesions, and there are none: cohort\.masks = true"):
        model.loss(out, Labels(torch.tensor([0, 1]), ONES))


def test_a_negative_scale_is_refused() -> None:
    """It would average where no lesion is."""
    with pytest.raises(ConfigError, match=r"model\.scales\.0.*greater than or equal to 0 \(found -0\.25\)"):
        attention_study(scales=[-0.25])
    with pytest.raises(ConfigError, match="wanted one λ or more"):
        attention_study(scales=[])


def test_a_type_that_is_no_class_of_the_study_is_refused() -> None:
    study = attention_study()
    raw = study.model_dump(mode="json", exclude_none=True)
    with pytest.raises(ConfigError, match="endpoint type: among wants two or more of"):
        study.with_top(endpoint=[{**raw["endpoint"][1], "among": [*TYPES, "abscess"]}])


def test_it_learns_where_the_lesion_is_and_what_it_is() -> None:
    """A bright square in one quarter is the lesion, its texture the type: 60 steps find both."""
    torch.manual_seed(0)
    model = build_model(attention_study(dropout=0.0)).train()
    target = torch.arange(24) % 3
    images, mask = 0.1 * maps(24, 1, 64, 64), torch.zeros(24, 1, 64, 64)
    for k, kind in enumerate(target.tolist()):
        if kind:
            row, column = 32 * (k // 3 % 2), 32 * (k // 6 % 2)
            mask[k, 0, row : row + 32, column : column + 32] = 1
            images[k, 0, row : row + 32, column : column + 32] += 3 if kind == 1 else -3
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(model({"lesion": images}), Labels(target, ONES, mask=mask)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    out = model({"lesion": images})
    assert ((model.readout(out)[:, 0] > 0) == (target > 0)).all()
    assert ((model.readout(out, "malignant")[:, 0] > 0)[target > 0] == (target == 2)[target > 0]).all()
    assert out.attention is not None
    small = functional.adaptive_avg_pool2d(mask, (2, 2))
    inside, outside = (out.attention[small > 0.5], out.attention[(small < 0.5)])
    assert inside.mean() > outside.mean() + 2
