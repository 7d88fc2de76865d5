"""`masks = true`: where a lesion was drawn, in the pixels of the image beside it. And what patches and slices show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from fl_liver.client.cohort.lesions.boxes import Box, box_mask, square_round
from fl_liver.client.cohort.lesions.carry import carry_image, carry_slices
from fl_liver.client.cohort.lesions.cutout import Cutout, mask_of, resample
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.series.grid import Volume
from fl_liver.client.cohort.ultrasound.brightness import standard_image
from fl_liver.client.cohort.whole_slices import chosen_slices, reached
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError
from fl_liver.study import Study
from tests.client.cohort.tiny_volumes import ball, ct_study, grid_of, random_hu, write_mask, write_table, write_volume

MakeHospital = Callable[..., SiteConfig]
WINDOW = (-110.0, 190.0)


def windowed(hu: np.ndarray) -> np.ndarray:
    return np.clip((hu - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)


def test_the_mask_of_a_crop_is_its_box_to_the_share_of_a_pixel() -> None:
    """By hand: a box of 8 × 4 in a square of 16 px on 8 pixels of 2 px: columns 4–12, rows 6–10 of the square."""
    box = Box("", 0, "lesion", 20, 30, 28, 34)
    square = square_round(box, margin=2.0)
    assert square == Cutout(top_px=24, left_px=16, height_px=16, width_px=16)
    mask = box_mask([box], square, (8, 8))
    wanted = np.zeros((8, 8))
    wanted[3:5, 2:6] = 1
    np.testing.assert_array_equal(mask, wanted)
    shifted = box_mask([Box("", 0, "lesion", 21, 30, 29, 34)], square, (8, 8))
    np.testing.assert_array_equal(shifted[3], [0, 0, 0.5, 1, 1, 1, 0.5, 0])


def test_ultrasound_crops_have_every_lesion_box_of_their_frame(hospital: MakeHospital, study: Study) -> None:
    """The crop is about the largest; a second box on the same frame is lesion too."""
    site = hospital()
    uid = dcmread(site.data / "dicom" / "H01-000" / "IM8.dcm").SOPInstanceUID
    with (site.data / "lesions.csv").open("a") as file:
        file.write(f"H01-000,{uid},lesion,27,15,31,18,0\n")
    cohort = load_cohort(site, study.changed(cohort={"masks": True}))
    assert list(cohort.images) == ["lesion", "background", "mask"]
    mask = cohort.images["mask"]
    assert (mask.shape, mask.dtype.name) == ((24, 16, 16), "float16")
    side = 1.45 * 20
    assert mask[1].astype(float).sum() * (side / 16) ** 2 == pytest.approx(20 * 16, rel=2e-3), "area of the box"
    assert mask[1, 8, 8] == 1
    assert (mask[0] > mask[1]).any(), "the second box"
    assert not (mask[0] < mask[1]).any()
    without = load_cohort(site, study).images
    assert list(without) == ["lesion", "background"]
    np.testing.assert_array_equal(without["lesion"], cohort.images["lesion"])


def test_the_box_follows_a_whole_scan(hospital: MakeHospital, study: Study) -> None:
    whole = study.changed(cohort={"crops": "whole", "masks": True}, model={"image_px": 48})
    site = hospital()
    mask = load_cohort(site, whole).images["mask"]
    assert mask.shape == (24, 48, 69)
    _, cut = standard_image(dcmread(site.data / "dicom" / "H01-000" / "IM8.dcm").pixel_array, 48, 69)
    left, right = ((edge - cut.column_min_px) * 69 / cut.columns for edge in (30, 50))
    across = mask[0].astype(float).max(axis=0)
    assert across.sum() == pytest.approx(right - left, abs=0.02)
    middle = (across * (np.arange(69) + 0.5)).sum() / across.sum()
    assert middle == pytest.approx((left + right) / 2, abs=0.02)


def test_a_mask_lies_where_the_lesion_of_its_section_is(tmp_path: Path) -> None:
    """The lesion is painted into the image: image and mask must then be one, with the second lesion on both."""
    labels = ball((4, 15, 15), (4, 15, 21), radius=2)
    hu = np.where(labels > 0, 190, -110).astype(np.int16)
    write_volume(tmp_path, "P1", hu + random_hu(1) // 100)
    write_mask(tmp_path, "P1", labels)
    site = write_table(tmp_path, ["P1,1"])
    cohort = load_cohort(site, ct_study(lesion_margin=4.0))
    image, mask = (cohort.images[name].astype(float) for name in ("lesion", "mask"))
    assert image.shape == mask.shape == (4, 16, 16)
    np.testing.assert_allclose(image, mask, atol=0.03)
    assert mask.max() > 0.9
    pieces = mask[0].max(axis=0) > 0.5
    assert np.count_nonzero(np.diff(pieces.astype(int)) == 1) == 2, "both lesions"


def test_nothing_is_drawn_beyond_the_edge_of_an_image() -> None:
    """The image's edge is repeated there, what was drawn is not."""
    labels = np.zeros((10, 10), dtype=np.uint16)
    labels[:, :3] = 1
    mask = mask_of(labels, Cutout(0, -5, 10, 10), (10, 10))
    np.testing.assert_array_equal(mask[5], [0, 0, 0, 0, 0, 1, 1, 1, 0, 0])


def test_a_patch_has_its_side_in_mm_on_pixels_that_are_not_square(tmp_path: Path) -> None:
    """16 mm about the lesion's middle: 8 rows of 2 mm, 16 columns of 1 mm, without any resampling across."""
    grid = grid_of(row_mm=2.0)
    labels, hu = ball((4, 15, 15), radius=3), random_hu(2)
    write_volume(tmp_path, "P1", hu, grid=grid)
    write_mask(tmp_path, "P1", labels, grid)
    cohort = load_cohort(write_table(tmp_path, ["P1,1"]), ct_study(patch_mm=16.0, views=1))
    # The middle of voxels 12 to 18 is 15.5: rows 11.5 to 19.5, columns 7.5 to 23.5.
    rows = resample(windowed(hu[4])[:, 7:25].astype(np.float32), Cutout(11.5, 0.5, 8, 16), (16, 16))
    np.testing.assert_allclose(cohort.images["lesion"][0], rows, atol=2e-3)
    assert cohort.images["mask"][0, 8, 8] == 1


def test_a_patch_is_as_large_for_a_small_lesion_as_for_a_large_one(tmp_path: Path) -> None:
    for patient, radius in (("P1", 2), ("P2", 5)):
        write_volume(tmp_path, patient, random_hu(radius))
        write_mask(tmp_path, patient, ball((4, 15, 15), radius=radius))
    mask = load_cohort(write_table(tmp_path, ["P1,1", "P2,0"]), ct_study(patch_mm=16.0, views=1)).images["mask"]
    area = mask.astype(float).sum(axis=(1, 2))
    assert area == pytest.approx([13, 81], rel=0.05), "voxels of 1 mm² in discs of radius 2 and 5"


def test_whole_slices_are_those_with_most_lesion_and_some_without(tmp_path: Path) -> None:
    """Oracle: Pillow's own resize of the slice; its filter is shorter at the border, so the rim is left out."""
    labels, hu = ball((5, 15, 15), radius=3), random_hu(3)
    write_volume(tmp_path, "P1", hu)
    write_mask(tmp_path, "P1", labels)
    study = ct_study(crops="whole", views=1, free_views=2)
    cohort = load_cohort(write_table(tmp_path, ["P1,1"]), study)
    image, mask = cohort.images["lesion"], cohort.images["mask"]
    assert image.shape == mask.shape == (3, 16, 16)
    assert mask.any(axis=(1, 2)).tolist() == [False, True, False]
    # Of the middle slices 2 to 7, 4 to 6 hold lesion; of 2, 3 and 7, two evenly: 2 and 7.
    for place, number in enumerate((2, 5, 7)):
        wanted = Image.fromarray(hu[number].astype(np.float32)).resize((16, 16), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(image[place, 1:-1, 1:-1], windowed(np.asarray(wanted))[1:-1, 1:-1], atol=2e-3)
    drawn = Image.fromarray((labels[5] > 0).astype(np.float32)).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(mask[1], np.asarray(drawn), atol=2e-3)


def test_every_sequence_of_a_whole_slice_is_a_channel(tmp_path: Path) -> None:
    write_volume(tmp_path, "P1", random_hu(3))
    write_volume(tmp_path, "P1", random_hu(4), kind="arterial")
    write_mask(tmp_path, "P1", ball((5, 15, 15)))
    study = ct_study(crops="whole", sequences=["arterial", "portal"], drawn_on="portal", views=1, free_views=1)
    cohort = load_cohort(write_table(tmp_path, ["P1,1"]), study)
    assert cohort.images["lesion"].shape == (2, 2, 16, 16)
    assert cohort.images["mask"].shape == (2, 16, 16)
    for channel, seed in enumerate((4, 3)):
        mean = windowed(random_hu(seed)[5]).mean()
        assert cohort.images["lesion"][1, channel].astype(float).mean() == pytest.approx(mean, abs=0.01)


def test_a_slice_that_is_not_square_keeps_the_shapes_on_it(tmp_path: Path) -> None:
    """32 rows of 2 mm by 32 columns of 1 mm: half of the square is made up, and a disc on the patient stays one."""
    grid = grid_of(row_mm=2.0)
    rows, columns = np.indices((32, 32))
    labels = np.zeros((10, 32, 32), dtype=np.uint8)
    labels[4:6] = ((rows - 15.5) * 2) ** 2 + (columns - 15.5) ** 2 <= 144
    write_volume(tmp_path, "P1", random_hu(3), grid=grid)
    write_mask(tmp_path, "P1", labels, grid)
    cohort = load_cohort(write_table(tmp_path, ["P1,1"]), ct_study(crops="whole", views=1, image_px=64))
    mask = cohort.images["mask"][0].astype(float)
    assert mask.max(axis=0).sum() == pytest.approx(mask.max(axis=1).sum(), abs=1.5)
    image = cohort.images["lesion"][0]
    assert image[:, :15].max() == pytest.approx(windowed(np.array(random_hu(3).min())), abs=2e-3)


@pytest.mark.parametrize(
    ("area", "reach", "views", "free", "wanted"),
    [
        ([0, 0, 3, 9, 4, 0, 0, 0, 0, 0], "1111111111", 2, 0, [3, 4]),
        ([0, 0, 3, 9, 4, 0, 0, 0, 0, 0], "1111111111", 9, 0, [2, 3, 4]),
        ([0, 0, 3, 3, 3, 0, 0, 0, 0, 0], "1111111111", 1, 3, [2, 5, 6, 7]),
        ([0] * 10, "1111111111", 2, 1, [3, 5, 7]),
        ([0] * 10, "1111111111", 4, 6, list(range(10))),
        ([0] * 10, "0001111111", 2, 0, [4, 6]),
        # The middle is full of lesion: the nearest slices beyond it are taken.
        ([0, 0, 5, 5, 5, 5, 5, 5, 0, 0], "1111111111", 1, 2, [1, 2, 8]),
        # A lesion where another sequence ends is still a lesion.
        ([0, 5, 0, 0, 0, 0], "000011", 1, 1, [1, 4]),
        ([5, 5, 5], "111", 1, 2, [0]),
    ],
)
def test_slices_by_hand(area: list[int], reach: str, views: int, free: int, wanted: list[int]) -> None:
    inside = np.array([one == "1" for one in reach])
    assert chosen_slices(np.array(area), inside, views, free) == wanted


def test_slices_carried_one_by_one_are_those_of_the_whole_volume() -> None:
    """Also between the slices of a series, turned against it, and beyond its end."""
    values = random_hu(5).astype(np.float32)
    volume = Volume(values, grid_of(), "1.2.3")
    tilt = np.deg2rad(12)
    target = grid_of((14, 30, 30))
    turned = type(target)(
        target.shape,
        (-99.3, -118.2, -7.1),
        (0, -3.7 * np.sin(tilt), 3.7 * np.cos(tilt)),
        (0, 1.1 * np.cos(tilt), 1.1 * np.sin(tilt)),
        (1.05, 0, 0),
    )
    for grid in (target, turned):
        whole = carry_image(volume, grid)
        numbers = list(range(0, grid.shape[0], 3))
        np.testing.assert_allclose(carry_slices(volume, grid, numbers), whole[numbers], atol=1e-3)
    np.testing.assert_array_equal(carry_slices(volume, grid_of(), [3, 5]), values[[3, 5]])


def test_a_slice_that_another_sequence_does_not_reach_is_known() -> None:
    short = Volume(random_hu(1, (4, 32, 32)), grid_of((4, 32, 32)), "1.2.3")
    assert reached(grid_of(), [short]).tolist() == [True] * 4 + [False] * 6


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"task": {"lesion_free": ["benign"]}}, r'lesion_free \(benign\) wants cohort.crops = "whole"'),
        ({"cohort": {"patch_mm": 30.0}}, "patch_mm and free_views go with CT and MR, the study's modality is US"),
        ({"cohort": {"crops": "whole", "free_views": 2}}, "patch_mm and free_views go with CT and MR"),
        ({"cohort": {"unit": "lesion"}}, 'unit = "lesion" wants CT or MR and crops = "lesion"'),
    ],
)
def test_images_that_are_not_made_are_refused_before_any_is_read(
    hospital: MakeHospital, study: Study, sections: dict[str, dict[str, object]], message: str
) -> None:
    site = hospital(patients=1)
    (site.data / "clinical.csv").write_text(
        "patient_id,lesion,malignant,age_years,sex,afp_ng_ml,background,size_mm\nH01-000,1,0,40,M,1,normal,9\n"
    )
    with pytest.raises(ConfigError, match=message):
        load_cohort(site, study.changed(**sections))
