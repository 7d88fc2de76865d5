"""Augmented images against crops made one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fl_liver.models import augmentation
from fl_liver.models.augmentation import SHIFT_PX, augmented, plain


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(9, 12, 16)).astype(np.float16))


def test_without_gain_every_image_is_a_shifted_or_mirrored_copy(
    images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: all 2 × 9 × 9 windows of numpy's reflect padding, image by image."""
    monkeypatch.setattr(augmentation, "INTENSITY_SD", 0.0)
    torch.manual_seed(0)
    chosen = torch.arange(9)
    found = augmented(images, chosen)[:, 0].numpy()
    reach = 2 * SHIFT_PX + 1
    places = set()
    for one, source in zip(found, images.float().numpy(), strict=True):
        wide = np.pad(source, SHIFT_PX, mode="reflect")
        hits = [
            (mirror, row, column)
            for mirror in (1, -1)
            for row in range(reach)
            for column in range(reach)
            if np.array_equal(one, wide[row : row + 12, column : column + 16][:, ::mirror])
        ]
        assert len(hits) == 1
        places.add(hits[0])
    assert len(places) > 5, "every image must have a draw of its own"
    assert {mirror for mirror, _, _ in places} == {1, -1}


def test_gain_and_offset_differ_between_images_and_spare_the_pattern() -> None:
    torch.manual_seed(1)
    flat = torch.zeros(400, 6, 6)
    flat[:, :, ::2] = 1  # 0 and 1 by column: gain is their difference, offset the lower
    out = augmented(flat, torch.arange(400))
    offset = out.amin((1, 2, 3))
    gain = out.amax((1, 2, 3)) - offset
    assert offset.std().item() == pytest.approx(0.1, abs=0.02)
    assert offset.mean().item() == pytest.approx(0, abs=0.02)
    assert gain.mean().item() == pytest.approx(1, abs=0.02)
    assert gain.std().item() == pytest.approx(0.1, abs=0.02)


def test_draws_come_from_torchs_random_state(images: torch.Tensor) -> None:
    torch.manual_seed(5)
    one = augmented(images, torch.arange(4))
    torch.manual_seed(5)
    assert torch.equal(augmented(images, torch.arange(4)), one)
    assert not torch.equal(augmented(images, torch.arange(4)), one)


def test_plain_images_are_the_images(images: torch.Tensor) -> None:
    chosen = torch.tensor([3, 3, 0])
    assert torch.equal(plain(images, chosen), images[chosen].float()[:, None])


def test_images_smaller_than_the_shift_still_work() -> None:
    assert augmented(torch.randn(2, 3, 3), torch.arange(2)).shape == (2, 1, 3, 3)
