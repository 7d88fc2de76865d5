"""NIfTI volumes of public sets: where voxels lie and what they hold, and that no DICOM series loses any of it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_liver.client.cohort.layout import hospital_folder
from fl_liver.client.cohort.lesions.masks import on_grid_of, read_mask_file
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.cohort.series.grid import Grid, Volume
from fl_liver.client.cohort.series.survey import Place, survey
from fl_liver.client.cohort.series.volume import read_volume
from fl_liver.errors import DataError
from simulation.public.nifti import painted_like, read_nifti, separate_lesions, spacing_mm, write_mask
from simulation.public.series_files import SeriesName, link_files, write_series
from tests.simulation.public_trees import require_shared, write_nifti

# Columns of the affine: steps of i, j, k in mm towards right, anterior, superior; last its origin.
LAS = [[-2, 0, 0, 90], [0, 3, 0, -50], [0, 0, 5, 20]]
RAS: list[list[float]] = [[2, 0, 0, -90], [0, 3, 0, -50], [0, 0, 5, 20]]
CORONAL = [[2, 0, 0, -90], [0, 0, -4, 70], [0, 3, 0, 10]]  # j runs upwards, k backwards
FLAT: list[list[float]] = [[2, 2, 0, 0], [0, 0, 0, 0], [0, 0, 5, 0]]
OBLIQUE = [[1.9696, 0, 0.8682, -90], [0, 3, 0, -50], [-0.3473, 0, 4.924, 20]]  # 10 degrees about the second axis


def read_back(folder: Path) -> Volume:
    """The one series below dicom/P1, as the cohort reads it."""
    (folder / "dicom").mkdir(exist_ok=True)
    files = hospital_folder(folder).patients["P1"].files
    told = survey(files, Place(folder / "dicom", site_pseudonyms(folder / "work"), "case", 1))
    assert [one.code for one in told.findings if one.severity != "W"] == []
    (series,) = told.series
    return read_volume(series)


@pytest.mark.parametrize("affine", [LAS, RAS, CORONAL, OBLIQUE], ids=["LAS", "RAS", "coronal", "oblique"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_planted_voxel_lies_where_its_affine_says_in_dicom_coordinates(
    tmp_path: Path, affine: list[list[float]], suffix: str
) -> None:
    """The standard's own sum, x = A·(i, j, k) + t, with x and y reversed for DICOM: right is −left."""
    voxels = np.full((7, 6, 5), -1000, dtype=np.int16)
    planted = {(1, 2, 3): 111, (5, 0, 4): 222, (6, 5, 0): 333}
    for place, hu in planted.items():
        voxels[place] = hu
    values, grid = read_nifti(write_nifti(tmp_path / f"volume{suffix}", voxels, affine))
    write_series(values, grid, SeriesName("set", "P1", "CT", "portal"), tmp_path / "dicom" / "P1" / "portal")
    volume = read_back(tmp_path)
    rows = np.array(affine)
    for place, hu in planted.items():
        left, posterior, superior = (rows[:, :3] @ np.array(place) + rows[:, 3]) * [-1, -1, 1]
        found = np.argwhere(volume.values == hu)
        assert len(found) == 1
        assert volume.grid.position_mm(found[0]) == pytest.approx([left, posterior, superior], abs=1e-3)
    assert np.sort(volume.values.ravel()).tolist() == np.sort(voxels.ravel()).tolist()


def test_slices_run_to_the_head_and_rows_to_the_left_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    """Patients of one set stored in two orders would otherwise look at each other in a mirror."""
    for affine in (LAS, RAS, CORONAL):
        _, grid = read_nifti(write_nifti(tmp_path / "a.nii", np.zeros((7, 6, 5), np.int16), affine))
        assert np.diag(grid.steps_mm[:, ::-1]).min() > 0
        assert np.count_nonzero(grid.steps_mm) == 3


def test_hounsfield_units_are_kept_and_fractions_are_stored_as_finely_as_they_can_be(tmp_path: Path) -> None:
    whole = np.arange(-1024, 1024 * 2, dtype=np.int16)[:210].reshape(7, 6, 5)
    write_series(*read_nifti(write_nifti(tmp_path / "w.nii", whole.astype(np.float64), RAS)),
                 SeriesName("s", "P1", "CT", "portal"), tmp_path / "dicom" / "P1" / "a")  # fmt: skip
    assert np.array_equal(np.sort(read_back(tmp_path).values.ravel()), np.sort(whole.ravel()))
    fractions = np.linspace(0, 1.7, 210, dtype=np.float32).reshape(7, 6, 5)
    other = tmp_path / "other"
    write_series(*read_nifti(write_nifti(tmp_path / "f.nii", fractions, RAS)),
                 SeriesName("s", "P1", "MR", "t2"), other / "dicom" / "P1" / "a")  # fmt: skip
    assert np.sort(read_back(other).values.ravel()) == pytest.approx(np.sort(fractions.ravel()), abs=2e-5)


@pytest.mark.parametrize("span", [(0, 65535), (30000, 60000), (-1000, 64535), (-32768, 32767)])
def test_whole_numbers_of_sixteen_bits_are_kept_whatever_their_sign(tmp_path: Path, span: tuple[int, int]) -> None:
    """MR of uint16 above 32767: with a slope, every second number would be off by up to a half."""
    whole = np.linspace(*span, 210).round().reshape(7, 6, 5)
    grid = Grid((7, 6, 5), (0, 0, 0), (0, 0, 5), (0, 2, 0), (2, 0, 0))
    for kind in (np.float64, np.int32):
        root = tmp_path / kind.__name__
        write_series(whole.astype(kind), grid, SeriesName("s", "P1", "MR", "t2"), root / "dicom" / "P1" / "a")
        assert np.array_equal(read_back(root).values, whole)


def test_a_volume_with_what_is_no_number_is_refused(tmp_path: Path) -> None:
    grid = Grid((7, 6, 5), (0, 0, 0), (0, 0, 5), (0, 2, 0), (2, 0, 0))
    values = np.zeros((7, 6, 5), dtype=np.float32)
    values[0, 0, :2] = np.inf, np.nan
    with pytest.raises(DataError, match="s: 2 voxels of the t2 series are not finite; fetch the file again"):
        write_series(values, grid, SeriesName("s", "P1", "MR", "t2"), tmp_path / "a")


def test_a_mask_and_its_volume_stay_on_each_other(tmp_path: Path) -> None:
    voxels = np.zeros((7, 6, 5), dtype=np.uint8)
    voxels[1:3, 2:5, 3:5] = 1
    values, grid = read_nifti(write_nifti(tmp_path / "m.nii.gz", voxels, LAS))
    write_mask(values.astype(np.uint16), grid, tmp_path / "masks" / "P1.nii.gz")
    image, where = read_nifti(write_nifti(tmp_path / "i.nii.gz", voxels.astype(np.int16) * 100, LAS))
    write_series(image, where, SeriesName("s", "P1", "CT", "portal"), tmp_path / "dicom" / "P1" / "a")
    volume = read_back(tmp_path)
    mask = on_grid_of(read_mask_file(tmp_path / "masks" / "P1.nii.gz"), volume.grid)
    assert np.array_equal(mask.labels * 100, volume.values)


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        values, grid = read_nifti(write_nifti(tmp_path / "v.nii", np.ones((7, 6, 5), np.int16), RAS))
        write_series(values, grid, SeriesName("s", "P1", "CT", "portal"), tmp_path / name)
    assert [one.read_bytes() for one in sorted((tmp_path / "a").iterdir())] == [
        one.read_bytes() for one in sorted((tmp_path / "b").iterdir())
    ]


def test_lesions_that_hang_together_are_one_and_specks_are_none() -> None:
    """Voxels of 8 mm³: 0.05 ml are 7 of them."""
    grid = Grid((9, 9, 9), (0, 0, 0), (0, 0, 2), (0, 2, 0), (2, 0, 0))
    drawn = np.zeros((9, 9, 9), dtype=bool)
    drawn[0:2, 0:2, 0:2] = True  # 8 voxels
    drawn[2:5, 2:5, 2:5] = True  # 27, touching the first by a corner
    drawn[7:9, 7:9, 7:9] = True  # 8
    drawn[8, 0, 0] = True  # a speck
    labels = separate_lesions(drawn, grid)
    assert np.bincount(labels.ravel()).tolist() == [729 - 43, 35, 8]
    assert labels[0, 0, 0] == labels[4, 4, 4] == 1
    only = np.zeros_like(drawn)
    only[8, 0, 0] = True
    assert separate_lesions(only, grid).sum() == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "no such file; is the data set whole"),
        ("cut", "cut short"),
        ("gzip cut", "cut short|cannot|not a NIfTI"),
        ("four axes", "4 axes, wanted 3|several in one place"),
        ("flat", "not a NIfTI volume that can be read"),
        ("text", "not a NIfTI volume that can be read"),
    ],
)
def test_a_file_that_is_no_volume_is_refused_and_named(tmp_path: Path, damage: str, message: str) -> None:
    path = tmp_path / ("v.nii.gz" if damage == "gzip cut" else "v.nii")
    voxels = np.arange(210, dtype=np.int16).reshape(7, 6, 5)
    write_nifti(path, voxels, FLAT if damage == "flat" else RAS)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    if damage == "cut":
        path.write_bytes(data[:-100])
    if damage == "gzip cut":
        path.write_bytes(gzip.compress(gzip.decompress(data)[:-100]))
    if damage == "four axes":
        path.write_bytes(data[:40] + np.array([4, 7, 6, 5, 1, 1, 1, 1], "<i2").tobytes() + data[56:])
        path.write_bytes(data[:40] + np.array([4, 7, 6, 5, 2, 1, 1, 1], "<i2").tobytes() + data[56:] + data[352:])
    if damage == "text":
        path.write_text("not found\n" * 50)
    with pytest.raises(DataError, match=message):
        read_nifti(path)


@pytest.mark.parametrize("damage", ["checksum", "middle"])
def test_damage_in_a_large_compressed_volume_is_found(tmp_path: Path, damage: str) -> None:
    """SimpleITK reads such a file without a word, with other voxels in it."""
    voxels = np.random.default_rng(0).integers(-99, 99, (128, 128, 32)).astype(np.int16)
    path = write_nifti(tmp_path / "v.nii.gz", voxels, RAS)
    data = bytearray(path.read_bytes())
    at = slice(-8, -6) if damage == "checksum" else slice(len(data) * 9 // 10, len(data) * 9 // 10 + 4000)
    data[at] = bytes(255 - value for value in data[at]) if damage == "checksum" else b"\xff" * 4000
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"v\.nii\.gz: the compressed file is cut short or damaged"):
        read_nifti(path)


def test_a_header_that_promises_nothing_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", np.zeros((7, 6, 5), np.float64), RAS)
    data = path.read_bytes()
    path.write_bytes(data[:108] + np.array(np.nan, "<f4").tobytes() + data[112:])
    with pytest.raises(DataError, match=r"a header that contradicts itself .ValueError"):
        read_nifti(path)
    path.write_bytes(data[:70] + np.array([32, 64], "<i2").tobytes() + data[74:])
    with pytest.raises(DataError, match=r"not a NIfTI volume that can be read"):
        read_nifti(path)


@pytest.mark.parametrize("affine", [LAS, RAS, CORONAL, OBLIQUE], ids=["LAS", "RAS", "coronal", "oblique"])
def test_a_mask_painted_in_a_files_order_lies_as_the_file_is_read(tmp_path: Path, affine: list[list[float]]) -> None:
    voxels = np.arange(1, 211, dtype=np.int16).reshape(7, 6, 5)
    path = write_nifti(tmp_path / "v.nii", voxels, affine)

    def paint(labels: NDArray[np.uint16]) -> None:
        labels[:] = voxels.T

    assert np.array_equal(painted_like(path, paint), read_nifti(path)[0])


def test_the_slice_distance_is_told_from_the_header_alone(tmp_path: Path) -> None:
    thick: list[list[float]] = [[0.7, 0, 0, 0], [0, 0.7, 0, 0], [0, 0, 5, 0]]
    path = write_nifti(tmp_path / "v.nii", np.zeros((7, 6, 5), np.int16), thick)
    assert spacing_mm(path) == pytest.approx((0.7, 5.0))
    small: list[list[float]] = [[0.9, 0, 0, 0], [0, 0.9, 0, 0], [0, 0, 0.5, 0]]
    thin = write_nifti(tmp_path / "t.nii", np.zeros((7, 6, 5), np.int16), small)
    assert spacing_mm(thin) == pytest.approx((0.9, 0.5))


def test_linked_files_are_no_symbolic_links(tmp_path: Path) -> None:
    """The cohort does not follow a link that leads out of the hospital's folder."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1-1.dcm").write_bytes(b"x")
    (tmp_path / "set" / "link.dcm").symlink_to(tmp_path / "set" / "1-1.dcm")
    link_files(sorted((tmp_path / "set").iterdir()), tmp_path / "hospital")
    found = sorted((tmp_path / "hospital").iterdir())
    assert [one.name for one in found] == ["1-1.dcm", "link.dcm"]
    assert not any(one.is_symlink() for one in found)


def test_files_that_were_linked_before_are_linked_again_and_never_written_through(tmp_path: Path) -> None:
    source, copy = tmp_path / "set" / "1-1.dcm", tmp_path / "hospital" / "1-1.dcm"
    source.parent.mkdir()
    source.write_bytes(b"x")
    for _ in range(2):
        link_files([source], copy.parent)
        assert copy.samefile(source)
    source.rename(source.with_suffix(".old"))
    source.write_bytes(b"another")
    link_files([source], copy.parent)
    assert copy.read_bytes() == b"another"
    assert source.with_suffix(".old").read_bytes() == b"x"


def test_two_files_of_one_name_are_refused_and_both_stay_as_they_are(tmp_path: Path) -> None:
    """The second was once copied through the first one's hard link, into the user's own data set."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1-1.dcm").write_bytes(name.encode())
    with pytest.raises(DataError, match=r"2 files are called 1-1\.dcm; wanted names of their own in one folder"):
        link_files([tmp_path / "a" / "1-1.dcm", tmp_path / "b" / "1-1.dcm"], tmp_path / "hospital")
    assert [(tmp_path / name / "1-1.dcm").read_bytes() for name in ("a", "b")] == [b"a", b"b"]
    with pytest.raises(DataError, match="the hospital's folder is the data set's own"):
        link_files([tmp_path / "a" / "1-1.dcm"], tmp_path / "a")
    assert (tmp_path / "a" / "1-1.dcm").read_bytes() == b"a"


def test_where_links_cannot_be_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "1-1.dcm").write_bytes(b"x")
    for _ in range(2):
        link_files([tmp_path / "1-1.dcm"], tmp_path / "hospital")
    copy = tmp_path / "hospital" / "1-1.dcm"
    assert copy.read_bytes() == b"x"
    assert not copy.samefile(tmp_path / "1-1.dcm")


def test_a_real_ct_keeps_every_hounsfield_unit_and_its_place(tmp_path: Path) -> None:
    """MSD's spleen_8: SimpleITK's own reading of the NIfTI file, never reordered, is the oracle."""
    import SimpleITK

    path = require_shared() / "msd-spleen8-ct" / "image_spleen_8.nii.gz"
    original = SimpleITK.ReadImage(str(path))
    values, grid = read_nifti(path)
    write_series(values, grid, SeriesName("msd", "P1", "CT", "portal"), tmp_path / "dicom" / "P1" / "portal")
    volume = read_back(tmp_path)
    assert volume.values.shape == (32, 512, 512)
    for voxel in [(0, 0, 0), (511, 3, 31), (250, 200, 16), (100, 400, 5)]:
        at = volume.grid.index_of(original.TransformIndexToPhysicalPoint(voxel))
        assert at == pytest.approx(np.rint(at), abs=2e-3)
        assert volume.values[tuple(np.rint(at).astype(int))] == original.GetPixel(voxel)


@pytest.mark.parametrize("name", ["example_ct.nii.gz", "example_ct_sm.nii.gz", "example_mr_sm.nii.gz"])
def test_real_volumes_of_other_makers_are_read(tmp_path: Path, name: str) -> None:
    path = require_shared() / "totalsegmentator-examples" / name
    values, grid = read_nifti(path)
    kind = ("MR", "t2") if "mr" in name else ("CT", "portal")
    write_series(values, grid, SeriesName("ts", "P1", *kind), tmp_path / "dicom" / "P1" / "a")  # type: ignore[arg-type]
    volume = read_back(tmp_path)
    assert volume.grid.agrees_with(grid, 2e-3)
    np.testing.assert_allclose(volume.values, values, atol=0.05)
