"""Uncompressed pixels are taken straight from the file; pydicom's own decoder is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels.processing import apply_rescale
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.read import pixels
from fl_liver.client.cohort.read.dicom import examine, read_header
from fl_liver.client.cohort.read.pixels import read_frames
from tests.client.cohort.conftest import save, still

WriteStill = Callable[..., Path]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize(("bits", "stored", "signed"), [(8, 8, 0), (16, 16, 0), (16, 12, 0), (16, 16, 1), (16, 12, 1)])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (0.5, 3.25)])
def test_every_depth_and_sign_agrees_with_pydicom(
    tmp_path: Path, syntax: UID, bits: int, stored: int, signed: int, slope: float, intercept: float
) -> None:
    dataset = still("P1", 1)
    random = np.random.default_rng(bits + stored + signed)
    low, high = (-(1 << (stored - 1)), 1 << (stored - 1)) if signed else (0, 1 << stored)
    values = random.integers(low, high, (64, 80)).astype(f"{'i' if signed else 'u'}{bits // 8}")
    dataset.PixelData = values.tobytes()
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, stored, stored - 1
    dataset.PixelRepresentation = signed
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    save(dataset, tmp_path / "a.dcm", syntax)
    header = read_header(tmp_path / "a.dcm")
    theirs = apply_rescale(dcmread(tmp_path / "a.dcm").pixel_array, dataset)
    ours = read_frames(tmp_path / "a.dcm", header, [0])[0]
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype in (np.uint8, np.int16, np.float32)


def test_values_that_leave_int16_become_float(tmp_path: Path) -> None:
    dataset = still("P1", 1)
    dataset.PixelData = np.full((64, 80), 40000, np.uint16).tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    save(dataset, tmp_path / "a.dcm")
    frame = read_frames(tmp_path / "a.dcm", read_header(tmp_path / "a.dcm"), [0])[0]
    assert frame.dtype == np.float32
    assert frame.min() == frame.max() == 40000


@pytest.mark.parametrize(("stored", "intercept"), [(30_000, -40_000), (-30_000, 40_000)])
def test_an_intercept_may_lie_outside_int16_where_the_sum_does_not(tmp_path: Path, stored: int, intercept: int) -> None:
    dataset = still("P1", 1)
    dataset.PixelData = np.full((64, 80), stored, np.int16).tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, intercept
    save(dataset, tmp_path / "a.dcm")
    frame = read_frames(tmp_path / "a.dcm", read_header(tmp_path / "a.dcm"), [0])[0]
    assert frame.dtype == np.int16
    assert frame.min() == frame.max() == stored + intercept


def test_frames_of_a_clip_are_found_at_their_place(write_still: WriteStill, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_still(frames=5)
    wanted = dcmread(path).pixel_array
    monkeypatch.setattr(pixels, "pixel_array", lambda *_, **__: pytest.fail("pydicom decoded plain pixels"))
    np.testing.assert_array_equal(read_frames(path, read_header(path), [4, 1]), wanted[[4, 1]])


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colour_is_left_to_pydicom(write_still: WriteStill, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = write_still(photometric=kind)
    monkeypatch.setattr(pixels, "_plain", lambda *_: pytest.fail("colour was taken as grey"))
    assert read_frames(path, read_header(path), [0]).shape == (1, 64, 80)


def test_big_endian_pixels_are_left_to_pydicom(tmp_path: Path) -> None:
    dataset = still("P1", 1)
    values = np.arange(64 * 80, dtype=np.uint16).reshape(64, 80)
    dataset.PixelData = values.astype(">u2").tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset["PixelData"].VR = "OW"
    save(dataset, tmp_path / "a.dcm", ExplicitVRBigEndian)
    header = read_header(tmp_path / "a.dcm")
    assert header.pixel_offset is None
    np.testing.assert_array_equal(read_frames(tmp_path / "a.dcm", header, [0])[0], values)


def test_a_file_cut_after_its_check_is_named(write_still: WriteStill) -> None:
    path = write_still()
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnusableError, match=r"E_TRUNCATED: .* the file was changed after its check"):
        read_frames(path, header, [0])


def test_plain_pixels_without_a_length_are_refused(write_still: WriteStill) -> None:
    """Only compressed data may leave their length open; here a reader would run to the end of the file."""
    path = write_still()
    whole = bytearray(path.read_bytes())
    start = whole.index(b"\xe0\x7f\x10\x00") + 8
    whole[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(whole)
    refusal = examine(path).refusal
    assert refusal is not None
    assert refusal.code in ("E_UNREADABLE", "E_TRUNCATED")
