"""What is kept of a DICOM header: an allow-list of tags copied into a frozen record.

Names, dates, institutions, free text and private elements are never parsed. Files are read, and refused, in `dicom`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

ALLOWED = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"),
    *("Modality", "ImageType", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated"),
    *("BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "BurnedInAnnotation"),
    "LossyImageCompression",
)
ALLOWED_TAGS = [Tag(keyword) for keyword in ALLOWED]
_IMAGES = frozenset({"CT", "MR", "US", "IVUS", "PT", "NM", "XA", "RF", "DX", "CR", "MG", "SEG", "SC", "OT"})
_WITHOUT_IMAGE = frozenset({"SR", "KO", "PR", "DOC", "REG", "RTSTRUCT", "RTPLAN", "RTRECORD", "PLAN", "FID"})


@dataclass(frozen=True, slots=True)
class Header:
    """What is kept of one file's header. UIDs and the patient's id stay inside the hospital and out of `repr`.

    position_mm     (x, y, z) of the centre of the first pixel, patient coordinates (LPS)
    orientation     direction cosines of a row, then of a column
    spacing_mm      between rows, between columns
    """

    patient_id: str = field(repr=False)
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    sop_uid: str = field(repr=False)
    frame_uid: str = field(repr=False)
    sop_class: str
    syntax: str
    modality: str
    image_type: tuple[str, ...]
    instance_number: int
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    burned_in: bool
    lossy: bool

    @property
    def is_image(self) -> bool:
        """False for reports, contours, plans and other objects that never hold pixels."""
        return self.modality not in _WITHOUT_IMAGE

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the decoded pixels."""
        return math.ceil(self.rows * self.columns * self.samples * self.frames * self.bits_allocated / 8)


def header_from(dataset: Dataset, syntax: str) -> Header:
    """Copy the allowed elements; a missing number becomes 0, 1 or None as its field says."""
    return Header(
        patient_id=_text(dataset, "PatientID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        frame_uid=_text(dataset, "FrameOfReferenceUID"),
        sop_class=_text(dataset, "SOPClassUID"),
        syntax=syntax,
        modality=_modality(dataset),
        image_type=tuple(_values(dataset, "ImageType", str)),
        instance_number=int(_number(dataset, "InstanceNumber") or 0),
        position_mm=_vector(dataset, "ImagePositionPatient", 3),
        orientation=_vector(dataset, "ImageOrientationPatient", 6),
        spacing_mm=_vector(dataset, "PixelSpacing", 2),
        rows=int(_number(dataset, "Rows") or 0),
        columns=int(_number(dataset, "Columns") or 0),
        frames=int(_number(dataset, "NumberOfFrames") or 1),
        samples=int(_number(dataset, "SamplesPerPixel") or 1),
        photometric=_code(dataset, "PhotometricInterpretation"),
        bits_allocated=int(_number(dataset, "BitsAllocated") or 0),
        bits_stored=int(_number(dataset, "BitsStored") or 0),
        signed=_number(dataset, "PixelRepresentation") == 1,
        slope=_or(_number(dataset, "RescaleSlope"), 1.0),
        intercept=_or(_number(dataset, "RescaleIntercept"), 0.0),
        burned_in=_code(dataset, "BurnedInAnnotation") == "YES",
        lossy=_code(dataset, "LossyImageCompression") == "01",
    )


def _values(dataset: Dataset, keyword: str, kind: type) -> list[Any]:
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    many = value if not isinstance(value, str) and hasattr(value, "__iter__") else [value]
    return [kind(one) for one in many]


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _code(dataset: Dataset, keyword: str) -> str:
    """A coded string. Longer than a DICOM code may be, or odd, it is dropped: free text could name a patient."""
    text = _text(dataset, keyword)
    return text if len(text) <= 16 and text.replace("_", "").replace(" ", "").isalnum() else ""


def _modality(dataset: Dataset) -> str:
    """One of the modalities that DICOM defines; any other word becomes OT, an absent one ""."""
    code = _code(dataset, "Modality")
    return code if not code or code in _IMAGES | _WITHOUT_IMAGE else "OT"


def _number(dataset: Dataset, keyword: str) -> float | None:
    values = _values(dataset, keyword, float)
    return values[0] if values and math.isfinite(values[0]) else None


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _vector(dataset: Dataset, keyword: str, length: int) -> tuple[float, ...] | None:
    values = _values(dataset, keyword, float)
    return tuple(values) if len(values) == length and all(math.isfinite(value) for value in values) else None
