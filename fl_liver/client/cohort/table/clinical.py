"""The clinical table as numbers: diagnosis, factors, liver background and lesion size of a hospital's patients."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.tables import read_table, require_columns
from fl_liver.study import Study
from fl_liver.study_cohort import Factor

TABLE_FILE = "clinical.csv"
_BINARY = {"y": 1.0, "yes": 1.0, "true": 1.0, "n": 0.0, "no": 0.0, "false": 0.0}
_AGE = re.compile(r"^(\d{1,3})([DWMY])$")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True, slots=True)
class ClinicalTable:
    """n usable rows, sorted by the site's own patient id; arrays as in `Cohort`.

    seen   every patient id of the table, usable or not
    """

    ids: tuple[str, ...] = field(repr=False)
    seen: frozenset[str] = field(repr=False)
    label: NDArray[np.int64]
    factors: NDArray[np.float64]
    background: NDArray[np.int64]
    size_mm: NDArray[np.float64]
    findings: tuple[Finding, ...]


def read_clinical(path: Path, study: Study, names: Pseudonyms) -> ClinicalTable:
    """Read the columns that a study names; rows that cannot be used become findings.

    A diagnosis outside the study's classes or a second row for one patient leaves the patient out; an unreadable value
    counts as missing.

    Raises:
        DataError: not a table, or a column that the study names is missing.
    """
    table = read_table(path)
    require_columns(table, _columns(study), path)
    table, findings = _without_bad_ids(table, names)
    seen = frozenset(table["patient_id"])
    table, unlabelled = _without_bad_labels(table, study, names)
    table = table.drop_duplicates("patient_id", keep=False).sort_values("patient_id", kind="stable")
    cases = [names.patient(patient) for patient in table["patient_id"]]
    factors, unread = _factor_matrix(table, study, cases)
    background, odd = _background(table, study, cases)
    return ClinicalTable(
        ids=tuple(table["patient_id"]),
        seen=seen,
        label=_codes(table[study.task.outcome], study.task.classes),
        factors=factors,
        background=background,
        size_mm=numbers(table[study.task.size_mm]) if study.task.size_mm else np.full(len(table), np.nan),
        findings=(*findings, *unlabelled, *unread, *odd),
    )


def numbers(column: pd.Series[str]) -> NDArray[np.float64]:
    """(n,) text → (n,) float64, NaN for what is no number. Y/N, yes/no and true/false are 1/0; "062Y" is 62 years.

    >>> numbers(pd.Series(["062Y", "42", "yes", "N", "", "006M"])).tolist()
    [62.0, 42.0, 1.0, 0.0, nan, 0.5]
    """
    return np.array([_number(text) for text in column], dtype=np.float64)


def factor_values(column: pd.Series[str], factor: Factor) -> NDArray[np.float64]:
    """One factor, (n,) float64, from its column of text; a missing value is `factor.missing`, or NaN without it."""
    values = _measured(column, factor)
    return values if factor.missing is None else np.where(np.isnan(values), factor.missing, values)


def _measured(column: pd.Series[str], factor: Factor) -> NDArray[np.float64]:
    if factor.equals is not None:
        same = column.map(_code).eq(_code(factor.equals)).to_numpy(dtype=np.float64)
        return np.where(column.eq("").to_numpy(), np.nan, same)
    value = numbers(column)
    if (factor.at_least, factor.above, factor.below) != (None, None, None):
        inside = np.ones(len(value), dtype=np.bool_)
        inside &= value >= factor.at_least if factor.at_least is not None else True
        inside &= value > factor.above if factor.above is not None else True
        inside &= value < factor.below if factor.below is not None else True
        return np.where(np.isnan(value), np.nan, inside)
    if factor.log10:
        value = np.log10(value, out=np.full_like(value, np.nan), where=value > 0)
    return (value - factor.center) / factor.scale


def _columns(study: Study) -> list[str]:
    optional = [name for name in (study.task.background, study.task.size_mm) if name]
    return ["patient_id", study.task.outcome, *optional, *(factor.column for factor in study.factor)]


def _number(text: str) -> float:
    lowered = text.lower()
    if lowered in _BINARY:
        return _BINARY[lowered]
    age = _AGE.match(text.upper())
    if age:
        return int(age[1]) * _YEARS[age[2]]
    try:
        value = float(text)
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")


def _code(text: str) -> str:
    """Codes compare without case; "1", "1.0" and "01" are one code."""
    try:
        return repr(float(text))
    except ValueError:
        return text.strip().casefold()


def _codes(column: pd.Series[str], classes: dict[str, str]) -> NDArray[np.int64]:
    """Index of each value among the codes of `classes`, −1 for any other."""
    index = {_code(code): i for i, code in enumerate(classes.values())}
    return np.array([index.get(_code(text), -1) for text in column], dtype=np.int64)


def _without_bad_ids(table: pd.DataFrame, names: Pseudonyms) -> tuple[pd.DataFrame, list[Finding]]:
    """Rows without a patient id go; patients with two rows are named here and dropped once the labels are read."""
    empty = table["patient_id"].eq("")
    findings = [
        finding("E_NO_PATIENT_ID", "", f"row {row + 2} of the table has no patient_id") for row in np.flatnonzero(empty)
    ]
    table = table[~empty]
    rows = table["patient_id"].value_counts()
    findings += [
        finding("E_DUPLICATE_ROW", names.patient(str(patient)), f"{count} rows for one patient")
        for patient, count in rows[rows > 1].items()
    ]
    return table, findings


def _without_bad_labels(table: pd.DataFrame, study: Study, names: Pseudonyms) -> tuple[pd.DataFrame, list[Finding]]:
    once = ~table["patient_id"].duplicated(keep=False)
    unknown = _codes(table[study.task.outcome], study.task.classes) < 0
    wanted = ", ".join(f"'{code}' ({name})" for name, code in study.task.classes.items())
    findings = [
        finding("E_LABEL_UNKNOWN", names.patient(patient), f"'{study.task.outcome}' is {_shown(text)}; wanted {wanted}")
        for patient, text in table.loc[unknown & once, ["patient_id", study.task.outcome]].itertuples(index=False)
    ]
    return table[~unknown | ~once], findings


def _factor_matrix(table: pd.DataFrame, study: Study, cases: list[str]) -> tuple[NDArray[np.float64], list[Finding]]:
    matrix = np.empty((len(table), len(study.factor)), dtype=np.float64)
    findings: list[Finding] = []
    for i, factor in enumerate(study.factor):
        matrix[:, i] = factor_values(table[factor.column], factor)
        unread = np.isnan(matrix[:, i]) & table[factor.column].ne("").to_numpy()
        what = "a positive number" if factor.log10 else "a number"
        findings += [
            finding(
                "W_VALUE_UNREADABLE", cases[row], f"'{factor.column}' is not {what}; factor {factor.name} is missing"
            )
            for row in np.flatnonzero(unread)
        ]
    return matrix, findings


def _background(table: pd.DataFrame, study: Study, cases: list[str]) -> tuple[NDArray[np.int64], list[Finding]]:
    if not study.task.background:
        return np.full(len(table), -1, dtype=np.int64), []
    column = table[study.task.background]
    codes = _codes(column, study.task.background_classes)
    wanted = ", ".join(f"'{code}'" for code in study.task.background_classes.values())
    findings = [
        finding("W_BACKGROUND_UNKNOWN", cases[row], f"'{column.name}' is {_shown(column.iloc[row])}; wanted {wanted}")
        for row in np.flatnonzero((codes < 0) & column.ne("").to_numpy())
    ]
    return codes, findings


def _shown(text: str) -> str:
    """A cell as an error may show it: short, so that free text in the wrong column is not copied out."""
    return "empty" if text == "" else f"'{text[:8]}…'" if len(text) > 8 else f"'{text}'"
