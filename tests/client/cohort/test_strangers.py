"""Whose images lie in a folder is decided where everybody is known, and anew each time."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from fl_liver.client.cohort import load as loading
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.cohort.recipe import PatientImages, PatientItem
from fl_liver.client.site import SiteConfig
from fl_liver.study import Study
from tests.client.cohort.tiny_volumes import ball, ct_study, random_hu, write_mask, write_table, write_volume

MakeHospital = Callable[..., SiteConfig]


def _name(path: Path, patient: str) -> None:
    dataset = dcmread(path)
    dataset.PatientID = patient
    dataset.save_as(path)


def test_a_verdict_on_a_stranger_does_not_outlive_what_it_was_made_of(hospital: MakeHospital, study: Study) -> None:
    """The images carry an id that nobody here has; once somebody of that id comes, they are another patient's."""
    site = hospital()
    for path in (site.data / "dicom" / "H01-003").iterdir():
        _name(path, "H01-999")
    assert load_cohort(site, study).findings == ()
    (site.data / "dicom" / "H01-999").mkdir()
    (site.data / "dicom" / "H01-999" / "x.dcm").write_bytes(b"not read" * 99)
    found = [(one.code, one.case) for one in load_cohort(site, study).findings]
    assert ("E_WRONG_PATIENT", site_pseudonyms(site.work).patient("H01-003")) in found
    (site.data / "dicom" / "H01-999" / "x.dcm").unlink()
    assert load_cohort(site, study).findings == ()


def test_the_patient_whose_images_lie_in_another_folder_stays(hospital: MakeHospital, study: Study) -> None:
    site = hospital()
    (site.data / "dicom" / "H01-003" / "copy.dcm").write_bytes(
        (site.data / "dicom" / "H01-004" / "IM8.dcm").read_bytes()
    )
    cohort = load_cohort(site, study)
    names = site_pseudonyms(site.work)
    assert [(one.code, one.case) for one in cohort.findings] == [("E_WRONG_PATIENT", names.patient("H01-003"))]
    assert names.patient("H01-004") in cohort.patients


@pytest.mark.parametrize(("other", "code"), [("P2", "E_WRONG_PATIENT"), ("nobody", "E_MIXED_PATIENT")])
def test_volumes_of_two_people_are_named_as_such_and_not_by_what_follows(tmp_path: Path, other: str, code: str) -> None:
    """One series of two people cannot be used; that it is then missing is not what is wrong."""
    for patient in ("P1", "P2"):
        write_volume(tmp_path, patient, random_hu(len(patient)))
        write_mask(tmp_path, patient, ball((4, 15, 15)))
    _name(tmp_path / "dicom" / "P1" / "portal" / "04.dcm", other)
    site = write_table(tmp_path, ["P1,1", "P2,0"])
    cohort = load_cohort(site, ct_study())
    case = site_pseudonyms(site.work).patient("P1")
    assert [one.code for one in cohort.findings if one.case == case] == [code]


def test_what_is_sent_to_a_reader_does_not_grow_with_the_hospital(
    hospital: MakeHospital, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of everybody with each patient is n² ids: 10 000 patients would be gigabytes."""
    sizes: dict[int, int] = {}
    reading = loading.read_patient

    def measured(item: PatientItem) -> PatientImages:
        sizes[patients] = len(pickle.dumps(item))
        return reading(item)

    monkeypatch.setattr(loading, "read_patient", measured)
    for patients in (3, 30):
        load_cohort(
            hospital(patients=patients, site=f"H{patients:02d}"), study.changed(sites={"train": ["H03", "H30"]})
        )
    assert abs(sizes[30] - sizes[3]) < 50
