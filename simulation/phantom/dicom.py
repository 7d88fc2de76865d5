"""DICOM objects of virtual patients: what every modality writes alike. Byte-identical on every run.

The names, dates and numbers are invented but present, as in a hospital, so that tests can look for them where they
must not be.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from simulation.phantom.patients import Patient

_IMPLEMENTATION_UID = UID("2.25.112406163412967311254983274598437126491")
_IMPLEMENTATION_NAME = "FLLIVERPHANTOM1"


def uid(*names: object) -> UID:
    """A UID under 2.25 from 128 bits of SHA-256 over the names.

    >>> uid("a", 1) == uid("a", 1), uid("a", 1) == uid("a", 2)
    (True, False)
    """
    digest = hashlib.sha256("\0".join(str(name) for name in names).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def new_object(patient: Patient, hospital: str, modality: str, sop_class: UID, number: int) -> Dataset:
    """A dataset with file meta, patient, study, series and SOP common modules; image modules are the caller's.

    `number` counts the objects of the patient's one series from 1.
    """
    origin = (*patient.entropy, patient.patient_id, modality)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(*origin, "instance", number)
    dataset.StudyInstanceUID = uid(*origin, "study")
    dataset.SeriesInstanceUID = uid(*origin, "series")
    dataset.Modality = modality
    _describe_patient(dataset, patient)
    _describe_study(dataset, patient, hospital)
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.file_meta = _file_meta(dataset)
    return dataset


def set_pixels(dataset: Dataset, pixels: NDArray[np.uint8 | np.uint16], photometric: str, frames: int = 1) -> None:
    """Uncompressed pixel data: (rows, columns), (frames, rows, columns), or with a last axis of 3 samples."""
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
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.LossyImageCompression = "00"
    data = np.ascontiguousarray(pixels).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"


def save(dataset: Dataset, path: Path) -> None:
    """Write a DICOM file with preamble and file meta information."""
    dataset.save_as(path, enforce_file_format=True)


def _describe_patient(dataset: Dataset, patient: Patient) -> None:
    dataset.PatientName = patient.name
    dataset.PatientID = patient.patient_id
    dataset.PatientBirthDate = patient.birth_date
    dataset.PatientSex = "M" if patient.findings.male else "F"
    dataset.PatientAge = f"{patient.findings.age_years:03d}Y"


def _describe_study(dataset: Dataset, patient: Patient, hospital: str) -> None:
    minute = patient.entropy[1] * 17 % 540
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = patient.study_date
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = f"{8 + minute // 60:02d}{minute % 60:02d}00"
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
