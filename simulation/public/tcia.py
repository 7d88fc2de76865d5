"""Collections of The Cancer Imaging Archive as NBIA writes them: folders of DICOM, segmentations beside the images.

    metadata.csv                                                            one row a series; also one folder above
    <collection>/<patient>/<date-study description>/<number-description>/1-001.dcm …

Any other depth and any other names do as well: a folder's files are one series, and its first header that can be read
says of whom. An element that is no value of its kind counts as absent.
"""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from fl_liver.client.cohort.lesions.seg import read_seg
from fl_liver.client.cohort.series.grid import Grid
from fl_liver.errors import ConfigError, DataError
from simulation.public.nifti import separate_lesions
from simulation.public.tables import listing, number

_HEADER = (
    *("PatientID", "StudyInstanceUID", "StudyDate", "SeriesInstanceUID", "SeriesDescription", "Modality"),
    *("Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "SliceThickness", "KVP", "PatientAge"),
)
_PLACE = ("SOPInstanceUID", "AcquisitionNumber", "ImagePositionPatient")


@dataclass(frozen=True, slots=True)
class TciaSeries:
    """One folder of files. Texts are "" and the thickness NaN where the header does not say."""

    patient: str
    study_uid: str
    study_date: str
    series_uid: str
    modality: str
    description: str
    scanner: str
    kernel: str
    thickness_mm: float
    files: tuple[Path, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A DICOM SEG: its file, the segments' numbers and labels, the series and the images that it was drawn on."""

    path: Path
    segments: dict[int, str]
    series_uid: str
    images: frozenset[str] = field(repr=False)


def tcia_series(root: Path, patient: Callable[[str], bool], wanted: str) -> dict[str, list[TciaSeries]]:
    """All series below a folder by patient, in the order of their paths.

    Args:
        patient: which PatientIDs belong to the collection.
        wanted: what such a folder looks like, for the message.
    Raises:
        DataError: there are none.
    """
    found: dict[str, list[TciaSeries]] = defaultdict(list)
    for folder, below, names in os.walk(root):
        below.sort()
        files = tuple(Path(folder) / name for name in sorted(names) if name.lower().endswith(".dcm"))
        header = _first_header(files, _HEADER)
        if header is not None and patient(str(header.get("PatientID", ""))):
            one = _series(header, files)
            found[one.patient].append(one)
    if not found:
        raise DataError(f"{root}: no DICOM series of this collection (found {listing(root)}; wanted {wanted})")
    return dict(sorted(found.items()))


def incomplete(root: Path, found: dict[str, list[TciaSeries]]) -> tuple[str, ...]:
    """One note on series that have fewer files than NBIA's metadata.csv says; () where there is no such file."""
    promised: dict[str, int] = {}
    for path in sorted((*root.glob("metadata.csv"), *root.glob("*/metadata.csv"), *root.parent.glob("metadata.csv"))):
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file, suppress(csv.Error):
            for row in csv.DictReader(file):
                if row.get("Series UID") and str(row.get("Number of Images", "")).isdecimal():
                    promised[row["Series UID"]] = int(row["Number of Images"])
    short = [one for many in found.values() for one in many if len(one.files) < promised.get(one.series_uid, 0)]
    if not short:
        return ()
    patients = sorted({one.patient for one in short})
    more = f" and {len(patients) - 3} more" if len(patients) > 3 else ""
    return (
        f"{len(short)} series have fewer files than metadata.csv says (patients {', '.join(patients[:3])}{more});"
        " resume the download",
    )


def segmentation(series: TciaSeries) -> Segmentation | None:
    """What a series of modality SEG says of itself; None where it is no segmentation of one series."""
    header = _header(series.files[0], ("SegmentSequence", "ReferencedSeriesSequence"))
    references = _items(header, "ReferencedSeriesSequence") if header is not None else []
    if header is None or len(references) != 1:
        return None
    segments = [(one.get("SegmentNumber"), one) for one in _items(header, "SegmentSequence")]
    return Segmentation(
        series.files[0],
        {number: str(one.get("SegmentLabel", "")).strip() for number, one in segments if isinstance(number, int)},
        str(references[0].get("SeriesInstanceUID", "")),
        frozenset(
            str(one.get("ReferencedSOPInstanceUID", "")) for one in _items(references[0], "ReferencedInstanceSequence")
        ),
    )


def drawn_lesions(drawn: Segmentation, segments: Collection[int], *, separate: bool) -> tuple[NDArray[np.uint16], Grid]:
    """Lesion segments alone, on the segmentation's own lattice; where two overlap, the first one's label stands.

    Args:
        segments: numbers of the segments that are lesions; each keeps its place in their order as label 1, 2, …
        separate: the segments hold several lesions each: parts that hang together get labels of their own.
    Raises:
        UnusableError: as `read_seg`.
        DataError: nothing is drawn in these segments.
    """
    layers = read_seg(drawn.path)
    labels = np.zeros(layers[0].grid.shape, dtype=np.uint16)
    for label, segment in enumerate(sorted(segments), start=1):
        for layer in layers:
            labels[(layer.labels == segment) & (labels == 0)] = label
    if not labels.any():
        raise DataError(f"{drawn.path}: nothing is drawn in segments {', '.join(map(str, sorted(segments)))}")
    grid = layers[0].grid
    return (separate_lesions(labels > 0, grid) if separate else labels), grid


def one_volume(series: TciaSeries, images: Collection[str]) -> tuple[Path, ...]:
    """The files of the one volume that lesions were drawn on, of a series that may hold several phases.

    All, where no place is there twice; else the acquisition of most images that the segmentation names; else those
    images.
    """
    headers = [(path, header) for path in series.files if (header := _header(path, _PLACE)) is not None]
    if _places_once([header for _, header in headers]):
        return series.files
    named = Counter(str(one.get("AcquisitionNumber")) for _, one in headers if one.get("SOPInstanceUID") in images)
    most = named.most_common(1)[0][0] if named else ""
    same = [(path, header) for path, header in headers if str(header.get("AcquisitionNumber")) == most]
    if same and _places_once([header for _, header in same]):
        return tuple(path for path, _ in same)
    return tuple(path for path, header in headers if header.get("SOPInstanceUID") in images)


def require_seg_reader() -> None:
    """Raises ConfigError where DICOM SEG cannot be read, before hours of work instead of after."""
    if find_spec("highdicom") is None:
        raise ConfigError("this data set's lesions are DICOM SEG, read through highdicom: pip install fl_liver[seg]")


def scanner_columns(series: Sequence[TciaSeries]) -> dict[str, NDArray[np.str_]]:
    """Partition columns of one series a patient: scanner, manufacturer, kernel, slice_mm."""
    thickness = [f"{one.thickness_mm:g}mm" if one.thickness_mm == one.thickness_mm else "" for one in series]
    columns = {
        "scanner": [one.scanner for one in series],
        "manufacturer": [one.scanner.partition(" ")[0] for one in series],
        "kernel": [one.kernel for one in series],
        "slice_mm": thickness,
    }
    return {name: np.array([text or "unknown" for text in texts], dtype=np.str_) for name, texts in columns.items()}


def _places_once(headers: Sequence[Dataset]) -> bool:
    places = [_place(header) for header in headers]
    return len(set(places)) == len(places)


def _place(header: Dataset) -> tuple[float, ...]:
    """ImagePositionPatient; () where it is none."""
    try:
        return tuple(round(float(value), 2) for value in header.get("ImagePositionPatient") or ())
    except (TypeError, ValueError):  # one number alone, or an empty one among three
        return ()


def _first_header(files: Sequence[Path], tags: Sequence[str]) -> Dataset | None:
    """Of the first file that can be read: one damaged file is no reason to lose a series."""
    return next((header for path in files if (header := _header(path, tags)) is not None), None)


def _header(path: Path, tags: Sequence[str]) -> Dataset | None:
    """Some elements of a file; None where it is none that pydicom reads."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            header = dcmread(path, stop_before_pixels=True, specific_tags=list(tags))
            _convert(header)
    except Exception:  # the one broad catch of a foreign header: pydicom raises a dozen types on damaged files
        return None
    return header


def _convert(header: Dataset) -> None:
    """pydicom makes values of an element's bytes when it is first asked for them: here, not far from any catch.

    What is no value of its kind, such as a thickness of "1,25", goes.
    """
    for tag in list(header.keys()):
        try:
            element = header[tag]
            for item in element.value if element.VR == "SQ" else ():
                _convert(item)
        except Exception:  # the same dozen types
            del header[tag]


def _items(header: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none where it is absent, or no sequence."""
    return list(header[keyword].value) if keyword in header and header[keyword].VR == "SQ" else []


def _series(header: Dataset, files: tuple[Path, ...]) -> TciaSeries:
    def text(keyword: str) -> str:
        value: Any = header.get(keyword)
        if isinstance(value, MultiValue):
            value = value[0] if value else None
        return "" if value is None else " ".join(str(value).split())

    thickness = number(text("SliceThickness"))
    return TciaSeries(
        patient=text("PatientID"),
        study_uid=text("StudyInstanceUID"),
        study_date=text("StudyDate"),
        series_uid=text("SeriesInstanceUID"),
        modality=text("Modality"),
        description=text("SeriesDescription"),
        scanner=_scanner(text("Manufacturer"), text("ManufacturerModelName")),
        kernel=text("ConvolutionKernel"),
        thickness_mm=thickness if math.isfinite(thickness) else float("nan"),
        files=files,
    )


def _scanner(maker: str, model: str) -> str:
    """ "GE LightSpeed VCT": the maker's first word in one spelling, then the model.

    >>> _scanner("GE MEDICAL SYSTEMS", "LightSpeed VCT"), _scanner("SIEMENS", "Sensation 40"), _scanner("", "")
    ('GE LightSpeed VCT', 'Siemens Sensation 40', '')
    """
    first = maker.split(" ")[0]
    return " ".join(part for part in (first if len(first) < 4 else first.capitalize(), model) if part)
