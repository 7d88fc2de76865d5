"""HCC-TACE-Seg and TCGA-LIHC: tiny trees as NBIA writes them, and TCGA's real table and CT where they are there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fl_liver.client.cohort.lesions.masks import read_mask_file
from fl_liver.errors import ConfigError, DataError
from fl_liver.study_files import load_study
from simulation.partition import parse_partition, partition
from simulation.public import tcia, tcia_drawn
from simulation.public.hospital_folders import write_virtual_hospitals
from simulation.public.nifti import write_mask
from simulation.public.registry import read_public
from simulation.public.serve import serve
from simulation.public.tables import find_table
from simulation.public.tcia import TciaSeries, one_volume
from tests.simulation.public_trees import (
    LESION_HU,
    SHARED,
    SIDE,
    SLICES,
    cohort_of,
    image_study,
    regions,
    require_shared,
    scan,
    write_ct,
    write_seg,
)

needs_real = pytest.mark.skipif(not SHARED.is_dir(), reason="the public data beside the repository are absent")
PROGRESS = image_study(
    "CT", "progression", {"stable": "0", "progression": "1"}, ["progression"],
    sequences=["arterial", "portal"], drawn_on="portal", window_hu=[0, 200],
)  # fmt: skip
HCC = {"HCC_001": [(2, 5, 5)], "HCC_002": [(2, 5, 5), (3, 14, 14)], "HCC_017": [(1, 6, 12)]}
PHASES = (("PRE LIVER", "100000", 40), ("ARTERIAL", "100030", 90), ("PORTAL VENOUS", "100110", LESION_HU))


def hcc_tree(root: Path) -> Path:
    """Three patients; phases are series of their own, in one study; another study after treatment, and a necrosis."""
    base = root / "manifest-1643035385102" / "HCC-TACE-Seg"
    for number, (patient, masses) in enumerate(HCC.items()):
        before = base / patient / "02-15-1998-NA-PP CAPLIVER PROTO.-10975"
        for order, (description, time, hu) in enumerate(PHASES, start=2):
            images = write_ct(
                before / f"{order}.000000-{description}-{order}", patient, scan(masses, hu + number),
                series=description, acquisition=order, SeriesDescription=description, StudyDate="19980215",
                AcquisitionTime=time, SeriesNumber=order,
            )  # fmt: skip
        liver = np.zeros((SLICES, SIDE, SIDE), dtype=bool)
        liver[:, 2:-2, 2:-2] = True
        parts = regions(masses)
        named = {"Liver": liver, "Mass": np.logical_or.reduce(parts), "Portal vein": liver & False | parts[0]}
        named["Abdominal aorta"] = np.roll(parts[0], 3, axis=1)
        if patient == "HCC_017":
            named["Necrosis"] = parts[0] & (np.arange(SIDE) < 14)
        write_seg(before / "300.000000-Segmentation-91221", images, named)
        after = base / patient / "06-15-1998-NA-AP LIVER-20000"
        write_ct(
            after / "3.000000-PORTAL-3", patient, scan([], number), study="after", series="late", StudyDate="19980615"
        )
    pd.DataFrame(
        {
            "TCIA_ID": list(HCC),
            "Death_1_StillAliveorLostToFU_0": [1, 0, 1],
            "Censored_0_progressed_1": [1, 0, 0],
            "OS": [10.0, 20.0, 30.0],
            "hepatitis": ["No virus", "HCV only", "HBV only"],
            "age": [61, 70, 55],
            "Sex": [1, 1, 0],
            "AFP": [4.0, 8000.0, 12.0],
            "Vascular invasion": [0, 1, 0],
            "Evidence_of_cirh": [1, 1, 0],
            "1_mRECIST": ["3", "1", "2"],
        }
    ).to_excel(root / "HCC-TACE-Seg_clinical_data-V2.xlsx", sheet_name="data table", index=False)
    return root


@pytest.fixture(scope="module")
def hcc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    pytest.importorskip("highdicom")
    return hcc_tree(tmp_path_factory.mktemp("hcc"))


def test_masses_alone_are_lesions_and_phases_are_told_by_the_cohort(hcc: Path, tmp_path: Path) -> None:
    """The portal vein's segment covers a mass here, and the aorta lies beside it; neither gives a lesion."""
    served = serve(read_public(None, hcc), PROGRESS)
    (folder,) = write_virtual_hospitals(served.cohort, [("H01", np.arange(3))], tmp_path, (), PROGRESS)
    masks = {path.name: read_mask_file(path).labels for path in (folder / "masks").iterdir()}
    assert {name: np.bincount(one.ravel())[1:].tolist() for name, one in masks.items()} == {
        "HCC_001.nii.gz": [64], "HCC_002.nii.gz": [64, 64], "HCC_017.nii.gz": [64],
    }  # fmt: skip
    found = cohort_of(folder, PROGRESS)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    middle = found.images["lesion"][:, :, 7:9, 7:9].astype(float).mean(axis=(2, 3)) * 200
    assert sorted({tuple(np.round(one).tolist()) for one in middle}) == [(90, 140), (91, 141), (92, 142)]


def test_the_study_after_treatment_is_not_taken(hcc: Path, tmp_path: Path) -> None:
    cohort = read_public("hcc_tace_seg", hcc)
    (folder,) = write_virtual_hospitals(cohort, [("H01", np.arange(3))], tmp_path, (), PROGRESS)
    assert len(list((folder / "dicom" / "HCC_001").rglob("*.dcm"))) == 3 * SLICES
    for column in ("1_mRECIST", "3_RECIST_FU", "OS", "ttp"):
        with pytest.raises(ConfigError, match="is refused: it is"):
            cohort.check_study(PROGRESS.with_top(factor=[{"name": "x", "column": column, "label": "X"}]))


def test_of_two_drawn_studies_the_earliest_counts_whatever_their_uids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and series are not named in the order of time; a liver alone is no lesion."""

    def series(uid: str, study: str, date: str, modality: str) -> TciaSeries:
        return TciaSeries("P", study, date, uid, modality, "", "", "", 1.0, (Path(uid),))

    drawings = {
        "1": tcia.Segmentation(Path("1"), {1: "Liver", 2: "Mass"}, "ct-late", frozenset()),
        "2": tcia.Segmentation(Path("2"), {1: "Liver"}, "ct-early", frozenset()),
        "3": tcia.Segmentation(Path("3"), {1: "Liver", 3: "Tumour 1"}, "ct-early", frozenset()),
    }
    monkeypatch.setattr(tcia_drawn, "segmentation", lambda one: drawings[one.series_uid])
    every = [
        *(series(uid, "late", "20200301", kind) for uid, kind in (("ct-late", "CT"), ("1", "SEG"))),
        *(series(uid, "early", "20200101", kind) for uid, kind in (("ct-early", "CT"), ("ct-other", "CT"))),
        *(series(uid, "early", "20200101", "SEG") for uid in "23"),
    ]
    found = tcia_drawn.drawn_ct(every, ("mass", "tumour"))
    assert found is not None
    assert (found.drawn_on.series_uid, found.lesions) == ("ct-early", (3,))
    assert [one.series_uid for one in found.study] == ["ct-early", "ct-other"]
    assert tcia_drawn.drawn_ct(every, ("necrosis",)) is None


def test_that_headers_tell_the_phases_is_noted(hcc: Path) -> None:
    assert [note for note in read_public("hcc_tace_seg", hcc).notes if note.startswith("phases are told from headers")]


def test_hcc_or_not_cannot_be_asked_where_everybody_has_it(hcc: Path) -> None:
    asks = image_study("CT", "hcc", {"other": "0", "hcc": "1"}, ["hcc"], sequences=["portal"])
    asks = asks.with_top(
        factor=[
            {"name": "cirrhosis", "column": "cirrhosis", "label": "Cirrhosis"},
            {"name": "ascites", "column": "ascites", "label": "Ascites"},
        ],
        analysis={"fusion": ["cirrhosis", "ascites"]},
    )
    served = serve(read_public(None, hcc), asks)
    assert served.study.task.outcome == "progression"
    assert [one.name for one in served.study.factor] == ["cirrhosis"]
    assert served.study.analysis.fusion == ("cirrhosis",)
    assert any("knows nothing of ascites: left out" in note for note in served.notes)


def test_the_volume_that_was_drawn_on_is_found_among_several(tmp_path: Path) -> None:
    """By acquisition; by the images themselves where the acquisitions have one number, too."""

    def series() -> TciaSeries:
        files = tuple(sorted(tmp_path.glob("*.dcm")))
        return TciaSeries("P", "", "", "", "CT", "", "", "", 5.0, files)

    first = write_ct(tmp_path, "P", scan([]))
    assert one_volume(series(), set()) == series().files
    second = write_ct(tmp_path, "P", scan([], 5), acquisition=2, first=SLICES + 1)
    drawn_on = {str(one.SOPInstanceUID) for one in second[2:4]}
    assert [path.name for path in one_volume(series(), drawn_on)] == [f"1-{k:02d}.dcm" for k in range(9, 17)]
    write_ct(tmp_path, "P", scan([], 5), acquisition=3, first=SLICES + 1, AcquisitionNumber=1)
    assert [path.name for path in one_volume(series(), {str(one.SOPInstanceUID) for one in first})] == [
        f"1-{k:02d}.dcm" for k in range(1, 9)
    ]


def test_a_table_is_known_by_its_columns_and_what_was_looked_at_is_named(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.txt").write_text("Do as you like, but cite.\nTwo, lines.\n")
    (tmp_path / "below").mkdir()
    pd.DataFrame({"a": [1], "b": [2]}).to_csv(tmp_path / "below" / "data.csv", index=False)
    with pd.ExcelWriter(tmp_path / "book.xlsx") as book:
        pd.DataFrame({"legend": ["a is a"]}).to_excel(book, sheet_name="legend", index=False)
        pd.DataFrame({"a": ["007"], "c": ["NA"]}).to_excel(book, sheet_name="data", index=False)
    assert find_table(tmp_path, ("a", "b"), "table")["b"].tolist() == ["2"]
    assert find_table(tmp_path, ("a", "c"), "table").iloc[0].tolist() == ["007", "NA"]
    workbook = (tmp_path / "book.xlsx").read_bytes()
    (tmp_path / "another.xlsx").write_bytes(workbook[: len(workbook) // 2])  # half a download stops nobody
    assert find_table(tmp_path, ("a", "c"), "table").iloc[0].tolist() == ["007", "NA"]
    (tmp_path / "another.xlsx").unlink()
    with pytest.raises(DataError, match=r"no table .looked at LICENSE.txt, data.csv, book.xlsx; wanted columns a, z"):
        find_table(tmp_path, ("a", "z"), "table")


# --- TCGA-LIHC -------------------------------------------------------------------------------------------------------

TCGA_COLUMNS = {
    "bcr_patient_uuid": "bcr_patient_uuid",
    "bcr_patient_barcode": "bcr_patient_barcode",
    "gender": "gender",
    "tumor_grade": "neoplasm_histologic_grade",
    "vascular_invasion": "vascular_tumor_cell_type",
    "alpha_fetoprotien_at_procurement": "fetoprotein_outcome_value",
    "platelet_count_preresection": "platelet_result_count",
    "age_at_diagnosis": "age_at_initial_pathologic_diagnosis",
    "history_hepato_carcinoma_risk_factors": "hist_hepato_carc_fact",
}
TCGA_ROWS = (
    ("u1", "TCGA-BC-0001", "MALE", "G3", "Macro", "[Not Available]", "253", "73", "Hepatitis B|Alcohol consumption"),
    ("u2", "TCGA-DD-0002", "FEMALE", "G1", "None", "79", "171000", "50", "[Not Available]"),
    ("u3", "TCGA-DD-0003", "FEMALE", "[Unknown]", "[Not Available]", "3", "9999", "61", "Hepatitis C"),
)


def tcga_tree(root: Path) -> Path:
    lines = [
        list(TCGA_COLUMNS),
        list(TCGA_COLUMNS.values()),
        ["CDE_ID:", *(f"CDE_ID:{k}" for k in range(8))],
        *TCGA_ROWS,
    ]
    text = "\n".join("\t".join(line) for line in lines) + "\n"
    root.mkdir(parents=True, exist_ok=True)
    (root / "nationwidechildrens.org_clinical_patient_lihc.txt").write_text(text)
    return root


def test_three_header_lines_and_markers_of_nothing_are_no_patients_and_no_values(tmp_path: Path) -> None:
    cohort = read_public(None, tcga_tree(tmp_path))
    table = cohort.clinical.set_index("patient_id")
    assert table.index.tolist() == ["TCGA-BC-0001", "TCGA-DD-0002", "TCGA-DD-0003"]
    assert table["high_grade"].astype(object).where(table["high_grade"].notna(), None).tolist() == [1, 0, None]
    assert table["vascular_invasion"].iloc[:2].tolist() == [1, 0]
    assert np.isnan(table["afp_ng_ml"].iloc[0])
    assert table["platelets_1000_ul"].tolist() == [253.0, 171.0, 9999.0]
    assert table["hepatitis"].tolist()[0] == 1
    assert pd.isna(table["hepatitis"].iloc[1])
    assert cohort.partition_columns["site"].tolist() == ["BC", "DD", "DD"]
    assert cohort.images is None


def test_images_without_drawn_lesions_serve_no_image_study_until_somebody_draws(tmp_path: Path) -> None:
    root = tcga_tree(tmp_path / "set")
    for number, row in enumerate(TCGA_ROWS[:2]):
        images = write_ct(
            root / "TCGA-LIHC" / row[1] / "01-01-2001-CT" / "2-PORTAL", row[1], scan([(2, 5, 5)], 100 + number),
            SeriesDescription="PORTAL VENOUS",
        )  # fmt: skip
    study = image_study(
        "CT", "high_grade", {"low": "0", "high": "1"}, ["high"], sequences=["portal"], window_hu=[0, 200]
    )
    cohort = read_public(None, root)
    assert cohort.partition_columns["scanner"].tolist() == ["GE LightSpeed VCT"] * 2 + ["no CT"]
    with pytest.raises(ConfigError, match="in tcga_lihc nobody has drawn any; choose a study with modality 'table'"):
        serve(cohort, study)
    lowest = min(images, key=lambda one: float(one.ImagePositionPatient[2]))
    x, y, z = (float(v) for v in lowest.ImagePositionPatient)
    from fl_liver.client.cohort.series.grid import Grid

    grid = Grid((SLICES, SIDE, SIDE), (x, y, z), (0, 0, 5), (0, 2, 0), (2, 0, 0))
    for row in TCGA_ROWS[:2]:
        write_mask(regions([(2, 5, 5)])[0].astype(np.uint16), grid, root / "masks" / f"{row[1]}.nii.gz")
    served = serve(read_public(None, root), study)
    assert len(served.cohort.clinical) == 2
    (folder,) = write_virtual_hospitals(served.cohort, [("H01", np.arange(2))], tmp_path / "out", (), study)
    found = cohort_of(folder, study)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    middle = found.images["lesion"][:, 7:9, 7:9].astype(float).mean(axis=(1, 2)) * 200
    assert sorted({round(value) for value in middle}) == [100, 101]


def test_a_patient_twice_and_another_table_are_refused(tmp_path: Path) -> None:
    root = tcga_tree(tmp_path)
    path = next(root.glob("*.txt"))
    path.write_text(path.read_text() + "\t".join(TCGA_ROWS[0]) + "\n")
    with pytest.raises(DataError, match="TCGA-BC-0001 stands twice in the clinical table"):
        read_public(None, root)
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(DataError, match=r"no clinical table of TCGA-LIHC .looked at nationwide"):
        read_public(None, root)


@needs_real
def test_the_real_table_gives_the_65_patients_that_were_counted_in_it() -> None:
    """Counted with another program in the file: grades 6, 28, 31; 44 without invasion, 18 with; two tissue sites."""
    cohort = read_public("tcga_lihc", require_shared() / "tcga-lihc-ct")
    table = cohort.clinical
    assert table["grade"].value_counts().to_dict() == {"G3": 31, "G2": 28, "G1": 6}
    assert table["vascular_invasion"].value_counts().to_dict() == {0: 44, 1: 18}
    assert table["sex"].value_counts().to_dict() == {"M": 38, "F": 27}
    assert dict(zip(*np.unique(cohort.partition_columns["site"], return_counts=True), strict=True)) == {
        "BC": 14,
        "DD": 51,
    }
    assert table["platelets_1000_ul"].max() < 1000
    row = table.set_index("patient_id").loc["TCGA-BC-A10W"]
    assert (row["age_years"], row["afp_ng_ml"], row["high_grade"], row["hepatitis"]) == (50, 79, 1, 1)
    assert cohort.images is not None
    assert cohort.images.lesions == "none"
    assert cohort.notes[0] == "64 of 65 patients have no CT here"


@needs_real
def test_the_real_table_serves_a_study_of_tables_parted_by_its_real_centres(tmp_path: Path) -> None:
    study = load_study("clinical")
    served = serve(read_public("tcga_lihc", require_shared() / "tcga-lihc-ct"), study)
    assert served.study.task.outcome == "high_grade"
    assert "male" in [one.name for one in served.study.factor]
    labels = served.cohort.labels(served.study)
    parts = partition(
        parse_partition("by:site"), labels, served.cohort.partition_columns, hospitals=2, external=0, seed=1
    )
    assert [name for name, _ in parts] == ["H01-DD", "H02-BC"]
    folders = write_virtual_hospitals(served.cohort, parts, tmp_path, (), served.study)
    assert sum(len(pd.read_csv(folder / "clinical.csv")) for folder in folders) == 65
    assert not any((folder / "dicom").exists() for folder in folders)


@needs_real
def test_the_real_ct_is_linked_whole_and_read_by_the_cohort(tmp_path: Path) -> None:
    """29 slices in shuffled files; a mask of one cube is drawn here on its lattice, of 8 mm slices."""
    from fl_liver.client.cohort.series.grid import Grid

    source = require_shared() / "tcga-lihc-ct"
    root = tmp_path / "set"
    shutil.copytree(source, root)
    labels = np.zeros((29, 512, 512), dtype=np.uint16)
    labels[8:14, 200:260, 150:210] = 1
    heights = sorted(float(one.ImagePositionPatient[2]) for one in _headers(root / "TCGA-BC-A10W"))
    corner = _headers(root / "TCGA-BC-A10W")[0]
    row, column = (float(v) for v in corner.PixelSpacing)
    x, y = (float(v) for v in corner.ImagePositionPatient[:2])
    grid = Grid((29, 512, 512), (x, y, heights[0]), (0, 0, 8), (0, row, 0), (column, 0, 0))
    write_mask(labels, grid, root / "masks" / "TCGA-BC-A10W.nii.gz")
    cohort = read_public("tcga_lihc", root)
    study = image_study("CT", "high_grade", {"low": "0", "high": "1"}, ["high"], sequences=["portal"])
    served = serve(cohort, study)
    (folder,) = write_virtual_hospitals(served.cohort, [("H01", np.arange(1))], tmp_path / "out", (), study)
    # Its headers do not tell the phase: here a person who has looked says it, as in a hospital.
    (folder / "series.toml").write_text('[[series]]\nfolder = "*"\nkind = "portal"\n')
    found = cohort_of(folder, study)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    assert found.images["lesion"].shape == (2, 16, 16)


def _headers(folder: Path) -> list[Any]:
    import pydicom

    return [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))]
