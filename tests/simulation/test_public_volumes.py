"""Sets of NIfTI volumes: the decathlon's livers and LiTS, MCT-LTDiag's phases, LLD-MMRI's boxes; tiny trees of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fl_liver.client.cohort.lesions.masks import read_mask_file
from fl_liver.errors import ConfigError, DataError
from fl_liver.study_files import load_study
from simulation.public.cohort import PublicCohort
from simulation.public.hospital_folders import write_virtual_hospitals
from simulation.public.lld_mmri import CLASSES
from simulation.public.mct_ltdiag import PATIENT_FILE, TUMOUR_FILE
from simulation.public.registry import read_public
from simulation.public.serve import serve
from tests.simulation.public_trees import LESION_HU, cohort_of, image_study, regions, scan, write_nifti

AFFINE = [[-2, 0, 0, 40], [0, -2, 0, 40], [0, 0, 5, 100]]
TUMOURS = {0: [(2, 5, 5)], 1: [(2, 5, 5), (3, 14, 14)], 2: [], 10: [(1, 6, 12)]}


def ijk(volume: np.ndarray) -> np.ndarray:
    """(slices, rows, columns) as a NIfTI file counts: i along a row, j down, k through slices."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0))


def labels_of(tumours: list[tuple[int, int, int]]) -> np.ndarray:
    labels = (scan([]) > 0).astype(np.uint8)
    for one in regions(tumours):
        labels[one] = 2
    return labels


def msd_tree(root: Path) -> Path:
    for number, tumours in TUMOURS.items():
        write_nifti(root / "imagesTr" / f"liver_{number}.nii.gz", ijk(scan(tumours, LESION_HU + number)), AFFINE)
        write_nifti(root / "labelsTr" / f"liver_{number}.nii.gz", ijk(labels_of(tumours)), AFFINE)
    (root / "imagesTr" / "._liver_0.nii.gz").write_bytes(b"\0")  # what macOS leaves in the archive
    write_nifti(root / "imagesTs" / "liver_132.nii.gz", ijk(scan([])), AFFINE)
    labels = {"0": "background", "1": "liver", "2": "cancer"}
    (root / "dataset.json").write_text(json.dumps({"name": "Liver", "labels": labels}))
    return root


@pytest.mark.parametrize("layout", ["msd", "lits", "lits in batches, unpacked"])
def test_volumes_and_labels_are_paired_by_number(tmp_path: Path, layout: str) -> None:
    if layout == "msd":
        cohort = read_public(None, msd_tree(tmp_path))
    else:
        for number, tumours in TUMOURS.items():
            place = tmp_path / ("" if layout == "lits" else f"Training Batch {1 + number % 2}")
            write_nifti(place / f"volume-{number}.nii", ijk(scan(tumours, LESION_HU + number)), AFFINE)
            write_nifti(place / f"segmentation-{number}.nii", ijk(labels_of(tumours)), AFFINE)
        cohort = read_public(None, tmp_path)
    name, stem = ("msd_liver", "liver_") if layout == "msd" else ("lits", "volume-")
    assert cohort.name == name
    assert cohort.clinical["patient_id"].tolist() == [f"{stem}{number}" for number in TUMOURS]
    assert cohort.clinical["tumour"].tolist() == [1, 1, 0, 1]
    assert cohort.partition_columns["slice_mm"].tolist() == ["5mm-up"] * 4


def test_only_the_tumour_label_is_a_lesion_and_two_tumours_are_two(tmp_path: Path) -> None:
    cohort = read_public("msd_liver", msd_tree(tmp_path / "set"))
    study = image_study(
        "CT",
        "tumour",
        {"free": "0", "tumour": "1"},
        ["tumour"],
        sequences=["portal"],
        crops="whole",
        window_hu=[0, 200],
    ).changed(task={"lesion_free": ["free"]})
    served = serve(cohort, study)
    write_virtual_hospitals(served.cohort, [("H01", np.arange(4))], tmp_path / "out", (), study)
    masks = {path.name: read_mask_file(path) for path in (tmp_path / "out" / "H01" / "masks").iterdir()}
    assert sorted(masks) == ["liver_0.nii.gz", "liver_1.nii.gz", "liver_10.nii.gz"]
    counts = {name: np.bincount(mask.labels.ravel())[1:].tolist() for name, mask in masks.items()}
    assert counts == {"liver_0.nii.gz": [64], "liver_1.nii.gz": [64, 64], "liver_10.nii.gz": [64]}
    crops = study.changed(task={"lesion_free": []}, cohort={"crops": "lesion"})
    drawn = served.cohort.of(np.array([0, 1, 3]))
    found = cohort_of(write_virtual_hospitals(drawn, [("H01", np.arange(3))], tmp_path / "drawn", (), crops)[0], crops)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    middle = found.images["lesion"][:, 7:9, 7:9].astype(float).mean(axis=(1, 2)) * 200
    assert sorted(round(value) for value in middle) == [140, 140, 141, 141, 141, 141, 150, 150]


def test_a_study_that_crops_lesions_or_reads_phases_is_refused(tmp_path: Path) -> None:
    cohort = read_public("msd_liver", msd_tree(tmp_path))
    benign = {"benign": "0", "malignant": "1"}
    crops = image_study("CT", "malignant", benign, ["malignant"], sequences=["portal"])
    with pytest.raises(ConfigError, match=r"crops lesions, msd_liver can only be asked 'Does the slice show"):
        serve(cohort, crops)
    whole = image_study("CT", "malignant", benign, ["malignant"], sequences=["plain", "arterial"], crops="whole")
    with pytest.raises(ConfigError, match="wants plain, arterial series, msd_liver has portal"):
        serve(cohort, whole)
    both = whole.changed(cohort={"sequences": ["arterial", "portal"], "drawn_on": "arterial"})
    served = serve(cohort, both)
    assert served.study.cohort.sequences == ("portal",)
    assert served.study.cohort.drawn_on == "portal"
    assert served.study.task.lesion_free == ("tumour_free",)
    undrawn = whole.changed(task={"outcome": "tumour"}, cohort={"sequences": ["portal"]})
    with pytest.raises(ConfigError, match="wants lesions of everybody, in msd_liver class benign has none"):
        cohort.check_study(undrawn)


def test_a_label_that_is_not_of_this_set_and_a_volume_without_label_are_told(tmp_path: Path) -> None:
    msd_tree(tmp_path)
    (tmp_path / "labelsTr" / "liver_10.nii.gz").unlink()
    assert read_public(None, tmp_path).notes == ("1 volumes without a label are left out",)
    strange = labels_of([])
    strange[0, 0, 0] = 7
    write_nifti(tmp_path / "labelsTr" / "liver_2.nii.gz", ijk(strange), AFFINE)
    with pytest.raises(DataError, match=r"liver_2.nii.gz: label 7, wanted 0, 1 liver, 2 tumour"):
        read_public(None, tmp_path)
    shutil.rmtree(tmp_path / "labelsTr")
    with pytest.raises(DataError, match=r"no volume with a label .found dataset.json, imagesTr, imagesTs; wanted"):
        read_public("msd_liver", tmp_path)


# --- MCT-LTDiag ------------------------------------------------------------------------------------------------------

MCT_IDS = {"230101a1": "BCLM", "230202a1": "HH", "230303a1": "HCC", "230404a1": "HCC"}


def mct_tree(root: Path, layout: str) -> Path:
    head = "ID,type,patient_sex,patient_age,Cirrhosis status (Y/N),History of viral hepatitis (Y/N)\n"
    root.mkdir(parents=True, exist_ok=True)
    (root / PATIENT_FILE).write_text(head + "".join(f"{one},{kind},F,42,N,N\n" for one, kind in MCT_IDS.items()))
    tumour = "ID,InExp_Volume_mm3,Max3D_Diameter_mm,Nonrim APHE,Washout,Capsule presence,Peripheral nodular enhancement"
    rows = "".join(f"{one},{100 + k},{20 + k},N,N,N,N,N,N,N\n" for k, one in enumerate(MCT_IDS))
    (root / TUMOUR_FILE).write_text(f"{tumour},Central scar,Rim APHE,Lobulated\n{rows}")
    for number, (one, kind) in enumerate(MCT_IDS.items()):
        volume = root / one / "NIFTI" if layout == "archives" else root / "Data" / "volume" / kind / one
        mask = root / one if layout == "archives" else root / "Data" / "mask" / kind / one
        for phase, name in enumerate(("nc", "art", "pvp", "delay")):
            hu = LESION_HU + 10 * phase + number
            write_nifti(volume / f"{name}.nii.gz", ijk(scan([(2, 5, 5)], hu)), AFFINE)
        if one != "230404a1":
            drawn = regions([(2, 5, 5)])[0].astype(np.uint8)
            write_nifti(mask / "mask_pvp.nii.gz", ijk(drawn), AFFINE)
            write_nifti(mask / "liver_mask_pvp.nii.gz", ijk(labels_of([])), AFFINE)
    return root


@pytest.mark.parametrize("layout", ["archives", "benchmark"])
def test_the_phases_of_mct_ltdiag_become_channels_in_the_studys_order(tmp_path: Path, layout: str) -> None:
    """Planted: the lesion is 10 HU brighter in each phase; ids of the set reach no name and no header."""
    cohort = read_public(None, mct_tree(tmp_path / "set", layout))
    assert cohort.images is not None
    study = image_study(
        "CT", "diagnosis", {"hh": "HH", "hcc": "HCC", "bclm": "BCLM"}, ["hcc", "bclm"],
        sequences=["portal", "plain", "delayed"], window_hu=[0, 200],
    )  # fmt: skip
    served = serve(cohort, study)
    assert len(served.cohort.clinical) == 3
    assert "1 of 4 patients are left out: no images" in served.cohort.notes[-1]
    (folder,) = write_virtual_hospitals(served.cohort, [("H01", np.arange(3))], tmp_path / "out", (), study)
    found = cohort_of(folder, study)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    middle = found.images["lesion"][:, :, 7:9, 7:9].astype(float).mean(axis=(2, 3)) * 200
    assert np.round(middle - middle[:, :1]).tolist() == [[0, -20, 10]] * 6
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert not any(old in name for old in MCT_IDS for name in names)
    headers = [path.read_bytes()[:4000] for path in folder.rglob("*.dcm")]
    assert not any(old.encode() in one for old in MCT_IDS for one in headers)


def test_each_lesion_of_mct_ltdiag_is_a_case_of_the_nodule_study(tmp_path: Path) -> None:
    """One diagnosis holds for all lesions of a patient, so `nodule_ct` can count each by itself."""
    root = mct_tree(tmp_path / "set", "archives")
    two = np.logical_or.reduce(regions([(2, 5, 5), (3, 14, 14)])).astype(np.uint8)
    write_nifti(root / "230303a1" / "mask_pvp.nii.gz", ijk(two), AFFINE)
    served = serve(read_public(None, root), load_study("nodule_ct"))
    study = served.study.changed(sites={"train": ["H01", "H02", "H03"], "external": []}, cohort={"views": 1})
    (folder,) = write_virtual_hospitals(served.cohort, [("H01", np.arange(3))], tmp_path / "out", (), study)
    found = cohort_of(folder, study)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    assert found.images["lesion"].shape[0] == len(found.label) == 4
    assert sorted(found.label.tolist()) == [0, 1, 1, 1]


def test_a_whole_slice_study_reads_volumes_with_and_without_a_tumour(tmp_path: Path) -> None:
    """`hcc_ct`'s recipe: 2 slices with a tumour and 1 without of each patient, 3 of one who has none."""
    cohort = read_public("msd_liver", msd_tree(tmp_path / "set"))
    asked = load_study("hcc_ct").changed(
        model={"image_px": 32},
        cohort={"views": 2, "free_views": 1},
        sites={"train": ["H01", "H02", "H03"], "external": []},
    )
    served = serve(cohort, asked)
    (folder,) = write_virtual_hospitals(served.cohort, [("H01", np.arange(4))], tmp_path / "out", (), served.study)
    found = cohort_of(folder, served.study)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    shown = np.array([bool(one.any()) for one in found.images["mask"]])
    for patient, label in enumerate(found.label):
        assert sorted(shown[found.owner == patient].tolist()) == ([False, True, True] if label else [False] * 3)


def test_tables_as_dataverse_hands_them_out_are_the_same_tables(tmp_path: Path) -> None:
    comma = read_public(None, mct_tree(tmp_path / "a", "archives"))
    root = mct_tree(tmp_path / "b", "archives")
    for name in (PATIENT_FILE, TUMOUR_FILE):
        (root / name).rename(root / name.replace(".csv", ".tab"))
        path = root / name.replace(".csv", ".tab")
        path.write_text(path.read_text().replace(",", "\t"))
    assert read_public(None, root).clinical.equals(comma.clinical)


def test_mct_ltdiag_without_volumes_is_the_table_that_it_was(tmp_path: Path) -> None:
    mct_tree(tmp_path, "archives")
    for one in MCT_IDS:
        shutil.rmtree(tmp_path / one)
    cohort = read_public(None, tmp_path)
    assert cohort.images is None
    with pytest.raises(ConfigError, match="reads CT images, mct_ltdiag is a table without images"):
        cohort.check_study(image_study("CT", "diagnosis", {"a": "HH", "b": "HCC"}, ["b"], sequences=["portal"]))


# --- LLD-MMRI --------------------------------------------------------------------------------------------------------

PHASES = ("T2WI", "DWI", "C-pre", "C+A", "C+V", "C+Delay", "In Phase", "Out Phase")


def lld_item(patient: str, number: int, phase: str, categories: list[object]) -> dict[str, object]:
    """One series; the box holds rows 5–8, columns 6–10 (upper edges excluded but for slices), slices 2–4."""
    box = {"x_min": 6, "x_max": 11, "y_min": 5, "y_max": 9, "z_min": 2, "z_max": 4}
    lesions = {
        str(k): {
            "category": category,
            "bbox": {"3D_box": {name: edge + (6 * k if name[0] in "xy" else 0) for name, edge in box.items()}},
        }
        for k, category in enumerate(categories)
    }
    return {
        "studyUID": f"{patient}-study", "seriesUID": f"{patient}.{number}", "phase": phase,
        "pixel_spacing": [2, 2], "slice_thickness": 5,
        "annotation": {"num_targets": len(lesions), "lesion": lesions},
    }  # fmt: skip


def lld_tree(root: Path, patients: dict[str, list[object]]) -> Path:
    info = {}
    for order, (patient, categories) in enumerate(patients.items()):
        info[patient] = [lld_item(patient, number, phase, categories) for number, phase in enumerate(PHASES)]
        for number in range(len(PHASES)):
            values = np.full((8, 24, 24), 50 + number, dtype=np.int16) + np.arange(24, dtype=np.int16)
            values[:, 0, 0] = 100 * order
            values[2:5, 5:9, 6:11] = 500 + 50 * number + order
            affine = AFFINE if number else [[-2, 0, 0, 41], [0, -2, 0, 40], [0, 0, 5, 100]]
            path = root / "images" / patient / f"{patient}-study" / f"{patient}.{number}.nii.gz"
            write_nifti(path, ijk(values), affine)
    (root / "labels").mkdir(parents=True)
    (root / "labels" / "Annotation.json").write_text(json.dumps({"Annotation_info": info}))
    return root


LLD: dict[str, list[object]] = {
    "MR-1": [0], "MR-2": ["Hepatocellular_carcinoma"], "MR-3": [6, 6], "MR-4": [-1], "MR-5": [0, 4], "MR-6": [5],
}  # fmt: skip


@pytest.fixture(scope="module")
def lld(tmp_path_factory: pytest.TempPathFactory) -> PublicCohort:
    return read_public(None, lld_tree(tmp_path_factory.mktemp("lld"), LLD))


def test_classes_are_numbers_or_names_and_who_has_none_or_two_is_left_out(lld: PublicCohort) -> None:
    assert dict(zip(lld.clinical["patient_id"], lld.clinical["kind"], strict=True)) == {
        "MR-1": "haemangioma", "MR-2": "hcc", "MR-3": "hcc", "MR-6": "fnh",
    }  # fmt: skip
    assert lld.clinical["diagnosis"].tolist() == ["hemangioma", "hcc", "hcc", "fnh"]
    assert lld.clinical["malignant"].tolist() == [0, 1, 1, 0]
    assert lld.notes == ("2 patients whose class is not published, or who have lesions of two are left out",)
    assert len(CLASSES) == 7


def test_boxes_are_drawn_where_the_challenges_own_crops_are(lld: PublicCohort, tmp_path: Path) -> None:
    """Its page cuts [z_min : z_max + 1, y_min : y_max, x_min : x_max]: here exactly the planted bright block."""
    study = image_study(
        "MR", "malignant", {"benign": "0", "malignant": "1"}, ["malignant"],
        sequences=["t2", "dwi", "arterial"], drawn_on="t2",
    )  # fmt: skip
    (folder,) = write_virtual_hospitals(lld, [("H01", np.arange(4))], tmp_path, (), study)
    found = cohort_of(folder, study)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    assert found.images["lesion"].shape == (2 * 5, 3, 16, 16)
    masks = sorted(path.name for path in (folder / "masks" / "MR-1").iterdir())
    assert masks == ["dwi.nii.gz", "t2.nii.gz"]  # one for each lattice: dwi's is that of the dynamic series, too
    drawn = read_mask_file(folder / "masks" / "MR-3" / "t2.nii.gz")
    assert np.bincount(drawn.labels.ravel())[1:].tolist() == [60, 60]
    only = read_mask_file(folder / "masks" / "MR-1" / "t2.nii.gz")
    where = only.grid.position_mm(np.argwhere(only.labels))
    assert where.min(axis=0).tolist() == [-41 + 2 * 6, -40 + 2 * 5, 100 + 5 * 2]
    assert where.max(axis=0).tolist() == [-41 + 2 * 10, -40 + 2 * 8, 100 + 5 * 4]
    assert not any("phase" in path.name for path in (folder / "dicom" / "MR-1").iterdir())


def test_an_annotation_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="patient MR-1 has class 'FNH', wanted -1 to 6"):
        read_public("lld_mmri", lld_tree(tmp_path / "a", {"MR-1": ["FNH"]}))
    root = lld_tree(tmp_path / "b", {"MR-1": [0]})
    path = root / "labels" / "Annotation.json"
    path.write_text(path.read_text().replace('"C+A"', '"HBP"'))
    with pytest.raises(DataError, match="MR-1 has a phase 'HBP', wanted one of T2WI"):
        read_public(None, root)
    shutil.rmtree(root / "images")
    path.write_text(path.read_text().replace('"HBP"', '"C+A"'))
    with pytest.raises(DataError, match="1 patients with a class, none with volumes below images/"):
        read_public(None, root)
    path.unlink()
    with pytest.raises(DataError, match=r"no annotation .FileNotFoundError; found labels; wanted images/ and labels/A"):
        read_public("lld_mmri", root)


def test_a_series_that_is_not_there_is_refused_before_training(lld: PublicCohort) -> None:
    study = image_study(
        "MR", "malignant", {"benign": "0", "malignant": "1"}, ["malignant"], sequences=["t2", "delayed"]
    )
    with pytest.raises(
        ConfigError, match="wants delayed series, lld_mmri has t2, dwi, t1_pre, arterial, portal, equil"
    ):
        lld.check_study(study)
