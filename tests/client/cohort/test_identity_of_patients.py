"""Is the person in the images the person in the row, and is nobody there twice?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from fl_liver.client.cohort.codes import REMEDIES
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.read.dicom import examine
from fl_liver.client.cohort.read.header import Header, header_from
from fl_liver.client.cohort.read.image_hash import image_hash
from fl_liver.client.cohort.table.clinical import clinical_from
from fl_liver.client.cohort.table.identity import (
    Person,
    age_sex_faults,
    date_faults,
    duplicate_patients,
    identity_columns,
    people_of,
    person_faults,
    sex_of,
)
from fl_liver.client.cohort.table.tables import read_table
from fl_liver.study import Study
from fl_liver.study_cohort import Column

BIOPSY = Column(name="biopsy", kind="date", days_from_imaging=(-30, 180))


def header(age_years: float | None = None, sex: str = "", study_date: str = "") -> Header:
    return replace(header_from(Dataset(), ""), age_years=age_years, sex=sex, study_date=study_date)


@pytest.mark.parametrize(
    ("row_age", "row_sex", "headers", "causes"),
    [
        (62, "M", [header(62, "M"), header(62, "M")], []),
        (62, "F", [header(62, "M")], ["the images and the clinical row say different sexes"]),
        # One image of somebody else among many is enough.
        (62, "M", [header(62, "M"), header(62, "F")], ["the images and the clinical row say different sexes"]),
        (62, "M", [header(None, "")], []),
        (62, "M", [header(62, "O")], []),
        (None, "", [header(20, "F")], []),
        (62, "M", [], []),
        # Two years: a birthday between the two, and both rounded.
        (62, "M", [header(60), header(64)], []),
        (62, "M", [header(59.9)], ["ages of images and clinical row differ by 2.1 years, wanted at most 2"]),
        (62, "M", [header(62), header(35)], ["ages of images and clinical row differ by 27.0 years, wanted at most 2"]),
        # Headers say 89 for everybody older.
        (97, "", [header(89)], []),
        (97, "", [header(86)], ["ages of images and clinical row differ by 3.0 years, wanted at most 2"]),
        (0.5, "", [header(10 / 365.25)], []),
    ],
)
def test_another_person_in_the_images_is_seen(
    row_age: float | None, row_sex: str, headers: list[Header], causes: list[str]
) -> None:
    found = age_sex_faults(row_age, row_sex, headers)
    assert found == [("E_AGE_SEX_DISAGREE", cause) for cause in causes]


def test_sex_and_age_may_both_disagree() -> None:
    assert len(age_sex_faults(62, "M", [header(30, "F")])) == 2


@pytest.mark.parametrize(
    ("value", "study_date", "cause"),
    [
        ("2020-03-01", "20200201", None),
        ("2020-01-02", "20200201", None),
        ("2020-01-01", "20200201", "'biopsy' lies 31 days before the images; wanted -30 to 180"),
        ("2020-07-30", "20200201", None),
        ("2020-07-31", "20200201", "'biopsy' lies 181 days after the images; wanted -30 to 180"),
        ("", "20200201", None),
        ("2020-07-31", "", None),
        ("31/07/2020", "20200201", None),
        ("2020-02-30", "20200201", None),
    ],
)
def test_a_date_lies_so_many_days_from_the_images(value: str, study_date: str, cause: str | None) -> None:
    """31 January to 1 March 2020: a leap year. The cause says neither date."""
    assert date_faults(BIOPSY, value, study_date) == (None if cause is None else ("E_DATE_ORDER", cause))


def test_a_date_of_any_day_is_none_of_ours() -> None:
    assert date_faults(Column(name="biopsy", kind="date"), "1999-01-01", "20200201") is None
    only_after = Column(name="death", kind="date", days_from_imaging=(0, 3650))
    fault = date_faults(only_after, "2020-01-31", "20200201")
    assert fault == ("E_DATE_ORDER", "'death' lies 1 day before the images; wanted 0 to 3650")


def test_a_person_is_held_against_every_study_once() -> None:
    person = Person(age_years=62, sex="M", dates={"biopsy": "2020-07-31", "other": "1999-01-01"})
    headers = [header(62, "M", "20200301"), header(62, "M", "20200201"), header(62, "F", "20200101")]
    found = person_faults(person, [BIOPSY, Column(name="other", kind="date")], headers)
    assert [code for code, _ in found] == ["E_AGE_SEX_DISAGREE", "E_DATE_ORDER"]
    assert person_faults(Person(), [BIOPSY], headers) == []


@pytest.mark.parametrize("text", ["M", "m", "male", "MALE", "Mann", "männlich", "maennlich"])
def test_words_for_a_man(text: str) -> None:
    assert sex_of(text) == "M"


@pytest.mark.parametrize("text", ["F", "f", "Female", "w", "W", "weiblich", "Frau"])
def test_words_for_a_woman(text: str) -> None:
    assert sex_of(text) == "F"


@pytest.mark.parametrize("text", ["", "1", "2", "0", "O", "divers", "h", "mujer", "unknown"])
def test_what_is_not_clear_is_no_sex(text: str) -> None:
    assert sex_of(text) == ""


def test_the_columns_compared_are_found_by_the_rule_and_only_among_those_the_study_names(study: Study) -> None:
    assert identity_columns(study) == ("age_years", "sex")

    def columns(*many: Column) -> tuple[str | None, str | None]:
        return identity_columns(study.model_copy(update={"column": many}))

    assert columns(Column(name="age_at_scan", kind="age")) == ("age_at_scan", "sex")
    # Which of two is the age at imaging cannot be known.
    assert columns(Column(name="age_at_scan", kind="age"), Column(name="age_at_death", kind="age"))[0] is None
    assert columns(Column(name="Gender", kind="code", codes=("M", "F")))[1] is None
    assert identity_columns(study.model_copy(update={"factor": ()})) == (None, None)


def test_rows_say_what_people_they_are(tmp_path: Path, study: Study, names: Pseudonyms) -> None:
    """Also where the cells were cleaned by a schema; patients who are left out are nobody here."""
    (tmp_path / "clinical.csv").write_text(
        "patient_id,malignant,age_years,sex,afp_ng_ml,background,size_mm,biopsy\n"
        "P1,0,062Y,weiblich,1,normal,9,5.1.2020\nP2,1,999,M,1,normal,9,\nP3,7,50,M,1,normal,9,2020-01-05\n"
    )
    schema = (BIOPSY, Column(name="age_years", kind="age"))
    path = tmp_path / "clinical.csv"
    found = clinical_from(read_table(path), study.model_copy(update={"column": schema}), names, path)
    assert dict(found.people) == {
        "P1": Person(age_years=62, sex="F", dates={"biopsy": "2020-01-05"}),
        "P2": Person(age_years=None, sex="M"),
    }
    assert "62" not in repr(found.people)
    assert "F" not in repr(found.people["P1"])


def test_no_rows_are_nobody(study: Study) -> None:
    assert people_of(pd.DataFrame({"patient_id": [], "age_years": [], "sex": []}, dtype=str), study) == {}


def test_the_real_patient_of_tcga_is_one_person_in_row_and_images(shared_data: Path) -> None:
    """The row of TCGA-BC-A10W says a man of 50; so do the headers."""
    folder = shared_data / "tcga-lihc-ct"
    images = sorted((folder / "TCGA-BC-A10W").glob("*.dcm"))[:3]
    table = pd.read_csv(folder / "clinical_patient_lihc.txt", sep="\t", skiprows=[1, 2], dtype=str)
    row = table[table["bcr_patient_barcode"] == "TCGA-BC-A10W"].iloc[0]
    known = [header for path in images if (header := examine(path).header) is not None]
    assert len(known) == 3
    age, sex = float(row["age_at_diagnosis"]), sex_of(row["gender"])
    assert age_sex_faults(age, sex, known) == []
    assert age_sex_faults(age, {"M": "F", "F": "M"}[sex], known) != []
    assert age_sex_faults(age + 10, sex, known) != []


def test_equal_pixels_have_one_hash_and_flat_ones_none() -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert image_hash(pixels) == image_hash(pixels.astype(">u2")) == image_hash(np.asfortranarray(pixels))
    others: list[np.ndarray[Any, Any]] = [pixels + 1, pixels.reshape(4, 3), pixels.astype(np.uint8), pixels.T]
    assert len({image_hash(one) for one in [pixels, *others]}) == 5
    assert image_hash(np.full((3, 4), 7)) is None
    assert image_hash(np.empty((0, 4))) is None


def test_patients_who_share_an_image_are_one_group_also_through_a_third() -> None:
    hashes = {"d": {"5"}, "a": {"1", "2"}, "c": {"3", "9"}, "b": {"2", "3"}, "e": {"6", "7"}, "f": {"7"}, "g": set()}
    found = duplicate_patients({patient: frozenset(many) for patient, many in hashes.items()})
    assert {patient: sorted(others) for patient, others in found.items()} == {
        "a": ["b", "c"],
        "b": ["a", "c"],
        "c": ["a", "b"],
        "e": ["f"],
        "f": ["e"],
    }
    assert duplicate_patients({}) == {}


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.frozensets(st.integers(0, 9).map(str), max_size=3)))
def test_groups_are_those_of_a_graph(hashes: dict[str, frozenset[str]]) -> None:
    """Against SciPy's connected components."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    patients = sorted(hashes)
    linked = [[int(bool(hashes[one] & hashes[other])) for other in patients] for one in patients]
    graph = csr_matrix(np.array(linked).reshape(len(patients), len(patients)))
    part: list[int] = list(connected_components(graph)[1]) if patients else []
    wanted = {
        one: frozenset(other for other, there in zip(patients, part, strict=True) if there == own and other != one)
        for one, own in zip(patients, part, strict=True)
    }
    assert duplicate_patients(hashes) == {one: others for one, others in wanted.items() if others}


def test_every_code_of_this_room_has_its_remedy() -> None:
    ours = "E_AGE_SEX_DISAGREE E_DATE_ORDER E_DUPLICATE_PATIENT E_EXCLUDED_HERE E_VALUE_MISSING"
    assert set(ours.split()) <= set(REMEDIES)
