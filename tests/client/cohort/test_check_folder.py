"""`fl-liver site check DIR`: what it says about real and damaged folders, and what it never says."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from rich.console import Console

from fl_liver.client.cohort.check.check import check_folder
from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.check.terminal import render
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.client.site import SiteConfig
from fl_liver.errors import DataError

WriteCT = Callable[..., list[Dataset]]


def _everything_said(report: CheckReport) -> str:
    page = io.StringIO()
    render(report, Console(file=page, width=250))
    return page.getvalue() + json.dumps(report.to_json()) + repr(report)


def test_planted_identifiers_appear_in_no_output(write_ct: WriteCT, tmp_path: Path, canaries: tuple[str, ...]) -> None:
    """In headers, in file and folder names, and in files that cannot be read at all."""
    slices = write_ct()
    root = tmp_path / "ct"
    folder = root / canaries[0]
    folder.mkdir()
    (folder / f"{canaries[1]}.dcm").write_bytes(b"\0" * 128 + b"DICM" + canaries[2].encode() * 50)
    (folder / f"{canaries[3]}.dcm").write_text(canaries[3] * 100)
    victim = sorted(root.glob("*.dcm"))[2]
    victim.write_bytes(victim.read_bytes()[:-50])
    report = check_folder(root)
    said = _everything_said(report)
    uids = [slices[0].SOPInstanceUID, slices[0].SeriesInstanceUID, slices[0].StudyInstanceUID, slices[0].PatientID]
    assert [word for word in (*canaries, *uids) if str(word) in said] == []
    assert len(report.findings) == 3


def test_the_json_has_the_agreed_keys(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct(change=lambda slices: slices.pop(4))
    found = check_folder(tmp_path / "ct").to_json()
    assert list(found) == ["series", "findings"]
    assert list(found["series"][0]) == ["id", "modality", "kind", "slices", "spacing_mm", "orientation", "usable"]
    assert list(found["findings"][0]) == ["code", "severity", "case", "series", "cause", "remedy"]
    assert json.loads(json.dumps(found)) == found


def test_two_runs_say_the_same(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct(change=lambda slices: slices.pop(4))
    assert check_folder(tmp_path / "ct").to_json() == check_folder(tmp_path / "ct").to_json()


def test_another_key_gives_other_names(write_ct: WriteCT, tmp_path: Path, names: Pseudonyms) -> None:
    write_ct()
    ours, theirs = check_folder(tmp_path / "ct", names), check_folder(tmp_path / "ct")
    assert ours.series[0].id != theirs.series[0].id
    assert ours.series[0].case == names.patient("MRN-4711-0815")


def test_a_hospital_folder_uses_the_hospitals_own_names(hospital: Callable[..., SiteConfig]) -> None:
    site = hospital(patients=3)
    report = check_folder(site.data)
    again = check_folder(site.data)
    assert report.exit_code == 0
    assert report.findings == ()
    assert {series.kind for series in report.series} == {"ultrasound"}
    assert report.to_json() == again.to_json()
    assert (site.work / "pseudonym.key").is_file()


def test_exclusions_beside_usable_series_end_with_one(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct()
    (tmp_path / "ct" / "notes.dcm").write_text("not DICOM " * 50)
    (tmp_path / "ct" / "readme.txt").write_text("hello")
    report = check_folder(tmp_path / "ct")
    assert [finding.code for finding in report.findings] == ["E_NOT_DICOM", "W_OTHER_FILES"]
    assert report.exit_code == 1


def test_a_link_out_of_the_folder_is_refused(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct()
    outside = tmp_path / "outside.dcm"
    sorted((tmp_path / "ct").iterdir())[0].rename(outside)
    (tmp_path / "ct" / "zz.dcm").symlink_to(outside)
    codes = [finding.code for finding in check_folder(tmp_path / "ct").findings]
    assert codes == ["W_SYMLINK_OUTSIDE_ROOT"]


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder is empty; wanted DICOM files, export at least one series"):
        check_folder(tmp_path)


def test_a_folder_without_dicom_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.dcm").write_text("b")
    with pytest.raises(DataError, match="2 files, none of them DICOM; export at least one series"):
        check_folder(tmp_path)


def test_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        check_folder(tmp_path / "nowhere")


def test_the_shuffled_tcga_series_comes_out_in_slice_order(shared_data: Path) -> None:
    """29 slices of a real abdomen, names not in order, table position −1144 to −920 mm (SOURCES.md)."""
    report = check_folder(shared_data / "tcga-lihc-ct" / "TCGA-BC-A10W")
    (series,) = report.series
    assert report.findings == ()
    assert (series.kind, series.slices, series.orientation, series.reordered) == ("CT axial", 29, "axial", True)
    assert series.spacing_mm == pytest.approx((0.6953125, 0.6953125, 8.0), abs=1e-4)
    z = [float(dcmread(path).ImagePositionPatient[2]) for path in series.files]
    assert z == sorted(z)
    assert (z[0], z[-1]) == (-1144, -920)
    assert "A10W" not in _everything_said(report)


def test_the_real_ct_and_its_segmentations_are_told_apart(shared_data: Path) -> None:
    report = check_folder(shared_data / "dcmqi-liver")
    assert [series.kind for series in report.series] == ["CT axial", *["segmentation"] * 3]
    assert report.series[0].slices == 3
    assert report.series[0].spacing_mm == pytest.approx((0.8105, 0.8105, 1.0), abs=1e-3)
    assert [(one.code, one.case) for one in report.findings if one.severity == "E"] == [
        ("E_SEG_REFERENCES", report.series[3].case)
    ], "the sparse label map was drawn on another patient, whose images are not here"
    assert [one.usable for one in report.series] == [True, True, True, False]
    assert report.exit_code == 1
    assert "JANCT000" not in _everything_said(report)


@pytest.mark.parametrize(
    ("name", "frames", "shape"),
    [
        ("US1_UNCI.dcm", [0], (1, 480, 640)),
        ("US1_J2KI.dcm", [0], (1, 480, 640)),
        ("gdcm-US-ALOKA-16.dcm", [0], (1, 480, 640)),
        ("examples_ybr_color.dcm", [0, 29], (2, 240, 320)),
    ],
)
def test_real_colour_ultrasound_is_decoded_to_grey(
    shared_data: Path, name: str, frames: list[int], shape: tuple[int, ...]
) -> None:
    """RGB, JPEG 2000, palette and YBR_FULL_422 cine."""
    path = shared_data / "pydicom-samples" / name
    grey = read_frames(path, read_header(path), frames)
    assert grey.shape == shape
    assert 0 <= grey.min() < 10
    assert 100 < grey.max() <= 255.01
    assert grey.std() > 10


def test_jpeg2000_and_raw_copies_of_one_image_agree(shared_data: Path) -> None:
    folder = shared_data / "pydicom-samples"
    raw, lossy = (
        read_frames(path, read_header(path), [0])[0] for path in (folder / "US1_UNCI.dcm", folder / "US1_J2KI.dcm")
    )
    assert abs(raw.astype(float) - lossy.astype(float)).mean() < 3


def test_burned_in_text_and_lossy_compression_are_said(write_still: Callable[..., Path]) -> None:
    path = write_still()
    dataset = dcmread(path)
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "YES", "01"
    dataset.save_as(path)
    report = check_folder(path.parent)
    assert [finding.code for finding in report.findings] == ["E_BURNED_IN", "W_LOSSY"]
    assert report.exit_code == 2
