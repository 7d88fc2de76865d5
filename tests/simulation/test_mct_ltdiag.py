"""The reader of MCT-LTDiag: on a tiny tree in that layout, and on the 517 real patients where the data are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from fl_liver.client.site import load_site
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study
from fl_liver.study_files import load_study
from simulation.partition import parse_partition, partition
from simulation.public.hospital_folders import write_virtual_hospitals
from simulation.public.mct_ltdiag import PATIENT_FILE, TUMOUR_FILE
from simulation.public.registry import PublicCohort, describe, read_public

REAL = Path(__file__).resolve().parents[2] / "../shared/data/mct-ltdiag-metadata"
needs_real = pytest.mark.skipif(
    not (REAL / PATIENT_FILE).is_file(), reason="the MCT-LTDiag tables are not beside the repository"
)

PATIENTS = """\
ID,type,patient_sex,patient_age,Cirrhosis status (Y/N),History of viral hepatitis (Y/N),History of chemotherapy (Y/N)
230101a1,BCLM,F,42,N?(No referred CT report),NA(Outside-hospital surgery),Y
230101a2,BCLM,F,49,N,"N(Outside-hospital surgery; no blood test; no medical record)",Y
230202a1,HH,F,038Y,N,N,N
230202a2,HH,M,051Y,N,,N
230303a1,HCC,M,062Y,Y(Alcoholic),Y,Y(TACE)
230303a2,HCC,M,058Y,Y,N(an infection 10 years ago),N
"""
TUMOURS = """\
ID,InExp_Volume_mm3,Avg_Volume_mm3,Max3D_Diameter_mm,Nonrim APHE,Washout,Capsule presence,\
Peripheral nodular enhancement,Central scar,Rim APHE,Lobulated
230303a2,5000,5000,29.99,Y,Y,N,N,N,N,N
230101a1,12443.95,12443.95,30,N,Y,N,N,N,Y,N
230101a2,1855.83,762.3833333,23.82,N,N,N,N,N,N,N
230202a1,600000.5,300000.25,120.5,N,N,N,Y,Y,N,N
230202a2,70000,70000,60,N,N,N,Y,N,N,Y
230303a1,9000,9000,80,Y,N,Y,N,N,N,N
"""


def tree(folder: Path, patients: str = PATIENTS, tumours: str = TUMOURS) -> Path:
    (folder / PATIENT_FILE).write_text(patients, encoding="utf-8")
    (folder / TUMOUR_FILE).write_text(tumours, encoding="utf-8")
    return folder


def by_diameter(cohort: PublicCohort) -> pd.DataFrame:
    """The tiny tree's patients under a key that is not the id."""
    return cohort.clinical.set_index("diameter_mm")


def with_factor(column: str) -> Study:
    study = load_study("clinical")
    raw = study.model_dump(mode="json", exclude_none=True)
    raw["factor"] = [*raw["factor"], {"name": "extra", "column": column, "label": "Extra"}]
    return Study.model_validate(raw)


@pytest.fixture(scope="module")
def real() -> PublicCohort:
    return read_public("mct_ltdiag", REAL)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_both_ways_of_writing_an_age_give_the_same_number(tmp_path: Path) -> None:
    patients = by_diameter(read_public(None, tree(tmp_path)))
    assert patients["age_years"].to_dict() == {30.0: 42, 23.82: 49, 120.5: 38, 60.0: 51, 80.0: 62, 29.99: 58}


def test_tables_are_joined_by_id_and_not_by_row(tmp_path: Path) -> None:
    patients = by_diameter(read_public(None, tree(tmp_path)))
    assert patients["diagnosis"].to_dict() == {
        30.0: "BCLM", 23.82: "BCLM", 120.5: "HH", 60.0: "HH", 80.0: "HCC", 29.99: "HCC",
    }  # fmt: skip
    assert (patients["malignant"] == (patients["diagnosis"] != "HH")).all()


def test_remarks_are_dropped_and_what_nobody_knows_is_empty(tmp_path: Path) -> None:
    patients = by_diameter(read_public(None, tree(tmp_path))).astype(object)
    hepatitis = {key: None if pd.isna(value) else value for key, value in patients["hepatitis"].items()}
    cirrhosis = {key: None if pd.isna(value) else value for key, value in patients["cirrhosis"].items()}
    assert hepatitis == {30.0: None, 23.82: None, 120.5: 0, 60.0: None, 80.0: 1, 29.99: 0}
    assert cirrhosis == {30.0: None, 23.82: 0, 120.5: 0, 60.0: 0, 80.0: 1, 29.99: 1}


def test_the_old_ids_and_the_refused_columns_reach_no_file(tmp_path: Path) -> None:
    cohort = read_public(None, tree(tmp_path))
    everyone = np.arange(6)
    written = write_virtual_hospitals(cohort, [("H01", everyone)], tmp_path / "out", ())[0] / "clinical.csv"
    text = written.read_text(encoding="utf-8")
    assert not any(leak in text for leak in ("2301", "2302", "2303", "TACE", "Y", "chemo", "762.38"))
    assert text.splitlines()[0].startswith(
        "patient_id,diagnosis,malignant,sex,age_years,cirrhosis,hepatitis,volume_mm3"
    )


def test_the_order_of_the_rows_in_the_files_does_not_matter(tmp_path: Path) -> None:
    head, *rows = PATIENTS.splitlines()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = read_public(None, tree(tmp_path / "a"))
    two = read_public(None, tree(tmp_path / "b", "\n".join([head, *reversed(rows)]) + "\n"))
    pd.testing.assert_frame_equal(one.clinical, two.clinical)


def test_bands_begin_at_their_lower_bound(tmp_path: Path) -> None:
    cohort = read_public(None, tree(tmp_path))
    bands = dict(zip(cohort.clinical["diameter_mm"], cohort.partition_columns["diameter_band"], strict=True))
    assert {key: str(band) for key, band in bands.items()} == {
        29.99: "under-30", 23.82: "under-30", 30.0: "30-49", 60.0: "50-79", 80.0: "80-up", 120.5: "80-up",
    }  # fmt: skip
    ages = dict(zip(cohort.clinical["age_years"], cohort.partition_columns["age_band"], strict=True))
    assert (str(ages[38]), str(ages[42]), str(ages[62])) == ("under-40", "40-49", "60-69")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("038Y", "38 years", "age_years of 1 patients cannot be understood .first: id 230202a1, found '38 years'"),
        ("038Y", "238Y", "found '238Y'; wanted 062Y or 62"),
        ("HCC,M,058Y", "FNH,M,058Y", "found 'FNH'; wanted one of HH, HCC, ICC, CRLM, BCLM"),
        ("HH,F", "HH,X", "sex of 1 patients cannot be understood"),
        ("058Y,Y,", "058Y,maybe,", "found 'maybe'; wanted Y or N"),
        ("230202a1,", "230101a1,", "1 ids stand twice .first 230101a1"),
        ("230202a1,", "230202a9,", "2 ids are in one of .* only .first 230202a1"),
        ("patient_age", "age", "no column patient_age .found ID, type"),
    ],
)
def test_a_cell_that_cannot_be_understood_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_public("mct_ltdiag", tree(tmp_path, PATIENTS.replace(old, new)))


@pytest.mark.parametrize("number", ["0", "-3", "large", "", "nan"])
def test_a_diameter_that_is_not_above_zero_is_refused(tmp_path: Path, number: str) -> None:
    with pytest.raises(DataError, match=f"diameter_mm of 1 patients .* found '{number}'; wanted a number above 0"):
        read_public(None, tree(tmp_path, tumours=TUMOURS.replace("23.82", number)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a UTF-8 CSV table"),
        (b"ID,type\n\xff\xfe\n", "not a UTF-8 CSV"),
        (b'a,"b\n', "not a UTF-8 CSV|no column"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tree(tmp_path) / PATIENT_FILE).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_public(None, tmp_path)


def test_a_table_without_patients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no patients .found 0 rows"):
        read_public(None, tree(tmp_path, PATIENTS.splitlines()[0] + "\n"))


def test_a_column_nobody_has_looked_at_is_refused(tmp_path: Path) -> None:
    more = "\n".join(f"{line},{'scanner' if k == 0 else k}" for k, line in enumerate(PATIENTS.splitlines()))
    cohort = read_public(None, tree(tmp_path, more + "\n"))
    assert cohort.refused["scanner"] == "this reader does not know it"
    assert "scanner" not in cohort.clinical


# --- registry --------------------------------------------------------------------------------------------------------


def test_a_missing_file_says_what_a_folder_should_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no known data set .found nothing; wanted mct_ltdiag: meta_info_patient.csv"):
        read_public(None, tmp_path)
    with pytest.raises(DataError, match=r"cannot be read .FileNotFoundError."):
        read_public("mct_ltdiag", tmp_path)


def test_an_unknown_reader_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reader 'mct-ltdiag': unknown, did you mean 'mct_ltdiag'"):
        read_public("mct-ltdiag", tmp_path)
    with pytest.raises(ConfigError, match="no such folder; give the folder"):
        read_public(None, tmp_path / "nowhere")


def test_the_help_text_names_source_and_licence() -> None:
    assert "10.7910/DVN/S3RW15" in describe()
    assert "licence  CC0 1.0" in describe()


# --- what a study may ask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("History of chemotherapy (Y/N)", "is refused: chemotherapy follows the diagnosis"),
        ("chemotherapy", "is refused: chemotherapy follows the diagnosis"),
        ("id", "is refused: the data set's ids begin with a batch date"),
        ("patient_id", "is refused: an id is no finding"),
        ("patient_age", "is refused: its format tells the diagnosis .*take age_years"),
        ("Avg_Volume_mm3", "is refused: its decimals tell the number of lesions"),
        ("malignant", "is the diagnosis itself"),
        ("diagnosis", "is the diagnosis itself"),
        ("wash_out", "no column 'wash_out' in mct_ltdiag, did you mean 'washout'"),
    ],
)
def test_a_factor_that_would_leak_is_refused_with_the_reason(tmp_path: Path, column: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_public(None, tree(tmp_path)).check_study(with_factor(column))


def test_a_study_that_wants_images_or_another_outcome_is_refused(tmp_path: Path) -> None:
    cohort = read_public(None, tree(tmp_path))
    with pytest.raises(ConfigError, match="reads US images, mct_ltdiag is a table without images"):
        cohort.check_study(load_study("lesion_us_fusion"))
    with pytest.raises(ConfigError, match="outcome 'grade' is not in mct_ltdiag; wanted one of diagnosis, malignant"):
        cohort.check_study(load_study("clinical").changed(task={"outcome": "grade"}))
    with pytest.raises(ConfigError, match="size_mm 'longest' is not in mct_ltdiag"):
        cohort.check_study(load_study("clinical").changed(task={"size_mm": "longest"}))


def test_labels_follow_the_order_of_the_study_and_refuse_a_stray_diagnosis(tmp_path: Path) -> None:
    cohort, study = read_public(None, tree(tmp_path)), load_study("clinical")
    codes = list(study.task.classes.values())
    assert [codes[label] for label in cohort.labels(study)] == list(cohort.clinical["diagnosis"])
    two = study.changed(
        task={"outcome": "malignant", "classes": {"benign": "0", "malignant": "1"}, "positive": ["malignant"]}
    )
    assert np.array_equal(cohort.labels(two), cohort.clinical["malignant"])
    narrow = study.changed(task={"classes": {"haemangioma": "HH", "hcc": "HCC"}, "positive": ["hcc"]})
    with pytest.raises(DataError, match="diagnosis holds BCLM, study clinical knows HH, HCC"):
        cohort.labels(narrow)


# --- hospital folders ------------------------------------------------------------------------------------------------


def test_hospital_folders_hold_their_patients_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    cohort = read_public(None, tree(tmp_path))
    parts = (("H01", np.array([0, 2, 4])), ("H02", np.array([1, 3, 5])))
    for root in ("a", "b"):
        folders = write_virtual_hospitals(cohort, parts, tmp_path / root, {"H02"})
    assert [folder.name for folder in folders] == ["H01", "H02"]
    for name, rows in parts:
        for file in ("clinical.csv", "site.toml"):
            assert (tmp_path / "a" / name / file).read_bytes() == (tmp_path / "b" / name / file).read_bytes()
        read_back = pd.read_csv(tmp_path / "a" / name / "clinical.csv")
        assert list(read_back["patient_id"]) == [f"P{row + 1:04d}" for row in rows]
    site = load_site(tmp_path / "a" / "H02" / "site.toml")
    assert (site.site, site.role, site.release) == ("H02", "external", "named")
    assert site.data == (tmp_path / "a" / "H02").resolve()


def test_a_patient_in_two_hospitals_or_in_none_is_refused(tmp_path: Path) -> None:
    cohort = read_public(None, tree(tmp_path))
    for rows in ([0, 1, 2], [0, 1, 2, 3, 4, 5, 5]):
        with pytest.raises(ConfigError, match="patients are in no hospital or in two; wanted one"):
            write_virtual_hospitals(cohort, [("H01", np.array(rows))], tmp_path / "out", ())
    with pytest.raises(ConfigError, match="external hospitals H09 are not among"):
        write_virtual_hospitals(cohort, [("H01", np.arange(6))], tmp_path / "out", ["H09"])


# --- the 517 real patients -------------------------------------------------------------------------------------------


@needs_real
def test_real_patients_are_counted_as_published(real: PublicCohort) -> None:
    """Counts of SOURCES beside the data; ages between the youngest and the oldest written in the file."""
    counts = real.clinical["diagnosis"].value_counts().to_dict()
    assert counts == {"BCLM": 115, "HCC": 103, "CRLM": 103, "ICC": 100, "HH": 96}
    assert real.clinical["sex"].value_counts().to_dict() == {"F": 308, "M": 209}
    assert (real.clinical["age_years"].min(), real.clinical["age_years"].max()) == (27, 89)
    assert real.clinical["patient_id"].is_unique
    assert int(real.clinical["hepatitis"].isna().sum()) == 8
    assert any("hepatitis is not known for 8 of 517 patients (BCLM)" in note for note in real.notes)


@needs_real
def test_a_lesion_fits_into_the_ball_of_its_largest_diameter(real: PublicCohort) -> None:
    """Were the two tables joined wrongly, some volume would be above π/6 d³."""
    ball = np.pi / 6 * real.clinical["diameter_mm"] ** 3
    assert (real.clinical["volume_mm3"] <= ball).all()


def leak(feature: np.ndarray, diagnosis: np.ndarray) -> float:
    """Highest cross-validated one-vs-rest AUC of a depth-4 tree on one feature; .5 is none."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=0)
    scores = cross_val_predict(model, feature.reshape(-1, 1), diagnosis, cv=folds, method="predict_proba")
    return max(float(roc_auc_score(diagnosis == name, scores[:, k])) for k, name in enumerate(np.unique(diagnosis)))


@needs_real
def test_neither_order_nor_format_of_what_is_written_tells_the_diagnosis(real: PublicCohort, tmp_path: Path) -> None:
    """The same measure gives .81 for the format of the ages as published, so it can see a leak."""
    folder = write_virtual_hospitals(real, [("H01", np.arange(517))], tmp_path, ())[0]
    cells = pd.read_csv(folder / "clinical.csv", dtype=str, keep_default_na=False)
    diagnosis = cells["diagnosis"].to_numpy(dtype=str)
    formats = {"row": np.arange(517.0)}
    for name in cells.columns.drop(["diagnosis", "malignant"]):
        formats[f"decimals of {name}"] = cells[name].str.partition(".")[2].str.len().to_numpy(float)
        formats[f"empty {name}"] = (cells[name] == "").to_numpy(float)
    measured = {name: leak(feature, diagnosis) for name, feature in formats.items()}
    assert {name: auc for name, auc in measured.items() if auc > 0.58} == {}

    published = pd.read_csv(REAL / PATIENT_FILE, dtype=str)
    assert leak(published["patient_age"].str.endswith("Y").to_numpy(float), published["type"].to_numpy(str)) > 0.8


@needs_real
@pytest.mark.parametrize(
    ("text", "hospitals", "external"),
    [("iid", 8, 2), ("dirichlet:0.5", 8, 2), ("sizes:1", 8, 2), ("by:age_band", 5, 1), ("by:diameter_band", 4, 1)],
)
def test_real_patients_can_be_parted_in_every_way(
    real: PublicCohort, tmp_path: Path, text: str, hospitals: int, external: int
) -> None:
    labels = real.labels(load_study("clinical"))
    parts = partition(
        parse_partition(text), labels, real.partition_columns, hospitals=hospitals, external=external, seed=2025
    )
    folders = write_virtual_hospitals(real, parts, tmp_path, [name for name, _ in parts[-external:]])
    assert sum(len(pd.read_csv(folder / "clinical.csv")) for folder in folders) == 517
    roles = [load_site(folder / "site.toml").role for folder in folders]
    assert roles == ["train"] * (hospitals - external) + ["external"] * external


@needs_real
def test_pooled_logistic_regression_on_the_studys_factors_is_good_but_not_perfect(real: PublicCohort) -> None:
    """Measured: malignant against haemangioma .987, mean one-vs-rest .93. Near 1.0 would mean that a leak is back."""
    study = load_study("clinical")
    columns = []
    for factor in study.factor:
        raw = real.clinical[factor.column]
        value = (raw == factor.equals).to_numpy(float) if factor.equals else raw.to_numpy(float, na_value=0.0)
        columns.append(((np.log10(value) if factor.log10 else value) - factor.center) / factor.scale)
    features, labels = np.stack(columns, axis=1), real.labels(study)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(LogisticRegression(max_iter=5000), features, labels, cv=folds, method="predict_proba")
    assert roc_auc_score(labels != 0, 1 - scores[:, 0]) == pytest.approx(0.987, abs=0.005)
    assert roc_auc_score(labels, scores, multi_class="ovr") == pytest.approx(0.930, abs=0.005)
    assert np.abs(features[:, [0, 4]].mean(axis=0)).max() < 0.2
    assert features[:, [0, 4]].std(axis=0) == pytest.approx([1.2, 0.95], abs=0.05)
