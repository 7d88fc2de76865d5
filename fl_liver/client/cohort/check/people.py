"""Rows and images held against each other as far as no study is needed: who is missing, who is there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fl_liver.client.cohort.codes import finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.layout import HospitalFolder
from fl_liver.client.cohort.people import duplicates, left_out_here
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.exclude import EXCLUDE_FILE
from fl_liver.client.cohort.table.lesion_rows import LESION_COLUMN
from fl_liver.client.cohort.table.source import TABLE_FILES, read_clinical_table, table_place
from fl_liver.client.cohort.table.tables import require_columns
from fl_liver.client.site import SiteConfig
from fl_liver.study import Study


def people_findings(
    folder: HospitalFolder,
    site: SiteConfig | None,
    names: Pseudonyms,
    hashes: Mapping[str, frozenset[str]],
    study: Study | None = None,
) -> tuple[int | None, list[Finding]]:
    """How many patients the clinical table has (None without one), and what is wrong between rows and images.

    Args:
        hashes: of the pixels, by pseudonym.
        study: says whether rows are patients or lesions; without it, a column `lesion` does.
    Raises:
        DataError: the table cannot be read, or has no column patient_id.
    """
    with_images = {patient for patient, one in folder.patients.items() if one.files}
    by_id = {patient: hashes.get(names.patient(patient), frozenset()) for patient in sorted(with_images)}
    found = duplicates(by_id, names)
    sql = site.sql if site is not None else None
    if sql is None and not any((folder.data / name).is_file() for name in TABLE_FILES):
        return None, found
    where = table_place(folder.data, sql)
    table = read_clinical_table(folder.data, sql)
    require_columns(table, ["patient_id"], where)
    ids = [patient for patient in table["patient_id"] if patient]
    of_lesions = study.cohort.unit == "lesion" if study is not None else LESION_COLUMN in table
    lesions = table[LESION_COLUMN] if of_lesions and LESION_COLUMN in table else [""] * len(table)
    counts = Counter(zip(table["patient_id"], lesions, strict=True))
    twice = sorted({patient for (patient, _), rows in counts.items() if rows > 1 and patient})
    cause = "several rows for one patient or lesion"
    found += [finding("E_DUPLICATE_ROW", names.patient(patient), cause) for patient in twice]
    rows = {names.patient(patient) for patient in ids}
    images = {names.patient(patient) for patient in with_images}
    found += [finding("E_NO_IMAGES", case, "a clinical row, no DICOM files") for case in sorted(rows - images)]
    cause = "DICOM files, no row in the clinical table"
    found += [finding("E_NO_CLINICAL_ROW", case, cause) for case in sorted(images - rows)]
    found += left_out_here(folder.data / EXCLUDE_FILE, names, {*ids, *with_images})
    return len(rows), found
