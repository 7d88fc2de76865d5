"""A study's [[column]] sections: what is read, what counts as missing, who is left out, and what a finding may say."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_liver.client.cohort.codes import in_fixed_order
from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.clinical import clinical_from
from fl_liver.client.cohort.table.schema import apply_schema
from fl_liver.client.cohort.table.tables import read_table
from fl_liver.client.cohort.table.values import read_bounds, read_dates
from fl_liver.errors import DataError
from fl_liver.study import Study
from fl_liver.study_cohort import Column
from fl_liver.study_files import load_study

NAMES = Pseudonyms(bytes(range(32)))
ZHEN = Path(__file__).with_name("zhen2020_clinical.toml")


def column(kind: str, **rules: Any) -> Column:
    return Column.model_validate({"name": "c", "kind": kind, **rules})


def applied(texts: list[str], one: Column) -> tuple[list[str], list[tuple[str, str]]]:
    """Cells of column c after the schema, and (code, cause) of each finding."""
    table = pd.DataFrame({"patient_id": [f"P{i}" for i in range(len(texts))], one.name: texts}, dtype=str)
    table, findings = apply_schema(table, [one], NAMES)
    return table[one.name].tolist(), [(found.code, found.cause) for found in findings]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["3,5", "0,125", "12"], [3.5, 0.125, 12]),
        (["1.234,5", "1,234.5", "1,234,567", "1.234.567"], [1234.5, 1234.5, 1234567, 1234567]),
        # A comma before three digits: decimal where the column shows that commas are, else in doubt.
        (["1,234"], [np.nan]),
        (["1,234", "3,5"], [1.234, 3.5]),
        (["1,234", "3,5", "3.5"], [np.nan, 3.5, 3.5]),
        (["1.234"], [1.234]),
        (["1.234", "3,5"], [np.nan, 3.5]),
        (["1e3", "-2", "+.5", "5."], [1000, -2, 0.5, 5]),
        (["1_000", "inf", "nan", "1e999", "12 g", "1,23,4", "٣", "--1", ",", "Y"], [np.nan] * 10),
    ],
)
def test_numbers_that_read_one_way_are_read(texts: list[str], wanted: list[float]) -> None:
    np.testing.assert_array_equal(read_bounds(texts).exact, wanted)


def test_bounds_keep_what_they_leave_open() -> None:
    low, high = read_bounds(["<0,5", "≤ 0.5", ">1000", ">=1000", "<x", ">"])
    assert high[0] < 0.5 == high[1]
    assert low[2] > 1000 == low[3]
    assert np.isnan([low[4], high[4], low[5], high[5]]).all()
    assert np.isneginf(low[:2]).all()
    assert np.isposinf(high[2:4]).all()


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        # 2011-3-31 is how a TCGA table writes it.
        (["2011-3-31", "20110331", "31.03.2011", "1.4.2011"], ["2011-03-31"] * 3 + ["2011-04-01"]),
        (["2011-03-31 00:00:00", "2011-03-31T14:05", "31.03.2011 07:15"], ["2011-03-31"] * 3),
        (["04/05/2020", "25/12/2020", "12/25/2020", "05.04.20", "43831", "March 2020"], [""] * 6),
        (["2021-02-29", "20211301", "00000000", "1066-10-14", "31.04.2020"], [""] * 5),
        # A month of 25: somebody writes the month first, so that 05.04. may be the fourth of May.
        (["05.04.2020", "04.25.2020", "2020-01-01"], ["", "", "2020-01-01"]),
    ],
)
def test_dates_that_read_one_way_are_read(texts: list[str], wanted: list[str]) -> None:
    assert read_dates(texts) == wanted


def test_a_number_outside_its_range_counts_as_missing_and_says_the_unit() -> None:
    cells, said = applied(
        ["41", "4.1", "35,5", "", "?", "<10", "<20"], column("number", at_least=10, at_most=70, unit="g/L")
    )
    assert cells[:4] == ["41", "", "35.5", ""]
    assert read_bounds(cells).high[6] < 20
    assert said == [
        ("W_VALUE_OUT_OF_RANGE", "'c' is '4.1'; wanted 10 to 70 g/L"),
        ("W_VALUE_UNREADABLE", "'c' is no number that can be read in one way; wanted 10 to 70 g/L"),
        ("W_VALUE_OUT_OF_RANGE", "'c' is '10'; wanted 10 to 70 g/L"),
    ]


@pytest.mark.parametrize(
    ("rules", "text", "cause"),
    [
        ({"at_least": 5.5}, "5", "'c' is '5'; wanted 5.5 or more"),
        ({"at_most": 5}, "123456789", "'c' is '1.23457e…'; wanted 5 or less"),
        ({"at_most": 0}, "1", "'c' is '1'; wanted 0 or less"),
        ({}, "high", "'c' is no number that can be read in one way; wanted a number such as 3.5"),
        # Y is 1 in a factor's column that says nothing else, and no laboratory value.
        ({"unit": "s"}, "Y", "'c' is no number that can be read in one way; wanted a number such as 3.5 s"),
    ],
)
def test_a_cause_says_which_range_was_wanted(rules: dict[str, Any], text: str, cause: str) -> None:
    assert applied([text], column("number", **rules))[1][0][1] == cause


def test_ages_are_years_as_dicom_or_people_write_them() -> None:
    cells, said = applied(["062Y", "062y", "42", "018M", "62 Y", "1958", "-3", "131", ">89", "old"], column("age"))
    assert cells[:5] == ["62", "62", "42", "1.5", "62"]
    assert cells[5:8] == ["", "", ""]
    assert read_bounds(cells).low[8] > 89
    assert [code for code, _ in said] == ["W_VALUE_OUT_OF_RANGE"] * 3 + ["W_VALUE_UNREADABLE"]
    assert said[0][1] == "'c' is '1958'; wanted 0 to 130"


def test_a_schema_may_narrow_the_ages_but_not_widen_them() -> None:
    assert applied(["17", "18", "90"], column("age", at_least=18, at_most=89))[0] == ["", "18", ""]
    assert applied(["200", "-1"], column("age", at_least=-5, at_most=500))[0] == ["", ""]


def test_codes_become_those_of_the_schema() -> None:
    cells, said = applied(["m", "F", "female", "", "männlich"], column("code", codes=["M", "F"]))
    assert cells == ["M", "F", "", "", ""]
    assert said == [
        ("W_VALUE_UNREADABLE", "'c' is 'female'; wanted 'M', 'F'"),
        ("W_VALUE_UNREADABLE", "'c' is 'männlich'; wanted 'M', 'F'"),
    ]
    assert applied(["01", "2.0", "3"], column("code", codes=["1", "2"]))[0] == ["1", "2", ""]


def test_a_long_list_of_codes_is_cut() -> None:
    cause = applied(["x"], column("code", codes=[str(i) for i in range(20)]))[1][0][1]
    assert cause.endswith("'11', …")


def test_dates_become_one_spelling_and_are_never_shown() -> None:
    cells, said = applied(["5.1.2020", "20200105", "04/05/2020"], column("date"))
    assert cells == ["2020-01-05", "2020-01-05", ""]
    assert said == [("W_VALUE_UNREADABLE", "'c' is no date that can be read in one way; wanted YYYY-MM-DD")]


def test_a_schemas_own_markers_are_missing_and_no_fault() -> None:
    assert applied(["-9", "-9.0", "K.A.", "5"], column("number", at_least=0, missing=["-9", "k.A."])) == (
        ["", "", "", "5"],
        [],
    )


def test_who_lacks_a_required_value_is_left_out() -> None:
    """Also where the value was there and could not be used: then both are said."""
    table = pd.DataFrame({"patient_id": ["A", "B", "C"], "c": ["41", "", "4.1"]}, dtype=str)
    found, findings = apply_schema(table, [column("number", at_least=10, required=True)], NAMES)
    assert found["patient_id"].tolist() == ["A"]
    assert [(one.code, one.case, one.cause) for one in findings] == [
        ("W_VALUE_OUT_OF_RANGE", NAMES.patient("C"), "'c' is '4.1'; wanted 10 or more"),
        ("E_VALUE_MISSING", NAMES.patient("B"), "no usable 'c'"),
        ("E_VALUE_MISSING", NAMES.patient("C"), "no usable 'c'"),
    ]


def test_a_column_of_the_schema_that_is_not_there_is_named_with_its_neighbour(study: Study) -> None:
    table = pd.DataFrame({"patient_id": ["A"], "albumin_gl": ["41"]}, dtype=str)
    wanted = Column(name="albumin_g_l", kind="number")
    with pytest.raises(DataError, match=r"t.xlsx: column 'albumin_g_l' \(there is 'albumin_gl'\) is missing"):
        apply_schema(table, [wanted], NAMES, Path("t.xlsx"))
    row = ["P1", "0", "50", "M", "1", "normal", "9"]
    names = ["patient_id", "malignant", "age_years", "sex", "afp_ng_ml", "background", "size_mm"]
    with pytest.raises(DataError, match="column 'albumin_g_l' is missing"):
        clinical_from(
            pd.DataFrame([row], columns=names, dtype=str),
            study.model_copy(update={"column": (wanted,)}),
            NAMES,
            Path("t.csv"),
        )


def test_a_value_that_the_schema_refuses_is_not_taken_for_one_that_was_not_measured(study: Study) -> None:
    """An AFP of 350 000 is a slip or a very sick patient: never "not above 200", which is what `missing = 0` says."""
    names = ["patient_id", "malignant", "age_years", "sex", "afp_ng_ml", "background", "size_mm"]
    rows = [
        ["P1", "0", "50", "M", "350000", "normal", "9"],
        ["P2", "0", "50", "M", "-9", "normal", "9"],
        ["P3", "1", "999", "M", "7", "normal", "9"],
        ["P4", "1", "50", "M", ">300", "normal", "9"],
    ]
    afp = Column(name="afp_ng_ml", kind="number", at_least=0, at_most=1e5, unit="ng/mL", missing=("-9",))
    age = Column(name="age_years", kind="age", required=True)
    found = clinical_from(
        pd.DataFrame(rows, columns=names, dtype=str), study.model_copy(update={"column": (afp, age)}), NAMES, Path("t")
    )
    assert found.ids == ("P1", "P2", "P4")
    np.testing.assert_array_equal(found.factors[:, 2], [np.nan, 0, 1])
    assert found.label.tolist() == [0, 0, 1]
    assert "P3" in found.seen
    assert sorted((one.code, one.case) for one in found.findings) == sorted(
        [
            ("W_VALUE_OUT_OF_RANGE", NAMES.patient("P1")),
            ("W_VALUE_OUT_OF_RANGE", NAMES.patient("P3")),
            ("E_VALUE_MISSING", NAMES.patient("P3")),
        ]
    )


def test_a_schema_changes_no_diagnosis(study: Study) -> None:
    """A marker or a code list for the outcome's column that forgets a class would make a patient of no class."""
    names = ["patient_id", "malignant", "age_years", "sex", "afp_ng_ml", "background", "size_mm"]
    table = pd.DataFrame(
        [["P1", "0", "50", "M", "1", "normal", "9"], ["P2", "1", "50", "M", "1", "normal", "9"]],
        columns=names,
        dtype=str,
    )
    outcome = Column(name="malignant", kind="code", codes=("1",), missing=("0",))
    found = clinical_from(table, study.model_copy(update={"column": (outcome,)}), NAMES, Path("t"))
    assert found.label.tolist() == [0, 1]


def zhen_study() -> Study:
    """The fragment in a study: malignant tumours of three kinds."""
    classes = {"hcc": "HCC", "metastasis": "MET", "other": "PRI"}
    task = {"modality": "table", "outcome": "diagnosis", "classes": classes, "positive": ["hcc"]}
    return load_study("clinical").with_top(task=task, **tomllib.loads(ZHEN.read_text(encoding="utf-8")))


def test_zhens_clinical_vector_is_one_hot() -> None:
    """Against `pandas.cut` and `get_dummies`; a value that was not measured is 0 in all of its bands."""
    study = zhen_study()
    random = np.random.default_rng(2020)
    limits: dict[str, list[float]] = {one.name: [] for one in study.column if one.kind != "code"}
    for one in study.factor:
        limits.get(one.column, []).extend(end for end in (one.at_least, one.below) if end is not None)
    # Values at the limits of the bands and one below and above.
    near = {name: [round(end + step) for end in ends for step in (-1, 0, 1)] for name, ends in limits.items()}
    cells = {name: random.choice(values, 300).astype(str) for name, values in near.items()}
    cells |= {one.name: random.choice(one.codes, 300) for one in study.column if one.kind == "code"}
    for name in ("psa_ng_ml", "afp_ng_ml", "ascites"):
        cells[name] = np.where(random.random(300) < 0.3, "", cells[name])
    table = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(300)], "diagnosis": "HCC", **cells}, dtype=str)
    found = clinical_from(table, study, NAMES, Path("t"))
    assert found.findings == ()
    matrix = pd.DataFrame(found.factors, columns=[one.name for one in study.factor]).astype(int)
    for name in (one.name for one in study.column):
        bands = matrix[[one.name for one in study.factor if one.column == name]]
        np.testing.assert_array_equal(bands.sum(axis=1), (table[name] != "").astype(int))
    edges = {"afp": [20, 400], "albumin": [28, 35], "bilirubin": [34, 51], "prothrombin": [4, 6], "psa": [4]}
    for short, inner in edges.items():
        name = next(one for one in limits if one.startswith(short))
        cut = pd.cut(pd.to_numeric(table[name], errors="coerce"), [-np.inf, *inner, np.inf], right=False)
        ours = matrix[[one.name for one in study.factor if one.column == name]]
        np.testing.assert_array_equal(ours, pd.get_dummies(cut, dtype=int), err_msg=name)
    assert len(study.factor) == 37


def test_the_real_table_of_mct_ltdiag_passes_its_schema(shared_data: Path) -> None:
    """517 patients, 308 women, no finding; ages against pandas."""
    table = read_table(shared_data / "mct-ltdiag-metadata" / "meta_info_patient.csv").rename(
        columns={"ID": "patient_id"}
    )
    schema = [
        Column(name="patient_age", kind="age", required=True),
        Column(name="patient_sex", kind="code", codes=("F", "M"), required=True),
        Column(name="type", kind="code", codes=("BCLM", "HCC", "CRLM", "ICC", "HH")),
    ]
    found, findings = apply_schema(table, schema, NAMES)
    assert findings == []
    assert found["patient_sex"].value_counts().to_dict() == {"F": 308, "M": 209}
    assert table["patient_age"].str.match(r"^0\d\dY$").sum() == 441
    oracle = table["patient_age"].str.rstrip("Y").astype(int)
    np.testing.assert_array_equal(found["patient_age"].astype(int), oracle)


TEXT = st.text(alphabet="αβγδ .,<0159Y-/", max_size=14)
FRAGMENT = st.text(alphabet="αβγδε ", min_size=9, max_size=30)


@settings(max_examples=40)
@given(
    cells=st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT, st.sampled_from(["0", "1", "7"])), min_size=1, max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_rows_changes_nothing(cells: list[tuple[str, ...]], order: Any) -> None:
    study = _property_study()
    names = ["patient_id", "age_years", "afp_ng_ml", "sex", "size_mm", "biopsy", "malignant"]
    rows = [(f"P{i}", *(text.strip() for text in row)) for i, row in enumerate(cells)]
    rows.append(rows[0])  # a patient with two rows
    shuffled = order.sample(rows, len(rows))
    first, second = (
        clinical_from(pd.DataFrame(one, columns=names, dtype=str), study, NAMES, Path("t")) for one in (rows, shuffled)
    )
    assert first.ids == second.ids
    assert first.people == second.people
    assert in_fixed_order(list(first.findings)) == in_fixed_order(list(second.findings))
    for field in ("label", "factors", "size_mm"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


@settings(max_examples=40)
@given(st.lists(FRAGMENT, min_size=6, max_size=6))
def test_no_finding_holds_more_than_eight_characters_of_a_cell(cells: list[str]) -> None:
    """Free text in the wrong column may name a patient."""
    names = ["patient_id", "malignant", "age_years", "afp_ng_ml", "sex", "size_mm", "biopsy"]
    free = [cell.strip() or "εεεεεεεεε" for cell in cells]
    rows = [["P1", *free], ["P2", "1", *free[1:]]]
    found = clinical_from(pd.DataFrame(rows, columns=names, dtype=str), _property_study(), NAMES, Path("t"))
    assert found.findings
    for one in found.findings:
        for cell in free:
            assert not any(cell[i : i + 9] in one.cause for i in range(len(cell) - 8))


def _property_study() -> Study:
    shipped = load_study("lesion_us_fusion")
    columns = (
        Column(name="age_years", kind="age"),
        Column(name="afp_ng_ml", kind="number", at_least=0),
        Column(name="sex", kind="code", codes=("M", "F")),
        Column(name="biopsy", kind="date"),
    )
    wanted = [one for one in shipped.factor if one.name in ("age_60", "male", "afp_200")]
    task = shipped.task.model_copy(update={"background": None})
    return shipped.model_copy(update={"column": columns, "factor": tuple(wanted), "task": task})
