"""Masks from NIfTI, NRRD and MHA: read by position, refused by code."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.lesions import masks
from fl_liver.client.cohort.lesions.masks import layered, on_grid_of, read_mask_file
from fl_liver.client.cohort.series.grid import Grid, Mask, to_sitk

GRID = Grid((4, 6, 5), (-10.0, 20.0, 30.0), (0.0, 0.3, 2.9), (0.1, 2.0, -0.2), (1.0, 0.0, 0.0))
PERPENDICULAR = Grid((4, 6, 5), (-10.0, 20.0, 30.0), (0.0, 0.0, 3.0), (0.0, 2.0, 0.0), (1.0, 0.0, 0.0))
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
NIFTI_DIM, NIFTI_SLOPE, NIFTI_QFORM, NIFTI_SROW = 40, 112, 252, 280


def drawn(shape: tuple[int, int, int] = (4, 6, 5), kind: Any = np.uint8) -> NDArray[Any]:
    """Two labels, alike along no axis, so that a mask turned round is another mask."""
    labels = np.zeros(shape, dtype=kind)
    labels[1:3, 2:4, 1:4] = 1
    labels[2, 4, 3] = 3
    return labels


def write(folder: Path, suffix: str, values: NDArray[Any], grid: Grid = PERPENDICULAR, *, pack: bool = False) -> Path:
    path = folder / f"mask{suffix}"
    SimpleITK.WriteImage(to_sitk(values, grid), str(path), pack)
    return path


def patched(path: Path, offset: int, layout: str, *values: float) -> Path:
    """The NIfTI file with some numbers of its header replaced."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_voxels_in_the_same_places(tmp_path: Path, suffix: str) -> None:
    """NIfTI counts towards right and anterior, the others towards left and posterior."""
    mask = read_mask_file(write(tmp_path, suffix, drawn()))
    np.testing.assert_array_equal(mask.labels, drawn())
    assert mask.labels.dtype == np.uint16
    assert mask.grid.agrees_with(PERPENDICULAR, 1e-4)
    assert (mask.frame_uid, mask.references) == ("", frozenset())


@pytest.mark.parametrize(("name", "voxels"), [("example_seg", 38634), ("example_seg_mr", 18480)])
def test_liver_of_totalsegmentator_has_the_published_voxels(shared_data: Path, name: str, voxels: int) -> None:
    """Label 5 is liver; SOURCES.md has the counts, made with another reader."""
    mask = read_mask_file(shared_data / f"totalsegmentator-examples/{name}.nii.gz")
    assert np.count_nonzero(mask.labels == 5) == voxels


def test_spleen_of_the_decathlon_lies_on_its_image(shared_data: Path) -> None:
    """Rows of this file run towards anterior: a reader that drops directions would put the spleen in front."""
    mask = read_mask_file(shared_data / "msd-spleen8-ct/label_spleen_8.nii.gz")
    image = SimpleITK.ReadImage(str(shared_data / "msd-spleen8-ct/image_spleen_8.nii.gz"))
    assert mask.grid.row_step_mm[1] < 0
    for index in np.argwhere(mask.labels)[::9973]:
        at = image.TransformPhysicalPointToIndex(mask.grid.position_mm(index).tolist())
        assert at == tuple(int(v) for v in index[::-1])
    hu = SimpleITK.GetArrayFromImage(image)[mask.labels > 0]
    assert 90 < np.median(hu) < 160  # a spleen in the portal venous phase


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.float32, np.float64])
def test_labels_of_every_number_type_are_taken(tmp_path: Path, kind: Any) -> None:
    mask = read_mask_file(write(tmp_path, ".nrrd", drawn(kind=kind)))
    np.testing.assert_array_equal(mask.labels, drawn())


def test_labels_stored_with_a_slope_are_whole_again(tmp_path: Path) -> None:
    """Programs store floats as scaled integers: 32767 · 3.0518e-5 is 1.00000."""
    scaled = (drawn() > 0).astype(np.int16) * 32767
    path = patched(write(tmp_path, ".nii", scaled), NIFTI_SLOPE, "<2f", 1 / 32767, 0.0)
    assert np.unique(read_mask_file(path).labels).tolist() == [0, 1]


def test_names_of_slicers_labels_are_kept(tmp_path: Path) -> None:
    image = to_sitk(drawn(), PERPENDICULAR)
    image.SetMetaData("Segment0_Name", "segment VIII")
    image.SetMetaData("Segment0_LabelValue", "3")
    SimpleITK.WriteImage(image, str(tmp_path / "mask.nrrd"))
    assert read_mask_file(tmp_path / "mask.nrrd").names == {3: "segment VIII"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values * np.float32(0.5), "E_ROI_LABELS: values that are not whole numbers"),
        (lambda values: values - 1, "E_ROI_LABELS: values from -1 to 2"),
        (lambda values: values * 30000, "E_ROI_LABELS: values from 0 to 90000"),
        (lambda values: np.where(values > 2, np.nan, values), "E_ROI_LABELS: values from nan to nan"),
        (lambda values: values * 0, "E_ROI_EMPTY: 120 voxels, all 0"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = write(tmp_path, ".nrrd", change(drawn(kind=np.float32)))
    with pytest.raises(UnusableError, match=message):
        read_mask_file(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("pack", [False, True])
def test_a_mask_cut_anywhere_is_refused(tmp_path: Path, suffix: str, pack: bool) -> None:
    """SimpleITK itself takes a NIfTI file that was cut short and fills it up with background."""
    shape = (12, 20, 20)
    noise = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    grid = Grid(shape, PERPENDICULAR.origin_mm, *PERPENDICULAR.steps_mm.tolist())
    path = write(tmp_path, suffix, noise, grid, pack=pack)
    content = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(UnusableError, match=r"E_ROI_UNREADABLE|E_TRUNCATED"):
            read_mask_file(path)


def test_a_compressed_mask_without_its_end_is_called_cut(tmp_path: Path) -> None:
    """The last eight bytes of gzip say whether the rest is whole."""
    path = write(tmp_path, ".nii.gz", drawn())
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UnusableError, match="E_TRUNCATED: the compressed mask ends early"):
        read_mask_file(path)


def test_a_header_that_promises_gigabytes_is_refused_before_reading(tmp_path: Path) -> None:
    path = patched(write(tmp_path, ".nii", drawn()), NIFTI_DIM, "<4h", 3, 2000, 2000, 2000)
    with pytest.raises(UnusableError, match=r"E_TOO_LARGE: 8000000000 bytes of mask, at most 1073741824"):
        read_mask_file(path)


def test_a_bomb_behind_a_small_header_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies behind the promised voxels is not read: 64 MiB more pack into 64 kB."""
    content = write(tmp_path, ".nii", drawn()).read_bytes()
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(content + bytes(64 << 20)))
    monkeypatch.setattr(masks, "_BLOCK", 1024)
    taken: list[int] = []
    read = gzip.GzipFile.read

    def counted(file: gzip.GzipFile, size: int) -> bytes:
        taken.append(size)
        return read(file, size)

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    np.testing.assert_array_equal(read_mask_file(path).labels, drawn())
    assert sum(taken) < 4096


def test_directions_in_one_plane_are_refused(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 5 6 4\nencoding: raw\n"
    axes = "space directions: (1,0,0) (0.99999,0.0001,0) (0,0,3)\nspace origin: (0,0,0)\n\n"
    (tmp_path / "flat.nrrd").write_bytes((header + axes).encode() + drawn().tobytes())
    with pytest.raises(UnusableError, match=r"E_ROI_UNREADABLE: the directions of the mask's axes lie in one plane"):
        read_mask_file(tmp_path / "flat.nrrd")
    path = patched(write(tmp_path, ".nii", drawn()), NIFTI_QFORM, "<2h", 0, 1)
    patched(path, NIFTI_SROW, "<12f", 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0)
    with pytest.raises(UnusableError, match=r"E_ROI_UNREADABLE"):
        read_mask_file(path)


@pytest.mark.parametrize("shape", [(6, 5), (2, 4, 6, 5)])
def test_what_has_not_three_axes_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = SimpleITK.GetImageFromArray(np.ones(shape, dtype=np.uint8), isVector=False)
    SimpleITK.WriteImage(image, str(tmp_path / "mask.nii"))
    with pytest.raises(UnusableError, match=r"E_ROI_UNREADABLE: .* wanted three axes and one number a voxel"):
        read_mask_file(tmp_path / "mask.nii")


def test_several_numbers_a_voxel_are_refused(tmp_path: Path) -> None:
    """3D Slicer writes overlapping segments as layers."""
    image = SimpleITK.GetImageFromArray(np.ones((4, 6, 5, 2), dtype=np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "mask.nrrd"))
    with pytest.raises(UnusableError, match=r"E_ROI_UNREADABLE: .* one number a voxel"):
        read_mask_file(tmp_path / "mask.nrrd")


@pytest.mark.parametrize("name", ["mask.png", "mask.mhd", "folder.nii", "absent.nii.gz"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    if name == "folder.nii":
        (tmp_path / name).mkdir()
    elif not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"x" * 400)
    with pytest.raises(UnusableError, match=r"E_ROI_UNREADABLE: not a plain file, or none of .nii, .nii.gz"):
        read_mask_file(tmp_path / name)


def test_a_header_that_points_to_another_file_is_refused(tmp_path: Path) -> None:
    """It could point at any file that the hospital's daemon can read."""
    (tmp_path / "elsewhere").write_bytes(drawn().tobytes())
    nrrd = write(tmp_path, ".nrrd", drawn()).read_bytes()
    (tmp_path / "a.nrrd").write_bytes(nrrd.replace(b"encoding: raw", b"encoding: raw\ndata file: elsewhere"))
    mha = write(tmp_path, ".mha", drawn()).read_bytes()
    (tmp_path / "a.mha").write_bytes(mha.replace(b"LOCAL", b"elsewhere"))
    for name in ("a.nrrd", "a.mha"):
        with pytest.raises(UnusableError, match=r"E_ROI_UNREADABLE: the voxels stand in another file"):
            read_mask_file(tmp_path / name)


def test_no_message_names_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Files are named after patients; SimpleITK's own messages quote the path."""
    path = tmp_path / "Ziegenpeter.nii"
    path.write_bytes(b"\x5c\x01\0\0" + bytes(400))
    with pytest.raises(UnusableError) as refused:
        read_mask_file(path)
    assert "Ziegenpeter" not in f"{refused.value!r} {refused.value.__cause__}" + "".join(capfd.readouterr())


@given(
    order=st.permutations(range(3)),
    reverse=st.tuples(*[st.booleans()] * 3),
    first=st.tuples(*[st.integers(0, 1)] * 3),
    beyond=st.integers(0, 2),
)
@settings(max_examples=60)
def test_axes_reversed_exchanged_and_cut_are_put_in_order(
    order: list[int], reverse: tuple[bool, ...], first: tuple[int, ...], beyond: int
) -> None:
    """Whatever order a program stores a lattice in, every voxel comes back to its place."""
    labels = drawn().astype(np.uint16)
    kept = labels[first[0] :, first[1] :, first[2] :]
    kept = np.pad(kept, ((0, beyond), (0, 0), (0, beyond)))
    steps, origin = GRID.steps_mm, GRID.position_mm(first)
    for axis in range(3):
        if reverse[axis]:
            origin = origin + (kept.shape[axis] - 1) * steps[axis]
            steps = steps * np.where(np.arange(3) == axis, -1, 1)[:, None]
            kept = np.flip(kept, axis)
    turned = kept.transpose(order)
    mask = Mask(turned, Grid(turned.shape, tuple(origin), *(tuple(steps[axis]) for axis in order)), {3: "a name"})
    placed = on_grid_of(mask, GRID)
    np.testing.assert_array_equal(placed.labels, labels)
    assert placed.grid == GRID
    assert placed.names == {3: "a name"}


def test_empty_slices_that_a_segmentation_leaves_out_are_put_back() -> None:
    """Three frames of a DICOM SEG at slices 0, 2 and 4 look like a stack with twice the gap."""
    labels = np.zeros((6, 6, 5), dtype=np.uint16)
    labels[[0, 2, 4], 2:4, 1:3] = 1
    grid = Grid((6, 6, 5), GRID.origin_mm, GRID.slice_step_mm, GRID.row_step_mm, GRID.column_step_mm)
    double = tuple(2 * v for v in GRID.slice_step_mm)
    sparse = Grid((3, 6, 5), GRID.origin_mm, double, GRID.row_step_mm, GRID.column_step_mm)  # type: ignore[arg-type]
    placed = on_grid_of(Mask(labels[::2], sparse, references=frozenset({"1.2"})), grid)
    np.testing.assert_array_equal(placed.labels, labels)
    with pytest.raises(UnusableError, match=r"E_ROI_GRID_MISMATCH: voxels of 5.83 × 2.01 × 1 mm, the image has 2.92"):
        on_grid_of(Mask(labels[::2], sparse), grid)


def moved(**change: Any) -> Grid:
    parts = {name: getattr(GRID, name) for name in ("origin_mm", "slice_step_mm", "row_step_mm", "column_step_mm")}
    return Grid(GRID.shape, **{**parts, **change})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (moved(origin_mm=(-9.6, 20.0, 30.0)), "voxels of the mask lie 0.4 mm beside those of the image"),
        (moved(origin_mm=(-13.0, 20.0, 30.0)), "the lesion is drawn partly outside the image"),
        (moved(column_step_mm=(0.5, 0.0, 0.0)), "voxels of 2.92 × 2.01 × 0.5 mm"),
        (moved(column_step_mm=(2.0, 0.0, 0.0)), "voxels of 2.92 × 2.01 × 2 mm"),
        (moved(column_step_mm=(0.98, 0.2, 0.0)), "voxels of the mask lie .* mm beside"),
    ],
)
def test_another_lattice_is_refused_never_resampled(grid: Grid, message: str) -> None:
    with pytest.raises(UnusableError, match=f"E_ROI_GRID_MISMATCH: ({message})"):
        on_grid_of(Mask(drawn().astype(np.uint16), grid), GRID)


def test_an_empty_mask_cannot_be_placed() -> None:
    with pytest.raises(UnusableError, match=r"E_ROI_EMPTY"):
        on_grid_of(Mask(np.zeros((4, 6, 5), dtype=np.uint16), moved(origin_mm=(0.0, 0.0, 0.0))), GRID)


def test_overlapping_regions_take_one_layer_each_and_others_share() -> None:
    one, two, three = (np.zeros((1, 1, 6), dtype=bool) for _ in range(3))
    one[..., 0:3], two[..., 2:4], three[..., 4:6] = True, True, True
    layers = layered([(1, one), (2, two), (3, three), (4, np.zeros_like(one))])
    assert [layer.ravel().tolist() for layer in layers] == [[1, 1, 1, 0, 3, 3], [0, 0, 2, 2, 0, 0]]


def test_more_layers_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "MAX_MASK_BYTES", 40)
    region = np.ones((1, 1, 10), dtype=bool)
    with pytest.raises(UnusableError, match=r"E_TOO_LARGE: 3 layers of overlapping regions"):
        layered([(1, region), (2, region), (3, region)])
