"""Rows of the clinical table and images brought together: an image goes to its patient, or to its lesion's own row."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import counted, finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.clinical import ClinicalTable


@dataclass(frozen=True, slots=True, eq=False)
class ImageStack:
    """The images of every patient of a hospital that has usable ones.

    patients   pseudonyms, in the order of the site's own ids
    images     name → (m, H, W) or (m, C, H, W) float16
    owner      (m,) int64, ascending index into `patients`
    lesions    (m,) int64, label of the lesion that an image is about, ascending for each patient; 0 for none
    findings   of the patients left out, and warnings
    """

    patients: tuple[str, ...]
    images: dict[str, NDArray[np.float16]] = field(repr=False)
    owner: NDArray[np.int64] = field(repr=False)
    lesions: NDArray[np.int64] = field(repr=False)
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """The rows that have images, their images with the row of each, and what was left without the other."""

    table: ClinicalTable
    images: dict[str, NDArray[np.float16]]
    owner: NDArray[np.int64]
    findings: tuple[Finding, ...] = ()


def join(table: ClinicalTable, stack: ImageStack | None, names: Pseudonyms) -> Joined:
    """Rows with images, and the images of those rows; without a stack, all rows."""
    if stack is None:
        return Joined(table, {}, np.empty(0, dtype=np.int64))
    cases = [names.patient(patient) for patient in table.ids]
    row_of = {(case, int(lesion)): row for row, (case, lesion) in enumerate(zip(cases, table.lesions, strict=True))}
    of_lesions = bool(table.known)
    about = stack.lesions if of_lesions else np.zeros_like(stack.lesions)
    pairs, pair_of = np.unique(np.stack([stack.owner, about]), axis=1, return_inverse=True)
    drawn = [(stack.patients[owner], int(lesion)) for owner, lesion in pairs.T]
    row = np.array([row_of.get(pair, -1) for pair in drawn], dtype=np.int64)[pair_of.ravel()]
    used = row >= 0
    rows = np.unique(row[used])
    keep = np.isin(np.arange(len(cases)), rows)
    return Joined(
        table=table.some(keep.tolist()),
        images=stack.images if used.all() else {name: array[used] for name, array in stack.images.items()},
        owner=np.searchsorted(rows, row[used]),
        findings=tuple(_unmatched_lesions(table, cases, set(drawn))) if of_lesions else (),
    )


def _unmatched_lesions(table: ClinicalTable, cases: list[str], drawn: set[tuple[str, int]]) -> list[Finding]:
    """Rows whose lesion is not drawn, and drawn lesions without a row, of patients who have images."""
    imaged = {case for case, _ in drawn}
    rows: dict[str, list[int]] = defaultdict(list)
    for case, lesion in zip(cases, table.lesions.tolist(), strict=True):
        rows[case].append(lesion)
    found: list[Finding] = []
    for case in imaged & set(rows):
        lacking = [lesion for lesion in rows[case] if (case, lesion) not in drawn]
        if len(lacking) == len(rows[case]):
            cause = f"{counted(len(lacking), 'row')}, and none of their lesions is drawn"
            found.append(finding("E_LESION_NOT_DRAWN", case, cause))
        else:
            found += [finding("W_LESION_LEFT_OUT", case, f"lesion {lesion}: it is not drawn") for lesion in lacking]
    with_rows = {case for case, _ in table.known}
    found += [
        finding("W_LESION_NO_ROW", case, f"lesion {lesion} is drawn; the clinical table has no row for it")
        for case, lesion in drawn
        if case in with_rows and (case, lesion) not in table.known
    ]
    return found
