"""Files that do not belong, beside a clean series: each gets its one code, and the series stays usable."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from fl_liver.client.cohort.check.check import CheckOptions, check_folder

WriteCT = Callable[..., list[Dataset]]
HEADERS = CheckOptions(pixels=False)


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "pipe.dcm")


def _link_out(folder: Path) -> None:
    outside = folder.parent / "outside.dcm"
    outside.write_bytes(next(iter(folder.glob("*.dcm"))).read_bytes())
    (folder / "link.dcm").symlink_to(outside)


def _link_nowhere(folder: Path) -> None:
    (folder / "link.dcm").symlink_to(folder / "gone.dcm")


def _dicomdir(folder: Path) -> None:
    dataset = dcmread(next(iter(folder.glob("*.dcm"))))
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.save_as(folder / "DICOMDIR")


def _bomb(folder: Path) -> None:
    """Half a megabyte that inflates to half a gigabyte."""
    dataset = dcmread(next(iter(folder.glob("*.dcm"))))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = folder / "bomb.dcm"
    dataset.save_as(path)
    whole = path.read_bytes()
    head = whole[: 144 + int(dcmread(path).file_meta.FileMetaInformationGroupLength)]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(head + b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(300)) + squeeze.flush())


def _text(folder: Path) -> None:
    (folder / "notes.dcm").write_text("patient " * 100)


def _nested(folder: Path) -> None:
    """Sequences in sequences, 300 deep: enough to end a reader that recurses."""
    dataset = inner = dcmread(next(iter(folder.glob("*.dcm"))))
    dataset.SeriesInstanceUID = "1.2.3.4"
    for _ in range(60):
        inner.SharedFunctionalGroupsSequence = [Dataset()]
        inner = inner.SharedFunctionalGroupsSequence[0]
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(folder / "nested.dcm")


@pytest.mark.parametrize(
    ("plant", "code"),
    [
        (_fifo, "E_NOT_REGULAR"),
        (_link_out, "W_SYMLINK_OUTSIDE_ROOT"),
        (_link_nowhere, "W_SYMLINK_OUTSIDE_ROOT"),
        (_dicomdir, "W_DICOMDIR_IGNORED"),
        (_bomb, "E_TOO_LARGE"),
        (_text, "E_NOT_DICOM"),
    ],
)
def test_a_stray_file_gets_its_code_and_costs_nothing_else(
    write_ct: WriteCT, tmp_path: Path, plant: Callable[[Path], None], code: str
) -> None:
    write_ct()
    plant(tmp_path / "ct")
    report = check_folder(tmp_path / "ct", options=HEADERS)
    assert [one.code for one in report.findings] == [code]
    assert [one.usable for one in report.series] == [True]
    assert report.series[0].slices == 10
    assert report.exit_code == (0 if code.startswith("W") else 1)


def test_absurd_dimensions_in_nested_sequences_cost_their_own_series(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct()
    _nested(tmp_path / "ct")
    report = check_folder(tmp_path / "ct", options=HEADERS)
    assert {one.code for one in report.findings} == {"E_TOO_LARGE", "E_TOO_FEW_SLICES"}
    assert [(one.slices, one.usable) for one in report.series] == [(10, True), (1, False)]


def test_a_link_inside_the_folder_is_another_name_of_its_file(write_ct: WriteCT, tmp_path: Path) -> None:
    write_ct()
    first = min((tmp_path / "ct").iterdir())
    (tmp_path / "ct" / "zz.dcm").symlink_to(first)
    report = check_folder(tmp_path / "ct", options=HEADERS)
    assert [one.code for one in report.findings] == ["W_DUPLICATE_FILE"]
    assert report.series[0].slices == 10
