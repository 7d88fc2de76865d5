"""Tables as hospitals and public collections write them: CSV in all its dialects, three header lines, odd rows."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fl_liver.client.cohort.pseudonym import Pseudonyms
from fl_liver.client.cohort.table import tables
from fl_liver.client.cohort.table.clinical import clinical_from, numbers
from fl_liver.client.cohort.table.source import read_clinical_table, table_place
from fl_liver.client.cohort.table.sql_source import SqlSource
from fl_liver.client.cohort.table.tables import read_table
from fl_liver.client.site import load_site
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study
from fl_liver.study_cohort import Column, Factor
from fl_liver.study_files import load_study


def written(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_german_spreadsheets_csv_is_read(tmp_path: Path) -> None:
    """Byte-order mark, semicolons, decimal commas, CRLF, a quoted line break, rows and columns of nothing."""
    text = (
        '\ufeffpatient_id;"AFP; ng/mL";Befund;;\r\n0012;3,5;"zwei\r\nZeilen";;\r\n;;;;\r\n\r\n 13 ;1.234,5;\xa0;;\r\n'
    )
    table = read_table(written(tmp_path, text))
    assert list(table.columns) == ["patient_id", "AFP; ng/mL", "Befund"]
    assert table["patient_id"].tolist() == ["0012", "13"]
    assert numbers(table["AFP; ng/mL"]).tolist() == [3.5, 1234.5]
    assert table["Befund"].tolist() == ["zwei\nZeilen", ""]
    # The rows of the file, as a spreadsheet counts them.
    assert table.index.tolist() == [2, 5]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_one(tmp_path: Path, end: str) -> None:
    assert read_table(written(tmp_path, end.join(["a,b", "1,2", "3,4"])))["b"].tolist() == ["2", "4"]


def test_the_row_names_that_r_writes_are_no_column(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, '"","patient_id"\n"1","A"\n'))
    assert list(table.columns) == ["patient_id"]


def test_every_marker_of_a_missing_value_is_empty(tmp_path: Path) -> None:
    cells = ["NA", "n/a", "#N/A", "NaN", "NULL", "?"]
    cells += ["[Not Available]", "[not applicable]", "[Not Evaluated]", "[Unknown]"]
    table = read_table(written(tmp_path, "a,b\n" + "".join(f"{cell},none\n" for cell in cells)))
    assert table["a"].tolist() == [""] * len(cells)
    # "none" is a finding: no ascites, no symptoms.
    assert table["b"].tolist() == ["none"] * len(cells)


def test_header_rows_below_the_first_are_no_patients(tmp_path: Path) -> None:
    """Also in the middle, where two exports were pasted together."""
    text = "id,age,sex,x\nID,age_at_dx,gender,X\nCDE_ID:,CDE_ID:1,CDE_ID:2,\n1,2,3,4\nid,age,sex,x\n5,6,7,8\n"
    assert read_table(written(tmp_path, text))["id"].tolist() == ["1", "5"]


def test_a_patient_whose_cells_are_named_like_columns_stays(tmp_path: Path) -> None:
    text = "id,hcc,icc,met\nP1,hcc,icc,met\n"
    assert read_table(written(tmp_path, text))["id"].tolist() == ["P1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,a,b,c,c\n1,2,3,4,5,6\n", "more than one column is called 'a', 'b', 'c'; rename"),
        ("a,a,b,b,c,c,d,d\n1,2,3,4,5,6,7,8\n", "is called 'a', 'b', 'c', …; rename"),
        ("a,b\n1\n", "row 2 has 1 cell, the first row 2; is a separator inside"),
        ("a,b\n1,2\n\n1,2,3\n1,2,,\n", "row 4 has 3 cells, the first row 2"),
        ("a,b\n" + "1\n" * 5, r"row 4 has 1 cell \(and 2 more\), the first row 2"),
        ('a,b\n1,2\n3,"Anna\n4,5\n', r"beyond row 2: a quotation mark is not closed"),
        ('a,b\n1,"An"na\n', r"beyond row 1: a quotation mark is not closed, or stands inside"),
        ("1,0,67,?\n1,0,62,?\n", "the first row holds values, not names of columns"),
        ("a,b\n", "has no rows"),
        ("\n \n", "has no rows"),
        ("a,b\n1,2\n".encode("utf-16"), "cannot be read as a CSV table .UnicodeDecodeError.; save it as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "holds NUL bytes.; save it as UTF-8, not UTF-16"),
        ("a\nMüller\n".encode("cp1252"), r"save it as UTF-8 \(in Excel 'CSV UTF-8'\)"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_table(written(tmp_path, text))
    assert "Anna" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_of_half_a_million_rows_or_a_quarter_gibibyte_is_not_the_one_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 2)
    with pytest.raises(DataError, match="has 3 rows, wanted at most 2; is it the table that was meant"):
        read_table(written(tmp_path, "a\n1\n2\n3\n"))
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(300 * 2**20)
    with pytest.raises(DataError, match="300 MiB, wanted at most 256"):
        read_table(path)


def test_the_real_patient_table_of_tcga_has_65_patients(shared_data: Path) -> None:
    """Three header lines, tabs, markers in brackets; against pandas told to skip two rows."""
    path = shared_data / "tcga-lihc-ct" / "clinical_patient_lihc.txt"
    table = read_table(path)
    oracle = pd.read_csv(path, sep="\t", skiprows=[1, 2], dtype=str, keep_default_na=False)
    assert table.shape == oracle.shape == (65, 76)
    markers = oracle.apply(lambda column: column.str.match(r"\[.*\]"))
    assert int(markers.to_numpy().sum()) == int((table.to_numpy() == "").sum()) == 658 + 357 + 27 + 1
    np.testing.assert_array_equal(table.to_numpy(), oracle.mask(markers, "").to_numpy())
    assert table.index[0] == 4


def tcga_study() -> Study:
    """Who died, from the columns as the collection names them."""
    factors = (
        Factor(name="age", column="age_at_diagnosis", label="Age", center=60, scale=10),
        Factor(name="male", column="gender", label="Male", equals="MALE"),
        Factor(name="afp_400", column="alpha_fetoprotien_at_procurement", label="AFP ≥ 400", at_least=400),
    )
    columns = (
        Column(name="age_at_diagnosis", kind="age", required=True),
        Column(name="gender", kind="code", codes=("MALE", "FEMALE")),
        Column(name="alpha_fetoprotien_at_procurement", kind="number", at_least=0, unit="ng/mL"),
        Column(name="form_completion_date", kind="date"),
        Column(name="tumor_grade", kind="code", codes=("G1", "G2", "G3", "G4")),
    )
    shipped = load_study("clinical")
    task = shipped.task.model_copy(
        update={"outcome": "vital_status", "classes": {"alive": "Alive", "dead": "Dead"}, "size_mm": None}
    )
    return shipped.model_copy(update={"factor": factors, "column": columns, "task": task})


def test_the_real_rows_of_tcga_become_a_clinical_table(shared_data: Path, names: Pseudonyms) -> None:
    """32 alive, 33 dead, 38 men; its "2011-3-31" is a date; nothing to find fault with."""
    path = shared_data / "tcga-lihc-ct" / "clinical_patient_lihc.txt"
    found = clinical_from(read_table(path), tcga_study(), names, path)
    oracle = pd.read_csv(path, sep="\t", skiprows=[1, 2], na_values="[Not Available]").sort_values("patient_id")
    afp = oracle["alpha_fetoprotien_at_procurement"]
    assert found.findings == ()
    assert np.bincount(found.label).tolist() == [32, 33]
    assert found.factors[:, 1].sum() == 38
    np.testing.assert_allclose(found.factors[:, 0] * 10 + 60, oracle["age_at_diagnosis"])
    np.testing.assert_array_equal(found.factors[:, 2], (afp >= 400).astype(float).mask(afp.isna()))
    assert len(found.people) == 65
    assert all(person.dates["form_completion_date"].startswith("201") for person in found.people.values())
    assert sum(person.sex == "F" for person in found.people.values()) == 27


def test_the_order_of_tcgas_rows_changes_nothing(shared_data: Path, names: Pseudonyms) -> None:
    path = shared_data / "tcga-lihc-ct" / "clinical_patient_lihc.txt"
    table = read_table(path)
    rows = list(table.index)
    random.Random(7).shuffle(rows)
    first, second = (clinical_from(one, tcga_study(), names, path) for one in (table, table.loc[rows]))
    assert first.ids == second.ids
    np.testing.assert_array_equal(first.factors, second.factors)


def test_the_real_table_of_ilpd_is_numbers_but_for_the_sex(shared_data: Path) -> None:
    path = shared_data / "ilpd" / "ilpd.csv"
    table, oracle = read_table(path), pd.read_csv(path)
    assert len(table) == 583
    for name in (one for one in oracle.columns if one != "V2"):
        np.testing.assert_array_equal(numbers(table[name]), oracle[name], err_msg=name)
    assert table["V2"].value_counts().to_dict() == {"Male": 441, "Female": 142}


def test_the_real_hcc_table_of_coimbra_has_its_826_gaps(shared_data: Path) -> None:
    """SOURCES.md and the authors count 826 missing values of 165 patients, written "?"."""
    table = read_table(shared_data / "uci-hcc-survival" / "hcc-data_with_header.csv")
    assert table.shape == (165, 50)
    assert int((table.to_numpy() == "").sum()) == 826
    assert int(np.isnan(np.array([numbers(table[name]) for name in table])).sum()) == 826


def test_the_same_table_without_its_header_is_refused(shared_data: Path) -> None:
    """Its first patient would have become the names of the columns."""
    with pytest.raises(DataError, match=r"hcc-data.txt: the first row holds values, not names of columns"):
        read_table(shared_data / "uci-hcc-survival" / "hcc-data.txt")


def test_the_table_is_looked_for_under_two_names(tmp_path: Path) -> None:
    written(tmp_path, "patient_id\nA\n", "clinical.csv")
    assert read_clinical_table(tmp_path)["patient_id"].tolist() == ["A"]
    assert table_place(tmp_path, None) == tmp_path / "clinical.csv"
    written(tmp_path, b"", "clinical.xlsx")
    with pytest.raises(ConfigError, match=r"comes from clinical.csv and clinical.xlsx; keep one of them"):
        read_clinical_table(tmp_path)


def test_no_table_and_one_under_a_near_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no clinical.csv or clinical.xlsx; export one row per patient"):
        read_clinical_table(tmp_path)
    written(tmp_path, "x", "Clinical.CSV")
    written(tmp_path, "x", "clinical.xls")
    with pytest.raises(
        DataError, match=r"has no clinical.csv or clinical.xlsx \(there is Clinical.CSV, clinical.xls\)"
    ):
        read_clinical_table(tmp_path)


def test_a_file_beside_a_database_is_one_table_too_many(tmp_path: Path) -> None:
    written(tmp_path, "patient_id\nA\n", "clinical.csv")
    sql = SqlSource(url_file=tmp_path / "url", query_file=tmp_path / "query.sql")
    with pytest.raises(ConfigError, match=r"comes from clinical.csv and \[sql\] of site.toml; keep one"):
        read_clinical_table(tmp_path, sql)


def test_paths_of_the_database_are_taken_from_the_folder_of_site_toml(tmp_path: Path) -> None:
    site = written(tmp_path, 'site = "H01"\n[sql]\nurl_file = "db.url"\nquery_file = "/etc/query.sql"\n', "site.toml")
    sql = load_site(site).sql
    assert sql is not None
    assert (sql.url_file, sql.query_file) == (tmp_path / "db.url", Path("/etc/query.sql"))
    assert load_site(written(tmp_path, 'site = "H01"\n', "other.toml")).sql is None
    with pytest.raises(ConfigError, match=r"unknown key 'sql.url', known: query_file, url_file"):
        load_site(written(tmp_path, '[sql]\nurl = "postgresql://"\n', "wrong.toml"))


def test_reading_a_site_toml_loads_no_table_reader() -> None:
    """`fl-liver status` answers at once."""
    heavy = "{'pandas', 'openpyxl', 'sqlalchemy', 'sqlite3'}"
    code = f"import sys, fl_liver.client.site; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
