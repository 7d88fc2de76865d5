"""Tiny trees in the layouts of public data sets: a few voxels a patient, written without the readers' own code."""

from __future__ import annotations

import csv
import gzip
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.site import load_site
from fl_liver.study import Study
from fl_liver.toml_file import parse

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
SIDE, SLICES = 24, 8
LESION_HU, LIVER_HU, AIR_HU = 140, 60, -1000
_NIFTI_TYPES = {"int16": (4, 16), "uint8": (2, 8), "float32": (16, 32), "float64": (64, 64)}


def require_shared() -> Path:
    """The folder of public data beside the repository; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the public data beside the repository are absent")
    return SHARED


def write_nifti(path: Path, voxels: NDArray[np.generic], affine: ArrayLike) -> Path:
    """NIfTI-1 by hand: voxels (i, j, k), affine (3, 4) to right, anterior, superior in mm, as the standard says."""
    code, bits = _NIFTI_TYPES[voxels.dtype.name]
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *voxels.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, bits)
    rows = np.asarray(affine, dtype=np.float64)
    struct.pack_into("<8f", header, 76, 1, *np.linalg.norm(rows[:, :3], axis=0), 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *rows.ravel())
    header[344:348] = b"n+1\0"
    data = bytes(header) + voxels.tobytes(order="F")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def scan(lesions: Sequence[tuple[int, int, int]], hu: int = LESION_HU) -> NDArray[np.int16]:
    """(slices, rows, columns) HU: a square of liver in air, and cubes of 4×4×4 voxels whose first corners are given."""
    values = np.full((SLICES, SIDE, SIDE), AIR_HU, dtype=np.int16)
    values[:, 0, 0] = AIR_HU + hu  # no two patients share a slice: the cohort would take them for one
    values[:, 2:-2, 2:-2] = LIVER_HU + np.arange(SLICES)[:, None, None]
    for k, i, j in lesions:
        values[k : k + 4, i : i + 4, j : j + 4] = hu
    return values


def regions(lesions: Sequence[tuple[int, int, int]]) -> list[NDArray[np.bool_]]:
    """Each of those cubes by itself, (slices, rows, columns)."""
    found = []
    for k, i, j in lesions:
        one = np.zeros((SLICES, SIDE, SIDE), dtype=bool)
        one[k : k + 4, i : i + 4, j : j + 4] = True
        found.append(one)
    return found


def write_ct(
    folder: Path,
    patient: str,
    values: NDArray[np.int16],
    *,
    study: str = "before",
    series: str = "ct",
    acquisition: int = 1,
    maker: str = "GE MEDICAL SYSTEMS",
    model: str = "LightSpeed VCT",
    first: int = 1,
    **elements: object,
) -> list[Dataset]:
    """One axial series as an archive exports it, from head to feet; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, index in enumerate(range(len(values) - 1, -1, -1), start=first):
        one = Dataset()
        one.SpecificCharacterSet = "ISO_IR 100"
        one.SOPClassUID, one.Modality = CTImageStorage, "CT"
        one.SOPInstanceUID = generate_uid(entropy_srcs=[patient, study, series, str(acquisition), str(index)])
        one.StudyInstanceUID = generate_uid(entropy_srcs=[patient, study])
        one.SeriesInstanceUID = generate_uid(entropy_srcs=[patient, study, series])
        one.FrameOfReferenceUID = generate_uid(entropy_srcs=[patient, study, "frame"])
        one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = patient, f"{patient}^", "", "M"
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "19920606", "", "", ""
        one.ReferringPhysicianName = ""
        one.Manufacturer, one.ManufacturerModelName, one.ConvolutionKernel = maker, model, "STANDARD"
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.SeriesNumber, one.InstanceNumber, one.AcquisitionNumber = 2, number, acquisition
        one.SliceThickness, one.PixelSpacing = 5, [2, 2]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [-30, -40, 100 + 5 * index]
        one.PositionReferenceIndicator = ""
        one.Rows = one.Columns = SIDE
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.RescaleIntercept, one.RescaleSlope, one.RescaleType = -1024, 1, "HU"
        one.KVP = 120
        one.PixelData = (values[index] + 1024).astype("<i2").tobytes()
        one["PixelData"].VR = "OW"
        for keyword, value in elements.items():
            setattr(one, keyword, value)
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.save_as(folder / f"1-{number:02d}.dcm", enforce_file_format=True)
        written.append(one)
    return written


def write_seg(folder: Path, images: Sequence[Dataset], segments: Mapping[str, NDArray[np.bool_]]) -> Path:
    """A DICOM SEG by highdicom on some images; segments are (slices, rows, columns), feet to head."""
    highdicom = pytest.importorskip("highdicom")
    from pydicom.sr.codedict import codes

    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(segments, start=1)
    ]
    by_height = sorted(images, key=lambda one: float(one.ImagePositionPatient[2]))
    file = highdicom.seg.Segmentation(
        source_images=by_height,
        pixel_array=np.stack(list(segments.values()), axis=-1).astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(entropy_srcs=[images[0].SeriesInstanceUID, "seg"]),
        series_number=100,
        sop_instance_uid=generate_uid(entropy_srcs=[images[0].SeriesInstanceUID, "seg", "1"]),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )
    folder.mkdir(parents=True)
    file.save_as(folder / "1-1.dcm")
    return folder / "1-1.dcm"


def nbia_metadata(path: Path, series: Mapping[str, int]) -> None:
    """metadata.csv of the NBIA Data Retriever: series UID → number of images."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["Series UID", "Collection", "3rd Party Analysis", "Subject ID", "Modality", "Number of Images"]
        )
        writer.writerows([uid, "X", "", "", "CT", count] for uid, count in series.items())


def cohort_of(folder: Path, study: Study) -> Cohort:
    """A hospital's cohort, decoded in this process."""
    return load_cohort(load_site(folder / "site.toml").model_copy(update={"decoders": 0}), study)


CRLM_TUMOURS = {
    "CRLM-CT-1001": [(2, 5, 5)],
    "CRLM-CT-1002": [(2, 5, 5), (3, 14, 14)],
    "CRLM-CT-1003": [(1, 6, 12)],
    "CRLM-CT-1004": [(2, 10, 10)],
}


def crlm_tree(root: Path) -> Path:
    """Four patients of Colorectal-Liver-Metastases; the second has two tumours and a series of two acquisitions."""
    base = root / "manifest-1669817128730" / "Colorectal-Liver-Metastases"
    counts = {}
    for number, (patient, tumours) in enumerate(CRLM_TUMOURS.items()):
        study = base / patient / "06-06-1992-NA-CT ANGIO ABD WITH PEL-75163"
        place = study / "2.000000-NA-12345"
        maker, model = ("SIEMENS", "Sensation 16") if number % 2 else ("GE MEDICAL SYSTEMS", "LightSpeed VCT")
        images = write_ct(place, patient, scan(tumours, LESION_HU + number), maker=maker, model=model)
        if number == 1:
            write_ct(place, patient, scan([], 0), acquisition=2, first=SLICES + 1, maker=maker, model=model)
        liver = np.zeros((SLICES, SIDE, SIDE), dtype=bool)
        liver[:, 2:-2, 2:-2] = True
        vein = np.zeros_like(liver)
        vein[:, 18:20, 3:5] = True
        named = {"Liver": liver, "Liver Remnant": liver.copy(), "Hepatic": vein, "Portal": vein.copy()}
        named |= {f"Tumor_{k}": one for k, one in enumerate(regions(tumours), start=1)}
        write_seg(study / "100.000000-Segmentation-46600", images, named)
        counts[str(images[0].SeriesInstanceUID)] = SLICES * (2 if number == 1 else 1)
    nbia_metadata(base.parent / "metadata.csv", counts)
    table = pd.DataFrame(
        {
            "Patient-ID": [1, 2, 3, 4, 5],
            "De-identify Scout Name": [*CRLM_TUMOURS, "CRLM-CT-1005"],
            "age": [61, 48, 70, 55, 66],
            "sex": [1, 2, 2, 1, 1],
            "major_comorbidity": [0, 1, 0, 0, 1],
            "carcinoembryonic_antigen": [12.5, -999, 3, 4, 5],
            "necrosis_percent": [10, 20, 30, 40, 50],
            "overall_survival_months": [20, 30, 40, 50, 60],
            "vital_status": [1, 0, 0, 0, 1],
            "progression_or_recurrence": [1, 0, 1, 0, 1],
            "progression_or_recurrence_liveronly": [1, 0, 0, 1, 1],
        }
    )
    table.to_excel(root / "Colorectal-Liver-Metastases-Clinical-data-April-2023.xlsx", index=False)
    return root


def aul_tree(root: Path, count: int = 4, side: tuple[int, int] = (128, 160)) -> Path:
    """`count` images of each class; the scan is at rows 10–120, columns 20–150, a mass a square in the liver."""
    draw = np.random.default_rng(0)
    for name in ("Benign", "Malignant", "Normal"):
        for number in range(1, count + 1):
            grey = np.zeros(side, dtype=np.uint8)
            grey[10:120, 20:150] = draw.integers(40, 90, (110, 130))
            left = 40 + number
            if name != "Normal":
                grey[50:70, left : left + 30] = 200 if name == "Malignant" else 10
            path = root / name / "image" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey).convert("RGB").save(path, quality=95)
            polygons = {"liver": (30, 30, 140, 110), "outline": (20, 10, 149, 119)}
            polygons |= {} if name == "Normal" else {"mass": (left, 50, left + 29, 69)}
            for kind, (x0, y0, x1, y1) in polygons.items():
                file = root / name / "segmentation" / kind / f"{number}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    return root


def image_study(
    modality: str, outcome: str, classes: Mapping[str, str], positive: Sequence[str], **cohort: object
) -> Study:
    """A small study of one network on images of 16 px, H01 to H03."""
    raw: dict[str, object] = {
        "name": "tiny",
        "title": "Tiny",
        "task": {"modality": modality, "outcome": outcome, "classes": dict(classes), "positive": list(positive)},
        "model": {"name": "lesion_us_fusion", "width": 4, "image_px": 16},
        "sites": {"train": ["H01", "H02", "H03"]},
        "cohort": {"views": 2, **cohort},
        "privacy": {"min_patients": 1},
    }
    return parse(raw, Study, "tiny")
