"""A lattice of voxels in the patient, and the images and masks that lie on it.

Arrays are (slices, rows, columns). Positions are in mm in DICOM patient coordinates (LPS: left, posterior and superior
grow). Direction cosines are never dropped: carried by origin and spacing alone, a region drawn on T2 lands 25 mm off
in a series that is 8° oblique.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Grid:
    """Where voxels lie. Voxel (k, i, j) has its centre at origin + k·slice_step + i·row_step + j·column_step.

    shape            slices, rows, columns
    origin_mm        centre of voxel (0, 0, 0)
    slice_step_mm    from one slice to the next; not always perpendicular to the slices (gantry tilt)
    row_step_mm      from one row to the next: down the image
    column_step_mm   from one column to the next: along a row
    """

    shape: tuple[int, int, int]
    origin_mm: Triple
    slice_step_mm: Triple
    row_step_mm: Triple
    column_step_mm: Triple

    @property
    def steps_mm(self) -> NDArray[np.float64]:
        """(3, 3): one row for each array axis, so that `index @ steps_mm + origin_mm` is a position."""
        return np.array([self.slice_step_mm, self.row_step_mm, self.column_step_mm], dtype=np.float64)

    @property
    def spacing_mm(self) -> Triple:
        """Lengths of the steps: slice, row, column."""
        slices, rows, columns = (float(length) for length in np.linalg.norm(self.steps_mm, axis=1))
        return slices, rows, columns

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) unit vector perpendicular to the slices, on the side to which slices are counted."""
        slices, rows, columns = self.steps_mm
        normal: NDArray[np.float64] = np.cross(columns, rows)
        normal /= np.linalg.norm(normal)
        return normal if float(normal @ slices) >= 0 else -normal

    @property
    def voxel_mm3(self) -> float:
        return abs(float(np.linalg.det(self.steps_mm)))

    def position_mm(self, index: ArrayLike) -> NDArray[np.float64]:
        """(…, 3) indices (slice, row, column), fractions allowed → (…, 3) positions.

        >>> grid = Grid((2, 4, 4), (0, 0, 0), (0, 0, 5), (0, 2, 0), (1, 0, 0))
        >>> grid.position_mm([1, 0, 3]).tolist()
        [3.0, 0.0, 5.0]
        """
        found: NDArray[np.float64] = np.asarray(index, dtype=np.float64) @ self.steps_mm + np.array(self.origin_mm)
        return found

    def index_of(self, position_mm: ArrayLike) -> NDArray[np.float64]:
        """The inverse of `position_mm`: fractional indices, also outside the grid."""
        offset = np.asarray(position_mm, dtype=np.float64) - np.array(self.origin_mm)
        found: NDArray[np.float64] = offset @ np.linalg.inv(self.steps_mm)
        return found

    def agrees_with(self, other: Grid, tolerance_mm: float = 0.1) -> bool:
        """Whether the shapes are equal and no corner lies further than `tolerance_mm` from its fellow."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*([0, n - 1] for n in self.shape), indexing="ij")).reshape(3, -1).T
        return bool(np.abs(self.position_mm(corners) - other.position_mm(corners)).max() <= tolerance_mm)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """An image on a grid.

    values     (slices, rows, columns); int16 HU or stored units where exact, else float32
    frame_uid  FrameOfReferenceUID: two volumes share positions only where it is the same
    sop_uids   of each slice, in order; one for all frames of a multi-frame file
    """

    values: NDArray[np.int16] | NDArray[np.float32]
    grid: Grid
    frame_uid: str = field(repr=False)
    sop_uids: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """What a person or a program drew.

    labels      (slices, rows, columns) uint16; 0 is background
    names       label → its name, where the file says one
    frame_uid   "" where the file does not say (NIfTI, NRRD, MHA)
    references  SOPInstanceUIDs of the images that it was drawn on; empty where the file does not say
    """

    labels: NDArray[np.uint16]
    grid: Grid
    names: dict[int, str] = field(default_factory=dict)
    frame_uid: str = field(default="", repr=False)
    references: frozenset[str] = field(default=frozenset(), repr=False)


def to_sitk(values: NDArray[Any], grid: Grid) -> Any:
    """A SimpleITK image of the same voxels in the same places."""
    import SimpleITK  # a third of a second; most commands never need it

    image = SimpleITK.GetImageFromArray(values)
    spacing = np.array(grid.spacing_mm)
    image.SetOrigin([float(v) for v in grid.origin_mm])
    image.SetSpacing([float(v) for v in spacing[::-1]])
    # SimpleITK counts x, y, z = column, row, slice; the columns of its direction matrix are the unit steps.
    directions = (grid.steps_mm / spacing[:, None])[::-1].T
    image.SetDirection([float(v) for v in directions.ravel()])
    return image


def from_sitk(image: Any) -> tuple[NDArray[Any], Grid]:
    """Voxels and grid of a three-dimensional SimpleITK image."""
    import SimpleITK

    spacing = np.array(image.GetSpacing())
    steps = (np.array(image.GetDirection()).reshape(3, 3) * spacing).T[::-1]
    slices, rows, columns = (triple(step) for step in steps)
    size = image.GetSize()
    grid = Grid((size[2], size[1], size[0]), triple(np.array(image.GetOrigin())), slices, rows, columns)
    return SimpleITK.GetArrayFromImage(image), grid


def triple(vector: NDArray[np.float64]) -> Triple:
    """Three floats of an array of three."""
    x, y, z = (float(v) for v in vector)
    return x, y, z
