"""The written regions hold the true lesions: mask, segmentation and contours, on CT and MR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from fl_liver.client.cohort.lesions.masks import read_mask_file
from fl_liver.client.cohort.lesions.rtstruct import read_rtstruct
from fl_liver.client.cohort.lesions.seg import read_seg
from simulation.phantom.ct_files import write_patient_ct
from simulation.phantom.mr_files import write_patient_mr
from simulation.phantom.volume_contours import contours
from simulation.phantom.volume_regions import RegionForm
from simulation.phantom.volumes import Truth
from tests.simulation.phantom_reading import checked, errors, fingerprint

FORMS: tuple[RegionForm, ...] = ("nifti", "seg", "rtstruct")
WRITE: dict[str, Callable[..., Truth]] = {"CT": write_patient_ct, "MR": write_patient_mr}


@pytest.fixture(scope="module", params=["CT", "MR", "CT enhanced", "MR enhanced"])
def truth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Two lesions of 50 mm and less."""
    pytest.importorskip("highdicom")
    modality, *enhanced = request.param.split()
    folder = tmp_path_factory.mktemp("region")
    options: dict[str, Any] = {"matrix": 96, "lesions": 2, "size_mm": 50, "regions": FORMS, "enhanced": bool(enhanced)}
    return WRITE[modality]("H01-0003", 12, "philips", folder, **options)


def test_the_mask_file_is_the_true_mask_on_the_grid_of_its_series(truth: Truth) -> None:
    path = truth.regions[0]
    assert path.parts[-2:] == ("masks", "H01-0003.nii.gz")
    mask = read_mask_file(path)
    assert mask.grid.agrees_with(truth.of(truth.drawn_on).grid, 1e-3)
    assert np.array_equal(mask.labels, truth.lesion_mask(truth.drawn_on))
    assert set(np.unique(mask.labels)) == {0, 1, 2}


def test_the_segmentation_is_the_true_mask(truth: Truth) -> None:
    (mask,) = read_seg(truth.regions[1])
    true = truth.of(truth.drawn_on)
    placed = np.zeros(true.grid.shape, np.uint16)
    index = np.rint(true.grid.index_of(mask.grid.position_mm(np.argwhere(mask.labels)))).astype(int)
    placed[tuple(index.T)] = mask.labels[mask.labels > 0]
    assert np.array_equal(placed, truth.lesion_mask(truth.drawn_on))
    assert mask.names == {1: "Lesion 1", 2: "Lesion 2"}
    assert mask.frame_uid == true.frame_uid
    images = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in true.files}
    assert mask.references <= images


def test_contours_enclose_the_true_mask(truth: Truth) -> None:
    """A voxel's centre lies inside the contours where it lies inside the lesion, but for the polygons' chords."""
    true = truth.of(truth.drawn_on)
    masks = read_rtstruct(truth.regions[2], true.grid, true.frame_uid)
    drawn = np.max([mask.labels for mask in masks], axis=0)
    wanted = truth.lesion_mask(truth.drawn_on)
    assert np.mean((drawn != wanted)[(drawn > 0) | (wanted > 0)]) < 0.01


def test_contours_lie_on_the_lesions_surface_and_hold_its_volume(truth: Truth) -> None:
    """Area by the shoelace formula, times the distance of slices."""
    grid = truth.of(truth.drawn_on).grid
    for lesion in truth.body.lesions:
        volume = 0.0
        for number, points in contours(lesion, grid):
            depth = lesion.depth(*points.T.astype(np.float32))
            assert np.abs(depth - 1).max() < 0.06
            column, row = grid.index_of(points).T[2], grid.index_of(points).T[1]
            assert np.allclose(grid.index_of(points).T[0], number, atol=1e-6)
            area = 0.5 * abs(float(np.sum(column * np.roll(row, 1) - row * np.roll(column, 1))))
            volume += area * grid.voxel_mm3
        assert volume == pytest.approx(lesion.volume_mm3, rel=0.06)


def test_objects_beside_the_images_disturb_no_series(truth: Truth) -> None:
    report = checked(truth.regions[1].parent)
    assert errors(report) == []
    assert {one.kind for one in report.series if one.kind in ("segmentation", "contours")} == {
        "segmentation", "contours",
    }  # fmt: skip


def test_regions_are_the_same_bytes_again(tmp_path: Path) -> None:
    """highdicom takes the clock and chance; the phantom takes them back."""
    pytest.importorskip("highdicom")
    for folder in "ab":
        write_patient_ct("P1", 4, "ge", tmp_path / folder, matrix=32, height_mm=60, regions=FORMS)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
