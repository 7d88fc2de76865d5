"""Defects that series have in hospitals, planted into clean ones: each with the one code that a check must give it.

The first thirteen are those with which readers were compared (`benchmarks/cohort.py`): most of them build a volume all
the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid


@dataclass(frozen=True, slots=True)
class Damage:
    """`change` alters the datasets of a clean axial series (in slice order) before they are written, `spoil` one file
    of it afterwards."""

    name: str
    code: str
    change: Callable[[list[Dataset]], None] | None = None
    spoil: Callable[[Path], None] | None = None


def _shift(dataset: Dataset, x: float, y: float, z: float) -> None:
    was = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [float(was[0]) + x, float(was[1]) + y, float(was[2]) + z]


def _gap_mm(slices: list[Dataset]) -> float:
    return float(slices[1].ImagePositionPatient[2]) - float(slices[0].ImagePositionPatient[2])


def _remove_one(slices: list[Dataset]) -> None:
    del slices[4]


def _same_place_twice(slices: list[Dataset]) -> None:
    gap = _gap_mm(slices)
    for dataset in slices[4:]:
        _shift(dataset, 0, 0, -gap)


def _uneven(slices: list[Dataset]) -> None:
    gap = _gap_mm(slices)
    for number, dataset in enumerate(slices[5:], start=5):
        _shift(dataset, 0, 0, 0.07 * number * gap)


def _tilted(degrees: float) -> Callable[[list[Dataset]], None]:
    def tilt(slices: list[Dataset]) -> None:
        gap = _gap_mm(slices)
        for number, dataset in enumerate(slices):
            _shift(dataset, 0, number * gap * float(np.tan(np.radians(degrees))), 0)

    return tilt


def _with_localizer(slices: list[Dataset]) -> None:
    slices[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    slices[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _two_phases(slices: list[Dataset]) -> None:
    half = len(slices) // 2
    for first, second in zip(slices[:half], slices[half:], strict=False):
        second.ImagePositionPatient = first.ImagePositionPatient
        first.AcquisitionNumber, second.AcquisitionNumber = 1, 2


def _slopes(slices: list[Dataset]) -> None:
    for number, dataset in enumerate(slices):
        dataset.RescaleSlope = round(1 + 0.01 * number, 2)


def _inverted(slices: list[Dataset]) -> None:
    for dataset in slices:
        dataset.PhotometricInterpretation = "MONOCHROME1"


def _two_patients(slices: list[Dataset]) -> None:
    slices[7].PatientID = "somebody else"


def _two_matrices(slices: list[Dataset]) -> None:
    rows, columns = slices[2].Rows, slices[2].Columns
    slices[2].Rows, slices[2].Columns = rows // 2, columns * 2


def _without_place(slices: list[Dataset]) -> None:
    del slices[5].ImagePositionPatient
    del slices[5].PixelSpacing


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _private_syntax(path: Path) -> None:
    """GE's own, of the same length as explicit little endian."""
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0"))


def _turned(slices: list[Dataset]) -> None:
    slices[9].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _two_frames(slices: list[Dataset]) -> None:
    slices[5].FrameOfReferenceUID = generate_uid()


def _two_studies(slices: list[Dataset]) -> None:
    slices[5].StudyInstanceUID = generate_uid()


def _two_spacings(slices: list[Dataset]) -> None:
    slices[5].PixelSpacing = [0.7, 0.9]


def _one_uid(slices: list[Dataset]) -> None:
    slices[5].SOPInstanceUID = slices[4].SOPInstanceUID


def _two_left(slices: list[Dataset]) -> None:
    del slices[2:]


def _thin(slices: list[Dataset]) -> None:
    for dataset in slices:
        dataset.SliceThickness = round(_gap_mm(slices) / 2, 3)


THIRTEEN = (
    Damage("missing slice", "E_MISSING_SLICES", _remove_one),
    Damage("duplicate position", "E_DUPLICATE_POSITION", _same_place_twice),
    Damage("uneven gaps", "E_NONUNIFORM_SPACING", _uneven),
    Damage("gantry tilt 15°", "E_GANTRY_TILT", _tilted(15)),
    Damage("localizer in series", "E_LOCALIZER", _with_localizer),
    Damage("two phases, one UID", "E_MULTI_PHASE", _two_phases),
    Damage("slope differs per slice", "W_RESCALE_VARIES", _slopes),
    Damage("MONOCHROME1", "E_MONOCHROME1", _inverted),
    Damage("mixed PatientID", "E_MIXED_PATIENT", _two_patients),
    Damage("mixed matrix", "E_MATRIX_VARIES", _two_matrices),
    Damage("truncated file", "E_TRUNCATED", spoil=_truncate),
    Damage("private transfer syntax", "E_TS_UNSUPPORTED", spoil=_private_syntax),
    Damage("no position in one file", "E_NO_GEOMETRY", _without_place),
)
MORE = (
    Damage("gantry tilt 0.6°", "E_GANTRY_TILT", _tilted(0.6)),
    Damage("one slice turned", "E_MIXED_ORIENTATION", _turned),
    Damage("two frames of reference", "E_MIXED_FRAME", _two_frames),
    Damage("two studies", "E_MIXED_STUDY", _two_studies),
    Damage("two pixel spacings", "E_SPACING_VARIES", _two_spacings),
    Damage("one UID for two files", "E_DUPLICATE_UID", _one_uid),
    Damage("two slices", "E_TOO_FEW_SLICES", _two_left),
    Damage("every second slice left out", "W_THICKNESS_NE_SPACING", _thin),
)
