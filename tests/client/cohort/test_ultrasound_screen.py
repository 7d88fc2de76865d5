"""The scan on the screen, by header and by pixels. Real screens and made-up ones."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.read.pixels import read_frames
from fl_liver.client.cohort.ultrasound.burned_text import text_lines
from fl_liver.client.cohort.ultrasound.scan_area import scan_edges
from fl_liver.client.cohort.ultrasound.screen import (
    eight_bit,
    find_window,
    header_windows,
    screen_faults,
)
from fl_liver.client.cohort.ultrasound.window import Window
from simulation.phantom import phantom_hospitals
from simulation.phantom.ultrasound import COLUMNS, ROWS
from simulation.phantom.ultrasound_files import write_ultrasound
from tests.client.cohort.ultrasound_screens import (
    BLACK,
    PLAIN,
    Edges,
    as_jpeg,
    edges,
    header,
    overlap,
    public,
    region,
    screen,
    speckle,
    write,
)

# --- by the header


def test_the_upper_pixels_of_a_region_belong_to_the_window() -> None:
    """PS3.3 C.8.5.5.1: X1, Y1 is the lower right corner pixel of the region."""
    found = find_window(header(region(100, 50, 499, 449)), BLACK)
    assert found == Window(50, 450, 100, 500, mm_per_px=(0.3, 0.3), source="header")
    assert found.cut(BLACK).shape == (400, 400)


@pytest.mark.parametrize(("spatial", "data"), [(1, 2), (3, 3), (2, 1), (0, 14)])
def test_only_two_dimensional_tissue_is_a_window(spatial: int, data: int) -> None:
    """A colour-flow, spectral, M-mode or colour-bar region is none, though it may be the larger one."""
    other = region(0, 0, 639, 479, spatial=spatial, data=data)
    assert edges(find_window(header(other, region(100, 50, 499, 449)), BLACK)) == (50, 450, 100, 500)
    assert header_windows(header(other)) == ()


def test_of_two_tissue_regions_the_largest_is_taken_and_the_left_of_equals() -> None:
    left, right, small = region(20, 50, 319, 449), region(320, 50, 619, 449), region(0, 0, 255, 255)
    assert edges(find_window(header(small, right, left), BLACK)) == (50, 450, 20, 320)


def test_of_a_dual_view_the_region_round_the_box_is_taken() -> None:
    """Else a lesion drawn in the other half would count as drawn outside the image."""
    dual = header(region(20, 50, 319, 449), region(320, 50, 619, 449))
    assert edges(find_window(dual, BLACK, holding=(200.0, 400.5))) == (50, 450, 320, 620)
    assert edges(find_window(dual, BLACK, holding=(470.0, 630.0))) == (50, 450, 20, 320)


def test_a_region_one_pixel_beyond_the_frame_is_cut() -> None:
    """Some machines write the number of rows where the last row is meant."""
    assert edges(find_window(header(region(-1, 0, 640, 480)), BLACK)) == (0, 480, 0, 640)


@pytest.mark.parametrize("spatial", [1, 0])
def test_a_region_far_beyond_the_frame_makes_every_region_untrue(spatial: int) -> None:
    """The header was written for a larger frame, so the region that fits lies elsewhere, and its scale is wrong."""
    outside = region(500, 300, 900, 700, spatial=spatial)
    assert header_windows(header(region(0, 0, 399, 399), outside)) == ()


@pytest.mark.parametrize("degenerate", [(100, 100, 100, 400), (400, 100, 100, 400), (0, 0, 0, 0), (0, 0, 65535, 0)])
def test_a_region_without_area_is_passed_over(degenerate: Edges) -> None:
    assert len(header_windows(header(region(*degenerate), region(100, 50, 499, 449)))) == 1


@pytest.mark.parametrize(("small", "columns"), [((0, 0, 62, 479), 400), ((0, 0, 149, 149), 640)])
def test_a_region_too_small_for_a_scan_is_passed_over(small: Edges, columns: int) -> None:
    """63 columns, though 15 % of the frame; and 150 × 150 pixels, 7 % of it: a thumbnail or a body mark."""
    described = header(region(*small), columns=columns)
    assert header_windows(described) == ()
    with pytest.raises(UnusableError, match="E_US_NO_CROP: no region in the header, and no scan is seen"):
        find_window(described, BLACK[:, :columns])


def test_a_region_without_centimetres_has_no_pixel_size() -> None:
    found = header(replace(region(100, 50, 499, 449), mm_per_px=None))
    window = find_window(found, BLACK)
    assert window.mm_per_px is None
    assert screen_faults(found, window, BLACK) == [("W_US_NO_PIXEL_SIZE", "no region with a pixel size in cm")]


# --- by the pixels


@pytest.mark.parametrize("shape", ["convex", "linear"])
@pytest.mark.parametrize("rows", [240, 480, 768])
@pytest.mark.parametrize("level", [90, 150])
@pytest.mark.parametrize("jpeg", [False, True])
def test_a_scan_is_found_among_banner_bar_ruler_and_text(shape: str, rows: int, level: float, jpeg: bool) -> None:
    picture, truth = screen(shape, rows=rows, level=level)
    assert overlap(scan_edges(as_jpeg(picture) if jpeg else picture), truth) > 0.95


def test_the_dim_depth_of_a_scan_belongs_to_it() -> None:
    """Half of its pixels are black; 0.53 of the scan was found before dim parts were taken in."""
    picture, truth = screen("convex", level=45)
    assert overlap(scan_edges(picture), truth) > 0.95


def test_the_scan_of_a_phantom_is_found_without_its_region(tmp_path: Path) -> None:
    """Every make of machine: its ruler is two pixels from the scan, its bar four. The header is the oracle."""
    for number, hospital in enumerate(phantom_hospitals(7, 7, 0, scale=0.1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_ultrasound(hospital.patient(0), hospital.name, hospital.scanner, folder)
        path = folder / "IM_0001.dcm"
        written = read_header(path)
        grey = read_frames(path, written, [0])
        wanted = find_window(written, grey)
        assert (wanted.rows, wanted.columns, wanted.source) == (ROWS, COLUMNS, "header")
        found = find_window(replace(written, regions=()), grey)
        assert found.source == "pixels"
        assert overlap(edges(found), edges(wanted)) > 0.95
        assert [code for code, _ in screen_faults(written, wanted, grey)] == ["W_US_CINE"] * (written.frames > 1)


def test_a_scan_that_fills_the_frame_is_the_whole_frame() -> None:
    assert scan_edges(speckle((400, 500), 110).astype(np.uint8)) == (0, 400, 0, 500)


def test_a_scan_parted_by_a_shadow_stays_one() -> None:
    picture = np.zeros((480, 640), dtype=np.uint8)
    picture[60:420, 100:560] = speckle((360, 460), 110)
    picture[60:420, 300:330] = 0
    assert overlap(scan_edges(picture), (60, 420, 100, 560)) > 0.95


def test_of_a_clip_the_pieces_that_stand_still_are_dropped() -> None:
    """A thumbnail half as large as the scan beside it would be taken for a second view in a still."""
    clip = np.zeros((3, 480, 640), dtype=np.uint8)
    clip[:, 100:300, 420:600] = speckle((200, 180), 110, seed=9)
    for number, frame in enumerate(clip):
        frame[60:420, 60:360] = speckle((360, 300), 110, seed=number)
    assert overlap(scan_edges(clip), (60, 420, 60, 360)) > 0.95
    assert overlap(scan_edges(clip[:1]), (60, 420, 60, 600)) > 0.95


def test_a_frozen_clip_is_judged_like_a_still() -> None:
    """Only a clock runs; the scan is nevertheless the scan, and the small picture in the corner is not."""
    picture, truth = screen("linear")
    clip = np.stack([picture, picture])
    clip[:, 420:480, 300:400] = speckle((60, 100), 110)
    clip[1, 450:470, 500:560] = 200
    assert overlap(scan_edges(clip), truth) > 0.95


@pytest.mark.parametrize("kind", ["black", "panel", "text", "noise dots"])
def test_a_screen_without_scan_has_no_window(kind: str) -> None:
    """A report page is an ultrasound image too."""
    picture = np.zeros((480, 640), dtype=np.uint8)
    if kind == "panel":
        picture[100:400, 100:500] = 90
    elif kind == "noise dots":
        picture[np.random.default_rng(1).random(picture.shape) < 0.05] = 200
    elif kind == "text":
        image = Image.fromarray(picture)
        for line in range(20):
            write(image, (20, 10 + 22 * line), "Liver 14.2 cm  Spleen 10.1 cm  Aorta 1.9 cm  Portal vein 11 mm")
        picture = np.asarray(image)
    with pytest.raises(UnusableError, match="E_US_NO_CROP: no region in the header, and"):
        find_window(header(), picture)


def test_a_small_scan_on_a_large_screen_is_refused() -> None:
    picture = np.zeros((480, 640), dtype=np.uint8)
    picture[100:200, 100:250] = speckle((100, 150), 110)
    with pytest.raises(UnusableError, match="the largest bright part has 100 × 150 pixels of 480 × 640"):
        find_window(header(), picture)


@pytest.mark.parametrize(("bits", "slope", "intercept"), [(12, 1.0, 0.0), (16, 1.0, 0.0), (12, 2.0, -7.0)])
def test_grey_levels_are_read_as_8_bit_whatever_the_depth(bits: int, slope: float, intercept: float) -> None:
    """What counts as black is 8 of 255."""
    stored = np.array([[0.0, (1 << bits) - 1.0]])
    deep = header(slope=slope, intercept=intercept)
    deep = replace(deep, bits_stored=bits, bits_allocated=16)
    found = eight_bit(deep, stored * slope + intercept).astype(np.float64)
    np.testing.assert_allclose(found, [[0, 255]], atol=1e-3)
    levels = np.array([[0, 200]], dtype=np.int16)
    assert eight_bit(replace(PLAIN, bits_stored=16), levels) is levels


# --- real screens; where their scans are was read off by eye


def test_the_lymph_node_screen_loses_its_banner_and_is_kept_out(shared_data: Path) -> None:
    """US1_UNCI: a hospital's name and numbers above the scan, no region, a silent header.

    The banner (rows 26 to 102) is cut off. The letters PWR of the Doppler scale (rows 138 to 150) lie over the scan's
    left edge, and to a program they might be a name: the image is not used.
    """
    found, grey = public(shared_data, "US1_UNCI")
    window = find_window(found, grey)
    assert overlap(edges(window), (107, 337, 14, 623)) > 0.95
    assert window.row_min_px > 102
    lines = text_lines(grey[0])
    assert len([line for line in lines if line.row_max_px <= 102]) >= 10
    assert (138, 150, 10, 38) in [astuple(line)[:4] for line in lines]
    assert [code for code, _ in screen_faults(found, window, grey)] == ["W_US_NO_PIXEL_SIZE", "E_BURNED_IN"]


def test_the_dual_view_has_two_windows_with_one_scale(shared_data: Path) -> None:
    """gdcm-US-ALOKA-16: two fans side by side, each with "127/128" and "20Hz" inside the region."""
    found, grey = public(shared_data, "gdcm-US-ALOKA-16")
    left, right = header_windows(found)
    assert (edges(left), edges(right)) == ((24, 416, 32, 336), (24, 416, 336, 640))
    assert left.mm_per_px == pytest.approx((0.38265, 0.38265), abs=1e-5)
    assert find_window(found, grey, holding=(270, 470)) == right
    assert [code for code, _ in screen_faults(found, left, grey)] == ["W_BURNED_IN"]
    by_pixels = find_window(replace(found, regions=()), grey)
    assert overlap(edges(by_pixels), (24, 416, 32, 640)) > 0.95


def test_regions_written_for_a_larger_screen_are_not_believed(shared_data: Path) -> None:
    """examples_ybr_color: 320 × 240 pixels, its region stands at 84..595 × 31..414 as on the 640 × 480 screen.

    Cut to the frame it would keep the menu and half of the fan, with a pixel size twice too small.
    """
    found, grey = public(shared_data, "examples_ybr_color", range(0, 30, 6))
    assert found.regions
    assert header_windows(found) == ()
    window = find_window(found, grey)
    assert overlap(edges(window), (20, 203, 85, 245)) > 0.9
    codes = [code for code, _ in screen_faults(found, window, grey)]
    assert codes == ["W_US_CINE", "W_US_NO_PIXEL_SIZE", "W_BURNED_IN"]
