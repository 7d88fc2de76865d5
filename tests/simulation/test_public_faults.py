"""What damaged files and runs that were cut off cost in each public set: their patient, until he is whole again."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from fl_liver.client.cohort.lesions.masks import read_mask_file
from fl_liver.client.cohort.series.grid import Grid
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study
from simulation.public import lits
from simulation.public.cohort import PublicCohort
from simulation.public.hospital_folders import JOURNAL, write_virtual_hospitals
from simulation.public.images import Written
from simulation.public.nifti import write_mask
from simulation.public.registry import read_public
from simulation.public.tcia import TciaSeries, one_volume, segmentation, tcia_series
from tests.simulation.public_trees import (
    SIDE,
    SLICES,
    aul_tree,
    crlm_tree,
    image_study,
    regions,
    scan,
    write_ct,
    write_nifti,
)
from tests.simulation.test_public_stills import MALIGNANT
from tests.simulation.test_public_tcia import TCGA_ROWS, tcga_tree
from tests.simulation.test_public_volumes import AFFINE, LLD, lld_tree, mct_tree, msd_tree

TUMOUR = image_study(
    "CT", "tumour", {"free": "0", "tumour": "1"}, ["tumour"], sequences=["portal"], crops="whole"
).changed(task={"lesion_free": ["free"]})
GRADE = image_study("CT", "high_grade", {"low": "0", "high": "1"}, ["high"], sequences=["portal"])


def write(cohort: PublicCohort, root: Path, study: Study = TUMOUR) -> list[str]:
    """All patients into one hospital; returns what was told of faults."""
    faults: list[str] = []
    every = [("H01", np.arange(len(cohort.clinical)))]
    write_virtual_hospitals(cohort, every, root, (), study, on_fault=faults.append)
    return faults


def journaled(root: Path) -> dict[str, list[int]]:
    lines = (root / "H01" / JOURNAL).read_text().splitlines()[1:]
    return {one["patient"]: one["lesions"] for one in map(json.loads, lines)}


def cut(path: Path) -> bytes:
    """Leaves half of a file; returns what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


# --- runs that are repeated ------------------------------------------------------------------------------------------


def test_a_patient_whose_image_was_cut_is_written_by_the_run_after_it_was_fetched_again(tmp_path: Path) -> None:
    """Until then every run says so: his row in clinical.csv looks like any other."""
    cohort = read_public("msd_liver", msd_tree(tmp_path / "set"))
    image = tmp_path / "set" / "imagesTr" / "liver_1.nii.gz"
    whole = cut(image)
    for _ in range(2):
        (fault,) = write(cohort, tmp_path / "out")
        assert fault.startswith("liver_1: images left out")
        assert "liver_1.nii.gz" in fault
        assert "liver_1" not in journaled(tmp_path / "out")
        assert not (tmp_path / "out" / "H01" / "masks" / "liver_1.nii.gz").exists()
    image.write_bytes(whole)
    assert write(cohort, tmp_path / "out") == []
    assert journaled(tmp_path / "out") == {"liver_0": [1], "liver_2": [], "liver_10": [1], "liver_1": [1, 2]}
    assert len(list((tmp_path / "out" / "H01" / "dicom" / "liver_1").rglob("*.dcm"))) == SLICES


def drawn_tcga(root: Path) -> Path:
    """Two patients with CT, and a lesion that somebody drew on it."""
    tcga_tree(root)
    grid = Grid((SLICES, SIDE, SIDE), (-30, -40, 100), (0, 0, 5), (0, 2, 0), (2, 0, 0))
    for number, row in enumerate(TCGA_ROWS[:2]):
        write_ct(root / "TCGA-LIHC" / row[1] / "CT" / "2-PORTAL", row[1], scan([(2, 5, 5)], 100 + number))
        write_mask(regions([(2, 5, 5)])[0].astype(np.uint16), grid, root / "masks" / f"{row[1]}.nii.gz")
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_run_that_was_cut_off_before_the_journals_line_is_gone_on_with(tmp_path: Path) -> None:
    """The patient's files are linked already; neither they nor the data set's own may suffer."""
    root = drawn_tcga(tmp_path / "set")
    cohort = read_public("tcga_lihc", root)
    cohort = cohort.of(np.arange(2))
    before = contents(root)
    assert write(cohort, tmp_path / "out", GRADE) == []
    journal = tmp_path / "out" / "H01" / JOURNAL
    written = contents(tmp_path / "out" / "H01")
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    assert write(cohort, tmp_path / "out", GRADE) == []
    assert contents(tmp_path / "out" / "H01") == written
    assert contents(root) == before
    assert len(list((tmp_path / "out" / "H01" / "dicom" / TCGA_ROWS[1][1]).rglob("*.dcm"))) == SLICES


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), DataError, "disk is full; make room and run again"),
        (ConfigError("pip install it"), ConfigError, "pip install it"),
    ],
)
def test_what_is_no_fault_of_the_patient_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception], message: str
) -> None:
    cohort = read_public("msd_liver", msd_tree(tmp_path / "set"))

    def fail(*_: object) -> Written:
        raise error

    monkeypatch.setattr(lits, "write_series", fail)
    with pytest.raises(raised, match=message):
        write(cohort, tmp_path / "out")
    assert journaled(tmp_path / "out") == {}


def test_an_id_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    cohort = read_public("msd_liver", msd_tree(tmp_path / "set"))
    cohort.clinical.loc[0, "patient_id"] = "../../../set"
    (fault,) = write(cohort, tmp_path / "out")
    assert fault == "../../../set: images left out (the id is no name of a folder)"
    assert (tmp_path / "set" / "imagesTr").is_dir()


# --- NIfTI -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["labelsTr", "imagesTr"])
def test_a_volume_that_cannot_be_read_costs_its_patient_and_is_noted(tmp_path: Path, place: str) -> None:
    root = msd_tree(tmp_path)
    path = root / place / "liver_1.nii.gz"
    path.write_bytes(path.read_bytes()[:20])
    cohort = read_public("msd_liver", root)
    assert cohort.clinical["patient_id"].tolist() == ["liver_0", "liver_2", "liver_10"]
    assert cohort.clinical["tumour"].tolist() == [1, 0, 1]
    assert len(cohort.partition_columns["slice_mm"]) == 3
    assert cohort.images is not None
    assert "liver_1" not in cohort.images.patients
    (note,) = cohort.notes
    assert note.startswith("1 patients whose files cannot be read are left out; the first: ")
    assert "liver_1.nii.gz" in note


def test_damage_in_the_middle_of_a_compressed_label_is_noted_too(tmp_path: Path) -> None:
    root = msd_tree(tmp_path)
    path = root / "labelsTr" / "liver_0.nii.gz"
    data = bytearray(path.read_bytes())
    data[-8] ^= 0xFF  # the checksum
    path.write_bytes(bytes(data))
    cohort = read_public("msd_liver", root)
    assert cohort.clinical["patient_id"].tolist() == ["liver_1", "liver_2", "liver_10"]
    for path in (root / "labelsTr").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 4 volumes with a label can be read; the first: .*liver_0"):
        read_public("msd_liver", root)


def test_an_empty_mask_of_mct_ltdiag_and_an_odd_annotation_of_lld_mmri_cost_their_patients(tmp_path: Path) -> None:
    root = mct_tree(tmp_path / "mct", "archives")
    empty = np.zeros((SIDE, SIDE, SLICES), dtype=np.uint8)
    write_nifti(root / "230202a1" / "mask_pvp.nii.gz", empty, AFFINE)
    study = image_study("CT", "diagnosis", {"hh": "HH", "hcc": "HCC", "bclm": "BCLM"}, ["hcc"], sequences=["portal"])
    cohort = read_public(None, root)
    assert cohort.images is not None
    drawn = cohort.of(np.flatnonzero(cohort.clinical["patient_id"].isin(list(cohort.images.patients))))
    (fault,) = write(drawn, tmp_path / "out", study.changed(cohort={"unit": "lesion"}))
    assert "nothing is drawn in this mask" in fault
    rows = pd.read_csv(tmp_path / "out" / "H01" / "clinical.csv")
    assert (len(drawn.clinical), rows["lesion"].tolist()) == (3, [1, 1])

    root = lld_tree(tmp_path / "lld", LLD)
    path = root / "labels" / "Annotation.json"
    told = json.loads(path.read_text())
    told["Annotation_info"]["MR-2"][0]["annotation"]["lesion"]["0"].pop("bbox")
    told["Annotation_info"]["MR-6"][3].pop("annotation")
    path.write_text(json.dumps(told))
    cohort = read_public(None, root)
    assert cohort.clinical["patient_id"].tolist() == ["MR-1", "MR-3"]
    assert cohort.notes[-1] == "2 patients whose annotation cannot be read (first MR-2) are left out"


# --- DICOM -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thickness", [b"DS\x04\x001,25", b"DS\x04\x00abcd", b"FD\x04\x00abcd", b"ZZ\x04\x00abcd"])
def test_a_thickness_that_is_no_number_is_unknown_and_the_series_stays(tmp_path: Path, thickness: bytes) -> None:
    write_ct(tmp_path / "a", "P1", scan([]))
    write_ct(tmp_path / "b", "P2", scan([], 5))
    for path in (tmp_path / "a").iterdir():
        data = path.read_bytes()
        tag, value = b"\x18\x00\x50\x00", b"DS\x04\x005.0 "
        assert data.count(tag + value) == 1
        path.write_bytes(data.replace(tag + value, tag + thickness))
    found = tcia_series(tmp_path, lambda _: True, "…")
    assert {patient: series[0].thickness_mm for patient, series in found.items()} == {
        "P1": pytest.approx(float("nan"), nan_ok=True),
        "P2": 5.0,
    }
    assert found["P1"][0].scanner == "GE LightSpeed VCT"


def test_a_series_is_told_by_the_first_of_its_files_that_can_be_read(tmp_path: Path) -> None:
    write_ct(tmp_path / "a", "P1", scan([]))
    (tmp_path / "a" / "1-01.dcm").write_bytes(b"<html>not found</html>")
    (series,) = tcia_series(tmp_path, lambda _: True, "…")["P1"]
    assert len(series.files) == SLICES


def test_odd_places_and_segments_without_a_number_are_passed_over(tmp_path: Path) -> None:
    write_ct(tmp_path, "P", scan([]))
    paths = tuple(sorted(tmp_path.glob("*.dcm")))
    for path, place in zip(paths, ([1.0], None, [1.0, 2.0, 3.0]), strict=False):
        header = pydicom.dcmread(path)
        header.ImagePositionPatient = place
        header.save_as(path)
    series = TciaSeries("P", "", "", "", "CT", "", "", "", 5.0, paths)
    assert set(one_volume(series, set())) <= set(paths)
    header = pydicom.dcmread(paths[0])
    header.ReferencedSeriesSequence = [pydicom.Dataset()]
    header.SegmentSequence = [pydicom.Dataset() for _ in range(3)]
    for number, label in ((1, "Liver"), (2, "Mass")):
        header.SegmentSequence[number].SegmentNumber = number
        header.SegmentSequence[number].SegmentLabel = label
    header.save_as(paths[0])
    liver = b"\x62\x00\x04\x00US\x02\x00\x01\x00"
    assert paths[0].read_bytes().count(liver) == 1
    paths[0].write_bytes(paths[0].read_bytes().replace(liver, liver.replace(b"US", b"FD")))  # two bytes of eight
    drawn = segmentation(series)
    assert drawn is not None
    assert (drawn.segments, drawn.images) == ({2: "Mass"}, frozenset())


def test_a_download_list_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    root = crlm_tree(tmp_path)
    path = next(root.glob("*/metadata.csv"))
    path.write_bytes(path.read_bytes() + b"\xff\xfe\0\n")
    assert read_public("crlm", root).notes == ()


def test_a_drawing_whose_images_are_not_there_gives_no_empty_patient(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    root = crlm_tree(tmp_path / "set")
    folder = next(root.glob("*/*/CRLM-CT-1002/*/2*"))
    for number in range(1, SLICES + 1):
        one = pydicom.dcmread(folder / f"1-{number:02d}.dcm")
        one.SOPInstanceUID = f"{one.SOPInstanceUID}.1"[-64:].lstrip(".")
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.save_as(folder / f"1-{number:02d}.dcm")
    study = image_study("CT", "liver_recurrence", {"free": "0", "relapse": "1"}, ["relapse"], sequences=["portal"])
    (fault,) = write(read_public("crlm", root), tmp_path / "out", study)
    assert fault.startswith("CRLM-CT-1002: images left out")
    assert "none of the images that it was drawn on is there" in fault
    assert not (tmp_path / "out" / "H01" / "dicom" / "CRLM-CT-1002").exists()
    assert not (tmp_path / "out" / "H01" / "masks" / "CRLM-CT-1002.nii.gz").exists()


# --- ultrasound ------------------------------------------------------------------------------------------------------


def test_a_damaged_picture_costs_its_patient_and_is_noted(tmp_path: Path) -> None:
    root = aul_tree(tmp_path, count=2)
    (root / "Benign" / "image" / "2.jpg").write_bytes(b"<html>not found</html>")
    cohort = read_public(None, root)
    assert "benign-2" not in set(cohort.clinical["patient_id"])
    assert len(cohort.partition_columns["width"]) == len(cohort.clinical) == 5
    (note,) = cohort.notes
    assert note.startswith("1 damaged images are left out; the first: ")
    assert note.endswith("Benign/image/2.jpg")
    for path in root.glob("*/image/*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no image that can be used .6 damaged images"):
        read_public(None, root)


def a_point(path: Path) -> None:
    path.write_text("[[40, 50]]")


def no_number(path: Path) -> None:
    path.write_text("[[40, 50], [60, 50], [NaN, 70]]")


def far_away(path: Path) -> None:
    path.write_text("[[40, 50], [60, 50], [1e300, 70]]")


@pytest.mark.parametrize(
    ("kind", "damage", "message"),
    [
        ("mass", a_point, "a polygon of 1 points, wanted at least 3"),
        ("liver", a_point, "a polygon of 1 points, wanted at least 3"),
        ("mass", no_number, "a point at nan px"),
        ("outline", far_away, r"a point at 1e\+300 px"),
    ],
)
def test_a_polygon_that_is_none_costs_its_patient(
    tmp_path: Path, kind: str, damage: Callable[[Path], None], message: str
) -> None:
    root = aul_tree(tmp_path / "set", count=2)
    damage(root / "Malignant" / "segmentation" / kind / "1.json")
    (fault,) = write(read_public(None, root), tmp_path / "out", MALIGNANT)
    assert re.search(rf"malignant-1: images left out .*1\.json: {message}", fault)
    assert len(journaled(tmp_path / "out")) == 5


def test_a_picture_that_breaks_off_costs_its_patient(tmp_path: Path) -> None:
    root = aul_tree(tmp_path / "set", count=2)
    cohort = read_public(None, root)
    cut(root / "Normal" / "image" / "1.jpg")
    Image.new("L", (30, 30)).save(root / "Benign" / "image" / "1.jpg", format="PNG")  # another format is no damage
    (fault,) = write(cohort, tmp_path / "out", MALIGNANT)
    assert "normal-1: images left out" in fault
    assert "1.jpg: no image (OSError); fetch the file again" in fault


def test_masks_are_those_of_the_patients_whose_images_are_there(tmp_path: Path) -> None:
    """A mask is written before the images; of a patient who fails it must not stay behind."""
    cohort = read_public("msd_liver", msd_tree(tmp_path / "set"))
    cut(tmp_path / "set" / "imagesTr" / "liver_0.nii.gz")
    write(cohort, tmp_path / "out")
    masks = sorted((tmp_path / "out" / "H01" / "masks").iterdir())
    assert [path.name for path in masks] == ["liver_1.nii.gz", "liver_10.nii.gz"]
    assert all(read_mask_file(path).labels.any() for path in masks)
