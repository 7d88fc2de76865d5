"""Which transfer syntaxes are read, and by what.

pydicom decodes all but one kind, with pyjpegls and pylibjpeg-openjpeg; JPEG Lossless goes through SimpleITK, because
the decoders that pydicom knows for it are under the GPL, or end the process on a damaged file.
"""

from __future__ import annotations

from functools import lru_cache

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEGLossless, JPEGLosslessSV1

from fl_liver.client.cohort.codes import UnusableError, unusable

JPEG_LOSSLESS = frozenset({str(JPEGLossless), str(JPEGLosslessSV1)})


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
