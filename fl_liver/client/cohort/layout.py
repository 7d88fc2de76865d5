"""Where things lie in a hospital's folder: the one place that knows the names.

clinical.csv, clinical.xlsx   one row a patient, or a lesion where the study says so
lesions.csv                   boxes on ultrasound stills
dicom/<patient_id>/**         images, and DICOM SEG or RTSTRUCT objects beside them; any depth, any names
masks/<patient_id>.nii.gz     drawn lesions; also .nii, .nrrd, .mha, or several in a folder masks/<patient_id>/
series.toml                   what series are, where their headers do not say
exclude.csv                   patients whom a person here left out
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from fl_liver.client.cohort.lesions.boxes import Box, Boxes, read_boxes
from fl_liver.client.cohort.lesions.masks import MASK_SUFFIXES
from fl_liver.client.cohort.read.folder import Listed, list_files, meant_as_dicom
from fl_liver.client.cohort.series.mapping import NO_MAPPING, Mapping, read_mapping
from fl_liver.client.cohort.table.exclude import EXCLUDE_FILE
from fl_liver.client.cohort.table.source import TABLE_FILES

DICOM_FOLDER = "dicom"
MASK_FOLDER = "masks"
BOX_FILE = "lesions.csv"
MAPPING_FILE = "series.toml"
SITE_FILE = "site.toml"
KNOWN_FILES = frozenset({*TABLE_FILES, BOX_FILE, MAPPING_FILE, EXCLUDE_FILE, SITE_FILE})


@dataclass(frozen=True, slots=True)
class PatientFolder:
    """One patient as the site names him: files in name order.

    unreadable_boxes   rows of lesions.csv that could not be read
    """

    patient_id: str = field(repr=False)
    files: tuple[Listed, ...] = field(default=(), repr=False)
    masks: tuple[Listed, ...] = field(default=(), repr=False)
    boxes: tuple[Box, ...] = ()
    unreadable_boxes: int = 0


@dataclass(frozen=True, slots=True)
class HospitalFolder:
    """What lies in a hospital's folder, by patient id, sorted; patients with images or drawn lesions only."""

    data: Path = field(repr=False)
    patients: dict[str, PatientFolder] = field(repr=False)
    mapping: Mapping = NO_MAPPING

    @property
    def dicom(self) -> Path:
        return self.data / DICOM_FOLDER


def is_hospital_folder(folder: Path) -> bool:
    """Whether a folder has the layout above: patients' folders below dicom/, and a table or a site.toml."""
    return (folder / DICOM_FOLDER).is_dir() and any((folder / name).is_file() for name in (*TABLE_FILES, SITE_FILE))


def hospital_folder(data: Path) -> HospitalFolder:
    """List a hospital's folder; nothing but tables is read.

    Raises:
        DataError: lesions.csv is no table of boxes.
        ConfigError: series.toml is wrong.
    """
    files = _by_patient(data / DICOM_FOLDER)
    masks = _masks(data / MASK_FOLDER)
    boxes = read_boxes(data / BOX_FILE) if (data / BOX_FILE).is_file() else Boxes({}, {})
    patients = {
        patient: PatientFolder(
            patient,
            tuple(files.get(patient, ())),
            tuple(masks.get(patient, ())),
            boxes.of_patient.get(patient, ()),
            boxes.unreadable.get(patient, 0),
        )
        for patient in sorted({*files, *masks})
    }
    return HospitalFolder(data, patients, read_mapping(data / MAPPING_FILE))


def _by_patient(root: Path) -> dict[str, list[Listed]]:
    """DICOM files by the first folder below `root`, which is the patient's id."""
    found: dict[str, list[Listed]] = defaultdict(list)
    for one in list_files(root) if root.is_dir() else ():
        patient, slash, _ = one.relative.partition("/")
        if slash and meant_as_dicom(one.path):
            found[patient].append(one)
    return found


def _masks(root: Path) -> dict[str, list[Listed]]:
    found: dict[str, list[Listed]] = defaultdict(list)
    for one in list_files(root) if root.is_dir() else ():
        suffix = next((end for end in MASK_SUFFIXES if one.relative.lower().endswith(end)), None)
        if suffix is not None:
            patient, slash, _ = one.relative.partition("/")
            found[patient if slash else one.relative[: -len(suffix)]].append(one)
    return found
