"""The thirteen damaged series: each gets exactly its own code, a clean one gets none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from fl_liver.client.cohort.check.check import check_folder
from fl_liver.client.cohort.check.report import files_in_slice_order
from fl_liver.client.cohort.series.geometry import orientation_name, slice_gap_mm

WriteCT = Callable[..., list[Dataset]]
Change = Callable[[list[Dataset]], object]


def _remove_one(slices: list[Dataset]) -> None:
    del slices[4]


def _same_place_twice(slices: list[Dataset]) -> None:
    slices[4].ImagePositionPatient = slices[3].ImagePositionPatient
    slices[5].ImagePositionPatient = [-100, -120, 20]
    for number, dataset in enumerate(slices[6:], start=5):
        dataset.ImagePositionPatient = [-100, -120, 5 * number]


def _uneven(slices: list[Dataset]) -> None:
    for number, dataset in enumerate(slices[5:], start=5):
        dataset.ImagePositionPatient = [-100, -120, 5 * number + 0.35 * number]


def _tilted(slices: list[Dataset]) -> None:
    for number, dataset in enumerate(slices):
        dataset.ImagePositionPatient = [-100, -120 + number * 5 * np.tan(np.radians(15)), 5 * number]


def _with_localizer(slices: list[Dataset]) -> None:
    slices[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    slices[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _turned(slices: list[Dataset]) -> None:
    slices[9].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _two_phases(slices: list[Dataset]) -> None:
    for number, dataset in enumerate(slices):
        dataset.ImagePositionPatient = [-100, -120, 5 * (number % 5)]


def _slopes(slices: list[Dataset]) -> None:
    for number, dataset in enumerate(slices):
        dataset.RescaleSlope = 1 + 0.01 * number


def _inverted(slices: list[Dataset]) -> None:
    for dataset in slices:
        dataset.PhotometricInterpretation = "MONOCHROME1"


def _two_patients(slices: list[Dataset]) -> None:
    slices[7].PatientID = "somebody else"


def _two_matrices(slices: list[Dataset]) -> None:
    slices[2].Rows, slices[2].Columns = 8, 32


def _without_place(slices: list[Dataset]) -> None:
    del slices[5].ImagePositionPatient
    del slices[5].PixelSpacing


def _two_frames(slices: list[Dataset]) -> None:
    slices[5].FrameOfReferenceUID = generate_uid()


def _two_studies(slices: list[Dataset]) -> None:
    slices[5].StudyInstanceUID = generate_uid()


def _two_spacings(slices: list[Dataset]) -> None:
    slices[5].PixelSpacing = [0.7, 0.9]


def _one_uid(slices: list[Dataset]) -> None:
    slices[5].SOPInstanceUID = slices[4].SOPInstanceUID


def _two_left(slices: list[Dataset]) -> None:
    del slices[2:]


def _slightly_tilted(slices: list[Dataset]) -> None:
    for number, dataset in enumerate(slices):
        dataset.ImagePositionPatient = [-100, -120 + number * 5 * np.tan(np.radians(0.6)), 5 * number]


DEFECTS: list[tuple[Change, str]] = [
    (_remove_one, "E_MISSING_SLICES"),
    (_same_place_twice, "E_DUPLICATE_POSITION"),
    (_uneven, "E_NONUNIFORM_SPACING"),
    (_tilted, "E_GANTRY_TILT"),
    (_slightly_tilted, "E_GANTRY_TILT"),
    (_with_localizer, "E_LOCALIZER"),
    (_turned, "E_MIXED_ORIENTATION"),
    (_two_phases, "E_MULTI_PHASE"),
    (_slopes, "W_RESCALE_VARIES"),
    (_inverted, "E_MONOCHROME1"),
    (_two_patients, "E_MIXED_PATIENT"),
    (_two_matrices, "E_MATRIX_VARIES"),
    (_without_place, "E_NO_GEOMETRY"),
    (_two_frames, "E_MIXED_FRAME"),
    (_two_studies, "E_MIXED_STUDY"),
    (_two_spacings, "E_SPACING_VARIES"),
    (_one_uid, "E_DUPLICATE_UID"),
    (_two_left, "E_TOO_FEW_SLICES"),
]


@pytest.mark.parametrize(("change", "code"), DEFECTS, ids=[change.__name__.strip("_") for change, _ in DEFECTS])
def test_a_damaged_series_gets_exactly_its_code(write_ct: WriteCT, tmp_path: Path, change: Change, code: str) -> None:
    write_ct(change=change)
    report = check_folder(tmp_path / "ct")
    assert [finding.code for finding in report.findings] == [code]
    assert [series.usable for series in report.series] == [code.startswith("W")]
    assert report.exit_code == (0 if code.startswith("W") else 2)


def test_a_truncated_slice_costs_its_series_and_nothing_else(write_ct: WriteCT, tmp_path: Path) -> None:
    """The header of a slice cut short still has its place, so that no slice is called missing."""
    write_ct()
    victim = sorted((tmp_path / "ct").iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:-100])
    report = check_folder(tmp_path / "ct")
    assert [finding.code for finding in report.findings] == ["E_TRUNCATED"]
    assert report.findings[0].cause.startswith("file 4 in name order: 412 bytes of pixel data")
    assert report.series[0].spacing_mm == (0.7, 0.8, 5.0)


def test_a_private_transfer_syntax_is_named(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct()
    victim = sorted((tmp_path / "ct").iterdir())[3]
    victim.write_bytes(victim.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0"))
    assert [finding.code for finding in check_folder(tmp_path / "ct").findings] == ["E_TS_UNSUPPORTED"]


def test_a_clean_series_gets_no_finding_and_comes_out_in_slice_order(write_ct: WriteCT, tmp_path: Path) -> None:
    slices = write_ct(count=12)
    report = check_folder(tmp_path / "ct")
    series = report.series[0]
    assert report.findings == ()
    assert report.exit_code == 0
    assert (series.kind, series.slices, series.spacing_mm) == ("CT axial", 12, (0.7, 0.8, 5.0))
    files = files_in_slice_order(report, series.id)
    assert [path.name[:3] for path in files] == [f"{(place * 7) % 101:03d}" for place in range(len(slices))]


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
