"""`fl-liver site check` on a hospital's whole folder: people, drawn boxes, the hospital's own files, a second look."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from fl_liver.cli import app
from fl_liver.client.cohort.check import check
from fl_liver.client.cohort.check.case import CaseFound
from fl_liver.client.cohort.check.check import CheckOptions, check_folder
from fl_liver.client.cohort.codes import unusable
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.site import SiteConfig
from fl_liver.study import Study

MakeHospital = Callable[..., SiteConfig]


def _codes(site: SiteConfig, **options: object) -> list[str]:
    return [one.code for one in check_folder(site.data, options=CheckOptions(**options)).findings]  # type: ignore[arg-type]


def _still_of(site: SiteConfig, number: int) -> Path:
    return site.data / "dicom" / f"H01-{number:03d}" / "IM8.dcm"


def _change(path: Path, **elements: object) -> None:
    dataset = dcmread(path)
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def test_the_same_pixels_under_two_ids_leave_both_out(hospital: MakeHospital, study: Study) -> None:
    """One person registered twice would stand in training and in test; the UIDs differ, so only pixels can tell."""
    site = hospital()
    twin = dcmread(_still_of(site, 2)).PixelData
    _change(_still_of(site, 7), PixelData=twin)
    names = site_pseudonyms(site.work)
    both = sorted(names.patient(f"H01-{number:03d}") for number in (2, 7))
    found = [one for one in check_folder(site.data).findings if one.code == "E_DUPLICATE_PATIENT"]
    assert sorted(one.case for one in found) == both
    cohort = load_cohort(site, study)
    assert sorted(one.case for one in cohort.findings if one.code == "E_DUPLICATE_PATIENT") == both
    assert not set(both) & set(cohort.patients)


def test_a_row_and_images_of_two_people_are_left_out(hospital: MakeHospital, study: Study) -> None:
    site = hospital()
    _change(_still_of(site, 3), PatientAge="081Y")  # the row says 43
    _change(_still_of(site, 4), PatientSex="F")  # the row says M
    cohort = load_cohort(site, study)
    told = {one.case: one.cause for one in cohort.findings if one.code == "E_AGE_SEX_DISAGREE"}
    names = site_pseudonyms(site.work)
    assert told == {
        names.patient("H01-003"): "ages of images and clinical row differ by 38.0 years, wanted at most 2",
        names.patient("H01-004"): "the images and the clinical row say different sexes",
    }
    assert len(cohort.patients) == 10


def test_whom_a_person_left_out_stays_out(hospital: MakeHospital, study: Study) -> None:
    """And the reason, which is free text, comes into no finding."""
    site = hospital()
    case = site_pseudonyms(site.work).patient("H01-005")
    (site.data / "exclude.csv").write_text(f"case,reason\n{case},contour beside the lesion of Mrs Z.\n")
    report = check_folder(site.data)
    assert [(one.code, one.case) for one in report.findings] == [("E_EXCLUDED_HERE", case)]
    assert report.exit_code == 1
    cohort = load_cohort(site, study)
    assert case not in cohort.patients
    assert len(cohort.patients) == 11
    assert "Mrs" not in repr(cohort.findings)


def test_rows_without_images_and_images_without_rows_are_listed(hospital: MakeHospital) -> None:
    site = hospital()
    shutil.rmtree(site.data / "dicom" / "H01-001")
    table = site.data / "clinical.csv"
    table.write_text("\n".join(row for row in table.read_text().split("\n") if not row.startswith("H01-002")))
    report = check_folder(site.data)
    names = site_pseudonyms(site.work)
    assert [(one.code, one.case) for one in report.findings] == [
        ("E_NO_CLINICAL_ROW", names.patient("H01-002")),
        ("E_NO_IMAGES", names.patient("H01-001")),
    ]
    assert report.rows == 11


def test_a_cache_that_others_can_read_stops_the_hospital(hospital: MakeHospital) -> None:
    site = hospital(patients=3)
    assert _codes(site) == []
    (site.work / "cache").chmod(0o755)
    report = check_folder(site.data)
    assert [one.code for one in report.findings] == ["F_CACHE_WORLD_READABLE"]
    assert report.exit_code == 2


def test_a_log_with_a_patients_id_stops_the_hospital(hospital: MakeHospital) -> None:
    site = hospital(patients=3)
    site.work.mkdir(mode=0o700)
    (site.work / "site.log").write_text('{"event": "read"}\n{"event": "could not read dicom/H01-001/IM8.dcm"}\n')
    (finding,) = check_folder(site.data).findings
    assert (finding.code, finding.cause) == ("F_LOG_HAS_PHI", "1 line of the log with the id of a patient")


def test_names_of_files_that_name_their_patient_are_told_once_a_patient(
    hospital: MakeHospital, canaries: tuple[str, ...]
) -> None:
    """The folder dicom/<patient_id>/ is what the layout asks for and does not count."""
    site = hospital(patients=2)
    for number in (7, 8):
        path = site.data / "dicom" / "H01-001" / f"IM{number}.dcm"
        path.rename(path.with_name(f"{canaries[0]}_{number}.dcm"))
    report = check_folder(site.data)
    case = site_pseudonyms(site.work).patient("H01-001")
    assert [(one.code, one.case) for one in report.findings] == [("W_PHI_IN_FILENAME", case)]
    assert report.findings[0].cause == "2 files named after the patient of the header"
    assert report.exit_code == 0


def test_a_second_check_opens_no_file_that_is_as_it_was(
    hospital: MakeHospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = hospital()
    _change(_still_of(site, 3), BurnedInAnnotation="YES")
    first = check_folder(site.data)
    monkeypatch.setattr("fl_liver.client.cohort.read.index.examine", lambda *_: pytest.fail("a header was read"))
    monkeypatch.setattr(check, "look_at", lambda *_: pytest.fail("an image was decoded"))
    assert check_folder(site.data).to_json() == first.to_json()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (site.work / "cache").glob("*.json")} == {0o600}


def test_a_changed_file_is_looked_at_again(hospital: MakeHospital) -> None:
    site = hospital(patients=3)
    assert _codes(site) == []
    _change(_still_of(site, 1), PixelData=bytes(64 * 80))
    _change(_still_of(site, 2), BurnedInAnnotation="YES")
    assert _codes(site) == ["E_BURNED_IN"]


@pytest.mark.parametrize("file", ["index.json", "looked_at.json"])
def test_a_damaged_memory_is_made_anew(hospital: MakeHospital, caplog: pytest.LogCaptureFixture, file: str) -> None:
    site = hospital(patients=3)
    first = check_folder(site.data)
    path = site.work / "cache" / file
    path.write_text(path.read_text()[:-20])
    assert check_folder(site.data).to_json() == first.to_json()
    assert f"{file} is damaged (JSONDecodeError); it is made anew" in caplog.text


def test_the_file_that_ends_a_decoder_is_named(hospital: MakeHospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies with the whole patient; which file it was is found by decoding them one by one."""
    site = hospital(patients=2)
    names = site_pseudonyms(site.work)
    victim = names.patient("H01-001")

    def dies(files: object) -> CaseFound:
        if files.case == victim:  # type: ignore[attr-defined]
            raise unusable("E_DECODE_CRASH", "the decoder died of signal SIGSEGV")
        return CaseFound()

    def dies_of_one(member: object) -> None:
        if member.path.name == "IM7.dcm":  # type: ignore[attr-defined]
            raise unusable("E_DECODE_CRASH", "the decoder died of signal SIGSEGV")

    monkeypatch.setattr(check, "look_at", dies)
    monkeypatch.setattr(check, "blame", dies_of_one)
    report = check_folder(site.data)
    (finding,) = report.findings
    broken = next(one for one in report.series if one.case == victim)
    assert (finding.code, finding.case, finding.series) == ("E_DECODE_CRASH", victim, broken.id)
    assert not broken.usable
    assert report.exit_code == 1


def test_a_study_says_whom_it_would_leave_out(hospital: MakeHospital, study: Study) -> None:
    """Exactly as training would: boxes and labels are read with the study's eyes."""
    site = hospital()
    text = (site.data / "clinical.csv").read_text()
    (site.data / "clinical.csv").write_text(text.replace("H01-003,1,", "H01-003,5,"))
    assert _codes(site) == []
    assert _codes(site, study=study) == ["E_LABEL_UNKNOWN"]


def test_headers_only_decodes_nothing(hospital: MakeHospital, monkeypatch: pytest.MonkeyPatch) -> None:
    site = hospital(patients=3)
    monkeypatch.setattr(check, "look_at", lambda *_: pytest.fail("an image was decoded"))
    assert _codes(site, pixels=False) == []


def test_the_command_writes_page_and_json_for_their_owner_and_names_nobody(
    hospital: MakeHospital, tmp_path: Path, canaries: tuple[str, ...]
) -> None:
    site = hospital(patients=3)
    _change(_still_of(site, 1), BurnedInAnnotation="YES")
    page, told = tmp_path / "check.html", tmp_path / "check.json"
    done = CliRunner().invoke(app, ["site", "check", str(site.data), "--html", str(page), "--json", str(told)])
    assert done.exit_code == 1, done.output
    assert {stat.S_IMODE(path.stat().st_mode) for path in (page, told)} == {0o600}
    said = done.output + page.read_text() + told.read_text()
    uids = [str(dcmread(_still_of(site, 1)).SOPInstanceUID), "H01-001", generate_uid()]
    assert [word for word in (*canaries, *uids) if word in said] == []
    assert [one["code"] for one in json.loads(told.read_text())["findings"]] == ["E_BURNED_IN"]
    assert page.read_text().count("data:image/") >= 3


def test_a_pseudonym_is_told_to_people_here(hospital: MakeHospital) -> None:
    site = hospital(patients=3)
    case = site_pseudonyms(site.work).patient("H01-002")
    run = CliRunner().invoke(app, ["site", "cohort", "whois", case, "--dir", str(site.data)])
    assert (run.exit_code, run.output) == (0, "H01-002\n")


def test_a_changed_box_is_looked_at_again(hospital: MakeHospital) -> None:
    site = hospital(patients=3)
    assert _codes(site) == []
    boxes = site.data / "lesions.csv"
    boxes.write_text(boxes.read_text().replace("lesion,30,20,50,36", "lesion,70,20,90,36", 1))
    assert _codes(site) == ["E_BOX_OUTSIDE"]


def test_what_lies_beside_the_images_of_a_hospital_is_no_surprise(hospital: MakeHospital) -> None:
    """Keys and settings lie in the same folder; a text among the images is worth a word."""
    site = hospital(patients=2)
    (site.data / "identity.pem").write_text("key")
    assert _codes(site) == []
    (site.data / "dicom" / "H01-000" / "report.txt").write_text("text")
    assert _codes(site) == ["W_OTHER_FILES"]
