"""Small DICOM files and whole hospitals, made with pydicom; nobody in them is real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.site import SiteConfig
from fl_liver.study import Study
from fl_liver.study_files import load_study

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
CANARIES = ("Ziegenpeter", "MRN-4711-0815", "19530217", "Sankt-Nimmerlein", "9876543210")

WriteCT = Callable[..., list[Dataset]]
WriteStill = Callable[..., Path]
MakeHospital = Callable[..., SiteConfig]


def save(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _base(patient: str, seed: str) -> Dataset:
    """The identifying elements that every test file carries; each must stay out of every output."""
    dataset = Dataset()
    dataset.PatientName = f"{CANARIES[0]}^Anna"
    dataset.PatientID = patient
    dataset.PatientBirthDate = CANARIES[2]
    dataset.InstitutionName = CANARIES[3]
    dataset.AccessionNumber = CANARIES[4]
    dataset.StudyDescription = f"Liver of {CANARIES[0]}"
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[seed, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[seed, "series"])
    return dataset


def ct_slice(number: int, z_mm: float, rows: int = 16) -> Dataset:
    """One axial 16-bit slice at height `z_mm`."""
    dataset = _base(CANARIES[1], "ct")
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["ct", str(number)])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [-100, -120, z_mm]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.7, 0.8]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    _pixels(dataset, np.random.default_rng(number).integers(0, 2000, (rows, rows)).astype(np.uint16))
    return dataset


def _pixels(dataset: Dataset, pixels: np.ndarray[Any, Any], photometric: str = "MONOCHROME2") -> None:
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    frames = 1 if colour or pixels.ndim == 2 else len(pixels)
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = pixels.shape[:2] if frames == 1 else pixels.shape[1:3]
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()


@pytest.fixture
def write_ct(tmp_path: Path) -> WriteCT:
    """Writes a clean axial series of `count` slices, 5 mm apart, under names that are not in slice order.

    `change(slices)` may alter the list of datasets before they are written.
    """

    def write(count: int = 10, change: Callable[[list[Dataset]], object] | None = None) -> list[Dataset]:
        slices = [ct_slice(number, 5.0 * number) for number in range(count)]
        if change:
            change(slices)
        for place, dataset in enumerate(slices):
            save(dataset, tmp_path / "ct" / f"{(place * 7) % 101:03d}.dcm")
        return slices

    return write


def still(patient: str, number: int, *, frames: int = 1, photometric: str = "MONOCHROME2") -> Dataset:
    """An 8-bit ultrasound still of 64 × 80 pixels, all of them scan."""
    dataset = _base(patient, patient)
    dataset.SOPClassUID = UltrasoundImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[patient, str(number)])
    dataset.Modality = "US"
    dataset.InstanceNumber = number
    shape = (64, 80, 3) if photometric != "MONOCHROME2" else (64, 80) if frames == 1 else (frames, 64, 80)
    dataset.SequenceOfUltrasoundRegions = [_whole_screen(64, 80)]
    random = np.random.default_rng([number, *patient.encode()])
    _pixels(dataset, random.integers(0, 256, shape).astype(np.uint8), photometric)
    return dataset


def _whole_screen(rows: int, columns: int) -> Dataset:
    """A region of tissue, 0.5 mm a pixel."""
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = region.RegionFlags = 1
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = columns - 1, rows - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.05
    return region


BOX_HEADER = "patient_id,sop_instance_uid,kind,x_min_px,y_min_px,x_max_px,y_max_px,frame\n"


def boxes_of(dataset: Dataset, frame: int = 0) -> str:
    """The rows of lesions.csv for one frame."""
    start = f"{dataset.PatientID},{dataset.SOPInstanceUID}"
    return f"{start},lesion,30,20,50,36,{frame}\n{start},background,4,30,20,50,{frame}\n"


@pytest.fixture
def study() -> Study:
    """The ultrasound study at 16 px with two views and three factors."""
    shipped = load_study("lesion_us_fusion")
    return shipped.changed(model={"image_px": 16}, cohort={"views": 2}).with_top(
        factor=[one.model_dump() for one in shipped.factor if one.name in ("age_60", "male", "afp_200")],
        analysis={"fusion": ["age_60"]},
    )


@pytest.fixture
def hospital(tmp_path: Path) -> MakeHospital:
    """A hospital of `patients` with two stills each; every second one malignant."""

    def make(patients: int = 12, site: str = "H01", stills: int = 2) -> SiteConfig:
        root = tmp_path / site
        rows, boxes = ["patient_id,malignant,age_years,sex,afp_ng_ml,background,size_mm"], BOX_HEADER
        for index in range(patients):
            patient = f"{site}-{index:03d}"
            rows.append(f"{patient},{index % 2},{40 + index},{'MF'[index % 3 == 0]},{100 * index},normal,{10 + index}")
            for number in range(1, stills + 1):
                dataset = still(patient, number)
                save(dataset, root / "dicom" / patient / f"IM{9 - number}.dcm")
                boxes += boxes_of(dataset)
        (root / "clinical.csv").write_text("\n".join(rows) + "\n")
        (root / "lesions.csv").write_text(boxes)
        (root / "site.toml").write_text(f'site = "{site}"\ndecoders = 0\n')
        return SiteConfig(site=site, data=root, work=root / "work", min_patients=10, decoders=0)

    return make


@pytest.fixture
def names() -> Pseudonyms:
    return Pseudonyms(bytes(range(32)))


@pytest.fixture
def shared_data() -> Path:
    """The folder of public data beside the repository; skips where it is absent."""
    path = Path(__file__).resolve().parents[3] / "../shared/data"
    if not path.is_dir():
        pytest.skip("the public data beside the repository are absent")
    return path


@pytest.fixture
def canaries() -> tuple[str, ...]:
    """What identifies the made-up patient; it stands in headers, private elements and file names."""
    return CANARIES


@pytest.fixture
def write_still(tmp_path: Path) -> WriteStill:
    """Writes one ultrasound still and returns its path."""

    def write(patient: str = "P1", number: int = 1, syntax: UID = ExplicitVRLittleEndian, **kind: Any) -> Path:
        path = tmp_path / "stills" / f"{patient}_{number}.dcm"
        save(still(patient, number, **kind), path, syntax)
        return path

    return write
