"""Resampling against scipy's, and the draws against what the study asks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from fl_liver.models import augmentation_warp
from fl_liver.models.augmentation_warp import CORNERS, homography, resamples, warp_of, warped
from fl_liver.study_training import Augmentation


@pytest.fixture
def picture() -> Tensor:
    """Smooth, so that a quarter of a pixel does not look like another picture."""
    return torch.from_numpy(ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(20, 32)), 2)).float() * 10


def only(**keys: object) -> Augmentation:
    still = {"shift_px": 0, "flip_horizontal": False, "gain_sd": 0.0, "offset_sd": 0.0}
    return Augmentation.model_validate(still | keys)


def corners_of(warp: Tensor) -> Tensor:
    """Source places of the four corners, (B, 4, 2)."""
    places = torch.cat([torch.tensor(CORNERS, dtype=torch.float64), torch.ones(4, 1)], 1) @ warp.transpose(1, 2)
    return places[:, :, :2] / places[:, :, 2:]


def test_a_warp_that_does_nothing_gives_the_picture(picture: Tensor) -> None:
    found = warped(picture[None, None], torch.eye(3)[None])
    torch.testing.assert_close(found[0, 0], picture, atol=2e-5, rtol=0)


@pytest.mark.parametrize("degrees", [-40.0, 7.0, 90.0, 180.0])
def test_a_picture_that_is_no_square_is_turned_as_by_scipy(picture: Tensor, degrees: float) -> None:
    """Oracle: scipy's `rotate`, linear; its mode "reflect" repeats the edge pixel, as `grid_sample` does."""
    turn = augmentation_warp._rotations(torch.tensor([degrees], dtype=torch.float64), 20, 32)
    found = warped(picture[None, None], turn)[0, 0].numpy()
    wanted = ndimage.rotate(picture.numpy(), degrees, reshape=False, order=1, mode="reflect")
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_any_affine_warp_is_scipys(picture: Tensor) -> None:
    """Oracle: scipy's `affine_transform` with the matrix carried from −1 … 1 to pixels."""
    torch.manual_seed(1)
    warp = warp_of(
        only(area=(0.4, 0.6), aspect=(0.7, 1.4), rotation_deg=30.0, shift_px=3, flip_vertical=True), 1, 20, 32
    )
    sides = np.array([20.0, 32.0])
    matrix = warp[0, :2, :2].numpy()[::-1, ::-1] * sides[:, None] / sides[None, :]
    shift = warp[0, :2, 2].numpy()[::-1]
    middle = (sides - 1) / 2
    offset = middle + shift * sides / 2 - matrix @ middle
    wanted = ndimage.affine_transform(picture.numpy(), matrix, offset, order=1, mode="reflect")
    np.testing.assert_allclose(warped(picture[None, None], warp)[0, 0].numpy(), wanted, atol=1e-3)


def test_crops_have_the_asked_area_and_aspect_and_lie_inside() -> None:
    torch.manual_seed(2)
    warp = warp_of(only(area=(0.3, 0.6), aspect=(0.75, 1.3)), 4000, 20, 32)
    wide, high = warp[:, 0, 0], warp[:, 1, 1]
    area, aspect = wide * high, (wide / high).log()
    assert 0.3 <= area.min() <= area.max() <= 0.6
    assert np.log(0.75) <= aspect.min() <= aspect.max() <= np.log(1.3)
    assert area.mean().item() == pytest.approx(0.45, abs=0.01)
    assert aspect.mean().item() == pytest.approx((np.log(0.75) + np.log(1.3)) / 2, abs=0.02)
    assert corners_of(warp).abs().max() <= 1
    assert corners_of(warp).amin((0, 1)).tolist() == pytest.approx([-1, -1], abs=0.02)


def test_a_long_crop_is_cut_at_the_images_own_side() -> None:
    torch.manual_seed(3)
    warp = warp_of(only(area=(0.95, 1.0), aspect=(2.0, 2.0)), 50, 20, 32)
    assert (warp[:, 0, 0] == 1).all()
    assert warp[:, 1, 1].mean().item() == pytest.approx((0.975 / 2) ** 0.5, abs=0.01)


def test_a_homography_takes_its_four_points_where_they_belong() -> None:
    """Four points fix such a map. By hand: of a corner at half its place it is ((5x + y), (x + 5y), 4 + x + y)."""
    torch.manual_seed(4)
    source = torch.tensor(CORNERS, dtype=torch.float64).expand(7, 4, 2)
    seen = source * (1 - 0.5 * torch.rand(7, 4, 2, dtype=torch.float64))
    places = torch.cat([seen, torch.ones(7, 4, 1)], 2) @ homography(seen, source).transpose(1, 2)
    torch.testing.assert_close(places[:, :, :2] / places[:, :, 2:], source)
    one = source[:1].clone()
    one[0, 0] = torch.tensor([-0.5, -0.5])
    wanted = torch.tensor([[1.25, 0.25, 0.0], [0.25, 1.25, 0.0], [0.25, 0.25, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(homography(one, source[:1])[0], wanted)


def test_perspective_moves_corners_inwards_in_half_of_the_images() -> None:
    torch.manual_seed(5)
    warp = warp_of(only(perspective=0.4), 1000, 20, 20)
    moved = (warp - torch.eye(3)).abs().amax((1, 2)) > 0
    assert moved.double().mean().item() == pytest.approx(0.5, abs=0.06)
    back = corners_of(torch.linalg.inv(warp[moved])) * torch.tensor(CORNERS)
    assert back.max() <= 1
    assert back.min() >= 0.6 - 1e-9
    assert back.min() < 0.62


def test_a_perspective_whose_horizon_lies_in_the_picture_gives_finite_pixels(picture: Tensor) -> None:
    """Here the denominator is 0 in one column of pixels, and below 0 beyond."""
    warp = torch.eye(3)[None].clone()
    warp[0, 2, 0] = 1 / (31 / 32 - 5 / 16)
    assert torch.isfinite(warped(picture[None, None], warp)).all()
    torch.manual_seed(6)
    warp = warp_of(only(perspective=0.99), 200, 20, 32)
    assert torch.isfinite(warped(picture.expand(200, 1, 20, 32), warp)).all()


def test_shifts_are_uniform_and_at_most_as_asked_and_never_beyond_the_image() -> None:
    torch.manual_seed(7)
    found = warp_of(only(shift_px=4, rotation_deg=1e-9), 4000, 20, 32)[:, :2, 2] * torch.tensor([32, 20]) / 2
    assert found.abs().amax(0).tolist() == pytest.approx([4, 4], abs=0.02)
    assert found.abs().mean(0).tolist() == pytest.approx([2, 2], abs=0.1)
    assert warp_of(only(shift_px=400, rotation_deg=1e-9), 400, 3, 3)[:, :2, 2].abs().max() <= 4 / 3


def test_flips_come_last(picture: Tensor) -> None:
    """The same draws with and without: what differs is the finished picture, mirrored."""
    keys = {"rotation_deg": 30.0, "perspective": 0.3, "area": (0.5, 1.0), "shift_px": 3}
    made = []
    for flip in (False, True):
        torch.manual_seed(8)
        made.append(warped(picture.expand(30, 1, 20, 32), warp_of(only(**keys, flip_horizontal=flip), 30, 20, 32)))
    without, flipped = made
    same = [torch.allclose(*pair, atol=1e-3) for pair in zip(without, flipped, strict=True)]
    mirrored = [torch.allclose(one.flip(2), other, atol=1e-3) for one, other in zip(without, flipped, strict=True)]
    assert [a != b for a, b in zip(same, mirrored, strict=True)] == [True] * 30
    assert 5 < sum(mirrored) < 25


def test_symmetries_are_the_eight_of_the_square() -> None:
    torch.manual_seed(9)
    square = torch.randn(16, 16)
    wanted = {np.rot90(one, k).tobytes() for one in (square.numpy(), square.numpy().T) for k in range(4)}
    warp = warp_of(only(symmetries=True), 400, 16, 16)
    found = warped(square.expand(400, 1, 16, 16), warp)[:, 0]
    nearest = {
        min(wanted, key=lambda one: np.abs(np.frombuffer(one, np.float32) - each.flatten().numpy()).max())
        for each in found
    }
    assert nearest == wanted
    assert set(warp.abs().flatten().tolist()) == {0, 1}


def test_only_what_moves_whole_pixels_needs_no_resampling() -> None:
    assert not resamples(Augmentation(crop_px=3, shift_px=9, symmetries=True, flip_vertical=True))
    for keys in ({"rotation_deg": 1.0}, {"area": (0.5, 1.0)}, {"perspective": 0.1}):
        assert resamples(Augmentation.model_validate(keys))
