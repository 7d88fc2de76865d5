"""What a reader may do with any file at all: give a value, or refuse with a code of the catalogue. Nothing else.

Each target reads one file, checks that nothing of the patient stands in what came out, and returns the code, or "" for
a file that was read. Whatever escapes from a target is a finding.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fl_liver.client.cohort.codes import REMEDIES, UnusableError
from fl_liver.client.cohort.lesions.masks import MASK_SUFFIXES, read_mask_file
from fl_liver.client.cohort.lesions.overlay import closed_contours, read_overlays
from fl_liver.client.cohort.lesions.rtstruct import read_rtstruct
from fl_liver.client.cohort.lesions.seg import read_seg
from fl_liver.client.cohort.read.dicom import MAX_PIXEL_BYTES, examine
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.pixels import read_frames, read_slices
from fl_liver.client.cohort.read.syntax import JPEG_LOSSLESS
from fl_liver.client.cohort.series.grid import Grid, Mask
from tests.client.cohort.conftest import CANARIES
from tests.fuzz.seeds import FRAME_UID

# Words and numbers of our own causes; a value of a file would bring other characters sooner or later.
_PLAIN = re.compile(r"[A-Za-z0-9 .,:;()/×_'%*≥°…+&-]*")
_WORD = re.compile(r"[A-Za-z0-9_ ]{0,32}")
_UID = re.compile(r"[0-9.]{0,64}")
_LONGEST_CAUSE = 200
GRID = Grid((3, 16, 16), (-100.0, -120.0, 0.0), (0.0, 0.0, 5.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


class EscapedError(AssertionError):
    """A reader did what no reader may do."""


def read_header(path: Path) -> str:
    """Every field that is kept is what `Header` says, finite and short."""
    reading = examine(path)
    if reading.header is None and reading.refusal is None:
        raise EscapedError("neither a header nor a refusal")
    if reading.header is not None:
        for header in (reading.header, *reading.frames):
            _check_header(header)
    return _checked(reading.refusal)


def read_pixels(path: Path, left_out: frozenset[str] = frozenset(), most_bytes: int = MAX_PIXEL_BYTES) -> str:
    """First and last frame, of an enhanced file with each one's own header, are images of the promised size.

    Args:
        left_out: transfer syntaxes that are not decoded, nor are images of more than `most_bytes`.
    """
    reading = examine(path)
    header = reading.header
    if reading.refusal is not None or header is None or not header.is_image:
        return _checked(reading.refusal)
    if header.syntax in left_out or header.pixel_bytes > most_bytes:
        return ""
    try:
        last = header.frames - 1
        images = [*read_frames(path, header, [0, last])]
        if reading.frames:
            images += read_slices(path, [reading.frames[0], reading.frames[-1]])
    except UnusableError as refusal:
        return _checked(refusal)
    for image in images:
        if image.shape != (header.rows, header.columns) or image.dtype not in (np.uint8, np.int16, np.float32):
            raise EscapedError(f"an image of shape {image.shape} and type {image.dtype}")
    return ""


def read_roi(path: Path) -> str:
    """A drawn region of any format; masks are told apart by the name's end, as `suffix_of` gives it."""
    if path.name.endswith(MASK_SUFFIXES):
        found = _refused_or(read_mask_file, path)
        return found if isinstance(found, str) else _checked_masks([found])
    modality = getattr(examine(path).header, "modality", "")
    readers: dict[str, Callable[[Path], Any]] = {
        "RTSTRUCT": partial(read_rtstruct, grid=GRID, frame_uid=FRAME_UID),
        "SEG": read_seg,
    }
    found = _refused_or(readers.get(modality, _overlays), path)
    return found if isinstance(found, str) else _checked_masks(found)


def suffix_of(data: bytes) -> str:
    """The end of a name under which `read_roi` opens a file that begins so; any other file is taken for NIfTI."""
    kinds = {b"\x1f\x8b": ".nii.gz", b"NRRD": ".nrrd", b"ObjectType": ".mha", b"NDims": ".mha"}
    if data[128:132] == b"DICM":
        return ".dcm"
    return next((suffix for mark, suffix in kinds.items() if data.startswith(mark)), ".nii")


TARGETS: dict[str, Callable[[Path], str]] = {"header": read_header, "pixels": read_pixels, "roi": read_roi}

# GDCM, behind SimpleITK, ends the process at a codestream of more than 16 bits. In a decoder that costs one file.
FUZZED = {**TARGETS, "pixels": partial(read_pixels, left_out=JPEG_LOSSLESS, most_bytes=1 << 22)}


def timed(item: tuple[str, Path]) -> tuple[str, float]:
    """In a decoder: (what the target says, processor seconds). An escape comes back as text, not as a code."""
    name, path = item
    before = time.process_time()
    try:
        said = TARGETS[name](path)
    except UnusableError as refusal:  # no target raises one
        said = f"escaped: {refusal}"
    except Exception as error:
        said = f"escaped: {type(error).__name__}: {error}"
    return said, time.process_time() - before


def _checked(refusal: UnusableError | None) -> str:
    if refusal is None:
        return ""
    if refusal.code not in REMEDIES:
        raise EscapedError(f"no code of the catalogue: {refusal}")
    _keep_quiet(str(refusal))
    if len(refusal.cause) > _LONGEST_CAUSE or not _PLAIN.fullmatch(refusal.cause):
        raise EscapedError(f"a cause that quotes something: {refusal!r}")
    return refusal.code


def _keep_quiet(text: str) -> None:
    named = [canary for canary in CANARIES if canary in text]
    if named:
        raise EscapedError(f"{named} in {text[:_LONGEST_CAUSE]!r}")


def _check_header(header: Header) -> None:
    """Numbers are finite; a word is a code and no free text, which could name a patient."""
    _keep_quiet(repr(header))
    vectors = (header.position_mm, header.orientation, header.spacing_mm)
    numbers = [header.slope, header.intercept, *(one for many in vectors for one in many or ())]
    if not all(math.isfinite(one) for one in numbers):
        raise EscapedError("a number that is none")
    words = (header.modality, header.photometric, header.manufacturer, header.sex, *header.image_type)
    if any(not _WORD.fullmatch(word) for word in words):
        raise EscapedError(f"a word that is no code: {[word[:64] for word in words]}")
    if any(not _UID.fullmatch(uid) for uid in (header.sop_class, header.syntax)):
        raise EscapedError(f"a UID that is none: {header.sop_class[:64]!r}, {header.syntax[:64]!r}")


def _refused_or(reader: Callable[[Path], Any], path: Path) -> Any:
    try:
        return reader(path)
    except UnusableError as refusal:
        return _checked(refusal)


def _overlays(path: Path) -> list[Any]:
    return [ring for plane in read_overlays(path) for ring in closed_contours(plane)]


def _checked_masks(masks: list[Any]) -> str:
    for mask in masks:
        if isinstance(mask, Mask) and (mask.labels.shape != mask.grid.shape or not mask.labels.any()):
            raise EscapedError("labels that are not those of the grid, or none at all")
    return ""
