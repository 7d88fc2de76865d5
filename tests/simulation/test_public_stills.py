"""The annotated B-mode set, up to the crops of a hospital's cohort; OrganMNIST as the table that it can be."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fl_liver.errors import ConfigError, DataError
from fl_liver.study_files import load_study
from simulation.public.cohort import PublicCohort
from simulation.public.hospital_folders import write_virtual_hospitals
from simulation.public.organ_mnist import GREYS
from simulation.public.registry import read_public
from simulation.public.serve import serve
from tests.simulation.public_trees import aul_tree, cohort_of, image_study

MALIGNANT = image_study("US", "malignant", {"benign": "0", "malignant": "1"}, ["malignant"], views=1, lesion_margin=1.0)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return aul_tree(tmp_path_factory.mktemp("aul"))


@pytest.fixture(scope="module")
def cohort(tree: Path) -> PublicCohort:
    return read_public(None, tree)


def test_folders_are_classes_and_numbers_repeat_between_them(cohort: PublicCohort) -> None:
    assert cohort.name == "liver_us"
    assert cohort.clinical["patient_id"].tolist() == [
        f"{name}-{number}" for name in ("benign", "malignant", "normal") for number in range(1, 5)
    ]
    assert cohort.clinical["malignant"].iloc[:8].tolist() == [0] * 4 + [1] * 4
    assert cohort.clinical["malignant"].iloc[8:].isna().all()


def test_crops_hold_the_mass_that_was_drawn(cohort: PublicCohort, tmp_path: Path) -> None:
    """A malignant mass is planted at grey 200 and a benign one at 10; the box is 30 × 20 pixels, the crop 30 × 30."""
    served = serve(cohort, MALIGNANT)
    assert len(served.cohort.clinical) == 8
    (folder,) = write_virtual_hospitals(served.cohort, [("H01", np.arange(8))], tmp_path, (), MALIGNANT)
    found = cohort_of(folder, MALIGNANT)
    assert [one.code for one in found.findings if one.severity == "E"] == []
    assert found.images["lesion"].shape == (8, 16, 16)
    images = found.images["lesion"].astype(float)
    inside, rim = images[:, 6:10, 2:14].mean(axis=(1, 2)), images[:, 0, :].mean(axis=1)
    assert np.array_equal(inside > rim, found.label[found.owner] == 1)
    boxes = pd.read_csv(folder / "lesions.csv")
    first = boxes[(boxes["patient_id"] == "benign-1") & (boxes["kind"] == "lesion")]
    assert first.iloc[0, 3:].tolist() == [41, 50, 71, 70, 0]


def test_the_background_is_liver_without_mass_and_inside_the_scan(cohort: PublicCohort, tmp_path: Path) -> None:
    (folder,) = write_virtual_hospitals(cohort, [("H01", np.arange(12))], tmp_path, (), MALIGNANT)
    boxes = pd.read_csv(folder / "lesions.csv")
    assert len(boxes) == 8 * 2 + 4
    for _, box in boxes[boxes["kind"] == "background"].iterrows():
        assert box["x_min_px"] >= 30
        assert box["x_max_px"] <= 141
        assert box["y_min_px"] >= 30
        assert box["y_max_px"] <= 111
        assert box["x_max_px"] - box["x_min_px"] == box["y_max_px"] - box["y_min_px"] >= 16
        mass = boxes[(boxes["patient_id"] == box["patient_id"]) & (boxes["kind"] == "lesion")]
        for _, one in mass.iterrows():
            apart = one["x_max_px"] <= box["x_min_px"] or box["x_max_px"] <= one["x_min_px"]
            assert apart or one["y_max_px"] <= box["y_min_px"] or box["y_max_px"] <= one["y_min_px"]


def test_text_beside_the_scan_is_cut_away_by_the_outline(tree: Path, tmp_path: Path) -> None:
    import pydicom

    cohort = read_public("liver_us", tree)
    write_virtual_hospitals(cohort, [("H01", np.arange(12))], tmp_path, (), MALIGNANT)
    header = pydicom.dcmread(tmp_path / "H01" / "dicom" / "normal-2" / "IM_0001.dcm")
    (region,) = header.SequenceOfUltrasoundRegions
    edges = (
        region.RegionLocationMinX0,
        region.RegionLocationMinY0,
        region.RegionLocationMaxX1,
        region.RegionLocationMaxY1,
    )
    assert edges == (20, 10, 149, 119)
    assert header.LossyImageCompression == "01"
    assert header.PatientID == "normal-2"


def test_an_outline_that_is_the_livers_gives_no_region(tmp_path: Path) -> None:
    """As in images 229 and 306 of the set, whose scan would otherwise be cut down to the liver."""
    import pydicom

    root = aul_tree(tmp_path / "set", count=2)
    folder = root / "Benign" / "segmentation"
    (folder / "outline" / "1.json").write_text((folder / "liver" / "1.json").read_text())
    write_virtual_hospitals(read_public(None, root), [("H01", np.arange(6))], tmp_path / "out", (), MALIGNANT)
    dicom = tmp_path / "out" / "H01" / "dicom"
    assert "SequenceOfUltrasoundRegions" not in pydicom.dcmread(dicom / "benign-1" / "IM_0001.dcm")
    assert "SequenceOfUltrasoundRegions" in pydicom.dcmread(dicom / "benign-2" / "IM_0001.dcm")


def test_a_mass_that_nobody_drew_and_a_polygon_that_is_none_are_told(tmp_path: Path) -> None:
    root = aul_tree(tmp_path / "set", count=2)
    (root / "Malignant" / "segmentation" / "mass" / "1.json").unlink()
    (root / "Malignant" / "segmentation" / "mass" / "2.json").write_text(json.dumps({"points": []}))
    cohort = read_public(None, root)
    assert cohort.notes == ("1 images of a mass that nobody drew are left out",)
    faults: list[str] = []
    write_virtual_hospitals(cohort, [("H01", np.arange(5))], tmp_path / "out", (), MALIGNANT, on_fault=faults.append)
    (fault,) = faults
    assert "malignant-2: images left out" in fault
    assert "no polygon (KeyError)" in fault


def test_the_published_ultrasound_study_is_asked_what_this_set_can_answer(cohort: PublicCohort) -> None:
    served = serve(cohort, load_study("lesion_us_fusion"))
    own = served.study.task
    assert (own.outcome, own.background) == ("malignant", None)
    assert served.study.factor == ()
    assert any("knows nothing of age_60, male" in note for note in served.notes)
    assert any("knows nothing of background 'background': left out" in note for note in served.notes)
    slip = load_study("clinical").with_top(task=served.study.task.model_dump(mode="json", exclude_none=True))
    with pytest.raises(ConfigError, match="size_mm 'malignan' is not in liver_us"):
        serve(cohort, slip.changed(task={"size_mm": "malignan"}, cohort={"views": 1}))


def test_a_wrong_folder_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "Benign.zip").touch()
    with pytest.raises(DataError, match=r"no images of Benign .found Benign.zip; wanted Benign/image/\*.jpg"):
        read_public("liver_us", tmp_path)


# --- OrganMNIST ------------------------------------------------------------------------------------------------------


def organ_file(folder: Path, side: int = 28, change: dict[str, np.ndarray] | None = None) -> Path:
    draw = np.random.default_rng(3)
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", 60), ("val", 20), ("test", 20)):
        labels = np.arange(count, dtype=np.uint8)[:, None] % 11
        images = draw.integers(0, 80, (count, side, side)).astype(np.uint8)
        images[labels[:, 0] == 6, 4:8, 8:12] = 255
        arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    everything: dict[str, Any] = arrays | (change or {})
    np.savez(folder / "organamnist.npz", **everything)
    return folder


def test_crops_become_49_greys_of_which_the_planted_one_tells_the_liver(tmp_path: Path) -> None:
    cohort = read_public(None, organ_file(tmp_path))
    table = cohort.clinical
    assert (len(table), len(GREYS)) == (100, 49)
    assert table["patient_id"].iloc[[0, 60, 99]].tolist() == ["train-00000", "val-00000", "test-00019"]
    liver = table["liver"] == 1
    assert (table["organ"][liver] == "liver").all()
    assert (table.loc[liver, "grey_1_2"] == 1).all()
    assert (table.loc[~liver, "grey_1_2"] < 0.4).all()
    assert (table.loc[liver, "grey_2_1"] < 0.4).all()


def test_the_table_study_runs_on_them_and_image_studies_do_not(tmp_path: Path) -> None:
    cohort = read_public("organ_mnist", organ_file(tmp_path))
    served = serve(cohort, load_study("clinical"))
    assert served.study.title.startswith("Is a 28×28 crop of a CT liver or another organ?")
    assert [one.column for one in served.study.factor] == list(GREYS)
    assert served.cohort.labels(served.study).sum() == 9
    with pytest.raises(ConfigError, match="reads US images, organ_mnist is a table without images"):
        serve(cohort, load_study("lesion_us_fusion"))


@pytest.mark.parametrize(
    ("side", "change", "message"),
    [
        (64, {}, "train_images of 60 × 64 × 64 uint8; wanted n × 28 × 28"),
        (28, {"val_labels": np.full((20, 1), 11)}, "label 11 in val; wanted 0 to 10"),
        (28, {"test_labels": np.zeros((19, 1))}, "one label each"),
        (28, {"test_labels": np.full((20, 1), -1)}, "label -1 in test; wanted 0 to 10"),
        (28, {"test_labels": np.full((20, 1), np.nan)}, "test_labels are float64; wanted whole numbers from 0 to 10"),
        (28, {"test_labels": np.full((20, 1), "6")}, "test_labels are <U1; wanted whole numbers"),
        (28, {"val_images": np.zeros((0, 28, 28), np.uint8), "val_labels": np.zeros((0, 1), np.uint8)}, "0 × 28 × 28"),
        (28, {"val_images": np.array(7, np.uint8)}, "val_images of  uint8; wanted n × 28 × 28"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, side: int, change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_public("organ_mnist", organ_file(tmp_path, side, change))


def test_two_files_or_a_damaged_one_are_refused(tmp_path: Path) -> None:
    organ_file(tmp_path)
    (tmp_path / "organcmnist.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"2 files organ\[acs\]mnist.npz"):
        read_public(None, tmp_path)
    whole = (tmp_path / "organamnist.npz").read_bytes()
    (tmp_path / "organamnist.npz").unlink()
    with pytest.raises(DataError, match="no train_images and train_labels"):
        read_public(None, tmp_path)
    with zipfile.ZipFile(tmp_path / "organcmnist.npz", "w") as archive:
        archive.writestr("train_images", "no array")
        archive.writestr("train_labels", "no array")
    with pytest.raises(DataError, match=r"no train_images and train_labels .AttributeError"):
        read_public(None, tmp_path)
    (tmp_path / "organcmnist.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="no train_images and train_labels"):
        read_public(None, tmp_path)
