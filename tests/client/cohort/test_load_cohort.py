"""From a hospital's folder to a cohort: joined, cached, every exclusion named; only the whole hospital can fail."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from fl_liver.client.cohort import load as loading
from fl_liver.client.cohort.cache import purge_cache
from fl_liver.client.cohort.cohort import PARTS, Cohort
from fl_liver.client.cohort.floors import require_enough_patients, require_trainable
from fl_liver.client.cohort.lesions.boxes import Box, crop, standardise
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.study import Study

MakeHospital = Callable[..., SiteConfig]


def _codes(cohort: Cohort) -> list[str]:
    return [one.code for one in cohort.findings]


def _folder(site: SiteConfig, index: int) -> Path:
    return site.data / "dicom" / f"{site.site}-{index:03d}"


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_hospital_becomes_arrays_of_the_promised_shapes(hospital: MakeHospital, study: Study) -> None:
    cohort = load_cohort(hospital(), study)
    assert len(cohort.patients) == len(set(cohort.patients)) == 12
    assert cohort.label.tolist() == [0, 1] * 6
    assert cohort.factors.shape == (12, 3)
    assert [array.dtype.name for array in (cohort.factors, cohort.size_mm, cohort.background)] == [
        "float64",
        "float64",
        "int64",
    ]
    assert set(cohort.images) == {"lesion", "background"}
    assert cohort.owner.tolist() == [i // 2 for i in range(24)]
    for images in cohort.images.values():
        assert (images.shape, images.dtype.name) == ((24, 16, 16), "float16")
        np.testing.assert_allclose(images.astype(float).mean(axis=(1, 2)), 0, atol=2e-3)
        np.testing.assert_allclose(images.astype(float).std(axis=(1, 2)), 1, atol=2e-3)
    assert [len(cohort.rows(part)) for part in PARTS] == [8, 2, 2, 0]
    assert cohort.findings == ()
    assert not any("H01-0" in name for name in cohort.patients)


def test_images_are_the_crops_of_their_boxes_by_instance_number(hospital: MakeHospital, study: Study) -> None:
    """File names run against the instance numbers on purpose."""
    site = hospital()
    cohort = load_cohort(site, study)
    for number, name in ((1, "IM8.dcm"), (2, "IM7.dcm")):
        frame = dcmread(_folder(site, 5) / name).pixel_array
        wanted = standardise(crop(frame, Box("", 0, "lesion", 30, 20, 50, 36), 16, study.cohort.lesion_margin))
        np.testing.assert_array_equal(cohort.images["lesion"][10 + number - 1], wanted)


def test_a_crop_ends_where_the_scan_ends(hospital: MakeHospital, study: Study) -> None:
    """Beyond the region of the header stands what the machine writes; the scan's own edge is repeated instead."""
    site = hospital()
    path = _folder(site, 5) / "IM8.dcm"
    dataset = dcmread(path)
    region = dataset.SequenceOfUltrasoundRegions[0]
    region.RegionLocationMinX0, region.RegionLocationMaxX1 = 4, 69  # 66 columns; the box ends at 50
    dataset.save_as(path)
    scan = dcmread(path).pixel_array[:, 4:70]
    wanted = standardise(crop(scan, Box("", 0, "lesion", 26, 20, 46, 36), 16, study.cohort.lesion_margin))
    np.testing.assert_array_equal(load_cohort(site, study).images["lesion"][10], wanted)


def test_the_second_load_decodes_nothing_and_is_the_same(
    hospital: MakeHospital, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = hospital()
    first = load_cohort(site, study)
    monkeypatch.setattr(loading, "read_patient", lambda *_, **__: pytest.fail("a file was decoded again"))
    second = load_cohort(site, study)
    for name, images in first.images.items():
        np.testing.assert_array_equal(images, second.images[name])
    assert (first.patients, first.findings) == (second.patients, second.findings)
    np.testing.assert_array_equal(first.part, second.part)
    np.testing.assert_array_equal(first.owner, second.owner)


def test_labels_and_shares_are_never_cached(hospital: MakeHospital, study: Study) -> None:
    site = hospital()
    load_cohort(site, study)
    _edit(site.data / "clinical.csv", "H01-000,0,", "H01-000,1,")
    changed = study.changed(cohort={"internal_validation": 0.5, "views": 2})
    cohort = load_cohort(site, changed)
    assert cohort.label[0] == 1
    assert len(cohort.rows("internal")) == 6
    assert len(list((site.work / "cache").rglob("*.safetensors"))) == 12


def test_a_changed_file_box_or_recipe_is_decoded_again(hospital: MakeHospital, study: Study) -> None:
    site = hospital()
    before = load_cohort(site, study).images["lesion"]
    _edit(site.data / "lesions.csv", "lesion,30,20,50,36", "lesion,31,20,51,36")
    moved = load_cohort(site, study).images["lesion"]
    assert (before != moved).any()
    path = _folder(site, 0) / "IM8.dcm"
    dataset = dcmread(path)
    dataset.PixelData = bytes(255 - value for value in dataset.PixelData)
    dataset.save_as(path)
    np.testing.assert_allclose(load_cohort(site, study).images["lesion"][0], -moved[0], atol=2e-3)
    assert load_cohort(site, study.changed(model={"image_px": 8})).images["lesion"].shape == (24, 8, 8)
    assert purge_cache(site.work) == 2 * 12, "twelve patients in each of two sizes; what changed took its own place"
    assert purge_cache(site.work) == 0


def test_the_cache_is_for_its_user_only_and_a_damaged_one_is_made_anew(
    hospital: MakeHospital, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    site = hospital()
    first = load_cohort(site, study)
    path = min((site.work / "cache").rglob("*.safetensors"))
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in path.parents[:2]} == {0o700}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(path.read_bytes()[:2000])
    again = load_cohort(site, study)
    np.testing.assert_array_equal(first.images["lesion"], again.images["lesion"])
    assert "is damaged (ValueError); it is made anew" in caplog.text


def test_parts_do_not_depend_on_the_pseudonym_key(hospital: MakeHospital, study: Study) -> None:
    site = hospital()
    first = load_cohort(site, study)
    (site.work / "pseudonym.key").unlink()
    second = load_cohort(site, study)
    assert first.patients != second.patients
    np.testing.assert_array_equal(first.part, second.part)


def _truncate(site: SiteConfig) -> None:
    path = _folder(site, 3) / "IM8.dcm"
    path.write_bytes(path.read_bytes()[:-500])


def _no_dicom_inside(site: SiteConfig) -> None:
    (_folder(site, 3) / "IM8.dcm").write_text("not DICOM " * 50)


def _no_lesion_box(site: SiteConfig) -> None:
    path = site.data / "lesions.csv"
    path.write_text("\n".join(row for row in path.read_text().split("\n") if not row.startswith("H01-003")))


def _box_outside(site: SiteConfig) -> None:
    path = site.data / "lesions.csv"
    rows = path.read_text().split("\n")
    at = next(i for i, row in enumerate(rows) if row.startswith("H01-003"))
    rows[at] = rows[at].replace("30,20,50,36", "70,20,90,36")
    path.write_text("\n".join(rows))


def _bad_box(site: SiteConfig) -> None:
    path = site.data / "lesions.csv"
    rows = path.read_text().split("\n")
    at = next(i for i, row in enumerate(rows) if row.startswith("H01-003"))
    rows[at] = rows[at].replace("lesion", "lession")
    path.write_text("\n".join(rows))


def _image_gone(site: SiteConfig) -> None:
    (_folder(site, 3) / "IM8.dcm").unlink()


def _frame_gone(site: SiteConfig) -> None:
    path = site.data / "lesions.csv"
    rows = path.read_text().split("\n")
    at = next(i for i, row in enumerate(rows) if row.startswith("H01-003"))
    rows[at] = rows[at].removesuffix("0") + "3"
    rows[at + 1] = rows[at + 1].removesuffix("0") + "3"
    path.write_text("\n".join(rows))


def _wrong_folder(site: SiteConfig) -> None:
    dataset = dcmread(_folder(site, 3) / "IM8.dcm")
    dataset.PatientID = "H01-004"
    dataset.save_as(_folder(site, 3) / "IM8.dcm")


def _two_people(site: SiteConfig) -> None:
    dataset = dcmread(_folder(site, 3) / "IM8.dcm")
    dataset.PatientID = "a stranger"
    dataset.save_as(_folder(site, 3) / "IM8.dcm")


def _flat(site: SiteConfig) -> None:
    dataset = dcmread(_folder(site, 3) / "IM8.dcm")
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(_folder(site, 3) / "IM8.dcm")


def _unknown_label(site: SiteConfig) -> None:
    _edit(site.data / "clinical.csv", "H01-003,1,", "H01-003,5,")


def _no_row(site: SiteConfig) -> None:
    path = site.data / "clinical.csv"
    path.write_text("\n".join(row for row in path.read_text().split("\n") if not row.startswith("H01-003")))


def _two_rows(site: SiteConfig) -> None:
    path = site.data / "clinical.csv"
    rows = path.read_text().split("\n")
    path.write_text("\n".join([*rows[:-1], rows[4], ""]))


def _no_images(site: SiteConfig) -> None:
    for path in _folder(site, 3).iterdir():
        path.unlink()


def _no_background(site: SiteConfig) -> None:
    path = site.data / "lesions.csv"
    rows = path.read_text().split("\n")
    path.write_text("\n".join(row for row in rows if not (row.startswith("H01-003") and "background" in row)))


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_truncate, "E_TRUNCATED"),
        (_no_dicom_inside, "E_NOT_DICOM"),
        (_no_lesion_box, "E_NO_LESION_BOX"),
        (_box_outside, "E_BOX_OUTSIDE"),
        (_bad_box, "E_BOX_UNREADABLE"),
        (_image_gone, "E_BOX_WITHOUT_IMAGE"),
        (_frame_gone, "E_TRUNCATED"),
        (_wrong_folder, "E_WRONG_PATIENT"),
        (_two_people, "E_MIXED_PATIENT"),
        (_flat, "E_FLAT_IMAGE"),
        (_unknown_label, "E_LABEL_UNKNOWN"),
        (_no_row, "E_NO_CLINICAL_ROW"),
        (_two_rows, "E_DUPLICATE_ROW"),
        (_no_images, "E_NO_IMAGES"),
        (_no_background, "E_NO_BACKGROUND_BOX"),
    ],
)
def test_a_bad_patient_is_left_out_with_one_finding(
    hospital: MakeHospital, study: Study, damage: Callable[[SiteConfig], None], code: str
) -> None:
    site = hospital()
    damage(site)
    cohort = load_cohort(site, study)
    case = site_pseudonyms(site.work).patient("H01-003")
    assert [(one.code, one.case) for one in cohort.findings] == [(code, case)]
    assert len(cohort.patients) == 11
    assert case not in cohort.patients
    assert len(cohort.images["lesion"]) == len(cohort.owner) == 22
    assert "H01-003" not in repr(cohort.findings)
    assert cohort.findings[0].remedy


def test_an_image_in_two_folders_leaves_both_patients_out(hospital: MakeHospital, study: Study) -> None:
    """It would stand in training and in test."""
    site = hospital()
    dataset = dcmread(_folder(site, 3) / "IM8.dcm")
    for path in _folder(site, 4).iterdir():
        path.unlink()
    uid = dataset.SOPInstanceUID
    dataset.PatientID = "H01-004"
    dataset.save_as(_folder(site, 4) / "IM1.dcm")
    path = site.data / "lesions.csv"
    rows = [row for row in path.read_text().split("\n") if not row.startswith("H01-004")]
    rows[-1:] = [f"H01-004,{uid},lesion,30,20,50,36,0", f"H01-004,{uid},background,4,30,20,50,0", ""]
    path.write_text("\n".join(rows))
    cohort = load_cohort(site, study)
    assert [code for code in _codes(cohort) if code.startswith("E")] == ["E_AMBIGUOUS_IMAGE"] * 2
    assert len(cohort.patients) == 10


def test_a_table_study_reads_no_images(hospital: MakeHospital, study: Study) -> None:
    site = hospital()
    (site.data / "lesions.csv").unlink()
    cohort = load_cohort(site, study.changed(task={"modality": "table"}))
    assert (len(cohort.patients), cohort.images, len(cohort.owner)) == (12, {}, 0)


def test_an_external_hospital_keeps_everyone_for_testing(hospital: MakeHospital, study: Study) -> None:
    cohort = load_cohort(hospital(site="H12"), study)
    assert len(cohort.rows("external")) == 12


def test_a_site_that_refuses_to_train_is_external_whatever_the_study_says(hospital: MakeHospital, study: Study) -> None:
    site = hospital().model_copy(update={"role": "external"})
    assert len(load_cohort(site, study).rows("external")) == 12


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda data: (data / "clinical.csv").unlink(),
            "has no clinical.csv or clinical.xlsx; export one row per patient",
        ),
        (lambda data: (data / "lesions.csv").unlink(), "has no lesions.csv; wanted one row per lesion box"),
        (lambda data: (data / "dicom").rename(data / "images"), r"no such folder; export the images into dicom/"),
        (lambda data: [p.unlink() for p in (data / "dicom").rglob("*.dcm")], "0 files, none of them DICOM"),
        (lambda data: data.rename(data.parent / "elsewhere"), "no folder .*; correct 'data' in site.toml"),
        (lambda data: [data.rename(data.parent / "old"), data.mkdir()], "is empty; wanted clinical.csv and"),
    ],
)
def test_what_concerns_the_whole_hospital_is_one_line(
    hospital: MakeHospital, study: Study, spoil: Callable[[Path], object], message: str
) -> None:
    site = hospital(patients=2)
    spoil(site.data)
    with pytest.raises(DataError, match=message) as caught:
        load_cohort(site, study)
    assert "\n" not in str(caught.value)


def test_a_study_of_volumes_that_names_no_series_is_refused(hospital: MakeHospital, study: Study) -> None:
    with pytest.raises(ConfigError, match=r"a CT study names its series in \[cohort\] sequences"):
        load_cohort(hospital(patients=1), study.changed(task={"modality": "CT"}))


def test_a_site_below_its_floor_sits_out(hospital: MakeHospital, study: Study) -> None:
    site = hospital(patients=10)
    require_enough_patients(load_cohort(site, study), study, site)
    with pytest.raises(PrivacyError, match="6 of its 10 patients would train, at least 10 wanted"):
        require_trainable(load_cohort(site, study), study, site)
    _truncate(site)
    cohort = load_cohort(site, study)
    with pytest.raises(PrivacyError, match=r"site H01: 9 usable patients \(1 excluded\), at least 10 wanted"):
        require_enough_patients(cohort, study, site)
    with pytest.raises(PrivacyError, match="at least 12 wanted"):
        require_trainable(cohort, study, site.model_copy(update={"min_patients": 12}))


def test_a_site_with_one_class_sits_out_of_training(hospital: MakeHospital, study: Study) -> None:
    site = hospital()
    path = site.data / "clinical.csv"
    path.write_text("\n".join(row.replace(",1,", ",0,", 1) for row in path.read_text().split("\n")))
    with pytest.raises(DataError, match=r"site H01: one class in the training part \(8 benign, 0 malignant\)"):
        require_trainable(load_cohort(site, study), study, site)
    external = site.model_copy(update={"role": "external"})
    require_trainable(load_cohort(external, study), study, external)
