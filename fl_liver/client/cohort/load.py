"""A hospital's folder → `Cohort`: read, checked, cropped, joined with the clinical table and split; nothing else.

A patient who cannot be used is left out with a finding. Only what concerns the whole hospital is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from fl_liver.client.cohort.cache import Entry, entry_of, load_entry, load_images, store_entry
from fl_liver.client.cohort.codes import PASSING, UnusableError, finding, in_fixed_order
from fl_liver.client.cohort.cohort import Cohort, Finding
from fl_liver.client.cohort.join import ImageStack, join
from fl_liver.client.cohort.layout import BOX_FILE, DICOM_FOLDER, HospitalFolder, hospital_folder
from fl_liver.client.cohort.people import left_out_here, seen_twice, small_classes, strangers, told_apart
from fl_liver.client.cohort.pseudonym import Pseudonyms, site_pseudonyms
from fl_liver.client.cohort.read.decoders import decoders_for
from fl_liver.client.cohort.recipe import PatientImages, PatientItem, Recipe, recipe_of
from fl_liver.client.cohort.sections import read_sections
from fl_liver.client.cohort.split import split_rows
from fl_liver.client.cohort.table.clinical import ClinicalTable, clinical_from, require_known_classes
from fl_liver.client.cohort.table.exclude import EXCLUDE_FILE
from fl_liver.client.cohort.table.source import read_clinical_table, table_place
from fl_liver.client.cohort.ultrasound.stills import read_stills
from fl_liver.client.site import SiteConfig
from fl_liver.errors import DataError
from fl_liver.study import Study

_PATIENT_S = 600.0
"""Wall time for one patient: six series of 200 slices in JPEG 2000 take half a minute."""
_READERS: dict[str, Callable[[PatientItem], PatientImages]] = {
    "US": read_stills,
    "CT": read_sections,
    "MR": read_sections,
}

OnPatient = Callable[[int, int], None]
"""(patients read, of how many)"""


def load_cohort(
    site: SiteConfig, study: Study, only: frozenset[str] | None = None, on_patient: OnPatient | None = None
) -> Cohort:
    """Everything of one hospital that `study` can use.

    Args:
        only: pseudonyms of a frozen cohort; who came since is not read. None reads everybody.

    Images are decoded on the first call and come from the cache afterwards, until a file, a box or the recipe changes.

    Raises:
        DataError: no such folder, no clinical table, a missing column, none of the study's classes, no boxes, or no
            DICOM file for an image study.
        ConfigError: the study does not name the site, or says too little of its images.
    """
    _require(site)
    role = "external" if site.role == "external" else study.role_of(site.site)
    names = site_pseudonyms(site.work)
    table = _kept(studied_table(site, study, names), only, names)
    stack = None
    if study.task.modality != "table":
        stack = _images(site, study, table, names, only, on_patient)
    left_out = left_out_here(site.data / EXCLUDE_FILE, names, table.seen)
    out = {one.case for one in left_out}
    usable = table.some([names.patient(patient) not in out for patient in table.ids])
    findings = (*table.findings, *left_out, *(stack.findings if stack is not None else ()))
    return _assemble(usable, stack, role, study, names, findings)


def _images(
    site: SiteConfig,
    study: Study,
    table: ClinicalTable,
    names: Pseudonyms,
    only: frozenset[str] | None,
    on_patient: OnPatient | None,
) -> ImageStack:
    """Crops or sections of everybody, less those whom the table, or another patient's images, speak against."""
    recipe = recipe_of(study)
    folder = _with_images(site, study)
    free = lesion_free(table, study)
    items = [
        PatientItem(folder.dicom, one, recipe, names, folder.mapping, patient in free)
        for patient, one in folder.patients.items()
        if one.files and patient not in table.not_asked and (only is None or names.patient(patient) in only)
    ]
    entries: dict[str, Entry] = {}
    for done, (item, entry) in enumerate(_read_all(items, site), start=1):
        entries[item.folder.patient_id] = entry
        if on_patient is not None:
            on_patient(done, len(items))
    told = strangers(entries, folder.patients, names)
    foreign = {one.case for one in told}
    own = {patient: entry for patient, entry in entries.items() if names.patient(patient) not in foreign}
    told += [*seen_twice(own, names), *told_apart(own, table, study, names)]
    out = {one.case for one in told}
    used = [one for one in items if entries[one.folder.patient_id].images and one.case not in out]
    told += [one for entry in own.values() for one in entry.findings]
    found = [entries[one.folder.patient_id] for one in used]
    return _stacked(used, found, recipe, site.work, [*told, *_unmatched(table, entries, names)])


def studied_table(site: SiteConfig, study: Study, names: Pseudonyms) -> ClinicalTable:
    """The hospital's clinical table, read for one study.

    Raises:
        DataError: no table, a missing column, or no diagnosis that the study knows.
    """
    where = table_place(site.data, site.sql)
    raw = read_clinical_table(site.data, site.sql)
    require_known_classes(raw, study, where)
    return clinical_from(raw, study, names, where)


def lesion_free(table: ClinicalTable, study: Study) -> frozenset[str]:
    """Ids of patients whose diagnosis says that they have no lesion."""
    classes = [index for index, name in enumerate(study.task.classes) if name in study.task.lesion_free]
    return frozenset(table.ids[i] for i in np.flatnonzero(np.isin(table.label, classes)))


def _read_all(items: list[PatientItem], site: SiteConfig) -> Iterator[tuple[PatientItem, Entry]]:
    """From the cache, or read in guarded processes and cached; one patient is in memory at a time."""
    known = {item.case: load_entry(site.work, item) for item in items}
    fresh = [item for item in items if known[item.case] is None]
    with decoders_for(site.decoders, seconds=_PATIENT_S) as decoders:
        read = decoders.map(read_patient, fresh)
        for item in items:
            yield item, known[item.case] or _cached(next(read), item, site)


def _cached(found: PatientImages | UnusableError, item: PatientItem, site: SiteConfig) -> Entry:
    """What was found, kept for the next time; but not that a process died or took too long, which may pass."""
    if isinstance(found, UnusableError):
        refused = PatientImages({}, findings=(found.finding(item.case),))
        if found.code not in PASSING:
            store_entry(site.work, item, refused)
        return entry_of(refused)
    store_entry(site.work, item, found)
    return entry_of(found)


def read_patient(item: PatientItem) -> PatientImages:
    """One patient's crops or sections, as the study's modality asks."""
    return _READERS[item.recipe.modality](item)


def _kept(table: ClinicalTable, only: frozenset[str] | None, names: Pseudonyms) -> ClinicalTable:
    """The rows of a frozen cohort."""
    if only is None:
        return table
    kept = table.some([names.patient(patient) in only for patient in table.ids])
    seen = frozenset(patient for patient in table.seen if names.patient(patient) in only)
    return replace(kept, seen=seen, findings=tuple(one for one in table.findings if one.case in only))


def _require(site: SiteConfig) -> None:
    """The folder is there and is not empty."""
    if not site.data.is_dir():
        raise DataError(f"site {site.site}: no folder {site.data}; correct 'data' in site.toml")
    if not any(site.data.iterdir()):
        wanted = f"clinical.csv and, for images, {DICOM_FOLDER}/"
        raise DataError(f"site {site.site}: {site.data} is empty; wanted {wanted}")


def _with_images(site: SiteConfig, study: Study) -> HospitalFolder:
    """The folder, where it holds what an image study cannot do without."""
    root = site.data / DICOM_FOLDER
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; export the images into {DICOM_FOLDER}/<patient_id>/")
    if study.task.modality == "US" and not (site.data / BOX_FILE).is_file():
        raise DataError(f"{site.data}: has no {BOX_FILE}; wanted one row per lesion box, draw and export them")
    folder = hospital_folder(site.data)
    if not any(one.files for one in folder.patients.values()):
        found = f"{sum(path.is_file() for path in root.rglob('*'))} files, none of them DICOM in a patient's folder"
        raise DataError(f"{root}: {found}; export the images into {DICOM_FOLDER}/<patient_id>/")
    return folder


def _stacked(
    used: list[PatientItem], entries: list[Entry], recipe: Recipe, work: Path, findings: list[Finding]
) -> ImageStack:
    """One array for all; each patient's images are copied once, from the cache."""
    counts = [one.images for one in entries]
    images = {name: np.empty((sum(counts), *recipe.shape_of(name)), dtype=np.float16) for name in recipe.names}
    start = 0
    for item, count in zip(used, counts, strict=True):
        try:
            found = load_images(work, item)
        except (OSError, ValueError) as error:
            raise DataError(
                f"case {item.case}: its images left the cache ({type(error).__name__}); run again"
            ) from error
        for name, array in found.items():
            images[name][start : start + count] = array
        start += count
    return ImageStack(
        patients=tuple(item.case for item in used),
        images=images,
        owner=np.repeat(np.arange(len(used), dtype=np.int64), counts),
        lesions=np.array([label for one in entries for label in one.lesions or (0,) * one.images], dtype=np.int64),
        findings=in_fixed_order(findings),
    )


def _unmatched(table: ClinicalTable, files: Mapping[str, object], names: Pseudonyms) -> list[Finding]:
    """Rows without images and images without a row."""
    rows = [
        finding("E_NO_IMAGES", names.patient(patient), "a clinical row, no DICOM files")
        for patient in dict.fromkeys(table.ids)
        if patient not in files
    ]
    images = [
        finding("E_NO_CLINICAL_ROW", names.patient(patient), "DICOM files, no row in the clinical table")
        for patient in files
        if patient not in table.seen
    ]
    return rows + images


def _assemble(
    table: ClinicalTable,
    stack: ImageStack | None,
    role: Literal["train", "external"],
    study: Study,
    names: Pseudonyms,
    findings: tuple[Finding, ...],
) -> Cohort:
    joined = join(table, stack, names)
    used = joined.table
    split = split_rows(used.ids, used.label, role, study)
    number = {patient: place for place, patient in enumerate(dict.fromkeys(used.ids))}
    group = np.array([number[patient] for patient in used.ids], dtype=np.int64)
    return Cohort(
        patients=tuple(names.patient(row) for row in used.rows),
        label=used.label,
        part=split.part,
        fold=split.fold,
        factors=used.factors,
        background=used.background,
        size_mm=used.size_mm,
        images=joined.images,
        owner=joined.owner,
        findings=in_fixed_order([*findings, *joined.findings, *small_classes(used.label, group, study)]),
        group=group,
    )
