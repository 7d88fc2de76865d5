"""Who is who among a hospital's patients, and who is left out for it: the clinical row against the images, one patient
against another, and what a person here decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import counted, finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.recipe import Told
from fl_liver.client.cohort.table.class_counts import class_count_faults
from fl_liver.client.cohort.table.clinical import ClinicalTable
from fl_liver.client.cohort.table.exclude import excluded_findings, read_excluded
from fl_liver.client.cohort.table.identity import duplicate_patients, person_faults
from fl_liver.study import Study


class Imaged(Protocol):
    """What the images of one patient tell of him."""

    @property
    def people(self) -> frozenset[str]: ...
    @property
    def sop_uids(self) -> frozenset[str]: ...
    @property
    def hashes(self) -> frozenset[str]: ...
    @property
    def told(self) -> tuple[Told, ...]: ...


def strangers(images: Mapping[str, Imaged], everybody: Iterable[str], names: Pseudonyms) -> list[Finding]:
    """E_WRONG_PATIENT where files carry the id of another patient of this hospital, else E_MIXED_PATIENT where they
    carry several ids.

    Args:
        images: by the site's own id.
        everybody: ids of all patients with a folder, also of those who are not read.
    """
    known = {names.patient(patient) for patient in everybody}
    found: list[Finding] = []
    for patient, one in images.items():
        case = names.patient(patient)
        if (one.people - {case}) & known:
            found.append(finding("E_WRONG_PATIENT", case, "files carry the id of another patient"))
        elif len(one.people) > 1:
            found.append(finding("E_MIXED_PATIENT", case, f"the files carry {len(one.people)} patient ids"))
    return found


def seen_twice(images: Mapping[str, Imaged], names: Pseudonyms) -> list[Finding]:
    """Patients, by the site's own id, who have an image in common with another.

    E_AMBIGUOUS_IMAGE: one file lies in two patients' folders. E_DUPLICATE_PATIENT: the same pixels under two ids, most
    often one person registered twice. Either would stand in training and in test; all of a group are left out.
    """
    owners: dict[str, list[str]] = defaultdict(list)
    for patient, one in images.items():
        for sop_uid in one.sop_uids:
            owners[sop_uid].append(patient)
    shared = sorted({patient for many in owners.values() if len(many) > 1 for patient in many})
    found = [
        finding("E_AMBIGUOUS_IMAGE", names.patient(patient), "an image also lies in another folder")
        for patient in shared
    ]
    hashes = {patient: one.hashes for patient, one in images.items() if patient not in shared}
    return found + duplicates(hashes, names)


def duplicates(hashes: Mapping[str, frozenset[str]], names: Pseudonyms) -> list[Finding]:
    """E_DUPLICATE_PATIENT for everybody who shares an image's pixels with another, by the site's own id."""
    return [
        finding(
            "E_DUPLICATE_PATIENT",
            names.patient(patient),
            f"an image of this patient stands under {counted(len(others), 'other id')} too:"
            f" {', '.join(sorted(names.patient(other) for other in others)[:3])}",
        )
        for patient, others in duplicate_patients(hashes).items()
    ]


def told_apart(images: Mapping[str, Imaged], table: ClinicalTable, study: Study, names: Pseudonyms) -> list[Finding]:
    """E_AGE_SEX_DISAGREE and E_DATE_ORDER: the clinical row and the images of one id do not fit one person."""
    faults = {
        (code, patient, cause)
        for row, patient in zip(table.rows, table.ids, strict=True)
        if patient in images
        for code, cause in person_faults(table.people[row], study.column, images[patient].told)
    }
    return [finding(code, names.patient(patient), cause) for code, patient, cause in sorted(faults)]


def left_out_here(path: Path, names: Pseudonyms, ids: Collection[str]) -> list[Finding]:
    """E_EXCLUDED_HERE for those in `exclude.csv`, and a warning where it names people who are not here.

    Args:
        ids: of all patients of the clinical table, the site's own.
    """
    return excluded_findings(read_excluded(path), [names.patient(patient) for patient in ids])


def small_classes(label: NDArray[np.int64], group: NDArray[np.int64], study: Study) -> list[Finding]:
    """W_CLASS_COUNT_SMALL for each class with few usable patients here.

    Args:
        label, group: (n,) class and patient of each row.
    """
    label = np.unique(np.stack([label, group]), axis=1)[0]
    return [finding(code, "", cause) for code, cause in class_count_faults(label, study.task.classes)]
