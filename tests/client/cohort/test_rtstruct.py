"""Contours written here with pydicom from shapes whose volume is known, filled on straight and oblique grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.lesions import rtstruct as rtstruct_reader
from fl_liver.client.cohort.lesions.rtstruct import filled, read_rtstruct
from fl_liver.client.cohort.series.grid import Grid, Triple
from tests.client.cohort.conftest import save

FRAME = "1.2.3.4"
CENTRE_MM = np.array([5.0, -12.0, 40.0])
RADIUS_MM = 18.0
Contour = NDArray[np.float64]


def grid_at(turned_deg: float, spacing: Triple = (3.0, 0.9, 0.8), shape: tuple[int, int, int] = (16, 60, 64)) -> Grid:
    """A grid around the sphere, turned about the x axis and a third as far about z; spacing slice, row, column."""
    a, b = math.radians(turned_deg), math.radians(turned_deg / 3)
    about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    about_z = np.array([[math.cos(b), -math.sin(b), 0], [math.sin(b), math.cos(b), 0], [0, 0, 1]])
    x, y, z = (about_z @ about_x).T
    steps = np.array([z, y, x]) * np.array(spacing)[:, None]
    origin = CENTRE_MM - (np.array(shape) - 1) / 2 @ steps + 0.3
    return Grid(shape, tuple(origin), *(tuple(step) for step in steps))


def in_sphere(grid: Grid, radius_mm: float = RADIUS_MM) -> NDArray[np.bool_]:
    """The voxels whose centres lie in the sphere."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    inside: NDArray[np.bool_] = np.linalg.norm(grid.position_mm(index) - CENTRE_MM, axis=-1) <= radius_mm
    return inside


def sphere(grid: Grid, radius_mm: float = RADIUS_MM, points: int = 90) -> list[Contour]:
    """One circle on each slice that cuts the sphere."""
    contours = []
    rows, columns = (np.array(step) / np.linalg.norm(step) for step in grid.steps_mm[1:])
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)[:, None]
    for number in range(grid.shape[0]):
        height = float((grid.position_mm((number, 0, 0)) - CENTRE_MM) @ grid.normal)
        if abs(height) < radius_mm:
            radius = math.sqrt(radius_mm**2 - height**2)
            circle = rows * np.sin(angle) + columns * np.cos(angle)
            contours.append(CENTRE_MM + height * grid.normal + radius * circle)
    return contours


def square(grid: Grid, number: int, low: float, high: float) -> Contour:
    """A square on slice `number` from index `low` to `high` of rows and columns."""
    corners = [(number, low, low), (number, low, high), (number, high, high), (number, high, low)]
    return grid.position_mm(corners)


def write_rtstruct(path: Path, regions: Sequence[Sequence[Contour]], **change: Any) -> Path:
    """An RTSTRUCT with the regions "region 1", …; `change` replaces kind, frame, points or the images referred to."""
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = change.get("modality", "RTSTRUCT")
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    for number, contours in enumerate(regions, start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber = drawn.ReferencedROINumber = number - 1  # planning systems count from 0
        roi.ROIName = f"region {number}"
        roi.ReferencedFrameOfReferenceUID = change.get("frame", FRAME)
        drawn.ContourSequence = [_contour(points, change) for points in contours]
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    save(dataset, path)
    return path


def _contour(points: Contour, change: dict[str, Any]) -> Dataset:
    item, image = Dataset(), Dataset()
    item.ContourGeometricType = change.get("kind", "CLOSED_PLANAR")
    item.NumberOfContourPoints = change.get("points", len(points))
    item.ContourData = [f"{v:.4f}" for v in points.ravel()]
    image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    image.ReferencedSOPInstanceUID = change.get("image", "1.2.3.9")
    item.ContourImageSequence = [image]
    return item


@pytest.mark.parametrize("turned_deg", [0.0, 8.0, 27.0])
def test_a_sphere_comes_back_as_a_sphere(tmp_path: Path, turned_deg: float) -> None:
    """The oracle is the distance of each voxel's centre from the middle; 90-cornered circles lose 0.1 % of area."""
    grid = grid_at(turned_deg)
    (mask,) = read_rtstruct(write_rtstruct(tmp_path / "rt.dcm", [sphere(grid)]), grid, FRAME)
    truth, found = in_sphere(grid), mask.labels > 0
    dice = 2 * np.count_nonzero(truth & found) / (np.count_nonzero(truth) + np.count_nonzero(found))
    assert dice > 0.99
    ml = np.count_nonzero(found) * grid.voxel_mm3 / 1000
    assert ml == pytest.approx(4 / 3 * math.pi * RADIUS_MM**3 / 1000, rel=0.03)
    assert (mask.names, mask.frame_uid, mask.references) == ({1: "region 1"}, FRAME, frozenset({"1.2.3.9"}))
    assert mask.grid == grid


def test_dropping_the_directions_would_lose_the_sphere(tmp_path: Path) -> None:
    """Guards the oblique cases above: read on an upright grid of the same origin and spacing, no contour is flat."""
    grid = grid_at(27.0)
    slices, rows, columns = grid.spacing_mm
    upright = Grid(grid.shape, grid.origin_mm, (0.0, 0.0, slices), (0.0, rows, 0.0), (columns, 0.0, 0.0))
    with pytest.raises(UnusableError, match="E_ROI_GRID_MISMATCH: a contour runs across the slices"):
        read_rtstruct(write_rtstruct(tmp_path / "rt.dcm", [sphere(grid)]), upright, FRAME)


def test_a_contour_in_a_contour_is_a_hole() -> None:
    """By hand: 21 × 21 centres in the outer square, 9 × 9 of them in the hole, 3 × 3 in an island within."""
    grid = grid_at(8.0)
    nested = [square(grid, 4, *edges) for edges in ((9.5, 30.5), (15.5, 24.5), (18.5, 21.5))]
    region = filled(tuple(nested), grid)
    assert np.count_nonzero(region) == 21**2 - 9**2 + 3**2
    assert region[4].sum() == region.sum()


def test_a_keyhole_contour_is_a_hole_too() -> None:
    """Systems without nested contours draw hole and rim in one line, joined by a cut."""
    grid = grid_at(0.0)
    outer, inner = square(grid, 4, 9.5, 30.5), square(grid, 4, 15.5, 24.5)
    keyhole = np.concatenate([outer, outer[:1], inner[:1], inner[::-1], outer[:1]])
    assert np.count_nonzero(filled((keyhole,), grid)) == 21**2 - 9**2


def test_what_leaves_the_image_is_cut_off() -> None:
    grid = grid_at(0.0)
    assert np.count_nonzero(filled((square(grid, 4, -5.5, 3.5),), grid)) == 16
    assert np.count_nonzero(filled((square(grid, 4, -9.5, -4.5),), grid)) == 0
    assert np.count_nonzero(filled((square(grid, 4, 57.5, 70.0),), grid)) == 2 * 6  # of 60 rows and 64 columns


def test_overlapping_regions_are_kept_whole(tmp_path: Path) -> None:
    grid = grid_at(8.0)
    regions = [sphere(grid), sphere(grid, 8.0), [square(grid, 1, 1.5, 5.5)]]
    first, second = read_rtstruct(write_rtstruct(tmp_path / "rt.dcm", regions), grid, FRAME)
    assert (first.names, second.names) == ({1: "region 1", 3: "region 3"}, {2: "region 2"})
    np.testing.assert_array_equal(second.labels == 2, filled(tuple(sphere(grid, 8.0)), grid))


@pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR"])
def test_points_and_open_lines_are_left_out(tmp_path: Path, kind: str) -> None:
    grid = grid_at(0.0)
    with pytest.raises(UnusableError, match="E_ROI_EMPTY: the file holds no closed contour"):
        read_rtstruct(write_rtstruct(tmp_path / "rt.dcm", [sphere(grid)], kind=kind), grid, FRAME)


def test_a_slip_of_two_points_is_no_contour(tmp_path: Path) -> None:
    grid = grid_at(0.0)
    with pytest.raises(UnusableError, match="E_ROI_EMPTY: the file holds no closed contour"):
        read_rtstruct(write_rtstruct(tmp_path / "rt.dcm", [[square(grid, 4, 9.5, 20.5)[:2]]]), grid, FRAME)


def test_a_contour_between_the_voxels_is_empty(tmp_path: Path) -> None:
    grid = grid_at(0.0)
    path = write_rtstruct(tmp_path / "rt.dcm", [[square(grid, 4, 9.2, 9.8)]])
    with pytest.raises(UnusableError, match="E_ROI_EMPTY: no voxel has its centre inside a contour"):
        read_rtstruct(path, grid, FRAME)


@pytest.mark.parametrize(("there", "here"), [("1.2.3.5", FRAME), ("", FRAME), ("", "")])
def test_contours_of_another_frame_are_refused(tmp_path: Path, there: str, here: str) -> None:
    grid = grid_at(0.0)
    with pytest.raises(UnusableError, match="E_ROI_FRAME: 1 region of 1 in another frame of reference, or in none"):
        read_rtstruct(write_rtstruct(tmp_path / "rt.dcm", [sphere(grid)], frame=there), grid, here)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([-0.6], "above or below all slices"),
        ([15.6], "above or below all slices"),
        ([4.0, 4.3], "planes closer than the slices"),
    ],
)
def test_planes_beside_the_slices_are_refused(tmp_path: Path, numbers: list[float], message: str) -> None:
    """Contours of a finer series would knock holes into each other on a coarser one."""
    grid = grid_at(8.0)
    contours = [square(grid, number, 9.5, 20.5) for number in numbers]  # type: ignore[arg-type]
    with pytest.raises(UnusableError, match=f"E_ROI_GRID_MISMATCH: .*{message}"):
        read_rtstruct(write_rtstruct(tmp_path / "rt.dcm", [contours]), grid, FRAME)


@pytest.mark.parametrize("number", [-0.4, 0.4, 14.6, 15.4])
def test_a_plane_within_half_a_slice_belongs_to_it(number: float) -> None:
    grid = grid_at(8.0)
    region = filled((square(grid, number, 9.5, 20.5),), grid)  # type: ignore[arg-type]
    assert np.flatnonzero(region.any(axis=(1, 2))).tolist() == [round(number)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": 7}, "E_ROI_UNREADABLE: a contour of 12 numbers, wanted 3 for each of its points"),
        ({"modality": "RTPLAN"}, "E_ROI_UNREADABLE: another object than contours"),
        ({"modality": "CT"}, "E_NO_PIXELS|E_TRUNCATED|E_UNREADABLE"),
    ],
)
def test_damaged_contours_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    grid = grid_at(0.0)
    path = write_rtstruct(tmp_path / "rt.dcm", [[square(grid, 4, 9.5, 20.5)]], **change)
    with pytest.raises(UnusableError, match=message):
        read_rtstruct(path, grid, FRAME)


def test_contours_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    grid = grid_at(0.0)
    path = write_rtstruct(tmp_path / "rt.dcm", [[square(grid, 4, 9.5, 20.5)]])
    content = path.read_bytes()
    number = f"{square(grid, 4, 9.5, 20.5)[0, 0]:.4f}".encode()
    for spoilt in (b"nan".ljust(len(number)), b"x".ljust(len(number))):
        path.write_bytes(content.replace(number, spoilt))
        with pytest.raises(UnusableError, match="E_ROI_UNREADABLE"):
            read_rtstruct(path, grid, FRAME)


def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    """A contour lost at the end of a cut file would be a lesion drawn too small."""
    grid = grid_at(0.0)
    path = write_rtstruct(tmp_path / "rt.dcm", [sphere(grid)])
    content = path.read_bytes()
    for part in range(100):
        path.write_bytes(content[: len(content) * part // 100])
        with pytest.raises(UnusableError):
            read_rtstruct(path, grid, FRAME)


def test_a_very_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_at(0.0)
    monkeypatch.setattr(rtstruct_reader, "MAX_FILE_BYTES", 1000)
    with pytest.raises(UnusableError, match=r"E_TOO_LARGE: [0-9]+ bytes of contours, at most 1000 are read"):
        read_rtstruct(write_rtstruct(tmp_path / "rt.dcm", [sphere(grid)]), grid, FRAME)
