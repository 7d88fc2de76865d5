"""Every failure at the file border is one code; nothing is decoded that a gate should have stopped."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from fl_liver.client.cohort.codes import REMEDIES, UnusableError, unusable
from fl_liver.client.cohort.read import dicom
from fl_liver.client.cohort.read.acquisition import ACQUISITION
from fl_liver.client.cohort.read.dicom import examine, read_header
from fl_liver.client.cohort.read.header import ALLOWED, Header
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.errors import FLLiverError

WriteStill = Callable[..., Path]


def _code(path: Path) -> str | None:
    refusal = examine(path).refusal
    return refusal.code if refusal else None


def test_only_allowed_tags_reach_the_header(write_still: WriteStill, canaries: tuple[str, ...]) -> None:
    header = read_header(write_still())
    assert len(ALLOWED) + len(ACQUISITION) < 60
    kept = " ".join(str(getattr(header, one.name)) for one in fields(Header))
    assert not [canary for canary in canaries if canary in kept]
    assert "P1" not in repr(header)


def test_free_text_in_a_coded_element_is_dropped(write_still: WriteStill) -> None:
    path = write_still()
    dataset = dcmread(path)
    dataset.Modality = "ZIEGENPETER"
    dataset.save_as(path)
    assert read_header(path).modality == "OT"


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_pixels_come_back_as_written(write_still: WriteStill, syntax: object) -> None:
    path = write_still(**({"syntax": syntax} if syntax else {}))
    wanted = dcmread(path).pixel_array
    np.testing.assert_array_equal(read_frames(path, read_header(path), [0])[0], wanted)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_lossless_compression_changes_nothing(write_still: WriteStill, syntax: str) -> None:
    path = write_still()
    dataset = dcmread(path)
    wanted = dataset.pixel_array.copy()
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_frames(path, read_header(path), [0])[0], wanted)
    path.write_bytes(path.read_bytes()[:-40])
    assert _code(path) == "E_TRUNCATED"


def test_colour_becomes_luminance(write_still: WriteStill) -> None:
    path = write_still(photometric="RGB")
    grey = read_frames(path, read_header(path), [0])[0]
    wanted = dcmread(path).pixel_array.astype(float) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, wanted, atol=1e-3)


def test_ybr_luminance_is_its_first_channel(write_still: WriteStill) -> None:
    """Y of YBR_FULL is the luminance by definition; conversion to RGB and back costs the rounding and the clipping."""
    path = write_still(photometric="YBR_FULL")
    dataset = dcmread(path)
    ybr = np.full((64, 80, 3), 128, dtype=np.uint8)
    ybr[..., 0] = np.arange(80)
    dataset.PixelData = ybr.tobytes()
    dataset.save_as(path)
    grey = read_frames(path, read_header(path), [0])[0]
    np.testing.assert_allclose(grey, ybr[..., 0], atol=1.0)


def test_monochrome1_is_turned_round(write_still: WriteStill) -> None:
    path = write_still()
    dataset = dcmread(path)
    before = dataset.pixel_array.copy()
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(path)
    np.testing.assert_array_equal(read_frames(path, read_header(path), [0])[0], 255 - before)


def test_rescale_is_applied(write_still: WriteStill) -> None:
    path = write_still()
    dataset = dcmread(path)
    before = dataset.pixel_array.astype(np.float32)
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1024
    dataset.save_as(path)
    np.testing.assert_array_equal(read_frames(path, read_header(path), [0])[0], 2 * before - 1024)


def test_frames_come_in_the_order_asked(write_still: WriteStill) -> None:
    path = write_still(frames=5)
    wanted = dcmread(path).pixel_array
    np.testing.assert_array_equal(read_frames(path, read_header(path), [3, 0]), wanted[[3, 0]])
    with pytest.raises(UnusableError, match="E_TRUNCATED: frame 5 is wanted, the file holds 5"):
        read_frames(path, read_header(path), [5])


@pytest.mark.parametrize("tenth", range(10))
def test_a_file_cut_anywhere_is_refused(write_still: WriteStill, tenth: int) -> None:
    path = write_still()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * tenth // 10 + tenth])
    assert _code(path) == "E_TRUNCATED"


def test_a_header_cut_anywhere_is_never_taken_for_whole(write_still: WriteStill) -> None:
    path = write_still()
    whole = path.read_bytes()
    start = whole.index(b"\xe0\x7f\x10\x00")
    found = set()
    for end in range(132, start + 12, 7):
        path.write_bytes(whole[:end])
        found.add(_code(path))
    assert found <= {"E_TRUNCATED", "E_UNREADABLE", "E_NO_PIXELS", "E_TS_UNSUPPORTED"}


def test_text_under_a_dicom_name_is_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("patient " * 100)
    assert _code(tmp_path / "a.dcm") == "E_NOT_DICOM"


def test_a_fifo_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    assert _code(tmp_path / "a.dcm") == "E_NOT_REGULAR"


def test_a_deflate_bomb_is_refused_without_inflating_it_whole(
    write_still: WriteStill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom, "MAX_INFLATED_BYTES", 1 << 20)
    path = write_still(syntax=DeflatedExplicitVRLittleEndian)
    head = path.read_bytes()[: 144 + int(dcmread(path).file_meta.FileMetaInformationGroupLength)]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(head + squeeze.compress(bytes(64 << 20)) + squeeze.flush())
    monkeypatch.setattr(dicom, "dcmread", lambda *_, **__: pytest.fail("the file was inflated"))
    assert _code(path) == "E_TOO_LARGE"


def test_absurd_dimensions_are_refused_before_decoding(write_still: WriteStill) -> None:
    path = write_still()
    dataset = dcmread(path)
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(path)
    assert _code(path) == "E_TOO_LARGE"


def test_a_length_beyond_the_end_is_a_truncation(write_still: WriteStill) -> None:
    """pydicom reads such a file to its end without a word."""
    path = write_still()
    whole = bytearray(path.read_bytes())
    start = whole.index(b"\xe0\x7f\x10\x00") + 8
    whole[start : start + 4] = b"\xf0\xff\xff\xff"
    path.write_bytes(whole)
    assert _code(path) == "E_TRUNCATED"


def test_an_image_without_pixels_is_named(write_still: WriteStill) -> None:
    path = write_still()
    dataset = dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    assert _code(path) == "E_NO_PIXELS"


def test_a_report_is_no_image_and_no_error(write_still: WriteStill) -> None:
    path = write_still()
    dataset = dcmread(path)
    del dataset.PixelData
    dataset.Modality = "SR"
    dataset.save_as(path)
    assert _code(path) == "W_NOT_AN_IMAGE"


def test_broken_pixels_are_a_code_without_the_decoders_words(write_still: WriteStill) -> None:
    path = write_still()
    dataset = dcmread(path)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    dataset.save_as(path)
    whole = bytearray(path.read_bytes())
    where = whole.index(b"\xff\xd8\xff\xf7")
    whole[where : where + 30] = bytes(30)
    path.write_bytes(whole)
    header = read_header(path)
    with pytest.raises(UnusableError, match=r"^E_DECODE_FAILED: the pixels stop the decoder \(\w+\)$"):
        read_frames(path, header, [0])


def test_every_code_has_a_remedy_and_an_unknown_one_is_refused() -> None:
    assert all(code[:2] in ("E_", "W_", "F_") and remedy for code, remedy in REMEDIES.items())
    with pytest.raises(FLLiverError, match="code 'E_NEW' stands in no catalogue"):
        unusable("E_NEW", "something")
