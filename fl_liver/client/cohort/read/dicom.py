"""The only door for DICOM files: gates before anything is decoded, and a code for every failure.

What is kept of a header stands in `header`. Values are kept out of every message, because pydicom's own errors quote
them. Decoding is `pixels`.
"""

from __future__ import annotations

import logging
import re
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.read.enhanced import frames_of
from fl_liver.client.cohort.read.header import ALLOWED_TAGS, Header, header_from, names_its_patient
from fl_liver.client.cohort.read.syntax import stream_fault, without_decoder

MAX_FILE_BYTES = 2 << 30
MAX_PIXEL_BYTES = 1 << 30
MAX_INFLATED_BYTES = 256 << 20

_PLAIN = frozenset({str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)})
_PIXEL_TAGS = frozenset({(0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010)})
_PIXELS = frozenset((group << 16) + element for group, element in _PIXEL_TAGS)
_READ_TAGS: list[BaseTag | int] = [Tag("SpecificCharacterSet"), *ALLOWED_TAGS]
_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF

# pydicom's log lines quote values; what is wrong with a file is said by our codes alone.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file gave: a header, a refusal, or both (a slice cut short still has its place in the series).

    frames          of an enhanced multi-frame image, one header for each frame; else ()
    names_patient   the file or a folder above it is named after the patient
    """

    header: Header | None
    refusal: UnusableError | None
    frames: tuple[Header, ...] = ()
    names_patient: bool = False


def read_header(path: Path) -> Header:
    """The header of a file whose pixels can be decoded later.

    Raises:
        UnusableError: `examine` refused the file.
    """
    reading = examine(path)
    if reading.refusal is not None or reading.header is None:
        raise reading.refusal or unusable("E_UNREADABLE", "no header was found")
    return reading.header


def examine(path: Path, relative: str = "") -> Reading:
    """Read a file's header behind all gates; never raises for a bad file and never decodes.

    Gates: regular file, at most 2 GiB, a known transfer syntax with a decoder, at most 256 MiB after inflating, at most
    1 GiB of pixels, and all the bytes there that the header promises.

    Args:
        relative: the name below the cohort's folder, held against the header's own patient.
    """
    header: Header | None = None
    frames: tuple[Header, ...] = ()
    held: UnusableError | None = None
    named = False
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            size = _gate_file(path)
            with path.open("rb") as file:
                syntax, begin, held = _gate_syntax(file, size)
                dataset = _dataset(file, syntax, begin)
                cut = any("end of file" in str(warning.message).lower() for warning in said)
                header = header_from(dataset, syntax)
                named = names_its_patient(dataset, relative) if relative else False
                if held is None:
                    header = replace(header, pixel_offset=_gate_pixels(file, header, size, cut=cut))
                frames = frames_of(dataset, header)
    except UnusableError as refusal:
        return Reading(header, held or refusal, frames, named)
    except Exception as error:  # the one broad catch of a file's header: pydicom raises a dozen types on damaged files
        stopped = unusable("E_UNREADABLE", f"the header stops the reader ({type(error).__name__})")
        return Reading(header, held or stopped, frames, named)
    return Reading(header, held, frames, named)


def looks_like_dicom(path: Path) -> bool:
    """Whether "DICM" stands behind a 128-byte preamble; False for what is not a regular file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _gate_file(path: Path) -> int:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise unusable("E_NOT_REGULAR", "not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise unusable("E_TOO_LARGE", f"{status.st_size} bytes on disk, at most {MAX_FILE_BYTES} are read")
    if status.st_size < 132:
        raise unusable("E_TRUNCATED", f"{status.st_size} bytes, a DICOM file has at least 132")
    return status.st_size


def _dataset(file: BinaryIO, syntax: str, begin: int) -> Dataset:
    """The allowed elements; `file` stands at the pixel data behind, or where the reader stopped.

    Not by `dcmread`, which reads the file meta information once more and makes three datasets of it.
    """
    if syntax == DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return dcmread(file, stop_before_pixels=True, specific_tags=ALLOWED_TAGS)
    file.seek(begin)
    uid = UID(syntax) if UID(syntax).is_transfer_syntax and not UID(syntax).is_private else ExplicitVRLittleEndian
    return read_dataset(
        file,
        is_implicit_VR=uid.is_implicit_VR,
        is_little_endian=uid.is_little_endian,
        stop_when=lambda tag, _vr, _length: int(tag) in _PIXELS,
        specific_tags=_READ_TAGS,
    )


def _gate_syntax(file: BinaryIO, size: int) -> tuple[str, int, UnusableError | None]:
    """The transfer syntax, where the dataset begins, and a refusal held back until the header has been tried."""
    sop_class, found, end = _file_meta(file)
    if sop_class == MediaStorageDirectoryStorage:
        raise unusable("W_DICOMDIR_IGNORED", "a DICOMDIR")
    if found == DeflatedExplicitVRLittleEndian:
        _gate_deflated(file, end, size)
    return found, end, without_decoder(found)


def _file_meta(file: BinaryIO) -> tuple[str, str, int]:
    """(SOP class, transfer syntax, offset of the first byte behind) of the file meta information: always explicit VR,
    little endian. pydicom reads it too, but inflates what follows before anybody can look."""
    if file.read(132)[128:] != b"DICM":
        raise unusable("E_NOT_DICOM", "no DICOM mark behind the preamble")
    found = {0x0002: "", 0x0010: ""}
    while True:
        start = file.tell()
        head = file.read(8)
        if len(head) < 8 or head[:2] != b"\2\0":
            return found[0x0002], found[0x0010], start
        length = int.from_bytes(head[6:8], "little")
        if head[4:6] in (b"OB", b"UN"):
            length = int.from_bytes(file.read(4), "little")
        element = int.from_bytes(head[2:4], "little")
        if element in found:
            text = file.read(min(length, 64)).decode("ascii", "replace").strip("\0 ")
            # A damaged length takes in the elements behind: a patient's name is not kept as a transfer syntax.
            found[element] = text if re.fullmatch(r"[0-9.]*", text) else ""
            file.seek(start + 8 + length)
        else:
            file.seek(length, 1)


def _gate_deflated(file: BinaryIO, offset: int, size: int) -> None:
    """Inflate without keeping anything: half a megabyte may hold half a gigabyte, and pydicom inflates all at once."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    file.seek(offset)
    while not inflater.eof:
        block = inflater.unconsumed_tail or file.read(1 << 16)
        if not block:
            raise unusable("E_TRUNCATED", f"the deflated data end early, at byte {size}")
        total += len(inflater.decompress(block, 1 << 20))
        if total > MAX_INFLATED_BYTES:
            raise unusable("E_TOO_LARGE", f"inflates to more than {MAX_INFLATED_BYTES} bytes")


def _gate_pixels(file: BinaryIO, header: Header, size: int, *, cut: bool) -> int | None:
    """Refuse a file without its pixels; `file` stands where the reader stopped: at the pixel data, or at the end.

    Returns: where the value of PixelData begins; None in a deflated or big-endian file.
    """
    if header.modality == "RTSTRUCT":  # no pixels, but what was drawn on some
        return None
    if not header.is_image:
        raise unusable("W_NOT_AN_IMAGE", f"an object of modality {header.modality}")
    where = None if header.syntax == DeflatedExplicitVRLittleEndian else _pixel_element(file, header.syntax)
    if where is None and header.syntax != DeflatedExplicitVRLittleEndian:
        if cut or file.tell() > size or header.rows == 0:
            raise unusable("E_TRUNCATED", f"the header ends early, at byte {size}")
        raise unusable("E_NO_PIXELS", "the file ends without pixel data")
    if min(header.rows, header.columns, header.frames, header.samples, header.bits_allocated) < 1:
        raise unusable("E_UNREADABLE", f"impossible image size {header.rows} × {header.columns} × {header.frames}")
    if not 1 <= header.bits_stored <= header.bits_allocated:
        raise unusable("E_UNREADABLE", f"{header.bits_stored} bits stored in {header.bits_allocated}")
    if header.pixel_bytes > MAX_PIXEL_BYTES:
        raise unusable("E_TOO_LARGE", f"{header.pixel_bytes} bytes of pixels, at most {MAX_PIXEL_BYTES} are decoded")
    if where is None:
        return None
    _gate_pixel_length(file, header, where, size)
    return where[0] if UID(header.syntax).is_little_endian else None


def _gate_pixel_length(file: BinaryIO, header: Header, where: tuple[int, int], size: int) -> None:
    start, length = where
    if length == _UNDEFINED:
        if header.syntax in _PLAIN:
            raise unusable("E_UNREADABLE", "uncompressed pixel data without a length")
        first, end = _walk_fragments(file, start, size)
        fault = stream_fault(file, header.syntax, first, end)
        if fault is not None:
            raise fault
        return
    # 4:2:2 keeps two of three samples.
    wanted = header.pixel_bytes * 2 // 3 if header.photometric == "YBR_FULL_422" else header.pixel_bytes
    there = min(length, size - start)
    if there < wanted or start + length > size:
        raise unusable("E_TRUNCATED", f"{there} bytes of pixel data, the header promises {max(wanted, length)}")


def _pixel_element(file: BinaryIO, syntax: str) -> tuple[int, int] | None:
    """(offset of the first byte, length) of the pixel data, or None where the next element is not pixel data."""
    start = file.tell()
    little = "<" if UID(syntax).is_little_endian else ">"
    raw = file.read(12)
    if len(raw) < 8 or struct.unpack(little + "HH", raw[:4]) not in _PIXEL_TAGS:
        file.seek(start + len(raw))
        return None
    if syntax == ImplicitVRLittleEndian:
        return start + 8, struct.unpack("<L", raw[4:8])[0]
    if len(raw) < 12:
        return None
    return start + 12, struct.unpack(little + "L", raw[8:12])[0]


def _walk_fragments(file: BinaryIO, start: int, size: int) -> tuple[int, int]:
    """Step over the fragments of encapsulated pixel data up to its delimiter.

    Returns: where the first frame's first fragment begins (behind the offset table), and where the last one ends.
    """
    begins: list[int] = []
    while start + 8 <= size:
        file.seek(start)
        group, element, length = struct.unpack("<HHL", file.read(8))
        if (group, element) == _SEQUENCE_END:
            return begins[1] if len(begins) > 1 else start, start
        if (group, element) != _ITEM:
            raise unusable("E_UNREADABLE", "the compressed pixel data are not a sequence of fragments")
        begins.append(start + 8)
        start += 8 + length
    raise unusable("E_TRUNCATED", f"the compressed pixel data end early, at byte {size}")
