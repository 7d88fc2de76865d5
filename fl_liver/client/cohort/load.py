"""A hospital's folder → `Cohort`: read, checked, cropped, joined with the clinical table and split; nothing else.

A patient who cannot be used is left out with a finding. Only what concerns the whole hospital is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cache import Entry, load_entry, load_images, store_entry
from fl_liver.client.cohort.codes import PASSING, UnusableError, finding, in_fixed_order
from fl_liver.client.cohort.cohort import Cohort, Finding
from fl_liver.client.cohort.layout import BOX_FILE, DICOM_FOLDER, HospitalFolder, hospital_folder
from fl_liver.client.cohort.people import left_out_here, seen_twice, small_classes, told_apart
from fl_liver.client.cohort.pseudonym import Pseudonyms, site_pseudonyms
from fl_liver.client.cohort.read.decoders import decoders_for
from fl_liver.client.cohort.recipe import PatientImages, PatientItem, Recipe, recipe_of
from fl_liver.client.cohort.sections import read_sections
from fl_liver.client.cohort.split import split_patients
from fl_liver.client.cohort.table.clinical import ClinicalTable, clinical_from
from fl_liver.client.cohort.table.exclude import EXCLUDE_FILE
from fl_liver.client.cohort.table.source import read_clinical_table, table_place
from fl_liver.client.cohort.ultrasound.stills import read_stills
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError
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
        DataError: no such folder, no clinical table, a missing column, no boxes, or no DICOM file for an image study.
        ConfigError: the study does not name the site, or says too little of its images.
    """
    _require(site)
    role = "external" if site.role == "external" else study.role_of(site.site)
    names = site_pseudonyms(site.work)
    where = table_place(site.data, site.sql)
    table = clinical_from(read_clinical_table(site.data, site.sql), study, names, where)
    table = _kept(table, only, names)
    stack = None
    if study.task.modality != "table":
        stack = _images(site, study, table, names, only, on_patient)
    left_out = left_out_here(site.data / EXCLUDE_FILE, names, table.seen)
    out = {one.case for one in left_out}
    usable = _rows(table, [names.patient(patient) not in out for patient in table.ids])
    findings = (*table.findings, *left_out, *(stack.findings if stack is not None else ()))
    return _assemble(usable, stack, role, study, names, findings)


@dataclass(frozen=True, slots=True, eq=False)
class ImageStack:
    """The images of every patient of a hospital that has usable ones.

    patients   pseudonyms, in the order of the site's own ids
    images     name → (m, H, W) or (m, C, H, W) float16
    owner      (m,) int64, ascending index into `patients`
    findings   of the patients left out, and warnings
    """

    patients: tuple[str, ...]
    images: dict[str, NDArray[np.float16]] = field(repr=False)
    owner: NDArray[np.int64] = field(repr=False)
    findings: tuple[Finding, ...]


def _images(
    site: SiteConfig,
    study: Study,
    table: ClinicalTable,
    names: Pseudonyms,
    only: frozenset[str] | None,
    on_patient: OnPatient | None,
) -> ImageStack:
    """Crops or sections of everybody, less those whom the table, or another patient's images, speak against."""
    folder = _with_images(site, study)
    recipe = recipe_of(study)
    if recipe.modality in ("CT", "MR") and not recipe.sequences:
        raise ConfigError(f"study {study.name}: a {recipe.modality} study names its series in [cohort] sequences")
    everyone = frozenset(folder.patients)
    items = [
        PatientItem(folder.dicom, one, recipe, names, everyone - {patient}, folder.mapping)
        for patient, one in folder.patients.items()
        if one.files and (only is None or names.patient(patient) in only)
    ]
    entries: dict[str, Entry] = {}
    for done, (item, entry) in enumerate(_read_all(items, site), start=1):
        entries[item.folder.patient_id] = entry
        if on_patient is not None:
            on_patient(done, len(items))
    told = [*seen_twice(entries, names), *told_apart(entries, table, study, names)]
    out = {one.case for one in told}
    used = [one for one in items if entries[one.folder.patient_id].images and one.case not in out]
    told += [one for entry in entries.values() for one in entry.findings]
    counts = [entries[one.folder.patient_id].images for one in used]
    return _stacked(used, counts, recipe, site.work, [*told, *_unmatched(table, entries, names)])


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
        refused = PatientImages({}, frozenset(), frozenset(), (), (found.finding(item.case),))
        if found.code not in PASSING:
            store_entry(site.work, item, refused)
        return Entry(0, findings=refused.findings)
    store_entry(site.work, item, found)
    return Entry(len(found.images["lesion"]), found.sop_uids, found.hashes, found.told, found.findings)


def read_patient(item: PatientItem) -> PatientImages:
    """One patient's crops or sections, as the study's modality asks."""
    return _READERS[item.recipe.modality](item)


def _kept(table: ClinicalTable, only: frozenset[str] | None, names: Pseudonyms) -> ClinicalTable:
    """The rows of a frozen cohort."""
    if only is None:
        return table
    kept = _rows(table, [names.patient(patient) in only for patient in table.ids])
    seen = frozenset(patient for patient in table.seen if names.patient(patient) in only)
    return replace(kept, seen=seen, findings=tuple(one for one in table.findings if one.case in only))


def _rows(table: ClinicalTable, keep: list[bool]) -> ClinicalTable:
    """Some rows; who was seen and what was found stay."""
    rows = np.flatnonzero(keep)
    return replace(
        table,
        ids=tuple(table.ids[i] for i in rows),
        label=table.label[rows],
        factors=table.factors[rows],
        background=table.background[rows],
        size_mm=table.size_mm[rows],
    )


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
    used: list[PatientItem], counts: list[int], recipe: Recipe, work: Path, findings: list[Finding]
) -> ImageStack:
    """One array for all; each patient's images are copied once, from the cache."""
    images = {name: np.empty((sum(counts), *recipe.image_shape), dtype=np.float16) for name in recipe.names}
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
        findings=in_fixed_order(findings),
    )


def _unmatched(table: ClinicalTable, files: Mapping[str, object], names: Pseudonyms) -> list[Finding]:
    """Rows without images and images without a row."""
    rows = [
        finding("E_NO_IMAGES", names.patient(patient), "a clinical row, no DICOM files")
        for patient in table.ids
        if patient not in files
    ]
    images = [
        finding("E_NO_CLINICAL_ROW", names.patient(patient), "DICOM files, no row in the clinical table")
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
    findings: tuple[Finding, ...],
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
        findings=in_fixed_order([*findings, *small_classes(table.label[rows], study)]),
    )
