"""Damaged files of every kind, always on: each ends in a header or a code, in time, and names nobody."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import Tag

from fl_liver.client.cohort.codes import REMEDIES, UnusableError
from fl_liver.client.cohort.read.acquisition import ACQUISITION
from fl_liver.client.cohort.read.decoders import Decoders
from fl_liver.client.cohort.read.dicom import examine
from fl_liver.client.cohort.read.header import ALLOWED, COMPARED
from tests.fuzz import seeds as kinds
from tests.fuzz.targets import suffix_of, timed

Cases = Iterable[tuple[str, bytes]]
Outcomes = Callable[[str, Cases], dict[str, str]]

MOST_S = 2.0
ENDS_EARLY = {"E_TRUNCATED", "E_NOT_DICOM", "E_NO_PIXELS", "E_TS_UNSUPPORTED", "E_UNREADABLE"}
STREAMS = [*kinds.COMPRESSED, "ct_jpeg_lossless"]
BAD_VALUES = {
    "empty": b"",
    "blank": b"    ",
    "not a number": b"NaN ",
    "infinite": b"-inf",
    "negative": b"-5",
    "negative whole": b"\xfb\xff",
    "too large": b"1e999 ",
    "a name": b"Ziegenpeter^Anna",
    "a word": b"Ziegenpeter ",
    "no text": b"\xff\xfe\x00\x80",
    "separators": b"\\\\\\\\",
    "many": b"\\".join([b"1"] * 5000),
    "odd": b"\0\0\0",
}


@cache
def seed(name: str) -> bytes:
    if name not in _all_seeds():
        pytest.skip("the extra seg (highdicom) is not installed")
    return _all_seeds()[name]


@cache
def _all_seeds() -> dict[str, bytes]:
    return kinds.seeds()


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    """One process reads the whole corpus. A decoder's clock is looser than the processor time asked for here."""
    with Decoders(1, memory_bytes=3 << 30, seconds=30.0) as one:
        yield one


@pytest.fixture
def outcomes(decoders: Decoders, tmp_path: Path) -> Outcomes:
    """outcomes(target, {label: file}) → {label: code, or "" where the file was read}."""

    def run(target: str, cases: Cases) -> dict[str, str]:
        labels: list[str] = []

        def written() -> Iterator[tuple[str, Path]]:
            for number, (label, data) in enumerate(cases):
                labels.append(label)
                path = tmp_path / f"{target}_{number}{suffix_of(data) if target == 'roi' else ''}"
                path.write_bytes(data)
                yield target, path

        found: dict[str, str] = {}
        for place, result in enumerate(decoders.map(timed, written(), chunk=8)):
            said, took_s = (result.code, 0.0) if isinstance(result, UnusableError) else result
            assert said == "" or said in REMEDIES, f"{labels[place]}: {said}"
            assert took_s < MOST_S, f"{labels[place]}: {took_s:.1f} s"
            found[labels[place]] = said
        assert found
        return found

    return run


def at(name: str, keyword: str) -> int:
    """Where an element of an explicit little-endian seed begins."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    vr = dictionary_VR(tag).split(" ")[0].encode()
    return seed(name).index(struct.pack("<HH", tag.group, tag.element) + vr)


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def flipped(name: str, step: int, end: int | None = None) -> Cases:
    """One byte turned over in each file, every `step` bytes from the preamble's end on."""
    data = seed(name)
    start = 128 if data[128:132] == b"DICM" else 0
    for place in range(start, len(data[:end]), step):
        bits = (0xFF, 0x01)[place // step % 2]
        yield f"{name}, byte {place} ^ {bits}", patched(data, place, bytes([data[place] ^ bits]))


@pytest.mark.parametrize("name", kinds.NAMES)
def test_good_files_are_read(name: str, outcomes: Outcomes) -> None:
    """Else the corpus would be refused for its seeds' sake."""
    without_pixels = name == "contours" or name in kinds.MASKS
    if not without_pixels:
        assert outcomes("pixels", [(name, seed(name))]) == {name: ""}
    if name in kinds.ROI:
        assert outcomes("roi", [(name, seed(name))]) == {name: ""}


@pytest.mark.parametrize("name", ["ct", "ct_implicit", "ct_big_endian", "ct_deflated", *STREAMS, "us_palette"])
def test_a_file_cut_anywhere_is_never_read_as_a_whole_one(name: str, outcomes: Outcomes) -> None:
    data = seed(name)
    cut = outcomes("pixels", ((f"{name}[:{end}]", data[:end]) for end in range(0, len(data) - 8, 10)))
    assert set(cut.values()) <= ENDS_EARLY


@pytest.mark.parametrize("name", sorted(kinds.ROI))
def test_a_drawn_region_cut_anywhere_is_refused(name: str, outcomes: Outcomes) -> None:
    data = seed(name)
    cut = outcomes("roi", ((f"{name}[:{end}]", data[:end]) for end in range(0, len(data) - 8, 10)))
    assert "" not in cut.values()


@pytest.mark.parametrize("name", ["ct", "ct_implicit", "us", "enhanced"])
def test_a_damaged_header_ends_in_a_header_or_a_code(name: str, outcomes: Outcomes) -> None:
    outcomes("header", flipped(name, 3, end=2500))


@pytest.mark.parametrize("name", sorted(kinds.ROI))
def test_a_damaged_region_ends_in_a_mask_or_a_code(name: str, outcomes: Outcomes) -> None:
    outcomes("roi", flipped(name, 1 + len(seed(name)) // 60))


@pytest.mark.parametrize("name", STREAMS)
def test_a_damaged_codestream_ends_in_pixels_or_a_code(name: str, outcomes: Outcomes) -> None:
    """With python-gdcm a changed byte of JPEG 2000 ends the process; pylibjpeg's RLE panics. Neither is used."""
    changed = (
        (f"{name}, byte {place} ^ {bits}", kinds.changed_stream(seed(name), place, bits))
        for place in (*range(24), *range(24, 400, 9))
        for bits in (0xFF, 0x01)
    )
    assert set(outcomes("pixels", changed).values()) <= {"", "E_DECODE_FAILED", "E_UNREADABLE"}


def test_a_codestream_that_would_end_its_process_is_not_decoded(outcomes: Outcomes) -> None:
    """GDCM, in SimpleITK 2.5, gets a SIGSEGV from JPEG Lossless that claims more than 16 bits (the seventh byte)."""
    good = seed("ct_jpeg_lossless")
    files = {"before": good, "17 bits": kinds.changed_stream(good, 6, 16 ^ 17), "after": good}
    found = outcomes("pixels", files.items())
    assert (found["before"], found["after"]) == ("", "")
    assert found["17 bits"] == "E_UNREADABLE"


@pytest.mark.parametrize("name", STREAMS)
def test_a_codestream_that_ends_early_in_a_whole_file_is_not_a_crash(name: str, outcomes: Outcomes) -> None:
    cut = ((f"{name}[:{end}]", kinds.changed_stream(seed(name), 0, 0, end)) for end in range(5, 400, 10))
    assert set(outcomes("pixels", cut).values()) <= {"", "E_DECODE_FAILED", "E_TRUNCATED", "E_UNREADABLE"}


def test_a_codestream_at_which_a_library_counts_for_seconds_is_stopped(tmp_path: Path) -> None:
    """CharLS, behind pyjpegls 1.5.1, takes 7 s to find that this one ends after 60 bytes."""
    path = tmp_path / "cut.dcm"
    path.write_bytes(kinds.changed_stream(seed("ct_jpeg_ls"), 0, 0, 60))
    refusal = examine(path).refusal
    assert refusal is not None
    assert str(refusal) == "E_TRUNCATED: the compressed image has no end"


@pytest.mark.parametrize("keyword", [one for one in (*ALLOWED, *ACQUISITION, *COMPARED) if dictionary_VR(one) != "SQ"])
def test_any_value_of_an_element_that_is_read_ends_in_a_header_or_a_code(keyword: str, outcomes: Outcomes) -> None:
    cases = [(label, kinds.changed(seed("ct"), **{keyword: value})) for label, value in BAD_VALUES.items()]
    outcomes("header", cases)
    outcomes("pixels", cases)


@pytest.mark.parametrize("vr", ["SQ", "UN", "OB", "OW", "DS", "FD", "US", "PN", "AT", "XX", "\0\0"])
def test_any_type_of_an_element_ends_in_a_header_or_a_code(vr: str, outcomes: Outcomes) -> None:
    keywords = ("SOPClassUID", "Modality", "ImagePositionPatient", "Rows", "PixelSpacing", "RescaleSlope", "PatientAge")
    cases = [(one, patched(seed("ct"), at("ct", one) + 4, vr.encode())) for one in keywords]
    outcomes("pixels", cases)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF, 0x10000000])
def test_any_length_of_an_element_ends_in_a_header_or_a_code(length: int, outcomes: Outcomes) -> None:
    data = seed("ct_implicit")
    cases = []
    for keyword in ("SOPClassUID", "PatientID", "Modality", "ImagePositionPatient", "Rows", "BitsStored", "PixelData"):
        element: Any = dcmread(BytesIO(data), defer_size=None).get_item(keyword)
        place = element.value_tell - 4
        cases.append((f"{keyword} of {length} bytes", patched(data, place, struct.pack("<L", length))))
    assert "" not in outcomes("pixels", cases).values()


@pytest.mark.parametrize("depth", [10, 300, 3000])
@pytest.mark.parametrize("name", ["us", "enhanced"])
def test_sequences_within_sequences_end_in_a_header_or_a_code(name: str, depth: int, outcomes: Outcomes) -> None:
    keyword = {"us": "SequenceOfUltrasoundRegions", "enhanced": "PerFrameFunctionalGroupsSequence"}[name]
    start = at(name, keyword)
    tag = seed(name)[start : start + 4]
    opened = (tag + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * depth
    closed = (b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0") * depth
    nested = {"closed": opened + closed + seed(name)[start:], "open": opened + seed(name)[start:]}
    outcomes("pixels", ((label, seed(name)[:start] + middle) for label, middle in nested.items()))


ABSURD: dict[str, tuple[dict[str, Any], set[str]]] = {
    "Rows 65535 × Columns 65535": ({"Rows": 65535, "Columns": 65535}, {"E_TOO_LARGE"}),
    "no rows": ({"Rows": 0}, {"E_TRUNCATED", "E_UNREADABLE"}),
    "a billion frames": ({"NumberOfFrames": b"1000000000"}, {"E_TOO_LARGE"}),
    "minus one frame": ({"NumberOfFrames": b"-1"}, {"E_UNREADABLE"}),
    "half a frame": ({"NumberOfFrames": b"0.5 "}, {"E_DECODE_FAILED", ""}),
    "seven samples": ({"SamplesPerPixel": 7}, {"E_TRUNCATED", "E_DECODE_FAILED"}),
    "fewer bits than are stored": ({"BitsAllocated": 1}, {"E_UNREADABLE"}),
    "33 bits": ({"BitsAllocated": 33}, {"E_TRUNCATED", "E_DECODE_FAILED"}),
    "65535 bits": ({"BitsAllocated": 65535}, {"E_TRUNCATED"}),
    "more bits stored than there are": ({"BitsStored": 60}, {"E_DECODE_FAILED", "E_UNREADABLE"}),
    "no bits stored": ({"BitsStored": 0}, {"E_DECODE_FAILED", "E_UNREADABLE"}),
    "no slope": ({"RescaleSlope": b"NaN "}, {""}),
    "endless slope": ({"RescaleSlope": b"1e39"}, {""}),
}


@pytest.mark.parametrize("label", ABSURD)
@pytest.mark.parametrize("name", ["ct", *STREAMS])
def test_absurd_sizes_have_their_code(name: str, label: str, outcomes: Outcomes) -> None:
    """Of a compressed file no length of the pixel data is promised: its decoder finds the lie."""
    values, wanted = ABSURD[label]
    if name != "ct" and "E_TOO_LARGE" not in wanted:
        wanted = wanted | {"", "E_DECODE_FAILED", "E_TOO_LARGE", "E_UNREADABLE"}
    found = outcomes("pixels", [(label, kinds.changed(seed(name), **values))])
    assert set(found.values()) <= wanted


@pytest.mark.parametrize("name", STREAMS)
def test_a_small_stream_that_promises_half_a_gigabyte_ends_in_a_code(name: str, outcomes: Outcomes) -> None:
    large = kinds.changed(seed(name), Rows=16000, Columns=16000)
    assert set(outcomes("pixels", [(name, large)]).values()) <= {"E_TOO_LARGE", "E_DECODE_FAILED"}
