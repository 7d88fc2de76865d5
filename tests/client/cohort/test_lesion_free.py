"""Patients of classes without a lesion, patients whom a study is not about, and tables of another study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from fl_liver.client.cohort import load as loading
from fl_liver.client.cohort.check.check import CheckOptions, check_folder
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.cohort.recipe import PatientImages, PatientItem
from fl_liver.client.site import SiteConfig
from fl_liver.errors import DataError
from fl_liver.study import Study
from tests.client.cohort.tiny_volumes import ball, ct_study, random_hu, write_mask, write_table, write_volume

MakeHospital = Callable[..., SiteConfig]
WriteStill = Callable[..., Path]


@pytest.fixture
def free(study: Study) -> Study:
    """Whole scans; benign stands for a healthy liver."""
    return study.changed(task={"lesion_free": ["benign"]}, cohort={"crops": "whole", "masks": True})


def _without_boxes(site: SiteConfig, *patients: str) -> None:
    path = site.data / "lesions.csv"
    path.write_text("\n".join(row for row in path.read_text().split("\n") if not row.startswith(patients)))


def _told(site: SiteConfig, cohort: Cohort, patient: str) -> list[str]:
    case = site_pseudonyms(site.work).patient(patient)
    return [one.code for one in cohort.findings if one.case == case]


def test_a_healthy_liver_needs_no_box(hospital: MakeHospital, free: Study) -> None:
    """Its first stills in order are used, and nothing is drawn on them."""
    site = hospital(patients=4)
    _without_boxes(site, "H01-000", "H01-002")
    cohort = load_cohort(site, free)
    assert len(cohort.patients) == 4
    assert [one.code for one in cohort.findings] == ["W_CLASS_COUNT_SMALL"] * 2
    drawn = cohort.images["mask"].any(axis=(1, 2))
    assert drawn.tolist() == [False, False, True, True, False, False, True, True]
    boxed = load_cohort(hospital(patients=4), free.changed(task={"lesion_free": []}))
    np.testing.assert_array_equal(cohort.images["lesion"], boxed.images["lesion"])


def test_of_a_clip_without_a_lesion_as_many_frames_are_used_as_are_missing(
    hospital: MakeHospital, free: Study, write_still: WriteStill
) -> None:
    """The first frame of each image, then the second: three frames a patient of one still and one clip."""
    site = hospital(patients=2)
    _without_boxes(site, "H01-000")
    folder = site.data / "dicom" / "H01-000"
    (folder / "IM8.dcm").unlink()
    clip = write_still(patient="H01-000", number=1, frames=5).rename(folder / "clip.dcm")
    cohort = load_cohort(site, free.changed(cohort={"views": 3}))
    assert np.bincount(cohort.owner).tolist() == [3, 2]
    assert _told(site, cohort, "H01-000") == []
    frames = dcmread(clip).pixel_array
    assert len(frames) == 5
    assert not np.array_equal(cohort.images["lesion"][0], cohort.images["lesion"][2]), "two frames of the clip"


def test_a_lesion_where_the_diagnosis_says_there_is_none_is_an_error(hospital: MakeHospital, free: Study) -> None:
    site = hospital(patients=3)
    _without_boxes(site, "H01-000")
    cohort = load_cohort(site, free)
    assert _told(site, cohort, "H01-002") == ["E_LESION_UNEXPECTED"]
    assert len(cohort.patients) == 2


def test_a_patient_with_a_lesion_still_needs_a_box(hospital: MakeHospital, free: Study) -> None:
    site = hospital(patients=3)
    _without_boxes(site, "H01-000", "H01-001")
    cohort = load_cohort(site, free)
    assert _told(site, cohort, "H01-001") == ["E_NO_LESION_BOX"]


def test_a_diagnosis_that_changes_is_read_anew(hospital: MakeHospital, free: Study) -> None:
    """What is cached was read under another diagnosis."""
    site = hospital(patients=2)
    _without_boxes(site, "H01-000")
    assert len(load_cohort(site, free).patients) == 2
    table = site.data / "clinical.csv"
    table.write_text(table.read_text().replace("H01-000,0,", "H01-000,1,"))
    cohort = load_cohort(site, free)
    assert _told(site, cohort, "H01-000") == ["E_NO_LESION_BOX"]


@pytest.fixture
def volumes(tmp_path: Path) -> SiteConfig:
    """P1 has a lesion, P2 has none, P3 has an empty mask, P4 a lesion that its diagnosis denies, P5 lacks one."""
    for number in range(1, 6):
        write_volume(tmp_path, f"P{number}", random_hu(number))
    for patient in ("P1", "P4"):
        write_mask(tmp_path, patient, ball((4, 15, 15)))
    write_mask(tmp_path, "P3", np.zeros((10, 32, 32), dtype=np.uint8))
    return write_table(tmp_path, ["P1,1", "P2,0", "P3,0", "P4,0", "P5,1"])


def test_volumes_without_a_lesion_give_slices_of_the_middle(volumes: SiteConfig) -> None:
    study = ct_study(task={"lesion_free": ["benign"]}, crops="whole", views=1, free_views=2)
    cohort = load_cohort(volumes, study)
    assert [_told(volumes, cohort, f"P{number}") for number in range(1, 6)] == [
        [],
        [],
        [],
        ["E_LESION_UNEXPECTED"],
        ["E_ROI_MISSING"],
    ]
    assert len(cohort.patients) == 3
    assert np.bincount(cohort.owner).tolist() == [3, 3, 3]
    drawn = cohort.images["mask"].any(axis=(1, 2))
    assert drawn.reshape(3, 3).sum(axis=1).tolist() == [1, 0, 0]


def test_the_check_page_has_pictures_of_who_has_no_lesion(volumes: SiteConfig, tmp_path: Path) -> None:
    from datetime import datetime

    from fl_liver.client.cohort.check.sheets import write_check_page

    study = ct_study(task={"lesion_free": ["benign"]}, crops="whole", views=1, free_views=2)
    report = check_folder(volumes.data, options=CheckOptions(study=study))
    names = site_pseudonyms(volumes.work)
    assert report.excluded == {names.patient("P4"), names.patient("P5")}
    page = tmp_path / "page.html"
    write_check_page(
        report, page, title="H01", made=datetime(2020, 1, 5), decoders=0, excluded={}, on_progress=lambda *_: None
    )
    cards = page.read_text().split("<article")[1:]
    pictures = {case: next(card.count("data:image/") for card in cards if case in card) for case in report.patients}
    assert pictures[names.patient("P2")] == pictures[names.patient("P3")] == 3, "whole slices spread over the volume"
    assert pictures[names.patient("P1")] >= 2
    assert "E_LESION_UNEXPECTED" in page.read_text()


def test_who_is_not_asked_about_is_neither_read_nor_a_fault(
    hospital: MakeHospital, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spoilt images, missing boxes and missing images of such patients are of no concern."""
    site = hospital()
    table = site.data / "clinical.csv"
    text = table.read_text()
    for number in (4, 6):
        text = text.replace(f"H01-{number:03d},0,", f"H01-{number:03d},9,")
    table.write_text(text)
    _without_boxes(site, "H01-006")
    for path in (site.data / "dicom" / "H01-004").iterdir():
        path.unlink()
    asked = study.changed(task={"not_asked": ["9"]})
    read: list[str] = []
    reading = loading.read_patient

    def listed(item: PatientItem) -> PatientImages:
        read.append(item.folder.patient_id)
        return reading(item)

    monkeypatch.setattr(loading, "read_patient", listed)
    cohort = load_cohort(site, asked)
    assert [one.code for one in cohort.findings] == ["W_CLASS_COUNT_SMALL"], "4 benign patients are left"
    assert len(cohort.patients) == len(read) == 10
    assert not {"H01-004", "H01-006"} & set(read)
    assert [one.code for one in load_cohort(site, study).findings].count("E_LABEL_UNKNOWN") == 2


def test_a_second_row_that_is_not_asked_about_hides_no_first(hospital: MakeHospital, study: Study) -> None:
    site = hospital()
    with (site.data / "clinical.csv").open("a") as file:
        file.write("H01-003,9,43,M,300,normal,13\n")
    cohort = load_cohort(site, study.changed(task={"not_asked": ["9"]}))
    assert _told(site, cohort, "H01-003") == ["E_DUPLICATE_ROW"]


def test_a_study_of_other_classes_than_the_table_has_is_one_clear_error(hospital: MakeHospital, study: Study) -> None:
    other = study.changed(task={"classes": {"benign": "B", "malignant": "M"}})
    with pytest.raises(
        DataError, match=r"no row of 'malignant' holds a class of study .*: found '0', '1'; wanted 'B' \(benign\), 'M'"
    ):
        load_cohort(hospital(patients=2), other)


def test_the_check_counts_whom_the_study_is_not_about(hospital: MakeHospital, study: Study) -> None:
    from fl_liver.client.cohort.check.sheets import flow_of_report

    site = hospital()
    table = site.data / "clinical.csv"
    table.write_text(table.read_text().replace("H01-002,0,", "H01-002,9,").replace("H01-004,0,", "H01-004,9,"))
    for path in (site.data / "dicom" / "H01-004").iterdir():
        path.unlink()
    _without_boxes(site, "H01-002", "H01-003")
    report = check_folder(site.data, options=CheckOptions(study=study.changed(task={"not_asked": ["9"]})))
    assert [one.code for one in report.findings] == ["E_NO_LESION_BOX", "W_CLASS_COUNT_SMALL"]
    steps = flow_of_report(report)
    assert [(step.label, step.count) for step in steps] == [
        ("rows in the clinical table", 12),
        ("asked about", 10),
        ("with images", 10),
        ("usable", 9),
    ]
    assert steps[0].left == (("not asked about by the study", 2),)
