"""Is the person in the images the person in the clinical row, and is nobody there twice?

The clinical columns that are compared, of those that the study names in a `[[column]]` or a `[[factor]]`:
age     the `[[column]]` of kind "age" if there is exactly one, else the column called age, age_years or patient_age
sex     the column called sex, gender, patient_sex or geschlecht
Sex is read from m, male, mann, männlich and f, female, frau, w, weiblich in any case. Numbers are not read: 1 is a man
in one hospital and a woman in the next.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pandas as pd

from fl_liver.client.cohort.codes import counted
from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.client.cohort.table.values import read_bounds, read_dates
from fl_liver.study import Study
from fl_liver.study_cohort import Column

AGE_COLUMNS = frozenset({"age", "age_years", "patient_age"})
SEX_COLUMNS = frozenset({"sex", "gender", "patient_sex", "geschlecht"})
MOST_YEARS_APART = 2.0
"""A birthday between examination and row, and the rounding of both, make almost two years."""
OLDEST_YEARS = 89.0
"""Headers say 89 for everybody older (`read.elements`), and so may tables."""
_SEXES = dict.fromkeys(("m", "male", "mann", "männlich", "maennlich"), "M") | dict.fromkeys(
    ("f", "female", "frau", "w", "weiblich"), "F"
)


class Imaged(Protocol):
    """What one header says of its patient (`read.header.Header`, or what the cache keeps of it)."""

    @property
    def age_years(self) -> float | None: ...
    @property
    def sex(self) -> str: ...
    @property
    def study_date(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Person:
    """What a clinical row says of a person. `dates`: name of a date column → YYYY-MM-DD."""

    age_years: float | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)
    """"M", "F" or ""."""
    dates: Mapping[str, str] = field(default_factory=dict, repr=False)


def people_of(table: pd.DataFrame, study: Study) -> dict[str, Person]:
    """Each patient of a table that has passed its schema, by the site's own id."""
    age_column, sex_column = identity_columns(study)
    empty = [""] * len(table)
    ages = read_bounds(table[age_column].tolist() if age_column else empty, words=True).exact
    sexes = table[sex_column].tolist() if sex_column else empty
    dated = {column.name: read_dates(table[column.name].tolist()) for column in study.column if column.kind == "date"}
    return {
        str(patient): Person(
            age_years=None if np.isnan(ages[i]) else float(ages[i]),
            sex=sex_of(sexes[i]),
            dates={name: dates[i] for name, dates in dated.items() if dates[i]},
        )
        for i, patient in enumerate(table["patient_id"])
    }


def identity_columns(study: Study) -> tuple[str | None, str | None]:
    """The columns that hold age and sex, by the rule above; None where there is none, or more than one."""
    named = list(dict.fromkeys([*(one.name for one in study.column), *(one.column for one in study.factor)]))
    ages = [one.name for one in study.column if one.kind == "age"]
    if not ages:
        ages = [name for name in named if name.casefold() in AGE_COLUMNS]
    sexes = [name for name in named if name.casefold() in SEX_COLUMNS]
    return ages[0] if len(ages) == 1 else None, sexes[0] if len(sexes) == 1 else None


def sex_of(text: str) -> str:
    """ "M", "F", or "" for what is not clear.

    >>> sex_of("Male"), sex_of("weiblich"), sex_of("1")
    ('M', 'F', '')
    """
    return _SEXES.get(text.strip().casefold(), "")


def person_faults(person: Person, columns: Sequence[Column], headers: Sequence[Imaged]) -> list[Fault]:
    """Every disagreement of a row with the headers of its patient's images, each once."""
    faults = age_sex_faults(person.age_years, person.sex, headers)
    studies = sorted({header.study_date for header in headers if header.study_date})
    for column in columns:
        value = person.dates.get(column.name, "")
        found = (date_faults(column, value, study) for study in studies)
        faults += [fault for fault in found if fault is not None][:1]
    return faults


def age_sex_faults(row_age_years: float | None, row_sex: str, headers: Sequence[Imaged]) -> list[Fault]:
    """E_AGE_SEX_DISAGREE where a header says M and the row F or the reverse, or ages lie more than two years apart.

    What is missing on either side, and "O", disagrees with nothing. The cause says neither age.

    Args:
        row_sex: "M", "F" or "".
        headers: of all images that count as this patient's.
    """
    faults: list[Fault] = []
    clash = {"M": "F", "F": "M"}.get(row_sex)
    if clash is not None and any(header.sex == clash for header in headers):
        faults.append(("E_AGE_SEX_DISAGREE", "the images and the clinical row say different sexes"))
    if row_age_years is not None:
        row = min(row_age_years, OLDEST_YEARS)
        apart = max((abs(row - age) for header in headers if (age := header.age_years) is not None), default=0.0)
        if apart > MOST_YEARS_APART:
            cause = f"ages of images and clinical row differ by {apart:.1f} years, wanted at most {MOST_YEARS_APART:g}"
            faults.append(("E_AGE_SEX_DISAGREE", cause))
    return faults


def date_faults(column: Column, value: str, study_date: str) -> Fault | None:
    """E_DATE_ORDER where a date does not lie within `column.days_from_imaging`; None without a date on either side.

    The cause says the days between, neither date.

    Args:
        value: a cell; "" is no date.
        study_date: YYYYMMDD as in `Header.study_date`, or "".
    """
    there, imaged = read_dates([value])[0], read_dates([study_date])[0]
    if column.days_from_imaging is None or not there or not imaged:
        return None
    days = (datetime.date.fromisoformat(there) - datetime.date.fromisoformat(imaged)).days
    least, most = column.days_from_imaging
    if least <= days <= most:
        return None
    side = "after" if days >= 0 else "before"
    cause = f"'{column.name}' lies {counted(abs(days), 'day')} {side} the images; wanted {least} to {most}"
    return "E_DATE_ORDER", cause


def duplicate_patients(hashes: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Patients who share an image with another, each with the others of the group; also through a third.

    All of a group get E_DUPLICATE_PATIENT: one person under two ids would stand in training and in test.

    Args:
        hashes: patient → `read.image_hash` of each image that is not flat.

    >>> hashes = {"a": frozenset("1"), "b": frozenset("12"), "c": frozenset("2"), "d": frozenset("3")}
    >>> found = duplicate_patients(hashes)
    >>> {patient: sorted(others) for patient, others in found.items()}
    {'a': ['b', 'c'], 'b': ['a', 'c'], 'c': ['a', 'b']}
    """
    group: dict[str, set[str]] = {patient: {patient} for patient in hashes}
    owner: dict[str, str] = {}
    for patient in sorted(hashes):
        for one in hashes[patient]:
            other = owner.setdefault(one, patient)
            if group[other] is not group[patient]:
                group[other] |= group[patient]
                for member in group[patient]:
                    group[member] = group[other]
    return {patient: frozenset(group[patient] - {patient}) for patient in sorted(group) if len(group[patient]) > 1}
