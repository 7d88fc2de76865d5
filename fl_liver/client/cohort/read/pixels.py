"""Frames of a DICOM file as grey images.

RGB, YBR and palette colour become luminance (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B); MONOCHROME1 is turned round,
so that bright is always high; slope and intercept are applied. Gates against oversized and cut files stand in `dicom`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import Tag
from pydicom.uid import UID

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.syntax import JPEG_LOSSLESS

_PALETTE_TAGS = tuple(
    f"{colour}PaletteColorLookupTable{part}" for colour in ("Red", "Green", "Blue") for part in ("Data", "Descriptor")
)
_SEGMENTED_TAGS = tuple(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))
_PIXEL_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
DECODE_TAGS = [Tag(keyword) for keyword in (*_PIXEL_TAGS, *_PALETTE_TAGS, *_SEGMENTED_TAGS)]
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
T = TypeVar("T")
Grey: TypeAlias = NDArray[np.uint8] | NDArray[np.int16] | NDArray[np.float32]
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Stored(NamedTuple):
    """One frame as the file holds it: (rows, columns), or (rows, columns, 3 or 4) where it is colour or a palette.

    rescaled   slope and intercept are applied already
    """

    values: NDArray[np.generic]
    rescaled: bool


def read_frames(path: Path, header: Header, frames: Sequence[int]) -> Grey:
    """Decode some frames of a file that `dicom.read_header` let through.

    Args:
        frames: 0-based, in the order wanted.
    Returns:
        (len(frames), rows, columns); uint8 where the file holds plain 8-bit grey, int16 where slope and intercept keep
        whole numbers in its range, else float32.
    Raises:
        UnusableError: E_DECODE_FAILED, or E_TRUNCATED for a frame that the file does not hold.
    """
    stacked: Grey = np.stack(read_slices(path, [replace(header, frame=frame) for frame in frames]))  # type: ignore[assignment]
    return stacked


def read_slices(path: Path, headers: Sequence[Header]) -> list[Grey]:
    """`read_frames` for frames that each have a header of their own, as those of an enhanced file.

    Returns: (rows, columns) each, in the order of `headers`.
    """
    return decoded(path, headers, _grey)


def decoded(path: Path, headers: Sequence[Header], turn: Callable[[Stored, Header], T]) -> list[T]:
    """What `turn` makes of each frame of one file, in the order of `headers`, behind the gates of `read_frames`.

    Raises:
        UnusableError: as `read_frames`.
    """
    beyond = [one for one in headers if not 0 <= one.frame < one.frames]
    if beyond:
        raise unusable("E_TRUNCATED", f"frame {beyond[0].frame} is wanted, the file holds {beyond[0].frames}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            return [turn(stored, one) for stored, one in zip(_stored(path, headers), headers, strict=True)]
    except UnusableError:
        raise
    except Exception as error:  # the one broad catch of decoding: every decoder has its own exception types
        raise unusable("E_DECODE_FAILED", f"the pixels stop the decoder ({type(error).__name__})") from None


def _stored(path: Path, headers: Sequence[Header]) -> Iterator[Stored]:
    first = headers[0]
    if first.syntax in JPEG_LOSSLESS:
        yield from _by_simpleitk(path, headers)
    elif first.pixel_offset is not None and _is_plain(first):
        yield from _plain(path, headers, first.pixel_offset)
    elif first.pixel_offset is not None and first.samples == 1 and first.photometric in _GREY:
        yield from _compressed(path, headers, first.pixel_offset)
    else:
        dataset = dcmread(path, specific_tags=DECODE_TAGS)
        for one in headers:
            image = pixel_array(dataset, index=one.frame)
            yield Stored(apply_color_lut(image, dataset) if one.photometric == "PALETTE COLOR" else image, False)


def _is_plain(header: Header) -> bool:
    """Grey pixels that lie in the file as numpy has them; the others are pydicom's."""
    if UID(header.syntax).is_compressed:
        return False
    whole = header.bits_allocated in (8, 16) and (not header.signed or header.bits_stored == header.bits_allocated)
    return whole and header.samples == 1 and header.photometric in _GREY


def _plain(path: Path, headers: Sequence[Header], offset: int) -> Iterator[Stored]:
    """pydicom takes a millisecond to hand over half a megabyte that needs no decoding; this takes a tenth."""
    first = headers[0]
    kind = np.dtype(f"<{'i' if first.signed else 'u'}{first.bits_allocated // 8}")
    count = first.rows * first.columns
    with path.open("rb") as file:
        for one in headers:
            file.seek(offset + one.frame * count * kind.itemsize)
            values = np.fromfile(file, kind, count)
            if values.size < count:
                raise unusable("E_TRUNCATED", f"{values.size} of {count} pixels; the file was changed after its check")
            yield Stored(values.reshape(first.rows, first.columns), False)


def _compressed(path: Path, headers: Sequence[Header], offset: int) -> Iterator[Stored]:
    """Grey frames by pydicom's decoders, without reading the header a second time."""
    first = headers[0]
    decoder = get_decoder(UID(first.syntax))
    options: dict[str, Any] = {
        "rows": first.rows,
        "columns": first.columns,
        "samples_per_pixel": 1,
        "number_of_frames": first.frames,
        "photometric_interpretation": first.photometric,
        "bits_allocated": first.bits_allocated,
        "bits_stored": first.bits_stored,
        "pixel_representation": int(first.signed),
        "pixel_keyword": "PixelData",
    }
    with path.open("rb") as file:
        for one in headers:
            file.seek(offset)
            yield Stored(decoder.as_array(file, index=one.frame, **options)[0], False)


def _by_simpleitk(path: Path, headers: Sequence[Header]) -> Iterator[Stored]:
    """Frames of a JPEG Lossless file. Slope and intercept are applied by SimpleITK, whatever the modality.

    Its GDCM raises an ordinary error where python-gdcm, on the same damaged file, ends the process. What it makes of
    inverted and of palette images is not ours to undo.
    """
    import SimpleITK

    if headers[0].photometric in ("MONOCHROME1", "PALETTE COLOR"):
        raise unusable("E_TS_NO_DECODER", f"{headers[0].photometric} in JPEG Lossless is not read")
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    image: NDArray[np.generic] = SimpleITK.GetArrayFromImage(reader.Execute())
    for one in headers:
        yield Stored(image[one.frame], True)


def _grey(stored: Stored, header: Header) -> Grey:
    image = stored.values
    if image.shape[:2] != (header.rows, header.columns):
        raise unusable("E_DECODE_FAILED", f"an image of shape {image.shape}, wanted {header.rows} × {header.columns}")
    if header.photometric == "PALETTE COLOR":
        return _luminance(image) * np.float32(255.0 / (255.0 if image.dtype == np.uint8 else 65535.0))
    if header.samples == 3:
        return _luminance(image)
    if image.ndim != 2:
        raise unusable("E_DECODE_FAILED", f"an image of shape {image.shape}, wanted {header.rows} × {header.columns}")
    if stored.rescaled:
        return image.astype(np.float32)
    if header.photometric == "MONOCHROME1":
        image = (-1 if header.signed else (1 << header.bits_stored) - 1) - image.astype(np.int64)
    if (header.slope, header.intercept) == (1.0, 0.0) and header.bits_allocated == 8 and not header.signed:
        return image.astype(np.uint8, copy=False)
    if _stays_int16(image, header):
        if abs(header.intercept) > 32767:  # it does not fit where every sum does
            return (image.astype(np.int64) + int(header.intercept)).astype(np.int16)
        return image.astype(np.int16, copy=False) + np.int16(header.intercept)
    return image.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)


def _stays_int16(image: NDArray[np.generic], header: Header) -> bool:
    """Whether adding a whole intercept to whole pixels stays in range; half the memory of float32, and exact."""
    if header.slope != 1.0 or not header.intercept.is_integer() or not np.issubdtype(image.dtype, np.integer):
        return False
    low, high = int(image.min()), int(image.max())
    return min(low, low + header.intercept) >= -32768 and max(high, high + header.intercept) <= 32767


def _luminance(colour: NDArray[np.generic]) -> NDArray[np.float32]:
    """(rows, columns, 3 or 4) → (rows, columns); a fourth channel is opacity and is left out."""
    if colour.ndim != 3 or colour.shape[2] not in (3, 4):
        raise unusable("E_DECODE_FAILED", f"colour image of shape {colour.shape}, wanted rows × columns × 3")
    grey: NDArray[np.float32] = colour[:, :, :3].astype(np.float32) @ _LUMINANCE
    return grey
