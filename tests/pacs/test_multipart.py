"""Multipart answers taken apart while they come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_liver.client.cohort.pacs.multipart import Multipart, boundary_of
from fl_liver.errors import ProtocolError, UnreachableError


def parts_of(message: bytes, step: int = 7) -> list[bytes]:
    pieces = (message[start : start + step] for start in range(0, len(message), step))
    return [b"".join(part) for part in Multipart(pieces, b"b", "pacs:443", "cut short")]


BODIES = st.lists(st.binary(max_size=60).map(lambda body: body.replace(b"--b", b"--c")), max_size=4)


@given(BODIES, st.integers(1, 50), st.sampled_from([b"", b"\r\n", b"a preamble\r\n"]))
def test_parts_are_the_same_however_the_bytes_arrive(bodies: list[bytes], step: int, before: bytes) -> None:
    """A delimiter may lie across any two pieces; dcm4chee begins with an empty line, Orthanc does not."""
    parts = b"\r\n".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + body for body in bodies)
    message = before + (parts + b"\r\n--b--\r\n" if bodies else b"--b--\r\n")
    assert parts_of(message, step) == bodies


@given(st.integers(0, 60))
def test_an_answer_cut_anywhere_is_never_taken_for_whole(length: int) -> None:
    message = b"--b\r\n\r\nfirst\r\n--b\r\n\r\nsecond\r\n--b--"
    if length < len(message):
        with pytest.raises(UnreachableError, match="cut short"):
            parts_of(message[:length])


def test_bodies_that_hold_most_of_a_delimiter_stay_whole() -> None:
    body = b"\r\n--\r\n-\r\n--a\r\n"
    assert parts_of(b"--b\r\n\r\n" + body + b"\r\n--b--", 1) == [body]


def test_a_part_without_a_header_is_read() -> None:
    assert parts_of(b"--b\r\n\r\nx\r\n--b--") == [b"x"]


def test_a_boundary_that_never_comes_is_left_after_16_kib() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"y" * 1000

    with pytest.raises(ProtocolError, match="the announced boundary does not come"):
        list(Multipart(endless(), b"b", "pacs:443", "cut"))


def test_a_header_without_end_is_left_after_16_kib() -> None:
    with pytest.raises(ProtocolError, match="a part whose header has no end"):
        parts_of(b"--b\r\n" + b"x" * 20_000, 1000)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/related; type=application/dicom; boundary=simple", b"simple"),
        ('Multipart/Related; boundary="with space"; type="application/dicom"', b"with space"),
        ("multipart/related;boundary=" + "x" * 72 + ';type="APPLICATION/DICOM"', b"x" * 72),
    ],
)
def test_a_boundary_is_read(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type, "pacs:443") == boundary


@pytest.mark.parametrize(
    ("content_type", "what"),
    [
        ("", "sends nothing where multipart/related"),
        ("text/html", "sends text/html where multipart/related"),
        ("multipart/related", "without a usable boundary"),
        ("multipart/related; boundary=ü", "without a usable boundary"),
        ("multipart/related; boundary=" + "x" * 201, "without a usable boundary"),
        ("multipart/related; type=image/jpeg; boundary=b", "parts of type 'image/jpeg'"),
    ],
)
def test_a_boundary_that_is_none_is_refused(content_type: str, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        boundary_of(content_type, "pacs:443")
