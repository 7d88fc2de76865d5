"""DICOM SEG of other programs: dcmqi and highdicom wrote them, plain pydicom and SimpleITK say what they hold."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.lesions import seg as seg_reader
from fl_liver.client.cohort.lesions.masks import on_grid_of, read_mask_file
from fl_liver.client.cohort.lesions.seg import check_references, read_seg
from fl_liver.client.cohort.series.grid import Grid, Mask
from fl_liver.errors import ConfigError

pytest.importorskip("highdicom", reason="the extra seg is not installed")


@pytest.fixture
def dcmqi(shared_data: Path) -> Path:
    return shared_data / "dcmqi-liver"


@pytest.fixture
def conformance(shared_data: Path) -> Path:
    return shared_data / "highdicom-seg"


def ct_grid(folder: Path) -> tuple[Grid, list[str]]:
    """Feet to head, as our volumes are stacked, worked out here from the headers alone; and the slices' UIDs."""
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")]
    slices.sort(key=lambda one: one.ImagePositionPatient[2])
    low, next_one = slices[0], slices[1]
    x, y, z = (float(v) for v in low.ImagePositionPatient)
    rows_mm, columns_mm = (float(v) for v in low.PixelSpacing)
    step = (0.0, 0.0, float(next_one.ImagePositionPatient[2]) - z)
    shape = (len(slices), int(low.Rows), int(low.Columns))
    grid = Grid(shape, (x, y, z), step, (0.0, rows_mm, 0.0), (columns_mm, 0.0, 0.0))
    return grid, [str(one.SOPInstanceUID) for one in slices]


def frames_of(path: Path) -> tuple[Dataset, NDArray[np.uint8]]:
    """The stored frames, by pydicom alone."""
    dataset = pydicom.dcmread(path)
    return dataset, dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)


def test_liver_of_dcmqi_is_its_nrrd_voxel_for_voxel(dcmqi: Path) -> None:
    """The same mask was published as SEG, which counts slices downwards, and as NRRD, which counts upwards."""
    grid, sop_uids = ct_grid(dcmqi / "ct-3slice")
    (mask,) = read_seg(dcmqi / "liver.dcm")
    assert mask.grid.slice_step_mm[2] < 0 < grid.slice_step_mm[2]
    placed = on_grid_of(mask, grid)
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(dcmqi / "liver_seg.nrrd")))
    np.testing.assert_array_equal(placed.labels, expected != 0)
    np.testing.assert_array_equal(placed.labels, on_grid_of(read_mask_file(dcmqi / "liver_seg.nrrd"), grid).labels)
    assert mask.names == {1: "Liver"}
    assert mask.references == set(sop_uids)
    assert check_references(mask, sop_uids) is None


def test_a_flip_by_index_would_be_another_mask(dcmqi: Path) -> None:
    """Guards the test above: the published mask differs from slice to slice."""
    (mask,) = read_seg(dcmqi / "liver.dcm")
    grid, _ = ct_grid(dcmqi / "ct-3slice")
    assert not np.array_equal(mask.labels, on_grid_of(mask, grid).labels)


def test_segmentations_of_other_images_are_named(dcmqi: Path) -> None:
    _, sop_uids = ct_grid(dcmqi / "ct-3slice")
    (mask,) = read_seg(dcmqi / "liver.dcm")
    code, cause = check_references(mask, sop_uids[:2]) or ("", "")
    assert (code, cause) == ("E_SEG_REFERENCES", "1 of 3 images that it was drawn on are not in the series")


def test_images_named_for_the_whole_object_count_too(conformance: Path) -> None:
    """Three frames name three slices; the object names the series' four."""
    (mask,) = read_seg(conformance / "seg_image_ct_binary.dcm")
    assert len(mask.references) == 4


def test_a_mask_that_names_no_images_has_no_missing_ones() -> None:
    grid = Grid((1, 1, 1), (0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
    assert check_references(Mask(np.ones((1, 1, 1), dtype=np.uint16), grid), []) is None


def test_overlapping_segments_come_whole_in_several_masks(dcmqi: Path) -> None:
    """Five segments of which some share voxels; pydicom says how many voxels each has in all its frames."""
    path = dcmqi / "partial_overlaps.dcm"
    dataset, frames = frames_of(path)
    wanted: dict[int, int] = {}
    for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        wanted[number] = wanted.get(number, 0) + int(frame.sum())
    masks = read_seg(path)
    found = {label: int((mask.labels == label).sum()) for mask in masks for label in mask.names}
    assert found == wanted
    assert len(masks) == 3
    assert masks[0].names == {1: "GREEN", 4: "LIGHT_BLUE", 5: "DARK_BLUE"}


def test_a_labelmap_leaves_empty_slices_out(dcmqi: Path) -> None:
    """Frames at −177.75 and −172.75 mm with 2.5 mm between slices: the middle one is empty, not absent."""
    path = dcmqi / "sparse-labelmap-ppv5.dcm"
    _, frames = frames_of(path)
    (mask,) = read_seg(path)
    assert mask.names == {1: "Liver"}
    assert mask.grid.spacing_mm == pytest.approx((2.5, 0.7, 0.7))
    heights = [float(mask.grid.position_mm((k, 0, 0))[2]) for k in range(3)]
    assert heights == pytest.approx([-172.75, -175.25, -177.75])
    np.testing.assert_array_equal(mask.labels, np.stack([frames[1], np.zeros_like(frames[0]), frames[0]]))


@pytest.mark.parametrize("name", ["binary", "binary_fractional", "true_fractional", "binary_single_frame"])
def test_frames_land_where_their_headers_say(conformance: Path, name: str) -> None:
    """Fractions count from half of MaximumFractionalValue: of 0, 64 and 128 out of 255 only the last."""
    path = conformance / f"seg_image_ct_{name}.dcm"
    dataset, frames = frames_of(path)
    least = int(dataset.get("MaximumFractionalValue", 1)) / 2
    (mask,) = read_seg(path)
    for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        corner = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        index = mask.grid.index_of(corner)
        np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
        np.testing.assert_array_equal(mask.labels[round(index[0])], frame >= least)
    assert mask.frame_uid == dataset.FrameOfReferenceUID


def test_distant_frames_span_a_stack_with_the_gap_filled(conformance: Path) -> None:
    """Frames at −99.48, 103.02, 104.27 and 105.52 mm, 1.25 mm apart: 165 slices of which 4 hold something."""
    first, second = read_seg(conformance / "seg_image_ct_binary_overlap.dcm")
    assert first.labels.shape == (165, 16, 16)
    assert np.flatnonzero(first.labels.any(axis=(1, 2))).tolist() == [0, 1, 2, 164]
    assert (int((first.labels == 1).sum()), int((second.labels == 2).sum())) == (64, 16)


def test_an_image_is_no_segmentation(conformance: Path) -> None:
    with pytest.raises(UnusableError, match="E_ROI_UNREADABLE: another object than a segmentation"):
        read_seg(conformance / "ct_image.dcm")


def changed(source: Path, target: Path, change: dict[str, object]) -> Path:
    dataset = pydicom.dcmread(source)
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    dataset.save_as(target)
    return target


def test_a_segmentation_without_voxels_is_empty(conformance: Path, tmp_path: Path) -> None:
    source = conformance / "seg_image_ct_binary.dcm"
    path = changed(source, tmp_path / "a.dcm", {"PixelData": bytes(96)})
    with pytest.raises(UnusableError, match="E_ROI_EMPTY: no voxel in any of 1 segments"):
        read_seg(path)


def test_uneven_slices_are_refused(conformance: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(conformance / "seg_image_ct_binary.dcm")
    position = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient
    position[2] = float(position[2]) + 0.5
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(UnusableError, match="E_ROI_GRID_MISMATCH: the segmentation's slices are not evenly stacked"):
        read_seg(tmp_path / "a.dcm")


def test_a_stack_too_large_for_memory_is_refused(conformance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seg_reader, "MAX_MASK_BYTES", 165 * 16 * 16)
    with pytest.raises(UnusableError, match="E_TOO_LARGE: 165 × 16 × 16 voxels between first and last slice"):
        read_seg(conformance / "seg_image_ct_binary_overlap.dcm")


@pytest.mark.parametrize(
    "damage",
    [
        {"SegmentationType": "ANALOG"},
        {"PerFrameFunctionalGroupsSequence": []},
        {"SharedFunctionalGroupsSequence": []},
        {"NumberOfFrames": 2},
    ],
)
def test_damaged_segmentations_are_refused(conformance: Path, tmp_path: Path, damage: dict[str, object]) -> None:
    path = changed(conformance / "seg_image_ct_binary.dcm", tmp_path / "a.dcm", damage)
    with pytest.raises(UnusableError, match="E_ROI_UNREADABLE"):
        read_seg(path)


def test_a_segmentation_cut_anywhere_is_refused(conformance: Path, tmp_path: Path) -> None:
    content = (conformance / "seg_image_ct_binary.dcm").read_bytes()
    for tenth in range(10):
        (tmp_path / "cut.dcm").write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(UnusableError, match=r"E_TRUNCATED|E_NOT_DICOM|E_UNREADABLE|E_TS_UNSUPPORTED|E_NO_PIXELS"):
            read_seg(tmp_path / "cut.dcm")


def test_without_highdicom_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"pip install fl_liver\[seg\]"):
        read_seg(tmp_path / "any.dcm")
