"""Pictures of the sheet: the outline lies on the lesion's edge, and a circle in the patient is one on screen."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from fl_liver.client.cohort.check.contact_sheet import TILE_PX, Tile, box_tile, tile_from_slice, volume_tiles
from fl_liver.client.cohort.check.drawn_tile import draw_tile, outline_path, scale_bar
from fl_liver.client.cohort.lesions.boxes import Box
from fl_liver.errors import DataError
from tests.client.cohort.check_page_cases import one_tile

HU = (-160.0, 240.0)


def edges(path: str) -> set[tuple[str, int, int]]:
    """Unit edges that a path runs along: ("h", x, y) from (x, y) to the right, ("v", x, y) downwards."""
    found: set[tuple[str, int, int]] = set()
    for x, y, way, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", path):
        for step in range(int(length)):
            edge = ("h", int(x) + step, int(y)) if way == "h" else ("v", int(x), int(y) + step)
            assert edge not in found, "drawn twice"
            found.add(edge)
    assert re.fullmatch(r"(M\d+ \d+[hv]\d+)*", path)
    return found


def borders(mask: NDArray[np.bool_]) -> set[tuple[str, int, int]]:
    """The same, pixel by pixel: an edge for every pair of neighbours of which one is inside."""
    rows, columns = mask.shape
    found = set()
    for i in range(rows):
        for j in range(columns):
            if not mask[i, j]:
                continue
            for way, x, y, a, b in (("h", j, i, i - 1, j), ("h", j, i + 1, i + 1, j)):
                if not (0 <= a < rows and mask[a, b]):
                    found.add((way, x, y))
            for way, x, y, a, b in (("v", j, i, i, j - 1), ("v", j + 1, i, i, j + 1)):
                if not (0 <= b < columns and mask[a, b]):
                    found.add((way, x, y))
    return found


@settings(max_examples=60)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_the_outline_runs_along_every_edge_between_inside_and_outside_and_no_other(mask: NDArray[np.bool_]) -> None:
    assert edges(outline_path(mask)) == borders(mask)


@pytest.mark.parametrize("spacing", [(0.7, 0.7), (2.0, 0.5), (0.5, 2.0)])
def test_a_circle_on_the_patient_is_a_circle_on_the_tile(spacing: tuple[float, float]) -> None:
    """A disc of 20 mm radius: as wide as high within a source pixel, and of area π 20² by its own millimetres."""
    rows, columns = round(100 / spacing[0]), round(100 / spacing[1])
    y, x = np.mgrid[0:rows, 0:columns]
    disc = ((y + 0.5) * spacing[0] - 50) ** 2 + ((x + 0.5) * spacing[1] - 45) ** 2 < 20**2
    tile = tile_from_slice("disc", disc.astype(np.float32), disc, spacing)
    assert tile.outline is not None
    assert tile.mm_per_px is not None
    assert tile.image.shape == (TILE_PX, TILE_PX)
    high, wide = (np.ptp(np.flatnonzero(tile.outline.any(axis=axis))) + 1 for axis in (1, 0))
    assert high * tile.mm_per_px == pytest.approx(40, abs=2 * max(spacing))
    assert wide * tile.mm_per_px == pytest.approx(40, abs=2 * max(spacing))
    assert tile.outline.sum() * tile.mm_per_px**2 == pytest.approx(np.pi * 20**2, rel=0.03)
    # Picture and outline show the same place.
    assert tile.image[tile.outline].mean() > 245
    assert tile.image[~tile.outline].mean() < 10


def test_a_wide_slice_keeps_its_shape_and_becomes_lower() -> None:
    tile = tile_from_slice("wide", np.zeros((50, 200)), None, (1.0, 1.0))
    assert tile.image.shape == (64, 256)
    assert tile.mm_per_px == pytest.approx(200 / 256)


def test_a_window_in_hounsfield_units_is_kept() -> None:
    """−160 HU is black, 240 white, 40 in the middle; values beyond are cut and do not wrap round."""
    values = np.array([[-1024, -160, 40, 240, 3000]], dtype=np.int16).repeat(2, axis=0)
    tile = tile_from_slice("ct", np.kron(values, np.ones((64, 64), np.int16)), None, (1.0, 1.0), HU)
    middles = tile.image[tile.image.shape[0] // 2, np.round((np.arange(5) + 0.5) * tile.image.shape[1] / 5).astype(int)]
    assert middles.tolist() == [0, 0, 128, 255, 255]


def test_metal_does_not_outshine_its_neighbours() -> None:
    """The window comes before the shrinking: one of four pixels white is a quarter of the way to white."""
    values = np.tile(np.array([[-160, -160], [-160, 3000]], dtype=np.int16), (160, 160))
    tile = tile_from_slice("ct", values, None, (1.0, 1.0), HU)
    assert tile.image[80, 80] == pytest.approx(64, abs=8)


def test_without_a_window_one_bright_pixel_does_not_darken_the_image() -> None:
    values = np.random.default_rng(0).normal(100, 10, (80, 80))
    values[3, 3] = 30_000
    assert 90 < tile_from_slice("mr", values, None, (1, 1)).image.mean() < 165


@pytest.mark.parametrize("value", [7.0, np.nan, np.inf])
def test_an_image_of_one_value_or_of_none_is_black(value: float) -> None:
    tile = tile_from_slice("flat", np.full((10, 10), value), None, None)
    assert not tile.image.any()
    assert tile.mm_per_px is None


def test_a_lesion_smaller_than_a_pixel_of_the_tile_is_still_outlined() -> None:
    mask = np.zeros((1024, 1024), dtype=np.uint8)
    mask[500, 500] = 1
    tile = tile_from_slice("tiny", np.zeros(mask.shape), mask, (0.4, 0.4))
    assert tile.outline is not None
    assert tile.outline.sum() == 1


def test_volume_tiles_are_the_whole_slice_and_crops_through_the_lesion() -> None:
    """A cone of slices 4 to 12, largest at 11: three crops, that one among them, the same square in each."""
    values, mask = np.zeros((20, 100, 120), np.float32), np.zeros((20, 100, 120), np.uint16)
    for k in range(4, 13):
        half = k if k <= 11 else 3
        mask[k, 50 - half : 50 + half, 60 - half : 60 + half] = 2
    values[mask > 0] = 1
    tiles = volume_tiles("portal", values, mask, (5.0, 1.0, 1.0))
    assert [tile.title for tile in tiles] == ["portal 12/20, whole", "portal 6/20", "portal 9/20", "portal 12/20"]
    whole, *crops = tiles
    assert whole.mm_per_px == pytest.approx(100 / TILE_PX)
    # The lesion is 22 mm wide; a square of 66 mm, centred on it.
    assert [crop.mm_per_px for crop in crops] == [pytest.approx(66 / TILE_PX)] * 3
    for crop in crops:
        assert crop.outline is not None
        centre = [np.flatnonzero(crop.outline.any(axis=axis)).mean() + 0.5 for axis in (0, 1)]
        assert centre == [pytest.approx(TILE_PX / 2, abs=1)] * 2


def test_a_small_lesion_has_60_mm_around_it_and_an_edge_moves_the_crop_inwards() -> None:
    mask = np.zeros((3, 200, 200), np.uint8)
    mask[:, 0:4, 196:200] = 1
    tiles = volume_tiles("t2", np.zeros(mask.shape), mask, (7.0, 1.0, 1.0), whole=False)
    assert [tile.title for tile in tiles] == ["t2 1/3", "t2 2/3", "t2 3/3"]
    assert all(tile.mm_per_px == pytest.approx(60 / TILE_PX) for tile in tiles)
    outline = tiles[0].outline
    assert outline is not None
    assert outline[0, -1]
    assert not outline[-1].any()


def test_without_a_lesion_whole_slices_of_the_middle_are_shown() -> None:
    values = np.zeros((9, 20, 20))
    for mask in (None, np.zeros(values.shape, np.uint8)):
        tiles = volume_tiles("t2", values, mask, (5.0, 1.0, 1.0))
        assert [tile.title for tile in tiles] == ["t2 3/9", "t2 5/9", "t2 7/9"]
        assert all(tile.outline is None for tile in tiles)


def test_boxes_of_a_still_are_outlined_where_they_are() -> None:
    """240 of 480 rows: every coordinate halves."""
    boxes = [Box("", 0, "lesion", 100, 60, 200, 120), Box("", 0, "background", 300, 60, 340, 100)]
    tile = box_tile("still 1", np.ones((480, 640)), boxes, 0.2)
    assert tile.image.shape == (240, 320)
    assert tile.mm_per_px == pytest.approx(0.4)
    drawn = draw_tile(tile)
    assert edges(drawn.outline) == borders(_rectangle(tile, 30, 60, 50, 100))
    assert edges(drawn.other) == borders(_rectangle(tile, 30, 50, 150, 170))


def _rectangle(tile: Tile, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
    found = np.zeros(tile.image.shape, dtype=np.bool_)
    found[top:bottom, left:right] = True
    return found


def test_the_picture_on_the_page_is_the_tile() -> None:
    """Grey JPEG, decoded by another reader: off by a few grey values, in the same place."""
    smooth = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)
    drawn = draw_tile(Tile("smooth", smooth, None, 1.0))
    kind, _, encoded = drawn.uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert image.mode == "L"
        assert np.abs(np.asarray(image, dtype=int) - smooth).max() <= 4
    assert (drawn.width_px, drawn.height_px) == (80, 60)
    assert drawn.alt == "smooth, nothing drawn"


@pytest.mark.parametrize(("width", "mm", "label"), [(160, 2.0, "100 mm"), (160, 0.05, "2 mm"), (100, 0.7, "20 mm")])
def test_the_scale_bar_is_as_long_as_it_says(width: int, mm: float, label: str) -> None:
    bar = scale_bar(width, mm)
    assert bar is not None
    assert bar.label == label
    assert bar.length_px * mm == pytest.approx(float(label.split()[0]), rel=0.01)
    assert scale_bar(width, None) is None


def test_shapes_that_do_not_agree_are_refused() -> None:
    tile = one_tile()
    with pytest.raises(DataError, match=r"a region on a tile is bool of shape \(24, 32\); found \(2, 2\)"):
        Tile("x", tile.image, np.zeros((2, 2), dtype=np.bool_), None)
    with pytest.raises(DataError, match=r"a tile is \(rows, columns\) uint8; found float64"):
        Tile("x", np.zeros((2, 2)), None, None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"a mask has the shape of its slice, \(4, 4\); found \(4, 5\)"):
        tile_from_slice("x", np.zeros((4, 4)), np.ones((4, 5)), None)
    with pytest.raises(DataError, match=r"a slice is \(rows, columns\); found shape \(0, 4\)"):
        tile_from_slice("x", np.zeros((0, 4)), None, None)
    with pytest.raises(DataError, match=r"a volume is \(slices, rows, columns\), and its mask alike"):
        volume_tiles("x", np.zeros((3, 4, 4)), np.ones((2, 4, 4)), (1, 1, 1))
