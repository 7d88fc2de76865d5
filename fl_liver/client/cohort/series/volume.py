"""The slices of one checked series as a volume, decoded once and in order."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError, unusable
from fl_liver.client.cohort.read.pixels import Grey, read_slices
from fl_liver.client.cohort.series.grid import Volume
from fl_liver.client.cohort.series.series import Series, Slice


def read_volume(series: Series) -> Volume:
    """Decode a usable series.

    Returns:
        int16 where every slice is whole numbers in its range (CT as Hounsfield units), else float32; slope and
        intercept are applied slice by slice.
    Raises:
        UnusableError: a slice cannot be decoded (the cause says which file, by its number in name order), or the series
            makes no volume.
    """
    if series.grid is None:
        raise unusable("E_NO_GEOMETRY", "the slices of the series make no volume")
    values: NDArray[np.int16] | NDArray[np.float32] = np.empty(series.grid.shape, dtype=np.int16)
    place = 0
    for _, group in groupby(series.members, key=lambda one: one.path):
        for image in _slices_of(list(group)):
            if image.dtype == np.float32 and values.dtype == np.int16:
                values = values.astype(np.float32)
            values[place] = image
            place += 1
    return Volume(values, series.grid, series.header.frame_uid, tuple(one.header.sop_uid for one in series.members))


def _slices_of(slices: list[Slice]) -> list[Grey]:
    try:
        return read_slices(slices[0].path, [one.header for one in slices])
    except UnusableError as error:
        raise unusable(error.code, f"file {slices[0].number} in name order: {error.cause}") from None
