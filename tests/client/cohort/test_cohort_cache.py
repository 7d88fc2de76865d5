"""What the cache keeps and what not, and that it does not grow out of what a process may hold."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fl_liver.client.cohort import load as loading
from fl_liver.client.cohort.cache import read_arrays, store_arrays
from fl_liver.client.cohort.codes import unusable
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.recipe import PatientImages, PatientItem
from fl_liver.client.cohort.ultrasound.stills import read_stills
from fl_liver.client.site import SiteConfig
from fl_liver.errors import DataError
from fl_liver.study import Study

MakeHospital = Callable[..., SiteConfig]


def test_more_patients_than_files_may_be_open_are_no_problem(hospital: MakeHospital, study: Study) -> None:
    """A view of a file holds it open; a hospital has thousands of patients and a process may have 1,024 files."""
    site = hospital(patients=60)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    now = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (now + 20, hard))
    try:
        first, second = load_cohort(site, study), load_cohort(site, study)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(first.patients) == len(second.patients) == 60


@pytest.mark.parametrize(("code", "again"), [("E_DECODE_TIMEOUT", 12), ("E_DECODE_CRASH", 12), ("E_FLAT_IMAGE", 11)])
def test_what_may_pass_is_not_remembered(
    hospital: MakeHospital, study: Study, monkeypatch: pytest.MonkeyPatch, code: str, again: int
) -> None:
    """A machine that was busy once would leave a patient out for ever."""
    site = hospital()

    def once(item: PatientItem) -> PatientImages:
        if item.folder.patient_id == "H01-003":
            raise unusable(code, "this time")
        return read_stills(item)

    with monkeypatch.context() as patch:
        patch.setattr(loading, "read_patient", once)
        assert len(load_cohort(site, study).patients) == 11
    assert len(load_cohort(site, study).patients) == again


def test_images_that_vanish_meanwhile_are_one_line(
    hospital: MakeHospital, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_images", lambda *_: (_ for _ in ()).throw(FileNotFoundError("gone")))
    with pytest.raises(
        DataError, match=r"case [0-9a-f]{12}: its images left the cache \(FileNotFoundError\); run again"
    ):
        load_cohort(hospital(), study)


def test_the_safetensors_library_reads_what_is_written(tmp_path: Path) -> None:
    arrays = {"lesion": np.arange(24, dtype=np.float16).reshape(2, 3, 4), "none": np.empty((0, 5), np.int16)}
    store_arrays(tmp_path / "a" / "x.safetensors", arrays, {"key": "value"})
    theirs = load_file(tmp_path / "a" / "x.safetensors")
    ours, meta = read_arrays(tmp_path / "a" / "x.safetensors")
    assert meta == {"key": "value"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array)
        np.testing.assert_array_equal(ours[name], array)
        assert ours[name].dtype == array.dtype


@pytest.mark.parametrize("offsets", [[0, 80], [4, 2], [0, 2]])
def test_a_file_that_promises_more_than_it_holds_is_refused(tmp_path: Path, offsets: list[int]) -> None:
    text = json.dumps({"a": {"dtype": "F16", "shape": [4], "data_offsets": offsets}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ValueError, match="a tensor lies outside the file"):
        read_arrays(path)


def test_a_header_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="no safetensors header"):
        read_arrays(path)
