"""A clinical table with one row for each lesion: the columns patient_id and `lesion`, the lesion's label in the mask.

Each row is read under a name of its own, "patient_id#lesion", like a patient in a table of patients. What is wrong with
one is told of its patient: a lesion that is left out leaves the patient's others in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from fl_liver.client.cohort.codes import finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.values import read_bounds, shown

LESION_COLUMN = "lesion"
MOST_LESION = 65535
"""As labels of masks go."""

Row = tuple[str, int]
"""A patient's id, and the label of a lesion, from 1; 0 where rows are patients."""


def row_name(patient: str, lesion: int) -> str:
    """What a row is called; its pseudonym is made from it.

    >>> row_name("P7", 2), row_name("P7", 0)
    ('P7#2', 'P7')
    """
    return f"{patient}#{lesion}" if lesion else patient


def numbered(table: pd.DataFrame, names: Pseudonyms) -> tuple[pd.DataFrame, dict[str, Row], list[Finding]]:
    """The table with rows named and sorted by patient and number, whose each is, and the rows without a number.

    Args:
        table: text, every row with a patient_id.
    """
    numbers = _labels(table[LESION_COLUMN].tolist())
    cells = zip(table["patient_id"], table[LESION_COLUMN], numbers, strict=True)
    wrong = [
        finding(
            "E_NO_LESION_NUMBER",
            names.patient(patient),
            f"'{LESION_COLUMN}' is {shown(text)}; wanted a whole number from 1",
        )
        for patient, text, number in cells
        if number == 0
    ]
    table = table.assign(_number=numbers)
    table = table[table["_number"] > 0].sort_values(["patient_id", "_number"], kind="stable")
    rows = list(zip(table["patient_id"].tolist(), table["_number"].tolist(), strict=True))
    named = [row_name(*row) for row in rows]
    return table.drop(columns="_number").assign(patient_id=named), dict(zip(named, rows, strict=True)), wrong


def told_of_patients(
    findings: Iterable[Finding], rows: Mapping[str, Row], kept: Collection[str], names: Pseudonyms
) -> list[Finding]:
    """Findings of rows as findings of their patients: what leaves a row out is W_LESION_LEFT_OUT where others stay.

    Args:
        findings: of rows, by their pseudonym, or of patients.
        kept: ids of patients who have a usable row.
    """
    row_of = {names.patient(name): row for name, row in rows.items()}
    stays = {names.patient(patient) for patient in kept}
    found: list[Finding] = []
    for one in findings:
        patient, lesion = row_of.get(one.case, ("", 0))
        case = names.patient(patient) if lesion else one.case
        cause = f"lesion {lesion}: {one.cause}" if lesion else one.cause
        code = "W_LESION_LEFT_OUT" if one.severity == "E" and case in stays else one.code
        found.append(finding(code, case, cause))
    return found


def _labels(texts: list[str]) -> list[int]:
    """0 for what is no label."""
    found = read_bounds(texts).exact
    return [int(value) if value.is_integer() and 1 <= value <= MOST_LESION else 0 for value in found.tolist()]
