"""Files for the cohort's benchmark: a CT series as a scanner stores it, compressed copies, a hospital of stills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

ROWS = 512
STILL = (240, 320)


def ct_slices(count: int, rows: int = ROWS) -> list[Dataset]:
    """Axial slices 1 mm apart in slice order: 12 bits in 16, realistic noise, so that compression has work to do."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:rows, :rows] - rows / 2
    body = (x / (0.39 * rows)) ** 2 + (y / (0.29 * rows)) ** 2 < 1
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    found = []
    for number in range(count):
        pixels = np.where(body, random.normal(1084, 12, body.shape), random.normal(24, 8, body.shape))
        dataset = _base("P000001", "CT", CTImageStorage, pixels.clip(0, 4095).astype(np.uint16), 12)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.InstanceNumber, dataset.SliceThickness, dataset.PixelSpacing = number + 1, 1, [0.78, 0.78]
        dataset.ImagePositionPatient = [-200, -200, float(number)]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        found.append(dataset)
    return found


def write_series(slices: list[Dataset], folder: Path) -> Path:
    """Under names that are not in slice order."""
    folder.mkdir(parents=True)
    for number, dataset in enumerate(slices):
        dataset.save_as(folder / f"{number * 37 % 211:03d}.dcm", enforce_file_format=True)
    return folder


def compressed(folder: Path, syntax: UID, into: Path) -> Path:
    """The same files in another transfer syntax."""
    into.mkdir(parents=True)
    for path in sorted(folder.iterdir()):
        dataset = dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(into / path.name)
    return into


def write_hospital(folder: Path, patients: int) -> Path:
    """A hospital's folder with one boxed still a patient, its table and its `site.toml`."""
    rows, boxes = (
        ["patient_id,malignant,sex,age_years,size_mm,background"],
        ["patient_id,sop_instance_uid,kind,x_min_px,y_min_px,x_max_px,y_max_px,frame"],
    )
    random = np.random.default_rng(1)
    for number in range(patients):
        patient = f"U{number:06d}"
        pixels = random.integers(20, 200, STILL).astype(np.uint8)
        dataset = _base(patient, "US", UltrasoundImageStorage, pixels, 8)
        dataset.InstanceNumber = 1
        dataset.SequenceOfUltrasoundRegions = [_region()]
        path = folder / "dicom" / patient / "IM_0001.dcm"
        path.parent.mkdir(parents=True)
        dataset.save_as(path, enforce_file_format=True)
        rows.append(f"{patient},{number % 2},{'MF'[number % 2]},{40 + number % 40},25,normal")
        boxes.append(f"{patient},{dataset.SOPInstanceUID},lesion,120,90,200,150,0")
        boxes.append(f"{patient},{dataset.SOPInstanceUID},background,20,150,80,210,0")
    (folder / "clinical.csv").write_text("\n".join(rows) + "\n")
    (folder / "lesions.csv").write_text("\n".join(boxes) + "\n")
    (folder / "site.toml").write_text('site = "H01"\n')
    return folder


def _base(patient: str, modality: str, sop_class: UID, pixels: np.ndarray, bits: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.PatientSex = patient, "Quillmir^Tovras", "O"
    dataset.Modality, dataset.ImageType = modality, ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyDate, dataset.AcquisitionTime, dataset.Manufacturer = "20260101", "101500", "SIEMENS"
    dataset.SeriesDescription = "abdomen"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _region() -> Dataset:
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = region.RegionFlags = 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 4, 4
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = STILL[1] - 5, STILL[0] - 5
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.05
    return region
