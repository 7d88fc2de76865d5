"""The damaged series: each gets exactly its own code, a clean one gets none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fl_liver.client.cohort.check.check import check_folder
from fl_liver.client.cohort.series.geometry import orientation_name, slice_gap_mm
from simulation.phantom.damage import MORE, THIRTEEN, Damage

WriteCT = Callable[..., list[Dataset]]


@pytest.mark.parametrize("damage", [*THIRTEEN, *MORE], ids=lambda one: one.name)
def test_a_damaged_series_gets_exactly_its_code(write_ct: WriteCT, tmp_path: Path, damage: Damage) -> None:
    write_ct(change=damage.change)
    if damage.spoil is not None:
        damage.spoil(sorted((tmp_path / "ct").iterdir())[3])
    report = check_folder(tmp_path / "ct")
    assert [finding.code for finding in report.findings] == [damage.code]
    assert [series.usable for series in report.series] == [damage.code.startswith("W")]
    assert report.exit_code == (0 if damage.code.startswith("W") else 2)


def test_a_truncated_slice_still_has_its_place(write_ct: WriteCT, tmp_path: Path) -> None:
    """So that no slice is called missing, and the series' spacing is told."""
    write_ct()
    victim = sorted((tmp_path / "ct").iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:-100])
    report = check_folder(tmp_path / "ct")
    assert report.findings[0].cause.startswith("file 4 in name order: 412 bytes of pixel data")
    assert report.series[0].spacing_mm == (0.7, 0.8, 5.0)


def test_phases_under_one_uid_are_told_apart_in_the_cause(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct(change=next(one.change for one in THIRTEEN if one.code == "E_MULTI_PHASE"))
    (finding,) = check_folder(tmp_path / "ct").findings
    assert finding.cause == "each of 5 places holds 2 slices; AcquisitionNumber tells them apart"


def test_a_clean_series_gets_no_finding_and_comes_out_in_slice_order(write_ct: WriteCT, tmp_path: Path) -> None:
    slices = write_ct(count=12)
    report = check_folder(tmp_path / "ct")
    series = report.series[0]
    assert report.findings == ()
    assert report.exit_code == 0
    assert (series.kind, series.slices, series.spacing_mm) == ("CT axial", 12, (0.7, 0.8, 5.0))
    assert series.grid is not None
    assert series.grid.position_mm([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]) == pytest.approx(
        np.array([[-100, -120, 0], [-99.2, -120, 0], [-100, -119.3, 0], [-100, -120, 5]])
    ), "0.8 mm along a row, 0.7 mm down a column, 5 mm from slice to slice"
    assert [path.name[:3] for path in series.files] == [f"{(place * 7) % 101:03d}" for place in range(len(slices))]


def test_a_copied_file_is_dropped_and_the_series_stays_usable(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct()
    first = sorted((tmp_path / "ct").iterdir())[0]
    (tmp_path / "ct" / "copy.dcm").write_bytes(first.read_bytes())
    report = check_folder(tmp_path / "ct")
    assert [finding.code for finding in report.findings] == ["W_DUPLICATE_FILE"]
    assert (report.series[0].usable, report.series[0].slices) == (True, 10)


@pytest.mark.parametrize("step_mm", [-5.0, 5.0])
@pytest.mark.parametrize(
    ("axes", "name"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ([1, 0, 0, 0, 0.8, 0.6], "oblique axial"),
    ],
)
def test_any_orientation_and_direction_makes_a_volume(
    write_ct: WriteCT, tmp_path: Path, axes: list[float], name: str, step_mm: float
) -> None:
    """Slices along −normal are as good as along +normal, and the plane does not have to be axial."""
    normal = np.cross(axes[:3], axes[3:])

    def turn(slices: list[Dataset]) -> None:
        for number, dataset in enumerate(slices):
            dataset.ImageOrientationPatient = axes
            dataset.ImagePositionPatient = [float(v) for v in step_mm * number * normal]

    write_ct(change=turn)
    report = check_folder(tmp_path / "ct")
    assert report.series[0].orientation == name
    assert report.series[0].spacing_mm == (0.7, 0.8, 5.0)
    assert {finding.code for finding in report.findings} <= {"W_NON_AXIAL"}
    assert report.series[0].usable


def test_the_usual_gap_survives_every_second_slice_missing() -> None:
    assert slice_gap_mm(np.array([0.0, 1.0, 3.0, 4.0, 6.0])) == 1.0
    assert slice_gap_mm(np.array([2.0, 2.0])) is None


def test_a_normal_is_named_by_its_nearest_axis() -> None:
    assert orientation_name(np.array([-1.0, 0.1, 0.0])) == "sagittal"
