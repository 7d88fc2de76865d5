"""Physical features, clusters and t-SNE on cases where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_liver.client.explain.clusters import by_probability, clustered
from fl_liver.client.explain.embedding import embedded
from fl_liver.client.explain.physical import in_hu, margins, physical, pixel_mm, solidity
from fl_liver.errors import ConfigError, DataError
from fl_liver.study_files import load_study

Drawn = NDArray[np.bool_]


def square(side: int, first: int, length: int) -> Drawn:
    made = np.zeros((side, side), bool)
    made[first : first + length, first : first + length] = True
    return made


def test_features_of_a_dark_square_are_those_worked_out_by_hand() -> None:
    """6 × 6 px of 0.5 mm: 9 mm². 20 HU in liver of 110 HU, its central 3 × 3 at 12 HU; edge 110 − 20; convex: 1."""
    drawn = square(16, 5, 6)
    hu = np.where(drawn, 20.0, 110.0)
    hu[7:10, 7:10] = 12.0
    hu[0, 0] = -900.0  # far from the margin
    found = physical(hu, drawn.astype(float), 0.5)
    assert found.area_mm2 == pytest.approx(9.0)
    assert found.edge_hu == pytest.approx(90.0)
    assert found.solidity == pytest.approx(1.0)
    # The middle of pixels 5 … 10 is 7.5, which rounds to the even 8: rows 7 … 9.
    assert found.centre_hu == pytest.approx(12.0)


def test_an_l_has_the_solidity_of_its_area_over_its_hull() -> None:
    """4 × 4 less 2 × 2: 12 px; the hull cuts the missing corner by its diagonal, 12 + 2 = 14."""
    drawn = square(8, 2, 4)
    drawn[2:4, 4:6] = False
    assert solidity(drawn) == pytest.approx(12 / 14)


def test_one_pixel_and_one_line_are_convex() -> None:
    assert solidity(square(5, 2, 1)) == pytest.approx(1)
    line = np.zeros((5, 5), bool)
    line[2, 1:4] = True
    assert solidity(line) == pytest.approx(1)


def test_the_margin_is_one_pixel_either_side() -> None:
    """3 × 3: 12 pixels outside along the sides, corners not; 8 inside."""
    outside, inside = margins(square(9, 3, 3))
    assert (outside.sum(), inside.sum()) == (12, 8)


def test_a_blurred_edge_is_less_sharp_than_a_clear_one() -> None:
    drawn = square(24, 8, 8).astype(float)
    clear = np.where(drawn > 0, 10.0, 100.0)
    blurred = clear.copy()
    for _ in range(8):
        blurred = (blurred + np.roll(blurred, 1, 0) + np.roll(blurred, -1, 0)) / 3
    assert physical(clear, drawn, 1).edge_hu == pytest.approx(90)
    assert physical(blurred, drawn, 1).edge_hu < 60


def test_a_nodule_that_fills_its_patch_has_no_outer_margin() -> None:
    assert np.isnan(physical(np.zeros((4, 4)), np.ones((4, 4)), 1).edge_hu)


def test_the_window_is_undone() -> None:
    assert in_hu(np.array([0.0, 0.5, 1.0], np.float16), (-50.0, 150.0)).tolist() == [-50.0, 50.0, 150.0]


def test_a_patch_without_a_nodule_or_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="of 0 px"):
        physical(np.zeros((4, 4)), np.zeros((4, 4)), 1)
    with pytest.raises(DataError, match="wanted a drawn nodule"):
        physical(np.zeros((4, 5)), np.ones((4, 4)), 1)


def test_physical_features_are_of_ct_patches_of_a_known_size() -> None:
    with pytest.raises(ConfigError, match="patch_mm"):
        pixel_mm(load_study("lesion_us_fusion"))


def test_k_means_finds_two_clouds_whatever_their_units() -> None:
    """The second column's spread is 1000 times the first one's and says nothing: columns are standardised."""
    random = np.random.default_rng(1)
    truth = np.repeat([1, 0], [12, 20])
    values = np.stack([truth + random.normal(0, 0.05, 32), random.normal(0, 300, 32)], 1)
    assert clustered(values, 2).tolist() == truth.tolist()


def test_clusters_are_numbered_by_their_first_column() -> None:
    assert clustered(np.array([[9.0], [1.0], [5.0], [9.1]]), 3).tolist() == [2, 0, 1, 2]


def test_probabilities_fall_into_six_clusters_or_one_for_five_nodules() -> None:
    of_many = by_probability(np.repeat([0.05, 0.2, 0.4, 0.6, 0.8, 0.95], 6))
    assert of_many.tolist() == np.repeat(range(6), 6).tolist()
    assert by_probability(np.linspace(0, 1, 11)).max() == 1
    assert by_probability(np.full(20, 0.5)).tolist() == [0] * 20


def test_k_means_of_too_few_or_of_what_is_not_finite_is_refused() -> None:
    with pytest.raises(DataError, match="1 different rows, wanted 2"):
        clustered(np.ones((5, 2)), 2)
    with pytest.raises(DataError, match="finite numbers"):
        clustered(np.array([[np.nan], [1.0]]), 2)


def test_t_sne_keeps_two_clusters_apart_and_draws_the_same_again() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1], 15)
    features = (random.normal(0, 1, (30, 16)) + 12 * truth[:, None]).astype(np.float32)
    places = embedded(features)
    assert places.shape == (30, 2)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(30)
    assert (truth[gaps.argmin(axis=1)] == truth).all()
    centres = np.stack([places[truth == k].mean(axis=0) for k in (0, 1)])
    spread = max(np.linalg.norm(places[truth == k] - centres[k], axis=1).max() for k in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > spread
    np.testing.assert_array_equal(embedded(features), places)


def test_t_sne_of_too_few_images_or_of_nan_is_refused() -> None:
    with pytest.raises(DataError, match="wanted 4 images"):
        embedded(np.zeros((3, 4), np.float32))
    with pytest.raises(DataError, match="not finite"):
        embedded(np.full((9, 4), np.nan, np.float32))
