"""LLD-MMRI's boxes where series share a lattice, and which series of a set share a frame of reference."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from fl_liver.client.cohort.lesions.masks import read_mask_file
from simulation.public.hospital_folders import JOURNAL, write_virtual_hospitals
from simulation.public.registry import read_public
from simulation.public.serve import serve
from tests.simulation.public_trees import image_study
from tests.simulation.test_public_volumes import lld_tree, mct_tree


def lld_change(root: Path, series: int, change: Callable[[dict[str, Any]], object]) -> None:
    """Another annotation of one series of MR-1; 3 is the arterial one, on the lattice of all but t2."""
    path = root / "labels" / "Annotation.json"
    told = json.loads(path.read_text())
    change(told["Annotation_info"]["MR-1"][series])
    path.write_text(json.dumps(told))


MASS = image_study(
    "MR", "malignant", {"benign": "0", "malignant": "1"}, ["malignant"], sequences=["t2", "dwi"], drawn_on="t2"
)


def lld_written(root: Path, out: Path) -> tuple[dict[str, Counter[int]], list[int]]:
    """Voxels of each label in each mask of MR-1, and the lesions that its writer told of."""
    cohort = read_public(None, root)
    (folder,) = write_virtual_hospitals(cohort, [("H01", np.arange(1))], out, (), MASS)
    masks = {path.name: read_mask_file(path).labels for path in (folder / "masks" / "MR-1").iterdir()}
    counts = {name: Counter(one[one > 0].tolist()) for name, one in masks.items()}
    return counts, json.loads((folder / JOURNAL).read_text().splitlines()[-1])["lesions"]


def test_a_lesion_boxed_on_the_second_series_of_a_lattice_alone_is_drawn(tmp_path: Path) -> None:
    """Of a lesion with a box on both, the first series' box stands: not their union."""
    root = lld_tree(tmp_path / "set", {"MR-1": [0, 0]})
    for series in range(8):
        if series != 3:
            lld_change(root, series, lambda item: item["annotation"]["lesion"].pop("1"))
    lld_change(root, 3, lambda item: item["annotation"]["lesion"]["0"]["bbox"]["3D_box"].update(x_max=20))
    counts, lesions = lld_written(root, tmp_path / "out")
    assert counts == {"t2.nii.gz": {1: 60}, "dwi.nii.gz": {1: 60, 2: 60}}
    assert lesions == [1, 2]


def test_a_mask_that_a_run_of_before_left_there_goes(tmp_path: Path) -> None:
    """A cohort would draw what lies in it, too."""
    root = lld_tree(tmp_path / "set", {"MR-1": [0]})
    first = lld_written(root, tmp_path / "out")
    folder = tmp_path / "out" / "H01"
    (folder / "masks" / "MR-1" / "t2.nii.gz").rename(folder / "masks" / "MR-1" / "portal.nii.gz")
    journal = folder / JOURNAL
    journal.write_text(journal.read_text().splitlines(keepends=True)[0])
    assert lld_written(root, tmp_path / "out") == first


def test_a_box_within_another_box_keeps_its_lesion(tmp_path: Path) -> None:
    root = lld_tree(tmp_path / "set", {"MR-1": [0, 0]})
    inner = {"x_min": 7, "x_max": 9, "y_min": 6, "y_max": 8, "z_min": 3, "z_max": 3}
    for series in range(8):
        lld_change(root, series, lambda item: item["annotation"]["lesion"]["1"]["bbox"]["3D_box"].update(inner))
    counts, lesions = lld_written(root, tmp_path / "out")
    assert counts == {"t2.nii.gz": {1: 56, 2: 4}, "dwi.nii.gz": {1: 56, 2: 4}}
    assert lesions == [1, 2]


def test_boxes_beside_the_volume_cost_their_patient(tmp_path: Path) -> None:
    root = lld_tree(tmp_path / "set", {"MR-1": [0], "MR-2": [6]})
    outside = {"x_min": -9, "x_max": -2}
    lld_change(root, 0, lambda item: item["annotation"]["lesion"]["0"]["bbox"]["3D_box"].update(outside))
    faults: list[str] = []
    cohort = read_public(None, root)
    write_virtual_hospitals(cohort, [("H01", np.arange(2))], tmp_path / "out", (), MASS, on_fault=faults.append)
    (fault,) = faults
    assert "MR-1: images left out" in fault
    assert "the boxes lie outside the volume of 24 × 24 × 8 voxels" in fault


def test_boxes_are_turned_as_the_volume_is_without_reading_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header alone tells size and geometry; a whole volume of 498 patients in eight series is hours."""
    import SimpleITK

    calls: list[int] = []
    whole = SimpleITK.ImageFileReader.Execute

    def counted(reader: Any) -> Any:
        calls.append(1)
        return whole(reader)

    monkeypatch.setattr(SimpleITK.ImageFileReader, "Execute", counted)
    monkeypatch.delattr(SimpleITK, "ReadImage")
    root = lld_tree(tmp_path / "set", {"MR-1": [0]})
    cohort = read_public(None, root)
    write_virtual_hospitals(cohort, [("H01", np.arange(1))], tmp_path / "out", (), MASS)
    assert len(calls) == 6


def frames(folder: Path) -> dict[str, str]:
    """FrameOfReferenceUID of each series of a patient."""
    return {
        path.parent.name: str(pydicom.dcmread(path, stop_before_pixels=True).FrameOfReferenceUID)
        for path in folder.glob("*/0001.dcm")
    }


def test_series_of_one_study_share_a_frame_of_reference_and_those_of_two_do_not(tmp_path: Path) -> None:
    """Between two sessions a patient gets up; a lesion must not be carried from one to the other unseen."""
    root = lld_tree(tmp_path / "set", {"MR-1": [0]})
    other = root / "images" / "MR-1" / "later"
    other.mkdir()
    (root / "images" / "MR-1" / "MR-1-study" / "MR-1.1.nii.gz").rename(other / "MR-1.1.nii.gz")
    lld_change(root, 1, lambda item: item.update(studyUID="later"))
    lld_written(root, tmp_path / "out")
    found = frames(tmp_path / "out" / "H01" / "dicom" / "MR-1")
    later = found.pop("dwi")
    assert set(found) == {"t2", "t1_pre", "arterial", "portal", "equilibrium"}
    assert len(set(found.values())) == 1
    assert later not in found.values()


def test_phases_that_the_publishers_registered_share_a_frame_of_reference(tmp_path: Path) -> None:
    study = image_study("CT", "diagnosis", {"hh": "HH", "hcc": "HCC", "bclm": "BCLM"}, ["hcc"], sequences=["portal"])
    served = serve(read_public(None, mct_tree(tmp_path / "set", "archives")), study)
    (folder,) = write_virtual_hospitals(served.cohort, [("H01", np.arange(3))], tmp_path / "out", (), study)
    each = [frames(patient) for patient in sorted((folder / "dicom").iterdir())]
    assert [len(one) for one in each] == [4, 4, 4]
    assert [len(set(one.values())) for one in each] == [1, 1, 1]
    assert len({frame for one in each for frame in one.values()}) == 3
