"""TCIA's Colorectal-Liver-Metastases: a tiny tree as NBIA writes it, up to the images of a hospital's cohort."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fl_liver.errors import ConfigError, DataError
from fl_liver.study_files import load_study
from simulation.hospitals import make_hospitals
from simulation.options import Options
from simulation.public import tcia
from simulation.public.cohort import PublicCohort
from simulation.public.hospital_folders import JOURNAL, write_virtual_hospitals
from simulation.public.registry import read_public
from simulation.public.serve import serve
from tests.simulation.public_trees import (
    CRLM_TUMOURS,
    LESION_HU,
    LIVER_HU,
    SLICES,
    cohort_of,
    crlm_tree,
    image_study,
    require_shared,
)

pytest.importorskip("highdicom", reason="DICOM SEG is read through highdicom")
STUDY = image_study(
    "CT", "liver_recurrence", {"relapse_free": "0", "relapse": "1"}, ["relapse"],
    sequences=["portal"], window_hu=[0.0, 200.0],
)  # fmt: skip
IDS = tuple(CRLM_TUMOURS)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return crlm_tree(tmp_path_factory.mktemp("crlm"))


@pytest.fixture(scope="module")
def cohort(tree: Path) -> PublicCohort:
    return read_public(None, tree)


def test_the_folder_is_known_and_the_table_is_joined_by_the_id_that_fits(cohort: PublicCohort) -> None:
    """The workbook has two ids, of which only the second stands in the images; its fifth patient has none."""
    table = cohort.clinical.set_index("patient_id")
    assert cohort.name == "crlm"
    assert tuple(table.index) == IDS
    assert table["liver_recurrence"].tolist() == [1, 0, 0, 1]
    assert table["age_years"].tolist() == [61, 48, 70, 55]
    assert table["sex"].tolist() == ["M", "F", "F", "M"]
    assert table["tumours"].tolist() == [1, 2, 1, 1]
    assert table["cea_ng_ml"].isna().tolist() == [False, True, False, False]
    assert cohort.partition_columns["scanner"].tolist() == ["GE LightSpeed VCT", "Siemens Sensation 16"] * 2
    assert cohort.partition_columns["age_band"].tolist() == ["60-70", "under-50", "70-up", "50-60"]


def test_hospitals_parted_by_scanner_give_the_lesions_that_were_drawn_and_nothing_else(
    cohort: PublicCohort, tmp_path: Path
) -> None:
    """Liver, remnant and veins are segments, too: as lesions they would give more images, and others."""
    scanner = cohort.partition_columns["scanner"]
    parts = [(f"H0{k}", np.flatnonzero(scanner == name)) for k, name in enumerate(np.unique(scanner).tolist(), start=1)]
    told: list[tuple[int, int]] = []
    folders = write_virtual_hospitals(
        cohort, parts, tmp_path, (), STUDY, on_patient=lambda done, of: told.append((done, of))
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for folder, (_, rows) in zip(folders, parts, strict=True):
        found = cohort_of(folder, STUDY)
        assert [one.code for one in found.findings if one.severity != "W"] == []
        assert len(found.patients) == 2
        drawn = [CRLM_TUMOURS[IDS[row]] for row in rows]
        assert found.images["lesion"].shape == (2 * sum(map(len, drawn)), 16, 16)
        middle = found.images["lesion"][:, 7:9, 7:9].astype(float).mean(axis=(1, 2)) * 200
        hu = {float(round(value)) for value in middle}
        assert hu == {LESION_HU + float(row) for row in rows}
        corner = found.images["lesion"][:, 0, 0].astype(float) * 200
        assert (corner < LIVER_HU + SLICES).all()


def test_of_a_series_with_two_acquisitions_only_the_one_that_was_drawn_on_is_taken(
    cohort: PublicCohort, tmp_path: Path
) -> None:
    write_virtual_hospitals(cohort, [("H01", np.arange(4))], tmp_path, (), STUDY)
    names = sorted(one.name for one in (tmp_path / "H01" / "dicom" / "CRLM-CT-1002" / "ct").iterdir())
    assert names == [f"1-{number:02d}.dcm" for number in range(1, SLICES + 1)]


def test_what_is_written_is_not_written_again_and_another_division_begins_anew(
    cohort: PublicCohort, tmp_path: Path
) -> None:
    write_virtual_hospitals(cohort, [("H01", np.arange(4))], tmp_path, (), STUDY)
    folder = tmp_path / "H01"
    journal = (folder / JOURNAL).read_text()
    kept = folder / "dicom" / IDS[0] / "mark"
    kept.touch()
    lines = journal.splitlines(keepends=True)
    (folder / JOURNAL).write_text("".join(lines[:3]) + lines[3][:10])  # cut off while the third was written
    shutil.rmtree(folder / "dicom" / IDS[3])
    write_virtual_hospitals(cohort, [("H01", np.arange(4))], tmp_path, (), STUDY)
    assert kept.exists()
    assert (folder / JOURNAL).read_text() == journal
    assert sorted(one.name for one in (folder / "dicom").iterdir()) == list(IDS)
    write_virtual_hospitals(cohort.of(np.arange(2)), [("H01", np.arange(2))], tmp_path, (), STUDY)
    assert not kept.exists()
    assert sorted(one.name for one in (folder / "dicom").iterdir()) == list(IDS[:2])
    assert sorted(one.name for one in (folder / "masks").iterdir()) == [f"{one}.nii.gz" for one in IDS[:2]]


def test_a_damaged_patient_costs_himself_and_is_named(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "set")
    seg = next((tmp_path / "set").glob("*/*/CRLM-CT-1003/*/100*/1-1.dcm"))
    cohort = read_public("crlm", tmp_path / "set")
    seg.write_bytes(seg.read_bytes()[:-50])
    faults: list[str] = []
    write_virtual_hospitals(cohort, [("H01", np.arange(4))], tmp_path / "out", (), STUDY, on_fault=faults.append)
    assert len(faults) == 1
    assert faults[0].startswith("CRLM-CT-1003: images left out")
    found = cohort_of(tmp_path / "out" / "H01", STUDY)
    assert [one.code for one in found.findings if one.severity == "E"] == ["E_NO_IMAGES"]
    only = cohort.of(np.array([2]))
    with pytest.raises(DataError, match="no images of any patient of H02 could be written"):
        write_virtual_hospitals(only, [("H02", np.arange(1))], tmp_path / "out", (), STUDY)


def test_a_lesion_is_a_row_where_the_study_counts_lesions(cohort: PublicCohort, tmp_path: Path) -> None:
    by_lesion = STUDY.changed(cohort={"unit": "lesion"})
    with pytest.raises(ConfigError, match=r"in crlm liver_recurrence is the patient's; set cohort.unit"):
        cohort.check_study(by_lesion)
    write_virtual_hospitals(cohort, [("H01", np.arange(4))], tmp_path, (), by_lesion)
    rows = pd.read_csv(tmp_path / "H01" / "clinical.csv")
    pairs = list(zip(rows["patient_id"], rows["lesion"], strict=True))
    assert pairs == [(IDS[0], 1), (IDS[1], 1), (IDS[1], 2), (IDS[2], 1), (IDS[3], 1)]


def test_the_command_line_parts_the_published_study_by_scanner(tree: Path, tmp_path: Path) -> None:
    """`python -m simulation nodule_ct --data DIR --reader crlm --partition by:scanner`, up to the first round."""
    study = load_study("nodule_ct").changed(
        sites={"train": ["H01", "H02"], "external": []}, privacy={"min_patients": 1}
    )
    options = Options(study="nodule_ct", data=str(tree), reader="crlm", partition="by:scanner")
    told: list[int] = []
    made = make_hospitals(study, options, tmp_path, lambda done, _: told.append(done))
    assert list(made.folders) == ["H01-GE-LightSpeed-VC", "H02-Siemens-Sensatio"]
    assert made.study.sites.train == tuple(made.folders)
    assert made.study.task.outcome == "liver_recurrence"
    assert told == [1, 2, 3, 4]
    assert "crlm cannot answer 'malignant' of study nodule_ct" in made.notes[0]
    small = made.study.changed(cohort={"views": 1})
    for folder in made.folders.values():
        found = cohort_of(folder, small)
        assert [one.code for one in found.findings if one.severity == "E"] == []
        assert sorted(found.label.tolist()) == [0, 1]


# --- what may be asked -----------------------------------------------------------------------------------------------


def test_a_study_of_benign_and_malignant_is_given_the_sets_own_question(cohort: PublicCohort) -> None:
    """`nodule_ct` asks what nobody in the set can answer; its recipe is taught another question under another title."""
    asks = image_study(
        "CT", "metastasis", {"benign": "0", "metastasis": "1"}, ["metastasis"], sequences=["portal"], unit="lesion"
    )
    served = serve(cohort, asks)
    assert served.study.task.outcome == "liver_recurrence"
    assert served.study.title.startswith("Will the liver relapse")
    assert "recipe of tiny" in served.study.title
    assert served.study.cohort.unit == "patient"
    assert any("cannot answer 'metastasis'" in note for note in served.notes)
    assert served.cohort.labels(served.study).tolist() == [1, 0, 0, 1]
    own = serve(cohort, STUDY)
    assert own.study == STUDY
    assert own.notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "MR"}, "reads MR images, crlm has CT"),
        ({"sequences": ["arterial", "portal"]}, "wants arterial series, crlm has portal"),
    ],
)
def test_other_images_are_refused(cohort: PublicCohort, change: dict[str, object], message: str) -> None:
    section = "task" if "modality" in change else "cohort"
    with pytest.raises(ConfigError, match=message):
        cohort.check_study(STUDY.changed(**{section: change}))
    if section == "task":
        with pytest.raises(ConfigError, match=message):
            serve(cohort, STUDY.changed(task={**change, "outcome": "grade"}))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("necrosis_percent", "read from the resected liver"),
        ("overall_survival_months", "a time to what is asked"),
        ("recurrence", "is the diagnosis itself"),
        ("patient_id", "an id is no finding"),
    ],
)
def test_what_is_known_only_afterwards_is_no_factor(cohort: PublicCohort, column: str, message: str) -> None:
    raw = {"name": "x", "column": column, "label": "X"}
    with pytest.raises(ConfigError, match=message):
        cohort.check_study(STUDY.with_top(factor=[raw]))


def test_a_patient_whose_outcome_is_missing_is_not_asked(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "set")
    path = next((tmp_path / "set").glob("*.xlsx"))
    table = pd.read_excel(path)
    table.loc[1, "progression_or_recurrence_liveronly"] = -999
    table.to_excel(path, index=False)
    served = serve(read_public("crlm", tmp_path / "set"), STUDY)
    assert served.cohort.clinical["patient_id"].tolist() == [IDS[0], *IDS[2:]]
    assert "1 of 4 patients are left out: liver_recurrence is not known" in served.cohort.notes[-1]


# --- what may be wrong with the folder -------------------------------------------------------------------------------


def test_a_download_that_is_not_whole_is_told(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "set")
    next((tmp_path / "set").glob("*/*/CRLM-CT-1001/*/2*/1-03.dcm")).unlink()
    (note,) = read_public("crlm", tmp_path / "set").notes
    assert "1 series have fewer files than metadata.csv says (patients CRLM-CT-1001)" in note


def test_a_patient_without_a_segmentation_is_left_out_and_counted(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "set")
    shutil.rmtree(next((tmp_path / "set").glob("*/*/CRLM-CT-1003/*/100*")))
    cohort = read_public("crlm", tmp_path / "set")
    assert "CRLM-CT-1003" not in set(cohort.clinical["patient_id"])
    assert "1 patients without a CT on which tumours are drawn" in cohort.notes[0]
    for seg in (tmp_path / "set").glob("*/*/*/*/100*"):
        shutil.rmtree(seg)
    with pytest.raises(
        DataError, match="4 patients, none with a CT on which tumours are drawn; fetch the SEG series too"
    ):
        read_public("crlm", tmp_path / "set")


def test_a_folder_without_its_table_or_its_images_is_refused_with_what_was_found(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "set")
    next((tmp_path / "set").glob("*.xlsx")).unlink()
    with pytest.raises(DataError, match=r"no clinical table .looked at metadata.csv; wanted columns age, sex"):
        read_public("crlm", tmp_path / "set")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme.txt").touch()
    with pytest.raises(DataError, match=r"no DICOM series of this collection .found readme.txt; wanted CRLM-CT-1001"):
        read_public("crlm", tmp_path / "other")


def test_without_highdicom_nothing_is_begun(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcia, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install fl_liver\[seg\]"):
        read_public("crlm", tree)


def test_the_real_segmentation_of_a_liver_is_found_and_carries_no_tumour() -> None:
    """dcmqi's three CT slices and their SEG, whose one segment is called Liver: 3 frames on 3 images."""
    folder = require_shared() / "dcmqi-liver"
    found = tcia.tcia_series(folder, lambda patient: True, "…")
    drawn = [one for many in found.values() for series in many if (one := tcia.segmentation(series)) is not None]
    assert any(one.segments == {1: "Liver"} for one in drawn) or drawn
    liver = tcia.Segmentation(folder / "liver.dcm", {1: "Liver"}, "", frozenset())
    labels, grid = tcia.drawn_lesions(liver, [1], separate=True)
    assert labels.shape[0] == 3
    assert grid.spacing_mm == pytest.approx((1.0, 0.8105, 0.8105), abs=1e-3)
