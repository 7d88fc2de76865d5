"""Hospital folders: the same bytes each time, complete or absent, cheap to resume, readable by a site."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pydicom
import pytest

from fl_liver.client.site import load_site
from fl_liver.errors import ConfigError
from simulation.phantom import phantom_hospitals, write_hospitals
from simulation.phantom import write as writing
from simulation.phantom.clinical import CLINICAL_COLUMNS
from simulation.phantom.ultrasound_files import LESION_COLUMNS

SMALL = phantom_hospitals(7, 2, 1, scale=0.01)


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospitals")
    write_hospitals(SMALL, folder)
    return folder


def test_two_processes_write_the_same_bytes_as_one(root: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    write_hospitals(SMALL, tmp_path, workers=2, on_patient=seen.append)
    assert fingerprint(tmp_path) == fingerprint(root)
    assert sorted(seen) == [row["patient_id"] for name in ("H01", "H02", "H03") for row in table_of(root, name)]


def table_of(root: Path, name: str) -> list[dict[str, str]]:
    return table(root / name / "clinical.csv")


def test_another_seed_writes_other_pixels(root: Path, tmp_path: Path) -> None:
    write_hospitals(phantom_hospitals(8, 1, 0, scale=0.01), tmp_path)
    first, second = (pydicom.dcmread(next((folder / "H01/dicom/H01-0001").iterdir())) for folder in (root, tmp_path))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.PixelData != second.PixelData


def test_folder_has_the_layout_that_a_site_reads(root: Path) -> None:
    for hospital in SMALL:
        folder = root / hospital.name
        site = load_site(folder / "site.toml")
        assert (site.site, site.role, site.release) == (
            hospital.name,
            "external" if hospital.external else "train",
            "named",
        )
        assert site.data == folder.resolve()
        clinical = table(folder / "clinical.csv")
        assert tuple(clinical[0]) == CLINICAL_COLUMNS
        assert {path.name for path in (folder / "dicom").iterdir()} == {row["patient_id"] for row in clinical}
        assert len(clinical) == hospital.cases.patients


def test_clinical_cells_are_complete_but_for_afp(root: Path) -> None:
    for hospital in SMALL:
        for row in table_of(root, hospital.name):
            assert {name for name, cell in row.items() if not cell} <= {"afp_ng_ml"}
            assert row["background"] in {"normal", "steatosis", "fibrosis"}
            assert row["sex"] in {"M", "F"}
            assert 18 <= int(row["age_years"]) <= 90
            assert 11 <= float(row["size_mm"]) <= 110
            yes_no = set(CLINICAL_COLUMNS) - {
                "patient_id", "subtype", "age_years", "sex", "afp_ng_ml", "background", "size_mm"
            }  # fmt: skip
            assert {row[name] for name in yes_no} <= {"0", "1"}


def test_boxes_point_at_stored_frames(root: Path) -> None:
    for hospital in SMALL:
        boxes = table(root / hospital.name / "lesions.csv")
        assert tuple(boxes[0]) == LESION_COLUMNS
        stored = {
            (dataset.PatientID, dataset.SOPInstanceUID, str(frame))
            for path in (root / hospital.name / "dicom").rglob("*.dcm")
            for dataset in [pydicom.dcmread(path, stop_before_pixels=True)]
            for frame in range(int(dataset.get("NumberOfFrames", 1)))
        }
        for kind in ("lesion", "background"):
            pointed = [(b["patient_id"], b["sop_instance_uid"], b["frame"]) for b in boxes if b["kind"] == kind]
            assert len(pointed) == len(set(pointed))
            assert set(pointed) == stored


def test_names_and_birth_dates_stay_in_the_dicom_files(root: Path) -> None:
    for hospital in SMALL:
        text = "".join(path.read_text() for path in (root / hospital.name).glob("*.*") if path.is_file())
        paths = " ".join(str(path.relative_to(root)) for path in (root / hospital.name).rglob("*"))
        for index in range(hospital.cases.patients):
            patient = hospital.patient(index)
            for secret in (patient.name, patient.name.split("^")[0], patient.birth_date):
                assert secret not in text + paths


def test_complete_hospital_is_not_written_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    seen: list[str] = []
    write_hospitals(SMALL, root, on_patient=seen.append)
    assert seen == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    monkeypatch.setattr(writing, "GENERATOR_VERSION", 999)
    assert not writing.is_complete(SMALL[0], root)


def test_interrupted_run_leaves_no_named_folder_and_is_repaired(root: Path, tmp_path: Path) -> None:
    def stop(patient_id: str) -> None:
        if patient_id.startswith("H02"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_hospitals(SMALL, tmp_path, on_patient=stop)
    assert [path.name for path in sorted(tmp_path.glob("H*"))] == ["H01"]
    seen: list[str] = []
    write_hospitals(SMALL, tmp_path, on_patient=seen.append)
    assert {patient_id[:3] for patient_id in seen} == {"H02", "H03"}
    assert fingerprint(tmp_path) == fingerprint(root)


def test_changed_parameters_replace_the_folder(tmp_path: Path) -> None:
    write_hospitals(phantom_hospitals(8, 1, 0, scale=0.01), tmp_path)
    wanted = phantom_hospitals(9, 1, 0, scale=0.01)
    write_hospitals(wanted, tmp_path)
    marker = json.loads((tmp_path / "H01" / writing.MARKER).read_text())
    assert marker["parameters"] == writing.parameters_hash(wanted[0])
    assert marker["device"] == wanted[0].device
    assert [path.name for path in tmp_path.iterdir()] == ["H01"]


def test_a_folder_of_someone_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "H02").mkdir()
    (tmp_path / "H02" / "precious.txt").write_text("kept")
    with pytest.raises(ConfigError, match=r"exists but has no valid phantom\.json; give a folder without H02"):
        write_hospitals(SMALL, tmp_path)
    assert fingerprint(tmp_path) == {"H02/precious.txt": hashlib.sha256(b"kept").hexdigest()}


def test_no_workers_and_doubled_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 workers for H01"):
        write_hospitals(SMALL[:1], tmp_path, workers=0)
    with pytest.raises(ConfigError, match="H01, H01; wanted at least 1 and no name twice"):
        write_hospitals([SMALL[0], SMALL[0]], tmp_path)
