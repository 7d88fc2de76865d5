"""Hits counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from fl_liver.client.explain.hit_rate import hit_rate, hits
from fl_liver.errors import DataError

MASK = np.zeros((4, 5), np.float32)
MASK[1:3, 1:3] = 1


def peak(*places: tuple[int, int], height: float = 1.0) -> NDArray[np.float32]:
    made = np.full((4, 5), 0.1, np.float32)
    for row, column in places:
        made[row, column] = height
    return made


def hit(heat: NDArray[np.float32], top: float | None = None) -> bool:
    return bool(hits(heat[None], MASK[None], top)[0])


def test_a_map_hits_where_its_maximum_lies_in_the_lesion() -> None:
    assert hit(peak((1, 2)))
    assert not hit(peak((0, 2)))
    assert not hit(peak((2, 1), height=0.5) + peak((3, 4)))


def test_of_maxima_that_tie_half_must_lie_inside() -> None:
    """A map of few positions, resized, has its maximum on many pixels."""
    assert hit(peak((1, 1), (3, 4)))
    assert not hit(peak((1, 1), (3, 4), (0, 0)))


def test_a_map_of_zeros_points_nowhere_and_misses() -> None:
    """Grad-CAM is 0 everywhere where nothing speaks for the class; its first pixel is no finding."""
    everywhere = np.ones((1, 4, 5), np.float32)
    assert not hits(np.zeros((1, 4, 5), np.float32), everywhere)[0]


def test_the_upper_share_asks_more_than_the_maximum() -> None:
    """A fifth of 20 pixels are 4: two of them inside are half, one is less."""
    heat = peak((1, 1), height=0.9) + peak((0, 0), (0, 1), height=0.6)
    assert hit(heat)
    assert not hit(heat + peak((3, 3), height=0.6), 0.2)
    assert hit(heat + peak((2, 2), height=0.6), 0.2)


def test_a_pixel_is_lesion_where_half_of_it_is_covered() -> None:
    covered = np.where(MASK > 0, np.float32(0.49), MASK)
    covered[2, 2] = 0.5
    assert hits(peak((2, 2))[None], covered[None])[0]
    assert not hits(peak((1, 1))[None], covered[None])[0]


def test_the_rate_has_the_exact_interval_and_says_what_chance_gives() -> None:
    """8 of 11, Clopper–Pearson by statsmodels."""
    maximum = np.arange(11) < 8
    rate = hit_rate(maximum, ~maximum, np.full(11, 0.2))
    assert (rate.maximum.x, rate.maximum.n, rate.top.x) == (8, 11, 3)
    assert rate.maximum.ci95 == pytest.approx(proportion_confint(8, 11, method="beta"))
    assert rate.by_chance == pytest.approx(0.2)


def test_images_without_a_lesion_and_unequal_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 masks are empty"):
        hits(np.ones((2, 4, 5), np.float32), np.stack([MASK, 0 * MASK]))
    with pytest.raises(DataError, match="wanted \\(images, rows, columns\\) twice"):
        hits(np.ones((1, 4, 4), np.float32), MASK[None])


def test_nobody_is_no_hit_and_no_error() -> None:
    assert hits(np.zeros((0, 4, 5), np.float32), np.zeros((0, 4, 5), np.float32)).shape == (0,)
    assert np.isnan(hit_rate(np.zeros(0, bool), np.zeros(0, bool), np.zeros(0)).maximum.estimate)
