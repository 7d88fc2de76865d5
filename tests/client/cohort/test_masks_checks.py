"""What a region of interest is held against before it is used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import REMEDIES
from fl_liver.client.cohort.lesions.roi_checks import (
    largest_diameter_mm,
    present_labels,
    roi_faults,
    sphere_diameter_mm,
    volume_ml,
)
from fl_liver.client.cohort.series.grid import Grid, Mask

GRID = Grid((20, 40, 50), (0.0, 0.0, 0.0), (0.0, 0.0, 5.0), (0.0, 2.0, 0.0), (1.0, 0.0, 0.0))


def block(*where: tuple[int, int], label: int = 1, into: NDArray[np.uint16] | None = None) -> NDArray[np.uint16]:
    labels = np.zeros(GRID.shape, dtype=np.uint16) if into is None else into
    labels[tuple(slice(*part) for part in where)] = label
    return labels


INSIDE = ((5, 8), (10, 20), (10, 30))


def test_a_lesion_in_the_middle_has_no_fault() -> None:
    assert roi_faults(Mask(block(*INSIDE), GRID), GRID) == []


def test_a_mask_stored_upside_down_is_judged_alike() -> None:
    down = Grid(GRID.shape, (0.0, 0.0, 95.0), (0.0, 0.0, -5.0), GRID.row_step_mm, GRID.column_step_mm)
    assert roi_faults(Mask(block(*INSIDE)[::-1], down), GRID) == []


@pytest.mark.parametrize(
    ("where", "cause"),
    [
        (((0, 3), (10, 20), (10, 30)), "drawn up to the first or last slice"),
        (((17, 20), (10, 20), (10, 30)), "drawn up to the first or last slice"),
        (((5, 8), (0, 10), (10, 30)), "drawn up to the first or last row"),
        (((5, 8), (30, 40), (10, 30)), "drawn up to the first or last row"),
        (((5, 8), (10, 20), (0, 20)), "drawn up to the first or last column"),
        (((0, 3), (10, 20), (30, 50)), "drawn up to the first or last slice and column"),
    ],
)
def test_a_lesion_at_the_edge_may_not_be_whole(where: Any, cause: str) -> None:
    assert roi_faults(Mask(block(*where), GRID), GRID) == [("W_ROI_TOUCHES_EDGE", cause)]


@pytest.mark.parametrize(
    ("where", "diameter"),
    [
        (((5, 6), (10, 12), (10, 13)), "4.86"),  # 6 voxels of 10 mm³: (6 · 60 / π)^(1/3)
        (None, "426"),  # 1000 voxels of 40 × 25 × 40.6 mm³
    ],
)
def test_a_lesion_too_small_or_too_large_is_looked_at(where: Any, diameter: str) -> None:
    if where is not None:
        mask, grid = Mask(block(*where), GRID), GRID
    else:
        grid = Grid((12, 12, 12), (0.0, 0.0, 0.0), (0.0, 0.0, 40.0), (0.0, 25.0, 0.0), (40.6, 0.0, 0.0))
        labels = np.zeros(grid.shape, dtype=np.uint16)
        labels[1:11, 1:11, 1:11] = 1
        mask = Mask(labels, grid)
    cause = f"label 1 has the volume of a sphere of {diameter} mm"
    assert roi_faults(mask, grid) == [("W_ROI_VOLUME", cause)]


def test_each_label_is_judged_by_itself() -> None:
    """A large lesion beside it does not make a speck one."""
    labels = block((12, 13), (30, 31), (40, 41), label=9, into=block(*INSIDE))
    (fault,) = roi_faults(Mask(labels, GRID), GRID)
    assert fault == ("W_ROI_VOLUME", "label 9 has the volume of a sphere of 2.67 mm")


def test_labels_that_the_study_does_not_know_are_refused() -> None:
    labels = block((12, 15), (30, 35), (35, 45), label=9, into=block(*INSIDE))
    assert roi_faults(Mask(labels, GRID), GRID, allowed=[1, 9]) == []
    found = roi_faults(Mask(labels, GRID), GRID, allowed=[1])
    assert found == [("E_ROI_LABELS", "label 9 among 2, which the study does not know")]


def test_an_empty_mask_and_one_of_another_grid_are_faults_not_errors() -> None:
    empty = Mask(np.zeros(GRID.shape, dtype=np.uint16), GRID)
    assert [code for code, _ in roi_faults(empty, GRID)] == ["E_ROI_EMPTY"]
    beside = Grid(GRID.shape, (0.4, 0.0, 0.0), GRID.slice_step_mm, GRID.row_step_mm, GRID.column_step_mm)
    assert [code for code, _ in roi_faults(Mask(block(*INSIDE), beside), GRID)] == ["E_ROI_GRID_MISMATCH"]


def test_every_code_has_a_remedy() -> None:
    assert {"E_ROI_EMPTY", "E_ROI_GRID_MISMATCH", "E_ROI_LABELS", "W_ROI_TOUCHES_EDGE", "W_ROI_VOLUME"} <= set(REMEDIES)


def test_volume_counts_voxels() -> None:
    """By hand: 3 · 10 · 20 voxels of 5 · 2 · 1 mm³ are 6 ml."""
    mask = Mask(block((12, 13), (30, 31), (40, 41), label=9, into=block(*INSIDE)), GRID)
    assert volume_ml(mask, 1) == pytest.approx(6.0)
    assert volume_ml(mask, 9) == pytest.approx(0.01)
    assert volume_ml(mask) == pytest.approx(6.01)
    assert present_labels(mask) == [1, 9]


def test_sphere_diameter_is_that_of_a_drawn_sphere() -> None:
    grid = Grid((60, 60, 60), (0.0, 0.0, 0.0), (0.0, 0.0, 0.7), (0.0, 0.6, 0.0), (0.5, 0.0, 0.0))
    index = np.stack(np.meshgrid(*(np.arange(60),) * 3, indexing="ij"), axis=-1)
    inside = np.linalg.norm(grid.position_mm(index) - [15, 18, 21], axis=-1) <= 12
    assert sphere_diameter_mm(Mask(inside.astype(np.uint16), grid)) == pytest.approx(24, rel=0.005)


def test_the_largest_diameter_lies_in_one_slice() -> None:
    """By hand: 10 rows of 2 mm and 20 columns of 1 mm have the diagonal √(20² + 20²); slices do not add to it."""
    mask = Mask(block((2, 15), (10, 20), (10, 30)), GRID)
    assert largest_diameter_mm(mask) == pytest.approx(math.hypot(20, 20))
    assert largest_diameter_mm(Mask(block((2, 3), (5, 6), (7, 8)), GRID)) == pytest.approx(math.hypot(2, 1))
    assert largest_diameter_mm(Mask(np.zeros(GRID.shape, dtype=np.uint16), GRID)) == 0
    assert largest_diameter_mm(mask, label=2) == 0
