"""Which transfer syntaxes are read, and by what.

pydicom decodes all but one kind, with pyjpegls and pylibjpeg-openjpeg; JPEG Lossless goes through SimpleITK, because
the decoders that pydicom knows for it are under the GPL, or end the process on a damaged file.
"""

from __future__ import annotations

from functools import lru_cache
from typing import BinaryIO

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless

from fl_liver.client.cohort.codes import UnusableError, unusable

JPEG_LOSSLESS = frozenset({str(JPEGLossless), str(JPEGLosslessSV1)})
_JPEG_LS = frozenset({str(JPEGLSLossless), str(JPEGLSNearLossless)})
_END = b"\xff\xd9"
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_BITS = 16


@lru_cache(maxsize=64)
def without_decoder(syntax: str) -> UnusableError | None:
    """Why files of a transfer syntax cannot be decoded here; None where they can."""
    uid = UID(syntax)
    if not uid.is_transfer_syntax or uid.is_private:
        return unusable("E_TS_UNSUPPORTED", "a private, unknown or absent transfer syntax")
    try:
        if uid.is_compressed and syntax not in JPEG_LOSSLESS and not get_decoder(uid).is_available:
            return unusable("E_TS_NO_DECODER", f"no decoder is installed for {uid.name}")
    except NotImplementedError:
        return unusable("E_TS_UNSUPPORTED", f"{uid.name} is not read")
    return None


def stream_fault(file: BinaryIO, syntax: str, first: int, end: int) -> UnusableError | None:
    """What in a compressed stream would cost its library dearly; None where nothing does.

    Cut short, JPEG-LS keeps CharLS counting for seconds; with more than 16 bits, JPEG Lossless ends GDCM's process.

    Args:
        first, end: bytes of the file between which the compressed frames lie.
    """
    if syntax in _JPEG_LS:
        file.seek(max(first, end - 4))
        if _END not in file.read(end - max(first, end - 4)):
            return unusable("E_TRUNCATED", "the compressed image has no end")
    if syntax in JPEG_LOSSLESS:
        bits = _jpeg_bits(file, first, end)
        if bits is None or bits > _MOST_BITS:
            return unusable(
                "E_UNREADABLE", f"a JPEG of {bits or 'unknown'} bits a sample, at most {_MOST_BITS} are read"
            )
    return None


def _jpeg_bits(file: BinaryIO, first: int, end: int) -> int | None:
    """Sample precision of the first start-of-frame marker; None where there is none."""
    file.seek(first)
    if file.read(2) != b"\xff\xd8":
        return None
    while file.tell() + 5 <= end:
        mark, kind, *rest = file.read(5)
        if mark != 0xFF:
            return None
        if kind in _STARTS_OF_FRAME:
            return rest[2]
        file.seek(int.from_bytes(bytes(rest[:2]), "big") - 3, 1)
    return None
