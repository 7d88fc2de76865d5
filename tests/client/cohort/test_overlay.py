"""Contours in overlay planes: the ring on a real image, and drawings made here that are or are not contours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.lesions import overlay as overlay_reader
from fl_liver.client.cohort.lesions.overlay import ContourRules, closed_contours, read_overlays
from tests.client.cohort.conftest import ct_slice, save

Draw = Callable[[ImageDraw.ImageDraw], object]
Corner = tuple[int, int]
CUBE: tuple[list[Corner], ...] = (
    [(100, 100), (130, 110), (130, 145), (100, 135)],
    [(130, 110), (155, 95), (155, 130), (130, 145)],
    [(100, 100), (125, 86), (155, 95), (130, 110)],
)


def ring(pen: ImageDraw.ImageDraw) -> None:
    pen.ellipse((80, 60, 120, 100), outline=1)


def drawing(*draw: Draw, rows: int = 200, columns: int = 240) -> NDArray[np.bool_]:
    image = Image.new("1", (columns, rows))
    for one in draw:
        one(ImageDraw.Draw(image))
    return np.asarray(image)


def write_overlay(path: Path, plane: NDArray[np.bool_], group: int = 0x6000, **change: Any) -> Path:
    dataset = ct_slice(1, 0.0, rows=32)
    elements: dict[int, tuple[str, Any]] = {
        0x0010: ("US", plane.shape[0]),
        0x0011: ("US", plane.shape[1]),
        0x0040: ("CS", "G"),
        0x0050: ("SS", change.get("origin", [1, 1])),
        0x0100: ("US", 1),
        0x0102: ("US", 0),
        0x3000: ("OW", change.get("data", np.packbits(plane.ravel(), bitorder="little").tobytes())),
    }
    if "frames" in change:
        elements[0x0015] = ("IS", change["frames"])
    for element, (representation, value) in elements.items():
        dataset.add_new((group, element), representation, value)
    save(dataset, path)
    return path


def test_the_ring_on_the_real_image_is_the_lesion(shared_data: Path) -> None:
    """SOURCES.md: of six drawings the ring at columns 46–80, rows 239–273 is the lesion; the rest is text and cube."""
    (plane,) = read_overlays(shared_data / "pydicom-samples/mr_liver_marked_lesion_scrubbed.dcm")
    assert (plane.shape, int(plane.sum())) == ((484, 484), 323)
    (lesion,) = closed_contours(plane)
    where = np.argwhere(lesion)
    assert where.min(axis=0).tolist() == [239, 46]
    assert where.max(axis=0).tolist() == [273, 80]
    # Counted in the picture: the ring encloses 791 pixels; the ring and the number on it are 128.
    assert int((lesion & ~plane).sum()) == 791
    assert int(lesion.sum()) <= 791 + 128


def test_a_circle_is_filled_up_to_its_line() -> None:
    """π · 20.5² = 1320 pixels."""
    (filled,) = closed_contours(drawing(ring))
    assert int(filled.sum()) == pytest.approx(1320, rel=0.02)
    assert filled[80, 100]
    assert not filled[59, 100]


def test_a_handle_on_the_line_is_cut_off() -> None:
    handled = drawing(ring, lambda pen: pen.line((120, 80, 150, 80), fill=1))
    (plain,), (cut,) = closed_contours(drawing(ring)), closed_contours(handled)
    assert int((plain ^ cut).sum()) <= 1


def test_two_rings_are_two_lesions_in_row_order() -> None:
    both = drawing(ring, lambda pen: pen.ellipse((10, 110, 40, 140), outline=1))
    upper, lower = closed_contours(both)
    assert upper[80, 100]
    assert lower[125, 25]


@pytest.mark.parametrize(
    ("what", "draw"),
    [
        ("an open arc", lambda pen: pen.arc((80, 60, 120, 100), 20, 350, fill=1)),
        ("a line", lambda pen: pen.line((10, 10, 100, 50), fill=1)),
        ("a filled blob", lambda pen: pen.ellipse((80, 60, 120, 100), fill=1)),
        ("a side of the orientation cube", lambda pen: pen.rectangle((150, 150, 180, 180), outline=1)),
        ("a frame around the picture", lambda pen: pen.ellipse((2, 2, 237, 197), outline=1)),
        ("text", lambda pen: pen.text((10, 10), "R8 Bod 0.69 mm", fill=1, font=ImageFont.load_default(12))),
        ("large text", lambda pen: pen.text((10, 10), "R8 Bod 0", fill=1, font=ImageFont.load_default(20))),
        ("a cube with three sides", lambda pen: [pen.polygon(side, outline=1) for side in CUBE]),
    ],
)
def test_what_is_no_contour_is_dropped(what: str, draw: Draw) -> None:
    assert drawing(draw).any()
    assert closed_contours(drawing(draw)) == []


def test_a_small_ring_with_its_number_beside_it_is_a_contour() -> None:
    """The rule that drops letters must not drop a lesion that is labelled in small type."""
    numbered = drawing(
        lambda pen: pen.ellipse((80, 60, 104, 84), outline=1),
        lambda pen: pen.text((108, 66), "12 mm", fill=1, font=ImageFont.load_default(10)),
    )
    assert len(closed_contours(numbered)) == 1


@pytest.mark.parametrize("second", [(150, 60, 210, 120), (150, 40, 230, 120)])
def test_two_lesions_side_by_side_are_no_word(second: tuple[int, int, int, int]) -> None:
    """Drawings higher than letters, or of different height."""
    small = (134, 80, 144, 90) if second[1] == 40 else (80, 60, 140, 120)
    both = drawing(lambda pen: pen.ellipse(small, outline=1), lambda pen: pen.ellipse(second, outline=1))
    assert len(closed_contours(both)) == 2


def test_limits_are_the_callers() -> None:
    tiny = drawing(lambda pen: pen.ellipse((80, 60, 86, 66), outline=1))
    assert closed_contours(tiny) == []
    assert len(closed_contours(tiny, ContourRules(least_px=10))) == 1


def test_planes_lie_where_their_origin_says(tmp_path: Path) -> None:
    """Rows and columns count from 1; what lies outside the image is cut off."""
    plane = np.arange(20).reshape(4, 5) % 3 == 0
    write_overlay(tmp_path / "inside.dcm", plane, origin=[3, 6])
    (inside,) = read_overlays(tmp_path / "inside.dcm")
    assert inside.shape == (32, 32)
    np.testing.assert_array_equal(inside[2:6, 5:10], plane)
    assert inside.sum() == plane.sum()
    write_overlay(tmp_path / "beyond.dcm", plane, group=0x6002, origin=[-1, 31])
    (beyond,) = read_overlays(tmp_path / "beyond.dcm")
    np.testing.assert_array_equal(beyond[:2, 30:], plane[2:, :2])
    assert beyond.sum() == plane[2:, :2].sum()


def test_an_image_without_overlays_has_none(tmp_path: Path) -> None:
    save(ct_slice(1, 0.0), tmp_path / "plain.dcm")
    assert read_overlays(tmp_path / "plain.dcm") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 2}, "E_ROI_UNREADABLE: an overlay of several frames"),
        ({"data": b"\0\0"}, "E_ROI_UNREADABLE: an overlay stops its reader"),
    ],
)
def test_damaged_overlays_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UnusableError, match=message):
        read_overlays(write_overlay(tmp_path / "a.dcm", np.ones((8, 8), dtype=bool), **change))


def test_an_enormous_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_reader, "_MOST_PIXELS", 1000)
    with pytest.raises(UnusableError, match="E_TOO_LARGE: an overlay on 32 × 32 pixels"):
        read_overlays(write_overlay(tmp_path / "a.dcm", np.ones((8, 8), dtype=bool)))
