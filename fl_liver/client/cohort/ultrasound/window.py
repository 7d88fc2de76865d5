"""The part of an ultrasound frame that is scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a frame that is scan: rows and columns from 0, upper edges excluded.

    mm_per_px   (rows, columns); None where the header does not give it
    source      who says so: the header, or the pixels
    """

    row_min_px: int
    row_max_px: int
    column_min_px: int
    column_max_px: int
    mm_per_px: tuple[float, float] | None
    source: Literal["header", "pixels"]

    @property
    def rows(self) -> int:
        return self.row_max_px - self.row_min_px

    @property
    def columns(self) -> int:
        return self.column_max_px - self.column_min_px

    def holds(self, row_px: float, column_px: float) -> bool:
        """Whether a point lies inside."""
        return self.row_min_px <= row_px < self.row_max_px and self.column_min_px <= column_px < self.column_max_px

    def cut(self, image: NDArray[_Value]) -> NDArray[_Value]:
        """The window out of (…, rows, columns), as a view."""
        return image[..., self.row_min_px : self.row_max_px, self.column_min_px : self.column_max_px]
