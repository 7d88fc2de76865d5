"""A hospital's folder → `Cohort`: read, checked, cropped, joined with the clinical table and split; nothing else.

A patient who cannot be used is left out with a finding. Only what concerns the whole hospital is an error.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cache import ImageStack, cache_key, load_stack, store_stack
from fl_liver.client.cohort.codes import UnusableError, finding, in_fixed_order, unusable
from fl_liver.client.cohort.cohort import Cohort, Finding
from fl_liver.client.cohort.lesions.boxes import read_boxes
from fl_liver.client.cohort.pseudonym import Pseudonyms, site_pseudonyms
from fl_liver.client.cohort.read.folder import Listed, list_files, meant_as_dicom
from fl_liver.client.cohort.split import split_patients
from fl_liver.client.cohort.table.clinical import TABLE_FILE, ClinicalTable, read_clinical
from fl_liver.client.cohort.ultrasound.stills import PatientFiles, PatientImages, Recipe, read_patient, recipe_of
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study

DICOM_FOLDER = "dicom"
BOX_FILE = "lesions.csv"


def load_cohort(site: SiteConfig, study: Study, only: frozenset[str] | None = None) -> Cohort:
    """Everything of one hospital that `study` can use.

    Args:
        only: pseudonyms of a frozen cohort; who came since is not read. None reads everybody.

    Images are decoded on the first call and come from the cache afterwards, until a file, a box or the recipe changes.

    Raises:
        DataError: no such folder, no clinical table, a missing column, no boxes, or no DICOM file for an image study.
        ConfigError: the study does not name the site, or reads a modality that this version does not.
    """
    _require(site.data, site)
    role = "external" if site.role == "external" else study.role_of(site.site)
    names = site_pseudonyms(site.work)
    table = _kept(read_clinical(site.data / TABLE_FILE, study, names), only, names)
    if study.task.modality == "table":
        return _assemble(table, None, role, study, names)
    if study.task.modality != "US":
        raise ConfigError(f"study {study.name}: modality {study.task.modality} is not read yet; wanted 'US' or 'table'")
    found = _files_by_patient(site.data / DICOM_FOLDER)
    files = {patient: listed for patient, listed in found.items() if only is None or names.patient(patient) in only}
    stack = image_stack(site.data, files, recipe_of(study), names, site.work)
    stack = replace(stack, findings=(*stack.findings, *_unmatched(table, files, names)))
    return _assemble(table, stack, role, study, names)


def image_stack(
    data: Path, files: dict[str, list[Listed]], recipe: Recipe, names: Pseudonyms, work: Path
) -> ImageStack:
    """All patients' crops, from the cache where nothing changed.

    Args:
        files: DICOM files by the site's own patient id.
    """
    listed = [one for patient in sorted(files) for one in files[patient]]
    key = cache_key(listed, (data / BOX_FILE).read_bytes(), recipe, names.fingerprint)
    stack = load_stack(work, key)
    if stack is None:
        stack = _decode_all(data, files, recipe, names)
        store_stack(work, key, stack)
    return stack


def _kept(table: ClinicalTable, only: frozenset[str] | None, names: Pseudonyms) -> ClinicalTable:
    """The rows of a frozen cohort."""
    if only is None:
        return table
    rows = np.array([i for i, patient in enumerate(table.ids) if names.patient(patient) in only], dtype=np.int64)
    return replace(
        table,
        ids=tuple(table.ids[i] for i in rows),
        seen=frozenset(patient for patient in table.seen if names.patient(patient) in only),
        label=table.label[rows],
        factors=table.factors[rows],
        background=table.background[rows],
        size_mm=table.size_mm[rows],
        findings=tuple(one for one in table.findings if one.case in only),
    )


def _require(data: Path, site: SiteConfig) -> None:
    """The folder is there, is not empty and holds a clinical table."""
    if not data.is_dir():
        raise DataError(f"site {site.site}: no folder {data}; correct 'data' in site.toml")
    if not any(data.iterdir()):
        raise DataError(f"site {site.site}: {data} is empty; wanted {TABLE_FILE} and, for images, {DICOM_FOLDER}/")
    if not (data / TABLE_FILE).is_file():
        raise DataError(f"site {site.site}: {data} has no {TABLE_FILE}; export one row per patient into it")


def _files_by_patient(root: Path) -> dict[str, list[Listed]]:
    """DICOM files by the first folder below `root`, which is the patient's id; `lesions.csv` must lie beside."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; export the images into {DICOM_FOLDER}/<patient_id>/")
    if not (root.parent / BOX_FILE).is_file():
        raise DataError(f"{root.parent}: has no {BOX_FILE}; wanted one row per lesion box, draw and export them")
    listed = list_files(root)
    by_patient: dict[str, list[Listed]] = defaultdict(list)
    for one in listed:
        patient, slash, _ = one.relative.partition("/")
        if slash and meant_as_dicom(one.path):
            by_patient[patient].append(one)
    if not by_patient:
        found = f"{len(listed)} files, none of them DICOM in a patient's folder"
        raise DataError(f"{root}: {found}; export the images into {DICOM_FOLDER}/<patient_id>/")
    return dict(by_patient)


def _decode_all(data: Path, files: dict[str, list[Listed]], recipe: Recipe, names: Pseudonyms) -> ImageStack:
    boxes = read_boxes(data / BOX_FILE)
    everyone = frozenset(files)
    read: dict[str, PatientImages] = {}
    findings: list[Finding] = []
    for patient in sorted(files):
        case = names.patient(patient)
        folder = PatientFiles(
            patient, tuple(files[patient]), boxes.of_patient.get(patient, ()), boxes.unreadable.get(patient, 0)
        )
        try:
            read[patient] = read_patient(folder, everyone - {patient}, recipe, case=case, root=data / DICOM_FOLDER)
        except UnusableError as error:
            findings.append(error.finding(case))
    for patient in _shared_images(read):
        del read[patient]
        findings.append(
            unusable("E_AMBIGUOUS_IMAGE", "an image also lies in another folder").finding(names.patient(patient))
        )
    findings += [one for images in read.values() for one in images.findings]
    return _stacked(read, recipe, names, findings)


def _shared_images(read: dict[str, PatientImages]) -> list[str]:
    """Patients who have an image in common with another; it would stand in training and in test."""
    owners: dict[str, list[str]] = defaultdict(list)
    for patient, images in read.items():
        for sop_uid in images.sop_uids:
            owners[sop_uid].append(patient)
    return sorted({patient for many in owners.values() if len(many) > 1 for patient in many})


def _stacked(read: dict[str, PatientImages], recipe: Recipe, names: Pseudonyms, findings: list[Finding]) -> ImageStack:
    empty = np.empty((0, recipe.image_px, recipe.image_px), dtype=np.float16)
    images = {name: np.concatenate([empty, *(one.images[name] for one in read.values())]) for name in recipe.names}
    counts = [len(one.images["lesion"]) for one in read.values()]
    return ImageStack(
        patients=tuple(names.patient(patient) for patient in read),
        images=images,
        owner=np.repeat(np.arange(len(read), dtype=np.int64), counts),
        findings=in_fixed_order(findings),
    )


def _unmatched(table: ClinicalTable, files: dict[str, list[Listed]], names: Pseudonyms) -> list[Finding]:
    """Rows without images and images without a row."""
    rows = [
        finding("E_NO_IMAGES", names.patient(patient), "a clinical row, no DICOM files")
        for patient in table.ids
        if patient not in files
    ]
    images = [
        finding("E_NO_CLINICAL_ROW", names.patient(patient), f"DICOM files, no row in {TABLE_FILE}")
        for patient in files
        if patient not in table.seen
    ]
    return rows + images


@dataclass(frozen=True, slots=True)
class _Joined:
    rows: NDArray[np.int64]
    images: dict[str, NDArray[np.float16]]
    owner: NDArray[np.int64]


def _join(pseudonyms: list[str], stack: ImageStack | None) -> _Joined:
    """Rows of the table that have images, and the images of those rows, renumbered."""
    if stack is None:
        return _Joined(np.arange(len(pseudonyms)), {}, np.empty(0, dtype=np.int64))
    place = {patient: i for i, patient in enumerate(stack.patients)}
    rows = np.array([i for i, patient in enumerate(pseudonyms) if patient in place], dtype=np.int64)
    new_index = np.full(len(stack.patients), -1, dtype=np.int64)
    new_index[[place[pseudonyms[i]] for i in rows]] = np.arange(len(rows))
    owner = new_index[stack.owner]
    used = owner >= 0
    images = stack.images if used.all() else {name: array[used] for name, array in stack.images.items()}
    return _Joined(rows, images, owner[used])


def _assemble(
    table: ClinicalTable,
    stack: ImageStack | None,
    role: Literal["train", "external"],
    study: Study,
    names: Pseudonyms,
) -> Cohort:
    pseudonyms = [names.patient(patient) for patient in table.ids]
    joined = _join(pseudonyms, stack)
    rows = joined.rows
    split = split_patients([table.ids[i] for i in rows], table.label[rows], role, study)
    return Cohort(
        patients=tuple(pseudonyms[i] for i in rows),
        label=table.label[rows],
        part=split.part,
        fold=split.fold,
        factors=table.factors[rows],
        background=table.background[rows],
        size_mm=table.size_mm[rows],
        images=joined.images,
        owner=joined.owner,
        findings=in_fixed_order([*table.findings, *(stack.findings if stack else ())]),
    )
