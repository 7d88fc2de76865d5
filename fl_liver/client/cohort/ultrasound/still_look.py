"""One ultrasound file looked at as a check does: the frames asked for, its window, and what its screen gives to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.read.header import Header
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.ultrasound.colour import doppler_faults, read_colour
from fl_liver.client.cohort.ultrasound.screen import find_window, screen_faults


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """grey: (k, rows, columns), whole frames; faults: codes of the screen and of colour."""

    grey: NDArray[np.generic]
    faults: tuple[Fault, ...] = field(default=())
    mm_per_px: float | None = None


def look_at_still(path: Path, header: Header, frames: Sequence[int]) -> Still:
    """Decode some frames and judge the first.

    Raises:
        UnusableError: the file cannot be decoded, or E_US_NO_CROP.
    """
    grey = read_frames(path, header, frames)
    window = find_window(header, grey)
    faults = screen_faults(header, window, grey[0])
    if header.samples == 3 or header.photometric == "PALETTE COLOR":
        faults += doppler_faults(header, read_colour(path, header, frames[0]), window)
    square = window.mm_per_px[0] if window.mm_per_px is not None else None
    return Still(grey, tuple(faults), square)
