"""Colour frames as another reader sees them, and Doppler told from tinted B-mode maps."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLosslessSV1, UltrasoundImageStorage
from scipy.ndimage import gaussian_filter

from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.read.dicom import read_header
from fl_liver.client.cohort.read.header import Header, header_from
from fl_liver.client.cohort.read.region import UltrasoundRegion
from fl_liver.client.cohort.ultrasound.colour import (
    DOPPLER_SHARE,
    doppler_faults,
    doppler_share,
    may_hold_colour,
    read_colour,
)
from fl_liver.client.cohort.ultrasound.screen import find_window
from fl_liver.client.cohort.ultrasound.window import Window

Channels = tuple[Any, Any, Any]
WHOLE = Window(0, 200, 0, 300, mm_per_px=None, source="pixels")
RANDOM = np.random.default_rng(3)
PICTURE = RANDOM.integers(0, 256, (70, 90, 3)).astype(np.uint8)
MAPS: dict[str, Callable[[NDArray[np.float64]], Channels]] = {
    "grey": lambda y: (y, y, y),
    "sepia": lambda y: (y, 0.85 * y, 0.6 * y),
    "blue": lambda y: (0.7 * y, 0.85 * y, 1.2 * y),
    "green": lambda y: (0.5 * y, y, 0.5 * y),
    "magenta": lambda y: (y, 0.6 * y, y),
    "candle": lambda y: (1.8 * y, 1.3 * y - 40, 1.6 * y - 150),
}


def scan(map_name: str) -> NDArray[np.uint8]:
    """Speckle of 200 × 300 pixels through a B-mode map, black round it."""
    noise = gaussian_filter(np.random.default_rng(1).normal(size=(2, 200, 300)), (0, 1.0, 1.8))
    power = (noise**2).sum(axis=0)
    grey = np.clip(110 + 32 * np.log10(power / power.mean() + 1e-4), 0, 255)
    grey[:20] = grey[:, :30] = 0
    return np.stack(MAPS[map_name](grey), axis=-1).clip(0, 255).astype(np.uint8)


def jpeg(rgb: NDArray[np.uint8], quality: int = 75) -> bytes:
    """4:2:0, as Pillow writes it: colour runs over edges."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    return file.getvalue()


def as_jpeg(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(jpeg(rgb))))


def plain(**changes: Any) -> Header:
    return replace(header_from(Dataset(), "1.2.840.10008.1.2.1"), **changes)


def write(path: Path, pixels: bytes, photometric: str, syntax: UID = ExplicitVRLittleEndian, **elements: Any) -> Path:
    """An ultrasound file of 70 × 90 pixels."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundImageStorage, "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation = "US", photometric
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 70, 90, 3, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


# --- reading


def test_rgb_comes_back_as_it_was_written_interleaved_or_by_plane(tmp_path: Path) -> None:
    interleaved = write(tmp_path / "i.dcm", PICTURE.tobytes(), "RGB")
    planes = np.ascontiguousarray(PICTURE.transpose(2, 0, 1)).tobytes()
    by_plane = write(tmp_path / "p.dcm", planes, "RGB", PlanarConfiguration=1)
    for path in (interleaved, by_plane):
        np.testing.assert_array_equal(read_colour(path, read_header(path)), PICTURE)


def test_ybr_becomes_rgb_to_within_rounding(tmp_path: Path) -> None:
    """ITU-R BT.601 there and back loses at most two levels."""
    ybr = convert_color_space(PICTURE, "RGB", "YBR_FULL")
    path = write(tmp_path / "y.dcm", ybr.tobytes(), "YBR_FULL")
    found = read_colour(path, read_header(path))
    assert np.abs(found.astype(int) - PICTURE).max() <= 2


def test_jpeg_ybr_is_what_pillow_decodes(tmp_path: Path) -> None:
    smooth = gaussian_filter(PICTURE.astype(float), (4, 4, 0)).astype(np.uint8)
    stream = jpeg(smooth, 90)
    path = write(tmp_path / "j.dcm", encapsulate([stream]), "YBR_FULL_422", JPEGBaseline8Bit)
    found = read_colour(path, read_header(path))
    wanted = np.asarray(Image.open(io.BytesIO(stream))).astype(int)
    assert np.abs(found - wanted).max() <= 2


def test_jpeg_lossless_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Ultrasound machines like it; SimpleITK's own GDCM writes and reads it."""
    path = tmp_path / "lossless.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SimpleITK's wrappers, on some Pythons
        import SimpleITK

        image = SimpleITK.GetImageFromArray(PICTURE, isVector=True)
        image.SetMetaData("0008|0060", "US")
        image.SetMetaData("0008|0016", UltrasoundImageStorage)
        SimpleITK.WriteImage(image, str(path), useCompression=True, imageIO="GDCMImageIO", compressor="JPEG")
    found = read_header(path)
    assert found.syntax == JPEGLosslessSV1
    np.testing.assert_array_equal(read_colour(path, found), PICTURE)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_its_colours_in_8_bit(tmp_path: Path, bits: int) -> None:
    """Index 0, 1, 2 → black, half red, pure green; a 16-bit palette has 65535 for 255."""
    indices = RANDOM.integers(0, 3, (70, 90)).astype(np.uint8)
    unit = 1 if bits == 8 else 257
    kind = np.uint8 if bits == 8 else np.uint16
    tables = {"Red": (0, 128, 0, 0), "Green": (0, 0, 255, 0), "Blue": (0, 0, 0, 0)}
    elements: dict[str, Any] = {"SamplesPerPixel": 1}
    for colour, entries in tables.items():
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        elements[f"{colour}PaletteColorLookupTableData"] = (np.array(entries, dtype=kind) * unit).tobytes()
    path = write(tmp_path / "l.dcm", indices.tobytes(), "PALETTE COLOR", **elements)
    wanted = np.array([(0, 0, 0), (128, 0, 0), (0, 255, 0)])[indices]
    np.testing.assert_array_equal(read_colour(path, read_header(path)), wanted)


def test_a_grey_file_gives_three_equal_samples(tmp_path: Path) -> None:
    grey = PICTURE[..., 0]
    path = write(tmp_path / "g.dcm", grey.tobytes(), "MONOCHROME2", SamplesPerPixel=1)
    found = read_header(path)
    assert not may_hold_colour(found)
    np.testing.assert_array_equal(read_colour(path, found), np.stack([grey] * 3, axis=-1))


def test_a_frame_beyond_the_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.dcm", PICTURE.tobytes(), "RGB")
    with pytest.raises(UnusableError, match="E_TRUNCATED: frame 1 is wanted, the file holds 1"):
        read_colour(path, read_header(path), 1)


def test_a_broken_stream_is_refused_without_a_word_of_the_decoder(tmp_path: Path) -> None:
    path = write(tmp_path / "b.dcm", encapsulate([b"\xff\xd8" + bytes(200)]), "YBR_FULL_422", JPEGBaseline8Bit)
    with pytest.raises(UnusableError, match=r"^E_DECODE_FAILED: the pixels stop the decoder \(\w+\)$"):
        read_colour(path, read_header(path))


def test_a_stream_of_another_size_than_the_header_says_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.dcm", PICTURE.tobytes(), "RGB")
    with pytest.raises(UnusableError, match="E_DECODE_FAILED: colour image of shape"):
        read_colour(path, replace(read_header(path), rows=71))


# --- Doppler


@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_tinted_map_is_not_doppler(map_name: str, compressed: bool) -> None:
    picture = scan(map_name)
    assert doppler_share(as_jpeg(picture) if compressed else picture, WHOLE) < DOPPLER_SHARE


@pytest.mark.parametrize("map_name", ["grey", "sepia", "blue"])
@pytest.mark.parametrize("colour", [(255, 0, 0), (255, 200, 0), (120, 20, 0), (90, 20, 180)])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_spot_of_flow_is_measured_over_every_map(
    map_name: str, colour: tuple[int, int, int], compressed: bool
) -> None:
    """30 × 40 of 200 × 300 pixels are 2 %; JPEG takes or adds a rim."""
    picture = scan(map_name)
    picture[100:130, 150:190] = colour
    found = doppler_share(as_jpeg(picture) if compressed else picture, WHOLE)
    assert found == pytest.approx(0.02, rel=0.25 if compressed else 0.02)


def test_flow_brighter_than_any_tissue_is_measured() -> None:
    """At low gain no tissue shares a grey level with power Doppler: there, the usual colour would be the flow's."""
    picture = scan("grey") // 3
    picture[60:140, 90:240] = np.linspace((255, 140, 0), (255, 230, 0), 150)[None]
    assert doppler_share(picture, WHOLE) == pytest.approx(0.2, rel=0.02)


def test_coloured_lines_and_letters_are_not_doppler() -> None:
    """Callipers, the ruler and the frame of a Doppler box are two pixels wide."""
    picture = scan("grey")
    picture[40:180:2, 60:62] = picture[100:102, 40:280] = (255, 255, 0)
    picture[40:42, 80:280] = picture[150:152, 80:280] = (0, 255, 0)
    assert doppler_share(picture, WHOLE) == 0


def test_only_the_window_is_looked_at() -> None:
    picture = scan("grey")
    picture[:50] = (255, 0, 0)
    assert doppler_share(picture, replace(WHOLE, row_min_px=50)) == 0
    assert doppler_share(picture, WHOLE) == pytest.approx(0.25)


def test_a_black_window_has_no_colour() -> None:
    assert doppler_share(np.zeros((200, 300, 3), dtype=np.uint8), WHOLE) == 0


def test_the_code_comes_from_the_pixels_from_half_a_percent_on() -> None:
    picture = scan("grey")
    picture[100:117, 150:167] = (255, 0, 0)  # 289 of 60,000 pixels
    assert doppler_faults(plain(), picture, WHOLE) == []
    picture[100:118, 150:167] = (255, 0, 0)  # 306
    assert doppler_faults(plain(), picture, WHOLE) == [("W_US_DOPPLER", "0.5 % of the scan are in colour")]


def test_the_code_comes_from_the_header_without_pixels() -> None:
    flow = UltrasoundRegion(1, 2, 0, 0, 100, 100, None)
    said = [("W_US_DOPPLER", "the header says that colour data are present")]
    assert doppler_faults(plain(colour_data=True)) == said
    assert doppler_faults(plain(regions=(flow,)), scan("grey"), WHOLE) == said
    assert doppler_faults(plain()) == []


# --- real screens


def public(shared_data: Path, name: str) -> tuple[Path, Header, Window]:
    path = shared_data / "pydicom-samples" / f"{name}.dcm"
    found = read_header(path)
    colour = read_colour(path, found)
    return path, found, find_window(found, colour.mean(axis=-1))


@pytest.mark.parametrize("name", ["US1_UNCI", "US1_J2KI"])
def test_the_power_doppler_of_a_lymph_node_is_found(shared_data: Path, name: str) -> None:
    """The same screen raw and as lossy JPEG 2000. By hand: orange and yellow take about a ninth of the scan."""
    path, found, window = public(shared_data, name)
    rgb = read_colour(path, found)
    assert doppler_share(rgb, window) == pytest.approx(0.11, abs=0.02)
    assert [code for code, _ in doppler_faults(found, rgb, window)] == ["W_US_DOPPLER"]


@pytest.mark.parametrize("name", ["gdcm-US-ALOKA-16", "examples_ybr_color"])
def test_green_marks_and_a_yellow_menu_are_not_doppler(shared_data: Path, name: str) -> None:
    path, found, window = public(shared_data, name)
    assert doppler_faults(found, read_colour(path, found), window) == []


def test_a_segmented_16_bit_palette_is_read(shared_data: Path) -> None:
    """gdcm-US-ALOKA-16: the probe mark at row 30, column 69 is green; the oracle is pydicom's 16-bit result."""
    path = shared_data / "pydicom-samples" / "gdcm-US-ALOKA-16.dcm"
    dataset = pydicom.dcmread(path)
    deep = apply_color_lut(dataset.pixel_array, dataset)
    found = read_colour(path, read_header(path))
    assert deep.dtype == np.uint16
    assert np.abs(found - deep / 257).max() <= 0.5
    red, green, blue = found[30, 69].astype(int)
    assert green - max(red, blue) > 150
