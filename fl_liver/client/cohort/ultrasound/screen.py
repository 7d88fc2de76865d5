"""From the screen of an ultrasound machine to the scan alone: which rows and columns are image.

The header says it where the machine wrote SequenceOfUltrasoundRegions (PS3.3 C.8.5.5); else the pixels do
(`scan_area`); else the image is not used. Names and dates stand on the screen round the scan, so this is also what
keeps them away from a network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import counted, unusable
from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.region import UltrasoundRegion
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.ultrasound.burned_text import text_lines
from fl_liver.client.cohort.ultrasound.scan_area import scan_edges
from fl_liver.client.cohort.ultrasound.window import Window

MIN_SIDE_PX = 64
MIN_SHARE = 0.10
"""A window has at least this side, and this share of the frame: less is a body mark, a colour bar or a thumbnail."""
_TWO_D, _TISSUE = 1, 1
_BEYOND = 0.01
"""Share of a side by which a region may leave the frame and is cut. Further out it was written for a frame of another
size, as in a screen that was made smaller after it was described, and neither its edges nor its scale are true."""
_WHOLE = 0.98
"""A region with this share of the frame leaves nothing beside it: text would lie inside."""


def find_window(header: Header, grey: NDArray[np.generic], holding: tuple[float, float] | None = None) -> Window:
    """The scan on the screen: the largest tissue region of the header, else what the pixels show.

    Args:
        grey: (rows, columns), or some frames of one clip as (frames, rows, columns), as `read.pixels` gives them.
            They are looked at only where the header describes no region.
        holding: row and column of a box's centre; of a dual view, the region round it is taken instead of the largest.
    Raises:
        UnusableError: E_US_NO_CROP.
    """
    described = header_windows(header)
    if described:
        return next((one for one in described if holding is not None and one.holds(*holding)), described[0])
    edges = scan_edges(eight_bit(header, grey))
    if edges is None:
        raise unusable("E_US_NO_CROP", "no region in the header, and no scan is seen on the screen")
    window = Window(*edges, mm_per_px=None, source="pixels")
    if not _sensible(window, header.rows, header.columns):
        found = f"{window.rows} × {window.columns} pixels of {header.rows} × {header.columns}"
        raise unusable("E_US_NO_CROP", f"no region in the header, and the largest bright part has {found}")
    return window


def header_windows(header: Header) -> tuple[Window, ...]:
    """One window for each usable two-dimensional tissue region, the largest first; a dual view has two.

    Empty where a region, of whatever kind, lies so far outside the frame that it was written for another frame.
    """
    shape = (header.rows, header.columns)
    regions = [one for one in header.regions if one.x_max_px > one.x_min_px and one.y_max_px > one.y_min_px]
    if any(_foreign(one, *shape) for one in regions):
        return ()
    windows = [_clipped(one, *shape) for one in regions if (one.spatial_format, one.data_type) == (_TWO_D, _TISSUE)]
    usable = [window for window in windows if _sensible(window, *shape)]
    return tuple(sorted(usable, key=lambda one: (-one.rows * one.columns, one.column_min_px, one.row_min_px)))


def screen_faults(header: Header, window: Window | None = None, grey: NDArray[np.generic] | None = None) -> list[Fault]:
    """What one image's screen gives reason to say: W_US_CINE, W_US_NO_PIXEL_SIZE, W_BURNED_IN, E_BURNED_IN.

    Text beside a region of the header is cut away and needs no word, unless the header declares it; text inside is
    mostly the operator's notes, and a person should look. A window that was guessed from the pixels, or a region that
    is the whole screen, may hold text that names somebody: then the image is not used.

    Args:
        window: from `find_window`; without it the header alone is judged, before anything is decoded.
        grey: (rows, columns), or frames of a clip, of which the first is searched for text; None searches nothing.
    """
    window = window or next(iter(header_windows(header)), None)
    faults: list[Fault] = []
    if header.frames > 1:
        faults.append(("W_US_CINE", f"a clip of {header.frames} frames"))
    if window is None or window.mm_per_px is None:
        faults.append(("W_US_NO_PIXEL_SIZE", "no region with a pixel size in cm"))
    cut_away = window is not None and window.source == "header" and not _whole(window, header)
    if header.burned_in:
        code = "W_BURNED_IN" if cut_away else "E_BURNED_IN"
        where = "an image region is described" if cut_away else "no image region is described"
        faults.append((code, f"the header declares burned-in text; {where}"))
    elif window is not None and grey is not None:
        faults += _text_faults(eight_bit(header, grey), window, cut_away=cut_away)
    return faults


def eight_bit(header: Header, grey: NDArray[np.generic]) -> NDArray[np.generic]:
    """Grey levels as 0..255, whatever the depth of the file; 8-bit, colour and palette images come back as they are."""
    if header.samples > 1 or header.photometric == "PALETTE COLOR" or header.bits_stored <= 8 or header.slope == 0:
        return grey
    if grey.max(initial=0) <= 255:  # 8-bit levels in 16-bit words
        return grey
    stored = (grey.astype(np.float32) - np.float32(header.intercept)) / np.float32(header.slope)
    scaled: NDArray[np.float32] = stored * np.float32(255 / ((1 << header.bits_stored) - 1))
    return scaled


def _text_faults(grey: NDArray[np.generic], window: Window, *, cut_away: bool) -> list[Fault]:
    image = grey[0] if grey.ndim == 3 else grey
    inside = len(text_lines(window.cut(image)))
    if cut_away:
        return [("W_BURNED_IN", f"{counted(inside, 'line')} of text inside the image region")] if inside else []
    if inside:
        seen = "what looks like the scan" if window.source == "pixels" else "the region, which is the whole screen"
        return [("E_BURNED_IN", f"no image region is described, and {counted(inside, 'line')} of text in {seen}")]
    outside = len(text_lines(image))
    return [("W_BURNED_IN", f"{counted(outside, 'line')} of text beside what looks like the scan")] if outside else []


def _whole(window: Window, header: Header) -> bool:
    return window.rows * window.columns >= _WHOLE * header.rows * header.columns


def _foreign(region: UltrasoundRegion, rows: int, columns: int) -> bool:
    over = (-region.x_min_px, region.x_max_px + 1 - columns, -region.y_min_px, region.y_max_px + 1 - rows)
    return any(px > max(2.0, _BEYOND * side) for px, side in zip(over, (columns, columns, rows, rows), strict=True))


def _clipped(region: UltrasoundRegion, rows: int, columns: int) -> Window:
    """The upper pixels belong to a DICOM region."""
    top, bottom = max(0, region.y_min_px), min(rows, region.y_max_px + 1)
    left, right = max(0, region.x_min_px), min(columns, region.x_max_px + 1)
    return Window(top, bottom, left, right, mm_per_px=region.mm_per_px, source="header")


def _sensible(window: Window, rows: int, columns: int) -> bool:
    large = window.rows * window.columns >= MIN_SHARE * rows * columns
    return large and min(window.rows, window.columns) >= MIN_SIDE_PX
