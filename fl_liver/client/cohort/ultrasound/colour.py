"""Colour on a B-mode image: Doppler, elastography, perfusion maps. A network for grey images would read it as echoes.

A tinted B-mode map (sepia, blue, "candle") is not such a colour: it has one colour for every grey level; Doppler lies
over grey levels that have another.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import unusable
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.pixels import Stored, decoded, read_frames
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.ultrasound.screen import eight_bit
from fl_liver.client.cohort.ultrasound.window import Window

DOPPLER_SHARE = 0.005
"""From this share of a window on it is colour imaging: a spot of 24 × 24 pixels in a scan of 340 × 340. Coloured marks
on the scans of gdcm-US-ALOKA-16 take 0.0012, a phantom in a "candle" map 0.0035, the Doppler of US1_UNCI 0.11."""
_CLEAR = 48
"""R − G or B − G that is further than this from the usual one is colour; noise and rounding of JPEG stay below."""
_GREY_MAP = 0.15
"""R − G and B − G over grey level: a map below is grey, for at 255 its tint is still not clear."""
_LIT = 16
_COMMON = 0.04
"""The usual colour of a band of 16 grey levels is known where this share of the lit pixels is in it."""
_STROKE_PX = 3
"""Colour narrower than this is a line or a letter: callipers, rulers, the frame of the Doppler box."""
_COLOUR_FLOW = 2
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def doppler_faults(header: Header, rgb: NDArray[np.uint8] | None = None, window: Window | None = None) -> list[Fault]:
    """W_US_DOPPLER, at most once: the header says so, or `doppler_share` of the window reaches `DOPPLER_SHARE`.

    Args:
        rgb: (rows, columns, 3) of the whole frame; without it, or without a window, the header alone is judged.
    """
    if header.colour_data or any(region.data_type == _COLOUR_FLOW for region in header.regions):
        return [("W_US_DOPPLER", "the header says that colour data are present")]
    share = 0.0 if rgb is None or window is None else doppler_share(rgb, window)
    return [("W_US_DOPPLER", f"{100 * share:.1f} % of the scan are in colour")] if share >= DOPPLER_SHARE else []


def may_hold_colour(header: Header) -> bool:
    """Whether a file can show colour at all; others need not be decoded again."""
    return header.samples >= 3 or header.photometric == "PALETTE COLOR"


def doppler_share(rgb: NDArray[np.uint8], window: Window) -> float:
    """Share of a window's pixels whose colour is clearly not the usual colour of their grey level.

    The usual colour is grey, where the median pixel is; else the median colour of each band of 16 grey levels, with
    straight lines between them. Lines and letters do not count.

    Args:
        rgb: (rows, columns, 3), of the whole frame.
    Returns:
        0..1; compare with `DOPPLER_SHARE`.
    """
    from scipy import ndimage

    image = rgb[window.row_min_px : window.row_max_px, window.column_min_px : window.column_max_px].astype(np.float32)
    level = image @ _LUMINANCE
    colour = image[..., [0, 2]] - image[..., 1:2]
    unusual = np.abs(colour - _usual_colour(level, colour)).max(axis=-1) > _CLEAR
    spots = ndimage.binary_opening(unusual, np.ones((_STROKE_PX, _STROKE_PX), dtype=bool))
    return float(spots.mean())


def read_colour(path: Path, header: Header, frame: int = 0) -> NDArray[np.uint8]:
    """One frame in colour; a grey file gives three equal samples.

    Returns:
        (rows, columns, 3) of R, G, B.
    Raises:
        UnusableError: E_DECODE_FAILED, E_TS_NO_DECODER, or E_TRUNCATED for a frame that the file does not hold, as
            `read.pixels.read_frames` says.
    """
    if not may_hold_colour(header):
        grey = eight_bit(header, read_frames(path, header, [frame])[0])
        return np.repeat(_as_bytes(grey.astype(np.float32))[..., None], 3, axis=-1)
    return decoded(path, [replace(header, frame=frame)], _colour)[0]


def _colour(stored: Stored, header: Header) -> NDArray[np.uint8]:
    """uint8, or uint16 where a palette or the samples have 16 bits, as uint8."""
    colour = stored.values
    if colour.shape[:2] != (header.rows, header.columns) or colour.ndim != 3 or colour.shape[2] not in (3, 4):
        raise unusable("E_DECODE_FAILED", f"colour image of shape {colour.shape}, wanted rows × columns × 3")
    samples = colour[:, :, :3].astype(np.float32)
    return _as_bytes(samples * np.float32(1 if colour.dtype == np.uint8 else 255 / 65535))


def _usual_colour(level: NDArray[np.float32], colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, columns, 2): R − G and B − G that the B-mode map gives to each pixel's grey level."""
    lit = level > _LIT
    if not lit.any() or np.abs(np.median(colour[lit] / level[lit][:, None], axis=0)).max() <= _GREY_MAP:
        return np.zeros_like(colour)
    known, usual = [0.0], [np.zeros(2)]
    for band in range(0, 256, 16):
        here = lit & (level >= band) & (level < band + 16)
        if here.sum() >= _COMMON * lit.sum():
            known.append(float(level[here].mean()))
            usual.append(np.median(colour[here], axis=0))
    levels, colours = np.array(known), np.array(usual, dtype=np.float64)
    white = np.median(colours[1:] / levels[1:, None], axis=0) * 256
    levels, colours = _without_jumps(np.append(levels, 256.0), np.vstack([colours, white]))
    between = [np.interp(level, levels, colours[:, sample]) for sample in (0, 1)]
    return np.stack(between, axis=-1).astype(np.float32)


def _without_jumps(
    level: NDArray[np.float64], colour: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out bands that Doppler has most of: a map's colours do not jump away and back from level to level."""
    share = (level[1:-1] - level[:-2]) / (level[2:] - level[:-2])
    expected = colour[:-2] + share[:, None] * (colour[2:] - colour[:-2])
    smooth = np.abs(colour[1:-1] - expected).max(axis=1) <= _CLEAR
    kept = np.array([True, *smooth, True])
    return level[kept], colour[kept]


def _as_bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
