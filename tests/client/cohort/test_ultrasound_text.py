"""Burned-in text: where it is found, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from fl_liver.client.cohort.codes import REMEDIES
from fl_liver.client.cohort.read.region import UltrasoundRegion
from fl_liver.client.cohort.ultrasound.burned_text import text_lines
from fl_liver.client.cohort.ultrasound.screen import (
    find_window,
    screen_faults,
)
from tests.client.cohort.ultrasound_screens import as_jpeg, header, region, screen, speckle, write

# --- text


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("size", [12, 18, 28])
def test_text_over_black_is_found_line_by_line(size: int, jpeg: bool) -> None:
    image = Image.new("L", (500, 150))
    for line, words in enumerate(("SMITHJOHN", "LiverRlobe", "1234567")):
        ImageDraw.Draw(image).text((20, 10 + 45 * line), words, 200, font=ImageFont.load_default(size=size))
    picture = np.asarray(image)
    found = text_lines(as_jpeg(picture) if jpeg else picture)
    assert {line.row_min_px // 45 for line in found} == {0, 1, 2}


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("size", [18, 22, 28])
def test_text_over_tissue_is_found_line_by_line(size: int, jpeg: bool) -> None:
    image = Image.fromarray(speckle((150, 500), 90).astype(np.uint8))
    for line, words in enumerate(("SMITHJOHN", "LiverRlobe", "1234567")):
        ImageDraw.Draw(image).text((20, 10 + 45 * line), words, 255, font=ImageFont.load_default(size=size))
    picture = np.asarray(image)
    found = text_lines(as_jpeg(picture) if jpeg else picture)
    assert {line.row_min_px // 45 for line in found} == {0, 1, 2}


def test_no_text_is_found_in_scans_rulers_and_bars() -> None:
    for shape in ("convex", "linear"):
        picture, _ = screen(shape, text=False)
        assert text_lines(picture) == text_lines(as_jpeg(picture)) == ()
    ticks = np.zeros((100, 400), dtype=np.uint8)
    ticks[40:48, 20:380:4] = 200
    assert text_lines(ticks) == ()


@pytest.mark.parametrize(("change", "lines"), [("none", 1), ("higher", 0), ("darker", 0), ("apart", 0), ("taller", 0)])
def test_letters_are_alike_and_stand_on_one_line(change: str, lines: int) -> None:
    """Three L of 12 × 7 pixels make a line; one that is 3 pixels higher, a fifth darker, far off or twice as tall ends
    it."""
    picture = np.zeros((100, 200), dtype=np.uint8)
    for number in range(3):
        odd = change if number == 2 else "none"
        bottom, left = 60 - 3 * (odd == "higher"), 20 + 12 * number + 14 * (odd == "apart")
        height, level = 12 * (1 + (odd == "taller")), 200 - 40 * (odd == "darker")
        picture[bottom - height : bottom, left : left + 2] = picture[bottom - 2 : bottom, left : left + 7] = level
    assert len(text_lines(picture)) == lines


@pytest.mark.parametrize("seed", range(3))
def test_no_text_is_found_in_a_megapixel_of_speckle(seed: int) -> None:
    assert text_lines(speckle((1000, 1000), 130, seed).astype(np.uint8)) == ()


# --- what is said


def test_declared_text_is_a_warning_where_the_header_says_what_to_cut() -> None:
    described = header(region(100, 50, 499, 449), burned_in=True)
    assert screen_faults(described) == [
        ("W_BURNED_IN", "the header declares burned-in text; an image region is described")
    ]


@pytest.mark.parametrize("regions", [(), (region(0, 0, 639, 479),)])
def test_declared_text_without_a_region_to_cut_keeps_the_image_out(regions: tuple[UltrasoundRegion, ...]) -> None:
    """A region that is the whole screen leaves no text outside."""
    found = screen_faults(header(*regions, burned_in=True))
    assert ("E_BURNED_IN", "the header declares burned-in text; no image region is described") in found


def test_text_in_a_guessed_window_keeps_the_image_out() -> None:
    """The header is silent; a name in the black corner beside the fan is inside the rectangle that would be used."""
    picture, truth = screen("convex")
    image = Image.fromarray(picture)
    write(image, (truth[2] + 4, truth[0] + 6), "ANNA Z")
    silent, marked = header(), np.asarray(image)
    window = find_window(silent, marked)
    found = dict(screen_faults(silent, window, marked))
    assert found["E_BURNED_IN"] == "no image region is described, and 1 line of text in what looks like the scan"
    assert "E_BURNED_IN" not in dict(screen_faults(silent, window, picture))


def test_text_beside_a_guessed_window_is_a_warning() -> None:
    picture, _ = screen("convex")
    found = screen_faults(header(), find_window(header(), picture), picture)
    assert [code for code, _ in found] == ["W_US_NO_PIXEL_SIZE", "W_BURNED_IN"]


def test_text_beside_a_described_region_needs_no_word_and_inside_it_is_a_warning() -> None:
    picture, truth = screen("convex")
    described = header(region(truth[2], truth[0], truth[3] - 1, truth[1] - 1))
    window = find_window(described, picture)
    assert screen_faults(described, window, picture) == []
    image = Image.fromarray(picture)
    write(image, (truth[2] + 4, truth[0] + 6), "LIVER")
    assert screen_faults(described, window, np.asarray(image)) == [
        ("W_BURNED_IN", "1 line of text inside the image region")
    ]


def test_a_clip_is_said_and_every_code_has_a_remedy() -> None:
    found = screen_faults(header(burned_in=True, frames=30))
    assert found[0] == ("W_US_CINE", "a clip of 30 frames")
    assert {code for code, _ in found} == {"W_US_CINE", "W_US_NO_PIXEL_SIZE", "E_BURNED_IN"} <= REMEDIES.keys()
