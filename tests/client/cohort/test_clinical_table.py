"""The clinical table: codes, ages, missing markers, and every row that cannot be used named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table.clinical import ClinicalTable, clinical_from, factor_values, numbers
from fl_liver.client.cohort.table.tables import read_table
from fl_liver.errors import DataError
from fl_liver.study import Study
from fl_liver.study_cohort import Factor

HEADER = "patient_id,malignant,age_years,sex,afp_ng_ml,background,size_mm\n"


def _read(tmp_path: Path, rows: str, study: Study, names: Pseudonyms, header: str = HEADER) -> ClinicalTable:
    path = tmp_path / "clinical.csv"
    path.write_text(header + rows, encoding="utf-8")
    return clinical_from(read_table(path), study, names, path)


def test_rows_become_numbers_in_the_order_of_their_ids(tmp_path: Path, study: Study, names: Pseudonyms) -> None:
    rows = "P2,1,062Y,M,250,fibrosis,31.5\nP1, 0 ,59,F,[Not Available],normal,NA\n"
    table = _read(tmp_path, rows, study, names)
    assert table.ids == ("P1", "P2")
    assert table.label.tolist() == [0, 1]
    # AFP was not measured in P1; the study says that it then counts as not above the limit.
    np.testing.assert_array_equal(table.factors, [[0, 0, 0], [1, 1, 1]])
    assert table.background.tolist() == [0, 2]
    np.testing.assert_array_equal(table.size_mm, [np.nan, 31.5])
    assert table.findings == ()


def test_binary_words_ages_and_missing_markers_are_read() -> None:
    texts = ["Y", "N", "yes", "No", "TRUE", "false", "0", "1", "062Y", "006M", "10D", "7W", "abc", "inf", ""]
    found = numbers(pd.Series(texts, dtype=str))
    wanted = [1, 0, 1, 0, 1, 0, 0, 1, 62, 0.5, 10 / 365.25, 49 / 365.25, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize(
    ("rule", "texts", "wanted"),
    [
        ({"at_least": 60}, ["59.9", "60", ""], [0, 1, np.nan]),
        ({"above": 200}, ["200", "200.1", "x"], [0, 1, np.nan]),
        ({"equals": "M"}, ["m", "F", ""], [1, 0, np.nan]),
        ({"equals": "2"}, ["2.0", "3", "02"], [1, 0, 1]),
        ({"log10": True}, ["100", "0", "-3"], [2, np.nan, np.nan]),
        ({"center": 60, "scale": 10}, ["50", "75", "?"], [-1, 1.5, np.nan]),
        ({"log10": True, "center": 1, "scale": 2}, ["1000"], [1]),
        ({"center": 1, "scale": 2}, ["4,5", "1.204,5"], [1.75, 601.75]),
        # What the end of an assay leaves open is missing, what follows from it is not.
        ({"above": 200}, [">200", "≥200", "> 60500", "<1,3", "<500", "≤200"], [1, np.nan, 1, 0, np.nan, 0]),
        ({"above": 0}, ["yes", ">yes", "<062Y", "no"], [1, np.nan, np.nan, 0]),
        ({"at_least": 20, "below": 400}, ["<20", "≥20", ">=400", "20", "400"], [0, np.nan, 0, 1, 0]),
        ({"log10": True}, [">1000"], [np.nan]),
        # An AFP that was not measured may count as low; one that is not understood may not.
        ({"above": 200, "missing": 0}, ["", "see letter", "<300"], [0, np.nan, np.nan]),
    ],
)
def test_a_factor_follows_its_rule(rule: dict[str, object], texts: list[str], wanted: list[float]) -> None:
    factor = Factor.model_validate({"name": "x", "column": "c", "label": "X", **rule})
    np.testing.assert_allclose(factor_values(pd.Series(texts, dtype=str), factor), wanted)


def test_a_label_outside_the_classes_leaves_the_patient_out(tmp_path: Path, study: Study, names: Pseudonyms) -> None:
    rows = "P1,0,50,M,1,normal,9\nP2,7,50,M,1,normal,9\nP3,,50,M,1,normal,9\nP4,1.0,50,M,1,normal,9\n"
    table = _read(tmp_path, rows, study, names)
    assert table.ids == ("P1", "P4")
    assert table.label.tolist() == [0, 1]
    assert [(one.code, one.case) for one in table.findings] == [
        ("E_LABEL_UNKNOWN", names.patient("P2")),
        ("E_LABEL_UNKNOWN", names.patient("P3")),
    ]
    assert table.findings[0].cause == "'malignant' is '7'; wanted '0' (benign), '1' (malignant)"
    assert table.findings[1].cause.startswith("'malignant' is empty")
    assert "P2" in table.seen


def test_two_rows_for_one_patient_leave_the_patient_out(tmp_path: Path, study: Study, names: Pseudonyms) -> None:
    """Also where one of the rows has no usable label: which row is right cannot be known."""
    rows = "P1,0,50,M,1,normal,9\nP2,1,50,M,1,normal,9\nP2,9,50,M,1,normal,9\n"
    table = _read(tmp_path, rows, study, names)
    assert table.ids == ("P1",)
    assert [(one.code, one.case) for one in table.findings] == [("E_DUPLICATE_ROW", names.patient("P2"))]


def test_an_unreadable_value_counts_as_missing_and_is_said(tmp_path: Path, study: Study, names: Pseudonyms) -> None:
    table = _read(tmp_path, "P1,0,old,M,1,cirrhotic,9\n,1,50,M,1,normal,9\n", study, names)
    assert np.isnan(table.factors[0, 0])
    assert table.background.tolist() == [-1]
    assert [one.code for one in table.findings] == ["E_NO_PATIENT_ID", "W_VALUE_UNREADABLE", "W_BACKGROUND_UNKNOWN"]
    assert table.findings[0].cause == "row 3 of the table has no patient_id"
    assert table.findings[1].cause == "'age_years' is not a number; factor age_60 is missing"


def test_what_a_factor_cannot_use_is_said_also_where_missing_has_a_value(
    tmp_path: Path, study: Study, names: Pseudonyms
) -> None:
    """`missing = 0` speaks of an AFP that was not measured; ">150" was."""
    table = _read(tmp_path, "P1,0,50,M,>150,normal,9\nP2,1,50,M,>300,normal,x\nP3,1,50,M,,normal,9\n", study, names)
    np.testing.assert_array_equal(table.factors[:, 2], [np.nan, 1, 0])
    np.testing.assert_array_equal(table.size_mm, [9, np.nan, 9])
    assert [(one.code, one.cause) for one in table.findings] == [
        ("W_VALUE_UNREADABLE", "'afp_ng_ml' is not a number; factor afp_200 is missing"),
        ("W_VALUE_UNREADABLE", "'size_mm' is not a number; the size is missing"),
    ]


def test_a_missing_column_is_named_with_its_file_and_neighbour(tmp_path: Path, study: Study, names: Pseudonyms) -> None:
    header = HEADER.replace("age_years", "age_year").replace("background", "liver")
    with pytest.raises(
        DataError, match=r"clinical.csv: column 'background', 'age_years' \(there is 'age_year'\) is missing"
    ):
        _read(tmp_path, "P1,0,50,M,1,normal,9\n", study, names, header)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_semicolons_tabs_and_a_byte_order_mark_are_read(tmp_path: Path, separator: str) -> None:
    (tmp_path / "t.csv").write_text("\ufeff" + separator.join(("a", " b ")) + "\n1" + separator + " x, y \n", "utf-8")
    table = read_table(tmp_path / "t.csv")
    assert list(table.columns) == ["a", "b"]
    assert table["b"].tolist() == ["x, y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no rows"),
        (b"a,b\n1,2,3\n4,5,6,7\n", "row 2 has 3 cells, row 3 has 4 cells, the first row 2"),
        (b"a,b\nM\xfcller,1\n", r"\(UnicodeDecodeError\); save it as UTF-8"),
        (b"a,b\n", "has no rows"),
    ],
)
def test_what_is_no_table_is_one_line_without_its_content(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_table(tmp_path / "t.csv")
    assert "ller" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_real_ages_of_mct_ltdiag_are_read(shared_data: Path) -> None:
    """441 rows say "062Y", 76 say "42" (SOURCES.md)."""
    table = read_table(shared_data / "mct-ltdiag-metadata" / "meta_info_patient.csv")
    column = next(name for name in table.columns if "age" in name.lower())
    ages = numbers(table[column])
    assert len(ages) == 517
    assert np.isfinite(ages).all()
    assert table[column].str.endswith("Y").sum() == 441
    assert 1 <= ages.min() < ages.max() <= 100
