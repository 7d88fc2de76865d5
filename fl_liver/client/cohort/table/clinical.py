"""The clinical table as numbers: diagnosis, factors, liver background and lesion size of a hospital's patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_liver.client.cohort.codes import finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.identity import Person, people_of
from fl_liver.client.cohort.table.lesion_rows import LESION_COLUMN, Row, numbered, row_name, told_of_patients
from fl_liver.client.cohort.table.schema import apply_schema, without_markers
from fl_liver.client.cohort.table.tables import require_columns
from fl_liver.client.cohort.table.values import Bounds, read_bounds, same_code, shown
from fl_liver.errors import DataError
from fl_liver.study import Study
from fl_liver.study_cohort import Factor

_MOST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class ClinicalTable:
    """n usable rows, sorted by the site's own patient id, then by lesion; arrays as in `Cohort`.

    ids        the patient of each row
    seen       every patient id of the table, usable or not
    people     row → age, sex and dates, to hold against the images
    lesions    (n,) int64, label of each row's lesion in the mask; 0 where rows are patients
    known      pseudonym and label of every row, usable or not, where rows are lesions
    not_asked  ids of patients whom the study is not about
    """

    ids: tuple[str, ...] = field(repr=False)
    seen: frozenset[str] = field(repr=False)
    label: NDArray[np.int64]
    factors: NDArray[np.float64]
    background: NDArray[np.int64]
    size_mm: NDArray[np.float64]
    findings: tuple[Finding, ...]
    people: Mapping[str, Person] = field(default_factory=dict, repr=False)
    lesions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    known: frozenset[Row] = field(default=frozenset(), repr=False)
    not_asked: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def rows(self) -> list[str]:
        """What each row is called: its patient's id, or "id#lesion"."""
        return [row_name(patient, int(lesion)) for patient, lesion in zip(self.ids, self.lesions, strict=True)]

    def some(self, keep: Sequence[bool]) -> ClinicalTable:
        """The rows kept; who was seen and what was found stay."""
        chosen = np.flatnonzero(keep)
        arrays = ("label", "factors", "background", "size_mm", "lesions")
        some = {name: getattr(self, name)[chosen] for name in arrays}
        return replace(self, ids=tuple(self.ids[i] for i in chosen), **some)


def clinical_from(table: pd.DataFrame, study: Study, names: Pseudonyms, where: Path) -> ClinicalTable:
    """The columns that a study names, held against its schema; rows that cannot be used become findings.

    A diagnosis outside the study's classes, a second row for one patient (or lesion) or a required value that is not
    there leaves the row out; an unreadable value counts as missing. The order of the rows changes nothing.

    Args:
        table: as `source.read_clinical_table` gives it.
        where: names the table in errors.

    Raises:
        DataError: a column that the study names is missing.
    """
    require_columns(table, _columns(study), where)
    table, findings = _named_rows(table)
    seen = frozenset(table["patient_id"])
    of_lesions = study.cohort.unit == "lesion"
    table, rows, wrong = numbered(table, names) if of_lesions else (table, dict[str, Row](), [])
    table, not_asked = _asked(table, study, rows)
    unlabelled = [*wrong, *_rows_twice(table, names)]
    table, found = _without_bad_labels(table, study, names)
    table = table.drop_duplicates("patient_id", keep=False)
    given = without_markers(table, study.column)
    clean, odd = apply_schema(given, study.column, names, where)
    given = given.loc[clean.index]
    cases = [names.patient(row) for row in clean["patient_id"]]
    factors, unread = _factor_matrix(clean, given, study, cases)
    background, strange = _background(clean, study, cases)
    size_mm, unsized = _size_mm(clean, study, cases)
    told = [*unlabelled, *found, *odd, *unread, *strange, *unsized]
    owners = [rows.get(row, (row, 0)) for row in clean["patient_id"]]
    ids = tuple(patient for patient, _ in owners)
    return ClinicalTable(
        ids=ids,
        seen=seen,
        # As it was read above: a schema may find fault with a diagnosis, but not change it.
        label=_codes(table.loc[clean.index, study.task.outcome], study.task.classes),
        factors=factors,
        background=background,
        size_mm=size_mm,
        findings=(*findings, *(told_of_patients(told, rows, set(ids), names) if of_lesions else told)),
        people=people_of(clean, study),
        lesions=np.array([lesion for _, lesion in owners], dtype=np.int64),
        known=frozenset((names.patient(patient), lesion) for patient, lesion in rows.values()),
        not_asked=not_asked,
    )


def require_known_classes(table: pd.DataFrame, study: Study, where: Path) -> None:
    """Another study's table, or another coding, is one error and not one finding a patient.

    Raises:
        DataError: no diagnosis of the table is one that the study has, or says that it does not ask about.
    """
    if study.task.outcome not in table or not len(table):
        return
    column = table[study.task.outcome]
    known = {**study.task.classes, **{f"not asked, {code}": code for code in study.task.not_asked}}
    if (_codes(column, known) >= 0).any():
        return
    found = ", ".join(list(dict.fromkeys(shown(text) for text in column))[:_MOST_SHOWN])
    wanted = ", ".join(f"'{code}' ({name})" for name, code in study.task.classes.items())
    raise DataError(
        f"{where}: no row of '{column.name}' holds a class of study {study.name}: found {found}; wanted {wanted};"
        " is it the table, and the study, that was meant?"
    )


def numbers(column: pd.Series[str]) -> NDArray[np.float64]:
    """(n,) text → (n,) float64, NaN for what is no number. Y/N, yes/no and true/false are 1/0; "062Y" is 62 years.

    >>> numbers(pd.Series(["062Y", "42", "yes", "N", "", "006M", "3,5", "<3"])).tolist()
    [62.0, 42.0, 1.0, 0.0, nan, 0.5, 3.5, nan]
    """
    return read_bounds(column.tolist(), words=True).exact


def factor_values(column: pd.Series[str], factor: Factor) -> NDArray[np.float64]:
    """One factor, (n,) float64, from its column of text; an empty cell is `factor.missing`, or NaN without it.

    What cannot be read is NaN also where `factor.missing` is given: an AFP that was not measured may count as low, one
    that is not understood may not. Of a bound such as ">1000", a rule knows what follows from it.
    """
    values = _measured(column, factor)
    return values if factor.missing is None else np.where(column.eq("").to_numpy(), factor.missing, values)


def _measured(column: pd.Series[str], factor: Factor) -> NDArray[np.float64]:
    if factor.equals is not None:
        same = column.map(same_code).eq(same_code(factor.equals)).to_numpy(dtype=np.float64)
        return np.where(column.eq("").to_numpy(), np.nan, same)
    found = read_bounds(column.tolist(), words=True)
    if (factor.at_least, factor.above, factor.below) != (None, None, None):
        return _decided(found, factor)
    value = found.exact
    if factor.log10:
        value = np.log10(value, out=np.full_like(value, np.nan), where=value > 0)
    return (value - factor.center) / factor.scale


def _decided(found: Bounds, factor: Factor) -> NDArray[np.float64]:
    """1 where every value that a cell allows keeps the factor's rule, 0 where none does, NaN between."""
    # Doubles have neighbours: x > a is x ≥ the next one, so that every rule is a closed interval.
    above = -np.inf if factor.above is None else np.nextafter(factor.above, np.inf)
    least = above if factor.at_least is None else max(factor.at_least, above)
    most = np.inf if factor.below is None else np.nextafter(factor.below, -np.inf)
    inside = (found.low >= least) & (found.high <= most)
    outside = (found.high < least) | (found.low > most)
    return np.where(inside, 1.0, np.where(outside, 0.0, np.nan))


def _columns(study: Study) -> list[str]:
    optional = [name for name in (study.task.background, study.task.size_mm) if name]
    optional += [LESION_COLUMN] if study.cohort.unit == "lesion" else []
    named = [*(column.name for column in study.column), *(factor.column for factor in study.factor)]
    return ["patient_id", study.task.outcome, *optional, *named]


def _codes(column: pd.Series[str], classes: dict[str, str]) -> NDArray[np.int64]:
    """Index of each value among the codes of `classes`, −1 for any other."""
    index = {same_code(code): i for i, code in enumerate(classes.values())}
    return np.array([index.get(same_code(text), -1) for text in column], dtype=np.int64)


def _named_rows(table: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Rows with a patient id, sorted by it."""
    table = table.sort_values("patient_id", kind="stable")
    empty = table["patient_id"].eq("")
    findings = [
        finding("E_NO_PATIENT_ID", "", f"row {row} of the table has no patient_id") for row in table.index[empty]
    ]
    return table[~empty], findings


def _asked(table: pd.DataFrame, study: Study, rows: Mapping[str, Row]) -> tuple[pd.DataFrame, frozenset[str]]:
    """Rows that the study is about, and the patients of whom none is; one of two rows for one patient is no way out."""
    codes = {same_code(code) for code in study.task.not_asked}
    if not codes:
        return table, frozenset()
    out = table[study.task.outcome].map(same_code).isin(codes).groupby(table["patient_id"]).transform("all")
    asked = {rows.get(row, (row, 0))[0] for row in table["patient_id"][~out]}
    return table[~out], frozenset(rows.get(row, (row, 0))[0] for row in table["patient_id"][out]) - asked


def _rows_twice(table: pd.DataFrame, names: Pseudonyms) -> list[Finding]:
    """Patients, or lesions, with several rows; they are dropped once the labels are read."""
    rows = table["patient_id"].value_counts()
    return [
        finding("E_DUPLICATE_ROW", names.patient(str(row)), f"{count} rows for one patient or lesion")
        for row, count in rows[rows > 1].items()
    ]


def _without_bad_labels(table: pd.DataFrame, study: Study, names: Pseudonyms) -> tuple[pd.DataFrame, list[Finding]]:
    once = ~table["patient_id"].duplicated(keep=False)
    unknown = _codes(table[study.task.outcome], study.task.classes) < 0
    wanted = ", ".join(f"'{code}' ({name})" for name, code in study.task.classes.items())
    findings = [
        finding("E_LABEL_UNKNOWN", names.patient(patient), f"'{study.task.outcome}' is {shown(text)}; wanted {wanted}")
        for patient, text in table.loc[unknown & once, ["patient_id", study.task.outcome]].itertuples(index=False)
    ]
    return table[~unknown | ~once], findings


def _factor_matrix(
    clean: pd.DataFrame, given: pd.DataFrame, study: Study, cases: list[str]
) -> tuple[NDArray[np.float64], list[Finding]]:
    """(n, f) factors; `given` is the table before the schema emptied what it could not read."""
    matrix = np.empty((len(clean), len(study.factor)), dtype=np.float64)
    findings: list[Finding] = []
    for i, factor in enumerate(study.factor):
        column = clean[factor.column]
        matrix[:, i] = factor_values(column, factor)
        matrix[(column.eq("") & given[factor.column].ne("")).to_numpy(), i] = np.nan
        unread = np.isnan(matrix[:, i]) & column.ne("").to_numpy()
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
        finding("W_BACKGROUND_UNKNOWN", cases[row], f"'{column.name}' is {shown(column.iloc[row])}; wanted {wanted}")
        for row in np.flatnonzero((codes < 0) & column.ne("").to_numpy())
    ]
    return codes, findings


def _size_mm(table: pd.DataFrame, study: Study, cases: list[str]) -> tuple[NDArray[np.float64], list[Finding]]:
    if not study.task.size_mm:
        return np.full(len(table), np.nan), []
    column = table[study.task.size_mm]
    size_mm = numbers(column)
    unread = np.isnan(size_mm) & column.ne("").to_numpy()
    return size_mm, [
        finding("W_VALUE_UNREADABLE", cases[row], f"'{column.name}' is not a number; the size is missing")
        for row in np.flatnonzero(unread)
    ]
