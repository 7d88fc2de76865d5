"""A lesion carried between sequences: truth is a shape at a known place in the patient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.lesions.carry import CarryRules, carry, carry_image, carry_labels, resampling_grid
from fl_liver.client.cohort.series.grid import Grid, Mask, Triple, Volume

FRAME = "1.2.3"
CENTRE_MM = np.array([62.0, -31.0, 18.0])
RADIUS_MM = 18.0
T2_SPACING: Triple = (7.7, 1.2, 1.2)


def placed(
    spacing_mm: Triple, shape: tuple[int, int, int], *, turned_deg: float = 0.0, shift_mm: Triple = (0.0, 0.0, 0.0)
) -> Grid:
    """A grid around the middle of the body, turned about the x axis and then shifted."""
    a = math.radians(turned_deg)
    x, y, z = np.array([[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]])
    steps = np.array([z, y, x]) * np.array(spacing_mm)[:, None]
    origin = -(np.array(shape) - 1) / 2 @ steps + np.array(shift_mm)
    return Grid(shape, tuple(origin), *(tuple(step) for step in steps))


def positions(grid: Grid) -> NDArray[np.float64]:
    """(slices, rows, columns, 3) in mm."""
    return grid.position_mm(np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1))


def sphere(grid: Grid, radius_mm: float = RADIUS_MM, centre_mm: NDArray[np.float64] = CENTRE_MM) -> NDArray[np.uint16]:
    inside: NDArray[np.bool_] = np.linalg.norm(positions(grid) - centre_mm, axis=-1) <= radius_mm
    return inside.astype(np.uint16)


def image(grid: Grid, frame_uid: str = FRAME) -> Volume:
    """A bright ball without edges at the lesion's place, on a grey of −5."""
    distance = np.linalg.norm(positions(grid) - CENTRE_MM, axis=-1)
    return Volume((100 * np.exp(-((distance / 15) ** 2)) - 5).astype(np.float32), grid, frame_uid)


def centroid_mm(weights: NDArray[Any], grid: Grid) -> NDArray[np.float64]:
    """Mean position, each voxel with its weight."""
    middle: NDArray[np.float64] = (positions(grid) * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()
    return middle


T2 = placed(T2_SPACING, (25, 130, 170))
DWI = placed((6.0, 1.6, 1.6), (36, 120, 130), turned_deg=8.0, shift_mm=(7.0, -9.0, 4.0))
RULES = CarryRules()


def drawn(grid: Grid = T2, **change: Any) -> Mask:
    return replace(Mask(sphere(grid), grid, frame_uid=FRAME), **change)


def test_a_lesion_lands_within_half_a_voxel_at_eight_degrees() -> None:
    """The mask and the oblique image agree with the true place, on 7 × 0.7 × 0.7 mm."""
    carried = carry(drawn(), "t2", {"t2": image(T2), "dwi": image(DWI)}, RULES)
    half = np.array([7.0, 0.7, 0.7]) / 2
    for weights in (carried.mask > 0, *(one + 5 for one in carried.images.values())):
        off = carried.grid.index_of(centroid_mm(weights, carried.grid)) - carried.grid.index_of(CENTRE_MM)
        assert (np.abs(off * carried.grid.spacing_mm) < half).all()
    truth = sphere(carried.grid) > 0
    dice = 2 * np.count_nonzero(truth & (carried.mask > 0)) / (truth.sum() + np.count_nonzero(carried.mask))
    assert dice > 0.9  # 0.93 is what 7 mm slices allow
    assert set(carried.images) == {"t2", "dwi"}
    assert {one.shape for one in carried.images.values()} == {carried.mask.shape}
    assert carried.faults == ()


def test_carried_by_origin_and_spacing_alone_the_lesion_is_elsewhere() -> None:
    """Without the direction cosines the same oblique image puts the lesion centimetres away."""
    slices, rows, columns = DWI.spacing_mm
    upright = Grid(DWI.shape, DWI.origin_mm, (0.0, 0.0, slices), (0.0, rows, 0.0), (columns, 0.0, 0.0))
    dropped = Volume(image(DWI).values, upright, FRAME)
    carried = carry(drawn(), "t2", {"t2": image(T2), "dwi": dropped}, RULES)
    off_mm = np.linalg.norm(centroid_mm(carried.images["dwi"] + 5, carried.grid) - CENTRE_MM)
    assert off_mm > 15


def test_the_common_grid_is_that_of_the_sequence_drawn_on() -> None:
    whole = resampling_grid(T2, RULES.spacing_mm)
    carried = carry(drawn(), "t2", {"t2": image(T2)}, RULES)
    assert carried.grid.spacing_mm == pytest.approx((7.0, 0.7, 0.7))
    first = whole.index_of(carried.grid.origin_mm)
    np.testing.assert_allclose(first, np.rint(first), atol=1e-6)
    everything = carry(drawn(), "t2", {"t2": image(T2)}, RULES, None)
    assert everything.grid == whole
    block = tuple(slice(a, a + n) for a, n in zip(np.rint(first).astype(int), carried.grid.shape, strict=True))
    np.testing.assert_array_equal(everything.mask[block], carried.mask)
    np.testing.assert_allclose(everything.images["t2"][block], carried.images["t2"], atol=1e-3)
    assert np.count_nonzero(everything.mask) == np.count_nonzero(carried.mask)


@pytest.mark.parametrize("margin_mm", [0.0, 20.0])
def test_the_margin_is_kept_on_all_sides(margin_mm: float) -> None:
    carried = carry(drawn(), "t2", {"t2": image(T2)}, RULES, margin_mm)
    where = np.argwhere(carried.mask)
    spare = np.minimum(where.min(axis=0), np.array(carried.mask.shape) - 1 - where.max(axis=0))
    assert (spare * carried.grid.spacing_mm >= margin_mm).all()
    assert (spare * carried.grid.spacing_mm <= margin_mm + 2 * np.array(T2_SPACING)).all()


def test_outside_its_field_of_view_an_image_is_as_dark_as_its_air() -> None:
    low = placed((6.0, 1.6, 1.6), (12, 150, 160), shift_mm=(0.0, 0.0, 18.0))
    carried = carry(drawn(), "t2", {"t2": image(T2), "dwi": image(low)}, RULES, 60.0)
    beyond = low.index_of(positions(carried.grid))[..., 0] > low.shape[0]
    assert beyond.any()
    assert np.unique(carried.images["dwi"][beyond]).tolist() == [float(image(low).values.min())]


def test_whole_hounsfield_units_are_carried_as_numbers() -> None:
    """A ramp of whole numbers along x comes back as the ramp, everywhere up to the edge."""
    ramp = np.round(positions(T2)[..., 0]).astype(np.int16)
    grid = resampling_grid(T2, (7.0, 0.7, 0.7))
    carried = carry_image(Volume(ramp, T2, FRAME), grid)
    assert carried.dtype == np.float32
    assert float(np.abs(carried - positions(grid)[..., 0]).max()) < 0.8


@pytest.mark.parametrize("radius_mm", [5.0, 6.0, 8.0])
def test_a_small_lesion_on_thick_slices_is_not_lost(radius_mm: float) -> None:
    """Gaussian label interpolation leaves nothing of a lesion on one slice, and a third of one of 12 mm."""
    centre = T2.position_mm((12, 60, 90))
    labels = sphere(T2, radius_mm, centre)
    grid = resampling_grid(T2, (7.0, 0.7, 0.7))
    carried = carry_labels(Mask(labels, T2), grid)
    ml = np.count_nonzero(carried) * grid.voxel_mm3
    assert ml == pytest.approx(np.count_nonzero(labels) * T2.voxel_mm3, rel=0.2)


def test_touching_labels_stay_apart_and_whole() -> None:
    labels = sphere(T2)
    labels[(labels > 0) & (positions(T2)[..., 0] > CENTRE_MM[0])] = 7
    carried = carry(drawn(labels=labels), "t2", {"t2": image(T2)}, RULES)
    assert np.unique(carried.mask).tolist() == [0, 1, 7]
    right = positions(carried.grid)[..., 0] > CENTRE_MM[0]
    both = carried.mask > 0
    assert np.count_nonzero((carried.mask == 7) != (both & right)) < 0.06 * np.count_nonzero(both)


def test_a_mask_stored_upside_down_is_carried_alike() -> None:
    up = drawn()
    origin = T2.position_mm((24, 0, 0))
    down = Grid(T2.shape, tuple(origin), tuple(-v for v in T2.slice_step_mm), T2.row_step_mm, T2.column_step_mm)  # type: ignore[arg-type]
    flipped = drawn(labels=up.labels[::-1], grid=down)
    one, two = (carry(mask, "t2", {"t2": image(T2)}, RULES) for mask in (up, flipped))
    np.testing.assert_array_equal(one.mask, two.mask)


@pytest.mark.parametrize(("turned_deg", "warned"), [(19.0, False), (21.0, True), (44.0, True)])
def test_turned_slices_are_warned_of(turned_deg: float, warned: bool) -> None:
    turned = placed((6.0, 1.6, 1.6), (40, 150, 160), turned_deg=turned_deg)
    carried = carry(drawn(), "t2", {"t2": image(T2), "dwi": image(turned)}, RULES)
    expected = (("W_ROI_ANGLE", f"dwi slices are turned by {turned_deg:.0f}°"),) if warned else ()
    assert carried.faults == expected


def test_slices_counted_the_other_way_are_not_turned() -> None:
    """Head to feet or feet to head is one orientation."""
    origin = T2.position_mm((24, 0, 0))
    down = Grid(T2.shape, tuple(origin), tuple(-v for v in T2.slice_step_mm), T2.row_step_mm, T2.column_step_mm)  # type: ignore[arg-type]
    carried = carry(drawn(), "t2", {"t2": image(T2), "dwi": image(down)}, RULES)
    assert carried.faults == ()
    np.testing.assert_allclose(carried.images["dwi"], carried.images["t2"], atol=1e-3)


def test_slices_turned_too_far_are_refused() -> None:
    turned = image(placed((6.0, 1.6, 1.6), (40, 150, 160), turned_deg=46.0))
    with pytest.raises(UnusableError, match="E_ROI_ANGLE: dwi slices are turned by 46°, at most 45° is taken"):
        carry(drawn(), "t2", {"t2": image(T2), "dwi": turned}, RULES)


@pytest.mark.parametrize("frame_uid", ["1.2.4", ""])
def test_another_frame_of_reference_is_refused_unless_the_study_allows_it(frame_uid: str) -> None:
    volumes: Any = {"t2": image(T2), "dwi": image(DWI, frame_uid)}
    with pytest.raises(UnusableError, match="E_ROI_FRAME: the dwi series has another frame of reference, or none"):
        carry(drawn(), "t2", volumes, RULES)
    assert carry(drawn(), "t2", volumes, CarryRules(other_frames=True)).mask.any()


def test_two_series_without_a_frame_of_reference_share_none() -> None:
    volumes: Any = {"t2": image(T2, ""), "dwi": image(DWI, "")}
    with pytest.raises(UnusableError, match="E_ROI_FRAME: the dwi series"):
        carry(drawn(frame_uid=""), "t2", volumes, RULES)


def test_a_region_of_another_frame_than_its_own_series_is_refused() -> None:
    with pytest.raises(UnusableError, match="E_ROI_FRAME: the region has another frame of reference than the t2"):
        carry(drawn(frame_uid="1.2.4"), "t2", {"t2": image(T2)}, RULES)
    assert carry(drawn(frame_uid=""), "t2", {"t2": image(T2)}, RULES).mask.any()


@pytest.mark.parametrize(("seen", "taken"), [(0.94, False), (0.96, True), (0.5, False), (0.0, False)])
def test_a_sequence_must_hold_the_lesion(seen: float, taken: bool) -> None:
    """A cube of 100 rows of voxels, of which the target holds the first `seen`."""
    grid = placed((1.0, 1.0, 1.0), (12, 120, 24))
    labels = np.zeros(grid.shape, dtype=np.uint16)
    labels[4:8, 10:110, 8:16] = 1
    rows = 10 + round(100 * seen)
    low = Grid((12, rows, 24), grid.origin_mm, grid.slice_step_mm, grid.row_step_mm, grid.column_step_mm)
    volumes: Any = {"t2": image(grid), "dwi": image(low)}
    rules = CarryRules(spacing_mm=None)
    if taken:
        assert carry(Mask(labels, grid), "t2", volumes, rules).mask.any()
        return
    with pytest.raises(UnusableError, match=f"E_ROI_OUT_OF_FOV: {seen:.0%} of the lesion lies within the dwi series"):
        carry(Mask(labels, grid), "t2", volumes, rules)


@pytest.mark.parametrize(("shift_mm", "taken"), [(0.5, True), (0.51, False)])
def test_half_a_voxel_outside_is_still_inside(shift_mm: float, taken: bool) -> None:
    """A voxel reaches half its size beyond its centre: positions there are within the field of view."""
    grid = placed((1.0, 1.0, 1.0), (10, 10, 10))
    target = placed((1.0, 1.0, 1.0), (10, 10, 10), shift_mm=(0.0, shift_mm, 0.0))
    labels = np.zeros(grid.shape, dtype=np.uint16)
    labels[2:8, 0:2, 2:8] = 1
    volumes: Any = {"t2": image(grid), "dwi": image(target)}
    rules = CarryRules(spacing_mm=None)
    if taken:
        assert carry(Mask(labels, grid), "t2", volumes, rules).mask.any()
        return
    with pytest.raises(UnusableError, match="E_ROI_OUT_OF_FOV: 50% of the lesion"):
        carry(Mask(labels, grid), "t2", volumes, rules)


def test_a_lesion_that_changes_its_volume_is_refused() -> None:
    """By hand: one slice of 5 mm whose centre is that of a slice of 7 mm becomes about 7/5 of its volume."""
    grid = placed((5.0, 0.8, 0.8), (20, 100, 100))
    labels = np.zeros(grid.shape, dtype=np.uint16)
    labels[3, 40:50, 40:50] = 4
    with pytest.raises(UnusableError, match=r"E_ROI_VOLUME_CHANGED: label 4: 0.32 ml drawn, 0.45. ml carried"):
        carry(Mask(labels, grid), "t2", {"t2": image(grid)}, RULES)
    lenient = CarryRules(most_volume_change=0.6)
    assert carry(Mask(labels, grid), "t2", {"t2": image(grid)}, lenient).mask.any()


@pytest.mark.parametrize("spacing_mm", [(3.0, 1.2, 1.2), (5.0, 0.8, 0.8), (7.7, 1.2, 1.2)])
@pytest.mark.parametrize("diameter_mm", [15.0, 20.0])
def test_lesions_of_few_slices_are_not_refused_for_being_few_slices(spacing_mm: Triple, diameter_mm: float) -> None:
    """Whole slices of 7.7 mm are never whole slices of 7 mm; counting them refused every lesion of 20 mm."""
    grid = placed(spacing_mm, (int(90 / spacing_mm[0]), 60, 60))
    for shift in range(0, 7, 2):
        labels = sphere(grid, diameter_mm / 2, np.array([0.3, 0.1, float(shift)]))
        assert carry(Mask(labels, grid), "t2", {"t2": image(grid)}, RULES, 5.0).mask.any()


@pytest.mark.parametrize("most_change", [0.2, 100.0])
def test_a_second_lesion_that_vanishes_is_refused(most_change: float) -> None:
    """Within the volume of all lesions together a small one would get lost."""
    labels = sphere(T2)
    labels[3, 62, 62] = 2
    rules = CarryRules(spacing_mm=(7.0, 5.0, 5.0), most_volume_change=most_change)
    with pytest.raises(UnusableError, match=r"E_ROI_VOLUME_CHANGED: label 2: 0.0111 ml drawn"):
        carry(drawn(labels=labels), "t2", {"t2": image(T2)}, rules)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(UnusableError, match="E_ROI_EMPTY"):
        carry(drawn(labels=np.zeros(T2.shape, dtype=np.uint16)), "t2", {"t2": image(T2)}, RULES)


def test_a_mask_on_the_grid_of_another_sequence_is_refused() -> None:
    with pytest.raises(UnusableError, match="E_ROI_GRID_MISMATCH"):
        carry(drawn(DWI), "t2", {"t2": image(T2), "dwi": image(DWI)}, RULES)


def test_the_sequence_drawn_on_must_be_there() -> None:
    with pytest.raises(UnusableError, match="E_MISSING_SEQUENCE: the lesion was drawn on t2, which is not here"):
        carry(drawn(), "t2", {"dwi": image(DWI)}, RULES)


@st.composite
def grids(draw: st.DrawFn, least: int = 1) -> Grid:
    """Any orientation, right- and left-handed, anisotropic, anywhere in the scanner."""
    turn, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=(3, 3)))
    turn[0] *= draw(st.sampled_from([-1, 1]))
    lengths = [draw(st.floats(0.3, 10.0)) for _ in range(3)]
    shape = tuple(draw(st.integers(least, 9)) for _ in range(3))
    origin = tuple(draw(st.floats(-900, 900)) for _ in range(3))
    steps = turn * np.array(lengths)[:, None]
    return Grid(shape, origin, *(tuple(step) for step in steps))  # type: ignore[arg-type]


@given(grid=grids(), index=st.tuples(*[st.floats(-50, 50)] * 3))
@settings(max_examples=100)
def test_an_index_comes_back_from_its_position(grid: Grid, index: tuple[float, ...]) -> None:
    np.testing.assert_allclose(grid.index_of(grid.position_mm(index)), index, atol=1e-6)


@given(grid=grids(least=2), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_carrying_to_the_same_grid_changes_nothing(grid: Grid, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, grid.shape).astype(np.uint16)
    labels.flat[0] = 1
    values = random.normal(size=grid.shape).astype(np.float32)
    rules = CarryRules(spacing_mm=None)
    carried = carry(Mask(labels, grid), "t2", {"t2": Volume(values, grid, FRAME)}, rules, None)
    np.testing.assert_array_equal(carried.mask, labels)
    np.testing.assert_array_equal(carried.images["t2"], values)
    assert carried.grid == grid


@given(grid=grids(least=2), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_a_part_of_the_same_lattice_is_cut_out_exactly(grid: Grid, seed: int) -> None:
    """Interpolation at voxel centres gives the voxels back: what is resampled is the lattice, not its neighbour."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, grid.shape).astype(np.uint16)
    values = random.normal(size=grid.shape).astype(np.float32)
    part = Grid((1, grid.shape[1], 1), tuple(grid.position_mm((1, 0, 1))), *(tuple(s) for s in grid.steps_mm))
    labels[1, :, 1] = 2
    np.testing.assert_array_equal(carry_labels(Mask(labels, grid), part), labels[1:2, :, 1:2])
    np.testing.assert_allclose(carry_image(Volume(values, grid, FRAME), part), values[1:2, :, 1:2], atol=1e-4)


@given(grid=grids(), spacing=st.tuples(*[st.floats(0.3, 10.0)] * 3))
@settings(max_examples=100)
def test_every_new_centre_lies_within_the_old_extent(grid: Grid, spacing: tuple[float, float, float]) -> None:
    """Else the sequence that was drawn on would itself be filled up with air at its edge."""
    new = resampling_grid(grid, spacing)
    assert new.spacing_mm == pytest.approx(spacing)
    corner = grid.index_of(new.position_mm((-0.5, -0.5, -0.5)))
    np.testing.assert_allclose(corner, -0.5, atol=1e-6)
    longer = np.array(new.shape) > 1
    last = grid.index_of(new.position_mm(np.array(new.shape) - 1))
    assert (last < np.array(grid.shape) - 0.5)[longer].all()
