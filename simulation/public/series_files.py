"""A volume of a public data set as a DICOM series in a hospital's folder: values and geometry kept, nobody named."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.errors import DataError
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.dicom import save_alike, set_pixels, uid
from simulation.phantom.volume_files import Stored, orientation, pixel_spacing, positions

_IMPLEMENTATION_UID = UID("2.25.93710845613093711254880113349825110737")
_IMPLEMENTATION_NAME = "FLLIVERPUBLIC1"
_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
_INT16 = np.iinfo(np.int16)
_UINT16_MAX = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True, slots=True)
class SeriesName:
    """Which series of which patient; UIDs follow from it.

    number   counts the patient's series from 1
    frame    his series with one `frame` share their frame of reference: what was acquired in one session, or registered
             by the publishers. "" does for a set of one session a patient
    """

    reader: str
    patient: str
    modality: Literal["CT", "MR"]
    kind: SequenceKind | str
    number: int = 1
    frame: str = ""


def write_series(values: NDArray[Any], grid: Grid, name: SeriesName, folder: Path) -> None:
    """Write one file a slice into `folder`, which is made.

    Whole numbers that fit into 16 bits, with or without a sign, are stored as they are (Hounsfield units: slope 1,
    intercept 0), or exactly, too, above a negative least value, which is the intercept. Others with one slope for the
    volume, to 1/65534 of its range.

    Args:
        values: (slices, rows, columns), finite.
    Raises:
        DataError: a value is not finite.
    """
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise DataError(f"{name.reader}: {bad} voxels of the {name.kind} series are not finite; fetch the file again")
    folder.mkdir(parents=True)
    stored, slope, intercept = _stored(values)
    template = new_file(name.reader, name.patient, name.modality, _CLASSES[name.modality])
    template.SeriesInstanceUID = uid(name.reader, name.patient, "series", name.kind)
    template.SOPInstanceUID = uid(name.reader, name.patient, name.kind, 0)
    template.FrameOfReferenceUID = uid(name.reader, name.patient, "frame", name.frame)
    template.SeriesNumber, template.SeriesDescription = name.number, name.kind
    template.PositionReferenceIndicator = ""
    template.RescaleSlope, template.RescaleIntercept = _decimal(slope), _decimal(intercept)
    template.SliceThickness = _decimal(grid.spacing_mm[0])
    template.PixelSpacing, template.ImageOrientationPatient = pixel_spacing(grid), orientation(grid)
    if name.modality == "CT":
        template.RescaleType = "HU"
    set_pixels(template, stored[0], "MONOCHROME2")
    paths = [folder / f"{number:04d}.dcm" for number in range(1, len(stored) + 1)]
    save_alike(template, _slices(stored, grid, name), paths)


def new_file(reader: str, patient: str, modality: str, sop_class: UID) -> Dataset:
    """A dataset with file meta and what every image of a public data set says: the set's own id of the patient, no
    name, no date."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(reader, patient, modality, 0)
    dataset.StudyInstanceUID = uid(reader, patient, "study", modality)
    dataset.SeriesInstanceUID = uid(reader, patient, "series", modality)
    dataset.Modality = modality
    dataset.PatientName, dataset.PatientID = "", patient
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"public data set read by {reader}"
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
    dataset.InstanceNumber = 1
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION_UID, _IMPLEMENTATION_NAME
    dataset.file_meta = meta
    return dataset


def link_files(paths: Iterable[Path], folder: Path) -> None:
    """The same files in `folder` under their own names: hard links, or copies where those cannot be.

    What lies there under these names is replaced, never written through: it may be the data set's own file, linked by a
    run that was cut off. No symbolic links: a hospital's folder that leads out of itself is not read.

    Raises:
        DataError: two files have one name, or one lies in `folder` itself; nothing is linked then.
    """
    sources = list(paths)
    for name, count in Counter(path.name for path in sources).items():
        if count > 1:
            raise DataError(f"{count} files are called {name}; wanted names of their own in one folder")
    for path in sources:
        if path.resolve() == (folder / path.name).resolve():
            raise DataError(f"{path}: the hospital's folder is the data set's own; give another folder to write to")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sources:
        target = folder / path.name
        target.unlink(missing_ok=True)
        try:
            os.link(path.resolve(), target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(path, target)


def _stored(values: NDArray[Any]) -> tuple[Stored, float, float]:
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "iub" or bool((values == np.rint(values)).all())
    if whole and _INT16.min <= low and high <= _INT16.max:
        return values.astype(np.int16), 1.0, 0.0
    least = min(low, 0.0)
    if whole and least >= _INT16.min and high - least <= _UINT16_MAX:
        return (values.astype(np.float64) - least).astype(np.uint16), 1.0, least
    slope = float(_decimal((high - low) / (_UINT16_MAX - 1))) or 1.0
    middle = float(_decimal((high + low) / 2))
    scaled = np.rint((values.astype(np.float64) - middle) / slope).clip(_INT16.min, _INT16.max)
    return scaled.astype(np.int16), slope, middle


def _decimal(value: float) -> str:
    """A DS value: at most 16 characters, as precise as they allow.

    >>> _decimal(0.7031250001), _decimal(1e-7 / 3), _decimal(1.0)
    ('0.7031250001', '3.33333333e-08', '1')
    """
    return next(text for digits in range(14, 0, -1) if len(text := f"{value:.{digits}g}") <= 14)


def _slices(stored: Stored, grid: Grid, name: SeriesName) -> Iterator[dict[str, str | bytes]]:
    series = uid(name.reader, name.patient, "series", name.kind)
    for number, corner in enumerate(positions(grid), start=1):
        yield {
            "SOPInstanceUID": uid(series, number),
            "InstanceNumber": str(number),
            "ImagePositionPatient": "\\".join(_decimal(value + 0.0) for value in corner),
            "PixelData": np.ascontiguousarray(stored[number - 1]).tobytes(),
        }
