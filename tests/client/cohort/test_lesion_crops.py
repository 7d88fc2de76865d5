"""Crops: where they lie, that they are antialiased, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.lesions.boxes import Box, crop, read_boxes, require_inside, standardise
from fl_liver.errors import DataError

HEADER = "patient_id,sop_instance_uid,kind,x_min_px,y_min_px,x_max_px,y_max_px,frame\n"
RAMP = np.add.outer(2.0 * np.arange(120), np.arange(160.0)).astype(np.float32)


def test_a_plane_is_resampled_to_within_two_hundredths_of_a_pixel() -> None:
    """A triangle filter keeps a plane, so the crop's pixel centres give its values in closed form.

    Neighbours differ by 7.25; 0.1 is the rounding of the filter to whole source pixels, half a pixel would be 3.6.
    """
    box = Box("u", 0, "lesion", 60, 40, 100, 70)
    found = crop(RAMP, box, 16, margin=1.45)
    side = 1.45 * 40
    at = (np.arange(16) + 0.5) * side / 16 - 0.5
    wanted = np.add.outer(2 * (55 - side / 2 + at), 80 - side / 2 + at)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.1)


def test_a_background_crop_stays_inside_its_box() -> None:
    image = np.full((120, 160), 1000.0, dtype=np.float32)
    image[20:60, 10:110] = 5.0
    found = crop(image, Box("u", 0, "background", 10, 20, 110, 60), 32, margin=9.0)
    np.testing.assert_allclose(found, 5.0)


def test_a_crop_beyond_the_frame_repeats_the_edge() -> None:
    image = np.zeros((40, 40), dtype=np.uint8)
    image[0, 0] = 200
    corner = crop(image, Box("u", 0, "lesion", 0, 0, 10, 10), 20, margin=2.0)
    assert corner.shape == (20, 20)
    np.testing.assert_allclose(corner[:5, :5], 200)
    np.testing.assert_allclose(corner[7:, 7:], 0)


def test_a_fine_grating_is_averaged_not_sampled() -> None:
    grating = np.tile(np.array([0, 255], dtype=np.uint8), (128, 64))
    found = crop(grating, Box("u", 0, "lesion", 0, 0, 128, 128), 16, margin=1.0)
    assert np.abs(found[2:-2, 2:-2] - 127.5).max() < 2


def test_standardised_images_have_mean_0_and_deviation_1() -> None:
    image = np.random.default_rng(1).gamma(2.0, 40.0, (64, 64)).astype(np.float32)
    found = standardise(image)
    assert found.dtype == np.float16
    assert abs(found.astype(float).mean()) < 1e-3
    assert abs(found.astype(float).std() - 1) < 1e-3


def test_a_flat_crop_is_refused() -> None:
    with pytest.raises(UnusableError, match="E_FLAT_IMAGE: a crop of 8 × 8 pixels without contrast"):
        standardise(np.full((8, 8), 117.3, dtype=np.float32))


@pytest.mark.parametrize("edges", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 81, 5), (0, 0, 5, 61)])
def test_a_box_outside_its_frame_is_refused(edges: tuple[float, float, float, float]) -> None:
    require_inside(Box("u", 0, "lesion", 0, 0, 80, 60), rows=60, columns=80)
    with pytest.raises(UnusableError, match=r"E_BOX_OUTSIDE: a lesion box at .* in a frame of 80 × 60 pixels"):
        require_inside(Box("u", 0, "lesion", *edges), rows=60, columns=80)


@pytest.mark.parametrize(
    "row",
    [
        "P1,u,tumour,1,2,3,4,0",
        "P1,u,lesion,x,2,3,4,0",
        "P1,u,lesion,3,2,1,4,0",
        "P1,u,lesion,1,2,3,4,-1",
        "P1,u,lesion,1,2,3,4,.5",
    ],
)
def test_a_row_that_is_no_box_is_counted_for_its_patient(tmp_path: Path, row: str) -> None:
    (tmp_path / "lesions.csv").write_text(f"{HEADER}{row}\nP2,u,lesion,1,2,3,4,0\n")
    boxes = read_boxes(tmp_path / "lesions.csv")
    assert boxes.unreadable == {"P1": 1}
    assert boxes.of_patient == {"P2": (Box("u", 0, "lesion", 1, 2, 3, 4),)}


def test_a_missing_box_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "lesions.csv").write_text(HEADER.replace("frame", "frames") + "P2,u,lesion,1,2,3,4,0\n")
    with pytest.raises(DataError, match=r"lesions.csv: column 'frame' \(there is 'frames'\) is missing"):
        read_boxes(tmp_path / "lesions.csv")
