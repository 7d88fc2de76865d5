"""Ultrasound exams as a machine stores them: the scan on a larger screen, its region described in the header."""

from __future__ import annotations

from collections.abc import Sequence as Many
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UltrasoundImageStorage, UltrasoundMultiFrameImageStorage

from simulation.phantom.dicom import new_object, save, set_pixels, uid
from simulation.phantom.patients import Patient
from simulation.phantom.scanners import Screen, UltrasoundMake, UltrasoundScanner
from simulation.phantom.ultrasound import COLUMNS, ROWS, VIEWS, Box, Exam, draw_view, plan_exam

LESION_COLUMNS = (
    "patient_id", "sop_instance_uid", "kind", "x_min_px", "y_min_px", "x_max_px", "y_max_px", "frame",
)  # fmt: skip

_BANNER, _RULER = 26, 170  # grey levels of screen furniture
_TWO_D, _TISSUE, _CM = 1, 1, 3  # region format, data type and unit, PS3.3 C.8.5.5


class Still(Protocol):
    """One frame: grey levels (ROWS, COLUMNS) uint8, and its boxes with their kinds."""

    @property
    def grey(self) -> NDArray[np.uint8]: ...
    @property
    def boxes(self) -> tuple[tuple[str, Box], ...]: ...


def write_ultrasound(patient: Patient, hospital: str, scanner: UltrasoundScanner, folder: Path) -> list[list[str]]:
    """Write an exam of four views into `folder`; return the rows of `lesions.csv` in the order of LESION_COLUMNS."""
    exam = plan_exam(patient, scanner)
    views = [draw_view(patient, scanner, exam, number) for number in range(VIEWS)]
    return write_exam(patient, hospital, scanner, exam, views, folder)


def write_exam(
    patient: Patient, hospital: str, scanner: UltrasoundScanner, exam: Exam, views: Many[Still], folder: Path
) -> list[list[str]]:
    """Write the views of an exam as `write_ultrasound` does."""
    make = scanner.make
    rows: list[list[str]] = []
    for number, group in enumerate([views] if make.multi_frame else [[view] for view in views], start=1):
        dataset = _describe_exam(patient, hospital, scanner, exam, number)
        frames = _coloured(np.stack([_screen(view.grey, make.screen, exam.pixel_mm) for view in group]), make)
        set_pixels(dataset, frames if make.multi_frame else frames[0], make.pixel_style, len(group))
        save(dataset, folder / f"IM_{number:04d}.dcm")
        for frame, view in enumerate(group):
            rows += _box_rows(dataset, view, make.screen, frame)
    return rows


def _screen(scan: NDArray[np.uint8], screen: Screen, pixel_mm: float) -> NDArray[np.uint8]:
    """The scan in its place, a banner without text, a grey bar and a ruler with a tick every centimetre."""
    picture = np.zeros((screen.rows, screen.columns), np.uint8)
    picture[: screen.region_row - 6] = _BANNER
    top, left = screen.region_row, screen.region_column
    right = left + COLUMNS
    picture[top : top + ROWS, left:right] = scan
    bar, ruler = (left - 8, right + 2) if screen.ruler_right else (right + 4, left - 6)
    picture[top : top + ROWS, bar : bar + 4] = np.linspace(255, 0, ROWS).astype(np.uint8)[:, None]
    ticks = np.arange(0, ROWS, 10 / pixel_mm).astype(int)
    picture[top + ticks, ruler : ruler + 4] = _RULER
    return picture


def _coloured(frames: NDArray[np.uint8], make: UltrasoundMake) -> NDArray[np.uint8]:
    """(frames, rows, columns), with a last axis of 3 for colour styles; RGB machines draw furniture in yellow."""
    if make.pixel_style == "MONOCHROME2":
        return frames
    if make.pixel_style == "YBR_FULL":
        neutral = np.full_like(frames, 128)
        return np.stack([frames, neutral, neutral], axis=-1)
    top, left = make.screen.region_row, make.screen.region_column
    blue = frames // 2
    blue[:, top : top + ROWS, left : left + COLUMNS] = frames[:, top : top + ROWS, left : left + COLUMNS]
    return np.stack([frames, frames, blue], axis=-1)


def _describe_exam(patient: Patient, hospital: str, scanner: UltrasoundScanner, exam: Exam, number: int) -> Dataset:
    make = scanner.make
    sop_class = UltrasoundMultiFrameImageStorage if make.multi_frame else UltrasoundImageStorage
    dataset = new_object(patient, hospital, "US", sop_class, number)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"]
    dataset.Manufacturer = make.manufacturer
    dataset.ManufacturerModelName = make.models[exam.second_machine]
    dataset.SoftwareVersions = make.software
    dataset.StationName = f"US{hospital}{'AB'[exam.second_machine]}"
    dataset.DeviceSerialNumber = str(int(uid(hospital, exam.second_machine).rsplit(".", 1)[1]) % 10**8)
    dataset.TransducerData = [make.transducer, "", ""]
    dataset.TransducerType = "CURVED LINEAR"
    dataset.DepthOfScanField = str(round(ROWS * exam.pixel_mm))
    dataset.MechanicalIndex = "1.1"
    dataset.SeriesDescription = "LIVER BMODE"
    dataset.BurnedInAnnotation = "NO"
    dataset.UltrasoundColorDataPresent = 0
    dataset.SequenceOfUltrasoundRegions = Sequence([_region(make.screen, exam.pixel_mm)])
    if make.multi_frame:
        dataset.FrameTime = "40"
        dataset.FrameIncrementPointer = Tag("FrameTime")
    return dataset


def _region(screen: Screen, pixel_mm: float) -> Dataset:
    """Where the scan is on the screen (last pixel included) and how large a pixel is, in cm as machines write it."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = _TWO_D, _TISSUE, 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = screen.region_column, screen.region_row
    region.RegionLocationMaxX1 = screen.region_column + COLUMNS - 1
    region.RegionLocationMaxY1 = screen.region_row + ROWS - 1
    region.ReferencePixelX0, region.ReferencePixelY0 = COLUMNS // 2, 0
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = _CM
    region.ReferencePixelPhysicalValueX = region.ReferencePixelPhysicalValueY = 0.0
    region.PhysicalDeltaX = region.PhysicalDeltaY = pixel_mm / 10
    region.TransducerFrequency = 3500
    return region


def _box_rows(dataset: Dataset, view: Still, screen: Screen, frame: int) -> list[list[str]]:
    rows = []
    for kind, box in view.boxes:
        on_screen = box.shifted(screen.region_column, screen.region_row)
        corners = (on_screen.x_min_px, on_screen.y_min_px, on_screen.x_max_px, on_screen.y_max_px)
        uids = (str(dataset.PatientID), str(dataset.SOPInstanceUID))
        rows.append([*uids, kind, *(str(corner) for corner in corners), str(frame)])
    return rows
