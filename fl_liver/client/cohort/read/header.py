"""What is kept of a DICOM header: an allow-list of tags copied into a frozen record.

Institutions, free text and private elements are not kept; of series descriptions only words of a fixed list are
(`words`); a name and a birth date are held against the file's own name and forgotten. Files are read, and refused, in
`dicom`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from fl_liver.client.cohort.read.acquisition import ACQUISITION, PRIVATE_B_VALUES, Acquisition, acquisition_from
from fl_liver.client.cohort.read.elements import (
    age_years,
    code,
    digits,
    number,
    number_or,
    text,
    values,
    vector,
    whole,
    whole_or,
)
from fl_liver.client.cohort.read.region import UltrasoundRegion, regions_from
from fl_liver.client.cohort.read.words import image_type_words

ALLOWED = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"),
    *("Modality", "ImageType", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SliceThickness"),
    *("NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated"),
    *("BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "BurnedInAnnotation"),
    *("LossyImageCompression", "PixelPaddingValue", "Manufacturer"),
    *("StudyDate", "SequenceOfUltrasoundRegions", "UltrasoundColorDataPresent"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
COMPARED = ("PatientName", "PatientBirthDate", "PatientAge", "PatientSex", "SeriesDescription", "ProtocolName")
"""Read, turned into something that names nobody (a flag, years, M or F, words of a list), and not kept."""
_OVERLAY_ROWS = Tag(0x6000, 0x0010)
ALLOWED_TAGS = [*(Tag(one) for one in (*ALLOWED, *ACQUISITION, *COMPARED)), *PRIVATE_B_VALUES, _OVERLAY_ROWS]
_MAKERS = {
    "siemens": "Siemens",
    "ge med": "GE",
    "ge health": "GE",
    "g.e.": "GE",
    "general electric": "GE",
    "philips": "Philips",
    "toshiba": "Canon",
    "canon": "Canon",
    "hitachi": "Hitachi",
    "aloka": "Hitachi",
    "fuji": "Fujifilm",
    "mindray": "Mindray",
    "samsung": "Samsung",
    "medison": "Samsung",
    "esaote": "Esaote",
    "supersonic": "SuperSonic",
    "sonosite": "SonoSite",
    "united imaging": "United Imaging",
    "uih": "United Imaging",
    "neusoft": "Neusoft",
}
_PHOTOMETRICS = frozenset(
    {
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
        *("YBR_PARTIAL_422", "YBR_PARTIAL_420"),
    }
)
_SEXES = frozenset({"M", "F", "O"})
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
    thickness_mm: float | None = None
    padding: int | None = None
    manufacturer: str = ""
    study_date: str = field(default="", repr=False)
    """YYYYMMDD; held against the clinical table's dates inside the hospital."""
    age_years: float | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)
    """"M", "F", "O" or ""."""
    acquisition: Acquisition = field(default_factory=Acquisition)
    regions: tuple[UltrasoundRegion, ...] = ()
    colour_data: bool = False
    """UltrasoundColorDataPresent: Doppler or another colour map lies over the image."""
    overlay: bool = False
    """Something is drawn over the image in an overlay plane (`lesions.overlay`)."""
    pixel_offset: int | None = None
    """Where the value of PixelData begins in the file, set by `read.dicom` once all of it is there; None where the file
    is deflated or big-endian."""
    frame: int = 0
    """0-based frame of its file; above 0 only in what `read.enhanced` makes of a multi-frame file."""

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
        patient_id=text(dataset, "PatientID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        sop_uid=text(dataset, "SOPInstanceUID"),
        frame_uid=text(dataset, "FrameOfReferenceUID"),
        sop_class=_standard_uid(text(dataset, "SOPClassUID")),
        syntax=syntax,
        modality=_modality(code(dataset, "Modality")),
        image_type=image_type_words(values(dataset, "ImageType", str)),
        instance_number=whole_or(dataset, "InstanceNumber", 0),
        position_mm=vector(dataset, "ImagePositionPatient", 3),
        orientation=vector(dataset, "ImageOrientationPatient", 6),
        spacing_mm=vector(dataset, "PixelSpacing", 2),
        rows=whole_or(dataset, "Rows", 0),
        columns=whole_or(dataset, "Columns", 0),
        frames=whole_or(dataset, "NumberOfFrames", 1),
        samples=whole_or(dataset, "SamplesPerPixel", 1),
        photometric=_one_of(code(dataset, "PhotometricInterpretation"), _PHOTOMETRICS),
        bits_allocated=whole_or(dataset, "BitsAllocated", 0),
        bits_stored=int(number_or(dataset, "BitsStored", whole_or(dataset, "BitsAllocated", 0))),
        signed=number(dataset, "PixelRepresentation") == 1,
        slope=number_or(dataset, "RescaleSlope", 1.0),
        intercept=number_or(dataset, "RescaleIntercept", 0.0),
        burned_in=code(dataset, "BurnedInAnnotation") == "YES",
        lossy=code(dataset, "LossyImageCompression") == "01",
        thickness_mm=number(dataset, "SliceThickness"),
        padding=whole(dataset, "PixelPaddingValue"),
        manufacturer=manufacturer(text(dataset, "Manufacturer")),
        study_date=digits(dataset, "StudyDate", 8),
        age_years=age_years(dataset),
        sex=_one_of(code(dataset, "PatientSex"), _SEXES),
        acquisition=acquisition_from(dataset),
        regions=regions_from(dataset),
        colour_data=number(dataset, "UltrasoundColorDataPresent") == 1,
        overlay=_OVERLAY_ROWS in dataset,
    )


def manufacturer(text: str) -> str:
    """One of the makers of CT, MR and ultrasound machines that is known here, "other", or "" where the tag is empty.

    >>> manufacturer("GE MEDICAL SYSTEMS"), manufacturer("Dr. Quillmir's own"), manufacturer("")
    ('GE', 'other', '')
    """
    lowered = text.lower()
    return next((name for part, name in _MAKERS.items() if part in lowered), "other" if text else "")


def names_its_patient(dataset: Dataset, relative_path: str) -> bool:
    """Whether a folder's or file's name holds the patient's name, id or birth date of its own header.

    Words of three letters and more count, and ids of four characters and more that are not a plain small number.
    """
    parts = {part for part in re.split(r"[^0-9a-zà-ÿ]+", relative_path.casefold()) if part}
    whole = relative_path.casefold()
    name = {word for word in re.split(r"[^0-9a-zà-ÿ]+", text(dataset, "PatientName").casefold()) if len(word) >= 3}
    patient_id, born = text(dataset, "PatientID").casefold(), digits(dataset, "PatientBirthDate", 8)
    return bool(name & parts) or (len(patient_id) >= 4 and patient_id in whole) or (bool(born) and born in whole)


def _modality(found: str) -> str:
    """One of the modalities that DICOM defines; any other word becomes OT, an absent one ""."""
    return found if not found or found in _IMAGES | _WITHOUT_IMAGE else "OT"


def _standard_uid(found: str) -> str:
    """A UID of the standard; others, and what a damaged length swallowed, become ""."""
    return found if re.fullmatch(r"1\.2\.840\.10008\.[0-9.]{1,50}", found) else ""


def _one_of(found: str, wanted: frozenset[str]) -> str:
    return found if found in wanted else ""
