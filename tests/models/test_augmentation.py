"""Augmented images against crops and symmetries made one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from fl_liver.errors import ConfigError
from fl_liver.models.augmentation import Views
from fl_liver.study_training import Augmentation

STILL: dict[str, Any] = {"shift_px": 0, "flip_horizontal": False, "gain_sd": 0.0, "offset_sd": 0.0}
WARP: dict[str, Any] = {"rotation_deg": 40.0, "area": (0.6, 1.0), "aspect": (0.8, 1.25), "perspective": 0.3}


def views(**keys: Any) -> Views:
    return Views(Augmentation(**keys))


@pytest.fixture
def images() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(9, 12, 16)).astype(np.float16))


def as_measured(images: Tensor, chosen: Tensor) -> Tensor:
    """How the default study's results were measured: written before other augmentations came."""
    count, (height, width) = len(chosen), images.shape[1:]
    gain_offset = torch.randn(2, count, 1, 1) * 0.1
    corner = torch.randint(0, 9, (2, count))
    mirrored = torch.rand(count, 1, 1) < 0.5
    picked = torch.addcmul(gain_offset[1], images[chosen].float(), gain_offset[0] + 1)
    padded = functional.pad(picked.unsqueeze(1), (4,) * 4, mode="reflect").squeeze(1)
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)
    shifted = windows[torch.arange(count), corner[0], corner[1]]
    return torch.where(mirrored, shifted.flip(2), shifted).unsqueeze(1)


def test_the_default_gives_the_bits_that_the_default_study_was_measured_with(images: Tensor) -> None:
    chosen = torch.tensor([5, 0, 0, 8, 3])
    torch.manual_seed(11)
    wanted = [as_measured(images, chosen), as_measured(-images, chosen)]
    torch.manual_seed(11)
    found = views().train({"lesion": images, "background": -images}, chosen)
    assert torch.equal(found["lesion"], wanted[0])
    assert torch.equal(found["background"], wanted[1])


def test_without_gain_every_image_is_a_shifted_or_mirrored_copy(images: Tensor) -> None:
    """Oracle: all 2 × 9 × 9 windows of numpy's reflect padding, image by image."""
    torch.manual_seed(0)
    found = views(gain_sd=0.0, offset_sd=0.0).train({"lesion": images}, torch.arange(9))["lesion"][:, 0].numpy()
    places = set()
    for one, source in zip(found, images.float().numpy(), strict=True):
        wide = np.pad(source, 4, mode="reflect")
        hits = [
            (mirror, row, column)
            for mirror in (1, -1)
            for row in range(9)
            for column in range(9)
            if np.array_equal(one, wide[row : row + 12, column : column + 16][:, ::mirror])
        ]
        assert len(hits) == 1
        places.add(hits[0])
    assert len(places) > 5, "every image must have a draw of its own"
    assert {mirror for mirror, _, _ in places} == {1, -1}


def test_a_patch_of_khalili_has_648_variants_and_each_is_drawn() -> None:
    """9 × 9 crops of 24 out of 32 pixels × the 8 symmetries of a square, of a patch without any symmetry."""
    patch = np.random.default_rng(1).normal(size=(32, 32)).astype(np.float16)
    turned = [np.rot90(one, k) for one in (patch, patch.T) for k in range(4)]
    wanted = {
        one[r : r + 24, c : c + 24].astype(np.float32).tobytes() for one in turned for r in range(9) for c in range(9)
    }
    torch.manual_seed(2)
    khalili = views(**STILL | {"crop_px": 24, "symmetries": True})
    drawn = khalili.train({"lesion": torch.from_numpy(patch)[None]}, torch.zeros(20_000, dtype=torch.int64))["lesion"]
    assert drawn.shape == (20_000, 1, 24, 24)
    assert len(wanted) == 648
    assert {one.tobytes() for one in drawn.contiguous().numpy()} == wanted


def test_scoring_sees_the_middle_of_a_patch() -> None:
    patch = torch.arange(2 * 32 * 32).view(2, 32, 32).half()
    found = views(crop_px=24).plain({"lesion": patch}, torch.tensor([1]))["lesion"]
    assert torch.equal(found, patch[1:, 4:28, 4:28].float()[None])


def test_a_flip_of_each_axis_has_a_probability_of_one_half() -> None:
    torch.manual_seed(3)
    corner = torch.zeros(1, 2, 2)
    corner[0, 0, 0] = 1
    both = views(**STILL | {"flip_horizontal": True, "flip_vertical": True})
    share = both.train({"lesion": corner}, torch.zeros(4000, dtype=torch.int64))["lesion"].mean(0)[0]
    assert share.flatten().tolist() == pytest.approx([0.25] * 4, abs=0.03)


@pytest.mark.parametrize("keys", [{}, WARP, {"crop_px": 9, "symmetries": True}, {**WARP, "flip_vertical": True}])
def test_a_mask_and_every_channel_go_with_their_image(keys: dict[str, Any]) -> None:
    """A mask that is the picture of the lesion itself shows where it went; intensities leave it alone."""
    torch.manual_seed(4)
    mask = torch.rand(5, 12, 16).half()
    lesion = torch.stack([mask, mask * 2, -mask], 1)
    made = views(**keys).train({"lesion": lesion, "mask": mask}, torch.tensor([4, 1, 2]))
    assert made["mask"].shape == (3, 1, *made["lesion"].shape[2:])
    still = views(**keys | {"gain_sd": 0.0, "offset_sd": 0.0}).train({"lesion": lesion, "mask": mask}, torch.arange(5))
    torch.testing.assert_close(still["lesion"], torch.cat([still["mask"], still["mask"] * 2, -still["mask"]], 1))
    gain = made["lesion"][:, 0] - made["lesion"][:, 2]
    torch.testing.assert_close(
        gain / gain.mean((1, 2), True), (2 * made["mask"] / made["mask"].mean((2, 3), True) / 2)[:, 0]
    )
    assert made["mask"].min() >= 0
    assert made["mask"].max() <= 1


@pytest.mark.parametrize("keys", [{}, WARP])
def test_the_background_has_draws_of_its_own(images: Tensor, keys: dict[str, Any]) -> None:
    torch.manual_seed(5)
    made = views(**keys).train({"lesion": images, "background": images}, torch.arange(9))
    assert not any(torch.equal(*pair) for pair in zip(made["lesion"], made["background"], strict=True))


def test_factors_are_handed_on_as_they_are() -> None:
    factors = torch.tensor([[1.0, torch.nan], [2.0, 3.0]])
    for view in (views().train, views().plain):
        torch.testing.assert_close(
            view({"features": factors}, torch.tensor([1, 0]))["features"], factors[[1, 0]], equal_nan=True
        )


def test_gain_and_offset_differ_between_images_and_spare_the_pattern() -> None:
    torch.manual_seed(1)
    flat = torch.zeros(400, 6, 6)
    flat[:, :, ::2] = 1  # 0 and 1 by column: gain is their difference, offset the lower
    out = views(gain_sd=0.2).train({"lesion": flat}, torch.arange(400))["lesion"]
    offset = out.amin((1, 2, 3))
    gain = out.amax((1, 2, 3)) - offset
    assert offset.std().item() == pytest.approx(0.1, abs=0.02)
    assert offset.mean().item() == pytest.approx(0, abs=0.02)
    assert gain.mean().item() == pytest.approx(1, abs=0.04)
    assert gain.std().item() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("keys", [{}, WARP, {"crop_px": 10}])
def test_draws_come_from_torchs_random_state(images: Tensor, keys: dict[str, Any]) -> None:
    view = views(**keys)
    torch.manual_seed(5)
    one = view.train({"lesion": images}, torch.arange(4))["lesion"]
    torch.manual_seed(5)
    assert torch.equal(view.train({"lesion": images}, torch.arange(4))["lesion"], one)
    assert not torch.equal(view.train({"lesion": images}, torch.arange(4))["lesion"], one)


def test_plain_images_are_the_images(images: Tensor) -> None:
    chosen = torch.tensor([3, 3, 0])
    sequences = torch.stack([images, -images], 1)
    assert torch.equal(views().plain({"lesion": images}, chosen)["lesion"], images[chosen].float()[:, None])
    assert torch.equal(views(**WARP).plain({"lesion": sequences}, chosen)["lesion"], sequences[chosen].float())


def test_images_smaller_than_the_shift_still_work() -> None:
    for keys in ({}, WARP):
        assert views(**keys).train({"lesion": torch.randn(2, 3, 3)}, torch.arange(2))["lesion"].shape == (2, 1, 3, 3)


def test_images_that_the_study_cannot_crop_or_turn_are_refused(images: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"crop_px 13 is larger than the images, 12 × 16; raise model\.image_px"):
        views(crop_px=13).train({"lesion": images}, torch.arange(2))
    with pytest.raises(ConfigError, match="crop_px 13 is larger than the images, 12 × 16"):
        views(crop_px=13).plain({"lesion": images}, torch.arange(2))
    with pytest.raises(ConfigError, match="symmetries turns squares by 90°; these images are 12 × 16"):
        views(symmetries=True).train({"lesion": images}, torch.arange(2))
