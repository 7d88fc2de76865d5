"""Small CT objects for an archive; nobody in them is real."""

from __future__ import annotations

import io

import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

PATIENT = "MRN-4711-0815"
OTHER = "MRN-9999-0001"
NAME = "Ziegenpeter"
ACCESSION = "9876543210"
STUDY_DATE = "20250317"
CANARIES = (PATIENT, OTHER, NAME, ACCESSION, STUDY_DATE, "19530217", "Sankt-Nimmerlein")


def uid_of(*words: str) -> str:
    return str(generate_uid(entropy_srcs=["pacs", *words]))


def ct_slice(number: int, series: str = "portal", *, patient: str = PATIENT, rows: int = 32) -> Dataset:
    """One axial slice, 5 mm behind the one before; `series` is also its description."""
    dataset = Dataset()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{NAME}^Anna", patient, "19530217"
    dataset.PatientSex, dataset.StudyID, dataset.SeriesNumber, dataset.StudyTime = "F", "1", 1, "101500"
    dataset.ReferringPhysicianName, dataset.InstitutionName = "", "Sankt-Nimmerlein"
    dataset.StudyDate, dataset.AccessionNumber, dataset.SeriesDescription = STUDY_DATE, ACCESSION, series
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid_of(patient), uid_of(patient, series)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, uid_of(patient, series, str(number))
    dataset.FrameOfReferenceUID, dataset.Modality = uid_of("frame"), "CT"
    dataset.ImageType, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-100, -120, 5.0 * number], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 5
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.Rows = dataset.Columns = rows
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.random.default_rng(number).integers(900, 1200, (rows, rows)).astype(np.uint16).tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def as_jpeg_ls(dataset: Dataset) -> Dataset:
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    return dataset


def changed(dataset: Dataset, **elements: str) -> Dataset:
    """With other values, also such as DICOM forbids."""
    with disable_value_validation():
        for name, value in elements.items():
            delattr(dataset, name)
            setattr(dataset, name, value)
    return dataset


def as_bytes(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    with disable_value_validation():
        dataset.file_meta.pop("MediaStorageSOPInstanceUID", None)  # made anew, without a check
        dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
