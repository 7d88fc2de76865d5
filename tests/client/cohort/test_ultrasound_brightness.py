"""Schmauch's preparation of whole images: numbers by hand, shapes by hand, and a box that goes with its image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.lesions.boxes import Box
from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.client.cohort.ultrasound.brightness import (
    Cut,
    rescale_to_70,
    standard_cut,
    standard_image,
)
from fl_liver.client.cohort.ultrasound.screen import find_window

BY_HAND = np.array(
    [
        [0, 8, 20, 30],  # the upper fifth of ten rows: 20, 30, 40, 50, 120 are not black, m = 40
        [0, 40, 50, 120],
        *[[0, 100, 200, 255]] * 8,
    ],
    dtype=np.uint8,
)


def lit(rows: int, columns: int, level: int = 100) -> NDArray[np.uint8]:
    return np.full((rows, columns), level, dtype=np.uint8)


# --- brightness


def test_the_median_of_the_upper_fifth_becomes_70() -> None:
    """m = 40, so 40 → 70, 20 → 35, 100 → 175, and 200 → 350 is cut at 255."""
    found = rescale_to_70(BY_HAND)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], [0, 14, 35, 52.5])
    np.testing.assert_allclose(found[1], [0, 70, 87.5, 210])
    np.testing.assert_allclose(found[5], [0, 175, 255, 255])


def test_top_is_the_place_and_not_the_brightness() -> None:
    """By brightness m would be 255, and every image would get darker."""
    assert rescale_to_70(BY_HAND)[1, 1] == 70
    assert rescale_to_70(BY_HAND[::-1])[9, 1] != 70


def test_black_up_to_8_is_left_out_of_the_median() -> None:
    """A lossy border of 3 would otherwise be the median of a fan's upper fifth."""
    image = lit(50, 40, 100)
    image[:10, :30] = 3
    np.testing.assert_allclose(rescale_to_70(image)[20], 70)


def test_eleven_rows_have_an_upper_fifth_of_three() -> None:
    """A fifth is rounded up: 2.2 rows are 3."""
    image = lit(11, 4, 10)
    image[2] = 200
    assert rescale_to_70(image)[0, 0] == 70  # median of 10, 10, 200
    image[1:3] = 200
    assert rescale_to_70(image)[1, 0] == 70  # median of 10, 200, 200


def test_an_image_and_its_half_bright_twin_become_the_same() -> None:
    image = np.linspace(20, 240, 400).reshape(20, 20)
    np.testing.assert_allclose(rescale_to_70(image), rescale_to_70(image / 2), rtol=1e-5)


def test_a_black_upper_fifth_is_refused() -> None:
    image = lit(50, 40)
    image[:10] = 0
    with pytest.raises(UnusableError, match="E_US_NO_CROP: the upper fifth of the image is black"):
        rescale_to_70(image)


# --- shape


def test_black_borders_go_first() -> None:
    """24 × 34 lit pixels: 34.5 columns would make the shape, and 34 is as near as pixels come."""
    image = np.zeros((100, 200), dtype=np.uint8)
    image[30:54, 40:74] = 100
    assert standard_cut(image) == Cut(30, 54, 40, 74)


def test_stray_pixels_at_the_border_are_black() -> None:
    """One in a hundred, as lossy letters leave them."""
    image = np.zeros((120, 172), dtype=np.uint8)
    image[20:100, 30:145] = 100
    image[5, 50] = image[60, 5] = 255
    cut = standard_cut(image)
    assert (cut.row_min_px, cut.row_max_px) == (20, 100)
    assert (cut.column_min_px, cut.column_max_px) == (30, 145)


def test_the_emptier_end_of_the_longer_side_is_cut() -> None:
    """80 rows want 115 columns. The first 25 of 140 have 4 bright pixels in 80: they go, the full ones stay."""
    image = np.zeros((80, 140), dtype=np.uint8)
    image[:, 25:] = 100
    image[::20, :25] = 100
    cut = standard_cut(image)
    assert (cut.row_min_px, cut.row_max_px) == (0, 80)
    assert (cut.column_min_px, cut.column_max_px) == (25, 140)


def test_no_more_than_a_tenth_is_cut_and_black_makes_up_the_rest() -> None:
    """A deep linear scan, 300 × 100: 30 rows may go, the others stay, and 388 columns make the shape."""
    cut = standard_cut(lit(300, 100))
    assert cut.rows == 270
    assert cut.columns == round(270 * 345 / 240)
    assert -cut.column_min_px == cut.column_max_px - 100 == 144
    whole, _ = standard_image(lit(300, 100))
    assert whole.shape == (240, 345)
    np.testing.assert_allclose(whole[:, 130:215], 70)
    np.testing.assert_allclose(whole[:, [0, 120, 224, 344]], 0)


@pytest.mark.parametrize("shape", [(300, 100), (100, 300), (240, 345), (480, 690), (333, 471)])
@pytest.mark.parametrize("size", [(240, 345), (480, 690)])
def test_the_cut_has_the_wanted_shape_to_within_a_pixel(shape: tuple[int, int], size: tuple[int, int]) -> None:
    cut = standard_cut(lit(*shape), *size)
    assert abs(cut.columns - cut.rows * size[1] / size[0]) <= 1
    assert standard_image(lit(*shape), *size)[0].shape == size


def test_an_image_of_the_right_shape_and_size_is_not_resampled() -> None:
    image = np.random.default_rng(1).integers(9, 256, (240, 345)).astype(np.uint8)
    np.testing.assert_array_equal(standard_image(image)[0], rescale_to_70(image))


def test_shrinking_averages() -> None:
    """A grating of single pixels, its median at 120, becomes its mean; sampling would keep 12 and 128."""
    grating = np.tile(np.array([20, 220], dtype=np.uint8), (960, 690))
    found, _ = standard_image(grating)
    assert np.abs(found[2:-2, 2:-2] - 70).max() < 2


def test_a_black_image_is_refused() -> None:
    with pytest.raises(UnusableError, match="E_US_NO_CROP: the image is black"):
        standard_image(lit(100, 100, 8))


# --- both


def test_the_brightness_is_read_before_rows_are_cut_for_the_shape() -> None:
    """The skin, 20 rows of 50 at the top, is the emptiest part of this fan and is cut; m is 50 all the same."""
    image = lit(200, 100, 120)
    image[:40, :60], image[:40, 60:] = 0, 50
    found, cut = standard_image(image)
    assert cut.row_min_px >= 40
    assert np.median(found[120, 130:215]) == pytest.approx(120 * 70 / 50)


def test_the_image_is_what_its_cut_says() -> None:
    """Cut, resized by Pillow and brightened by hand, it is the same image."""
    image = np.random.default_rng(2).integers(20, 120, (400, 600)).astype(np.uint8)
    found, cut = standard_image(image)
    assert (cut.row_min_px, cut.row_max_px) == (0, 400)
    part = image[:, cut.column_min_px : cut.column_max_px].astype(np.float32)
    resized = Image.fromarray(part).resize((345, 240), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found, np.asarray(resized) * 70 / np.median(image[:80]), rtol=1e-5)


def test_a_box_goes_with_its_image() -> None:
    """The bright square of the scan lies under the placed box of the standard image, its rim to within half a pixel."""
    image = lit(300, 500, 40)
    image[100:160, 200:280] = 90
    found, cut = standard_image(image)
    box = cut.place(Box("u", 0, "lesion", 200, 100, 280, 160))
    rows, columns = (np.flatnonzero((found > 110).any(axis=axis)) for axis in (1, 0))
    assert (rows[0], rows[-1] + 1) == pytest.approx((box.y_min_px, box.y_max_px), abs=0.5)
    assert (columns[0], columns[-1] + 1) == pytest.approx((box.x_min_px, box.x_max_px), abs=0.5)
    assert (box.sop_uid, box.kind) == ("u", "lesion")


def test_rows_and_columns_of_a_box_have_scales_of_their_own() -> None:
    """Half of 100 rows from −20 on, a tenth of 50 columns from 10 on."""
    placed = Cut(-20, 80, 10, 60).place(Box("u", 3, "background", 35, 30, 40, 31), 200, 500)
    assert (placed.x_min_px, placed.y_min_px, placed.x_max_px, placed.y_max_px) == (250, 100, 300, 102)
    assert placed.frame == 3


@pytest.mark.parametrize("name", ["gdcm-US-ALOKA-16", "examples_ybr_color"])
def test_real_scans_get_the_common_brightness(shared_data: Path, name: str) -> None:
    path = shared_data / "pydicom-samples" / f"{name}.dcm"
    header = read_header(path)
    frames: NDArray[Any] = read_frames(path, header, [0])
    scan = find_window(header, frames).cut(frames[0])
    found, cut = standard_image(scan)
    assert found.shape == (240, 345)
    assert 0 <= found.min() < 10 < 120 < found.max() <= 255
    kept = scan[max(0, cut.row_min_px) : cut.row_max_px, max(0, cut.column_min_px) : cut.column_max_px]
    assert (kept > 8).sum() >= 0.89 * (scan > 8).sum()
