"""DICOM objects of virtual patients: what every modality writes alike. Byte-identical on every run.

The names, dates and numbers are invented but present, as in a hospital, so that tests can look for them where they
must not be.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_data_element
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from simulation.phantom.patients import Patient

_IMPLEMENTATION_UID = UID("2.25.112406163412967311254983274598437126491")
_IMPLEMENTATION_NAME = "FLLIVERPHANTOM1"
_LATIN_1 = ["latin_1"]  # ISO_IR 100


def uid(*names: object) -> UID:
    """A UID under 2.25 from 128 bits of SHA-256 over the names.

    >>> uid("a", 1) == uid("a", 1), uid("a", 1) == uid("a", 2)
    (True, False)
    """
    digest = hashlib.sha256("\0".join(str(name) for name in names).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def new_object(
    patient: Patient,
    hospital: str,
    modality: str,
    sop_class: UID,
    number: int,
    *,
    series: str = "",
    study: str | None = None,
) -> Dataset:
    """A dataset with file meta, patient, study, series and SOP common modules; image modules are the caller's.

    Args:
        number: counts the objects of one series from 1.
        series: tells a study's series apart, where it has several.
        study: modality of the study that the object belongs to, where it is another: a segmentation of an MR.
    """
    origin = (*patient.entropy, patient.patient_id, study or modality)
    within = (series,) if series else ()
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(*origin, "instance", *within, number)
    dataset.StudyInstanceUID = uid(*origin, "study")
    dataset.SeriesInstanceUID = uid(*origin, "series", *within)
    dataset.Modality = modality
    _describe_patient(dataset, patient)
    _describe_study(dataset, patient, hospital)
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.file_meta = _file_meta(dataset)
    return dataset


def set_pixels(
    dataset: Dataset,
    pixels: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16],
    photometric: str,
    frames: int = 1,
    bits_stored: int | None = None,
) -> None:
    """Uncompressed pixel data: (rows, columns), (frames, rows, columns), or with a last axis of 3 samples.

    `bits_stored` may be less than the type has: 12 bits in 16.
    """
    colour = photometric != "MONOCHROME2"
    rows, columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    bits = 8 * pixels.dtype.itemsize
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = photometric
    if colour:
        dataset.PlanarConfiguration = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored = bits, bits_stored or bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.LossyImageCompression = "00"
    data = np.ascontiguousarray(pixels).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"


def save(dataset: Dataset, path: Path) -> None:
    """Write a DICOM file with preamble and file meta information."""
    dataset.save_as(path, enforce_file_format=True)


def save_alike(template: Dataset, own: Iterable[Mapping[str, str | bytes]], paths: Iterable[Path]) -> None:
    """Write many files that differ in a few elements: what they share is encoded once.

    Args:
        template: with file meta; its bytes are those that `save` would write.
        own: of each file, keyword → value as it stands in the file; SOPInstanceUID among them.
    """
    shared, meta = _encoded(template), _encoded(template.file_meta)
    meta[0x00020001] = _element(0x00020001, "OB", b"\0\1")
    for one, path in zip(own, paths, strict=True):
        elements = shared | {tag: _element(tag, vr, one[keyword]) for keyword, (tag, vr) in _tags(tuple(one)).items()}
        meta[0x00020003] = _element(0x00020003, "UI", one["SOPInstanceUID"])
        head = b"".join(meta[tag] for tag in sorted(meta))
        length = _element(0x00020000, "UL", len(head).to_bytes(4, "little"))
        body = b"".join([elements[tag] for tag in sorted(elements)])
        path.write_bytes(b"".join([bytes(128), b"DICM", length, head, body]))


@lru_cache
def _tags(keywords: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    """Tag and value representation; pixel data are 16-bit words."""
    return {one: (int(Tag(one)), dictionary_VR(one).replace("OB or OW", "OW")) for one in keywords}


def _element(tag: int, vr: str, value: str | bytes) -> bytes:
    """One element in Explicit VR Little Endian, its value padded to an even length."""
    data = value.encode("latin-1") if isinstance(value, str) else value
    if len(data) % 2:
        data += b"\0" if vr in ("UI", "OB", "OW") else b" "
    if vr in ("OB", "OW"):
        return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(data)) + data
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(data)) + data


def _encoded(dataset: Dataset) -> dict[int, bytes]:
    """Each element as pydicom writes it."""
    found = {}
    for element in correct_ambiguous_vr(dataset, True):
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element, _LATIN_1)
        found[int(element.tag)] = buffer.getvalue()
    return found


def _describe_patient(dataset: Dataset, patient: Patient) -> None:
    dataset.PatientName = patient.name
    dataset.PatientID = patient.patient_id
    dataset.PatientBirthDate = patient.birth_date
    dataset.PatientSex = "M" if patient.findings.male else "F"
    dataset.PatientAge = f"{patient.findings.age_years:03d}Y"


def study_start_s(patient: Patient) -> float:
    """Seconds after midnight at which the patient's studies begin: 8 to 17 o'clock."""
    return 8 * 3600.0 + 60.0 * (patient.entropy[1] * 17 % 540)


def _describe_study(dataset: Dataset, patient: Patient, hospital: str) -> None:
    minute = round(study_start_s(patient) / 60)
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = patient.study_date
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = f"{minute // 60:02d}{minute % 60:02d}00"
    dataset.AccessionNumber = f"A{patient.study_date[2:]}{patient.entropy[1] + 1:05d}"
    dataset.ReferringPhysicianName = "Quillmir^Tovras"
    dataset.InstitutionName = f"Phantom Hospital {hospital}"
    dataset.StudyDescription = "ABDOMEN LIVER"
    dataset.StudyID = str(patient.entropy[1] + 1)


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_UID
    meta.ImplementationVersionName = _IMPLEMENTATION_NAME
    return meta
