"""Which images of a patient are used where there are more or fewer than the study takes, and frames of clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from fl_liver.client.cohort.lesions.boxes import Box, crop, standardise
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.site import SiteConfig
from fl_liver.study import Study

MakeHospital = Callable[..., SiteConfig]


def _folder(site: SiteConfig, index: int) -> Path:
    return site.data / "dicom" / f"{site.site}-{index:03d}"


def test_fewer_views_than_wanted_are_used_and_said(hospital: MakeHospital, study: Study) -> None:
    cohort = load_cohort(hospital(stills=1), study)
    assert [one.code for one in cohort.findings] == ["W_FEW_VIEWS"] * 12
    assert len(cohort.owner) == 12


def test_more_views_than_wanted_are_left(hospital: MakeHospital, study: Study) -> None:
    """The first in order, and a word on how many were not used."""
    site = hospital(stills=4)
    cohort = load_cohort(site, study)
    assert len(cohort.owner) == 24
    causes = {(one.code, one.cause) for one in cohort.findings}
    assert causes == {("W_MORE_VIEWS", "2 of 4 images not used, the study takes 2")}
    assert len(cohort.findings) == 12
    np.testing.assert_array_equal(cohort.images["lesion"][:2], load_cohort(hospital(), study).images["lesion"][:2])


def test_of_forty_boxed_frames_where_four_are_expected_the_first_four_are_used(
    hospital: MakeHospital, study: Study, write_still: Callable[..., Path]
) -> None:
    """And the check says how many were not; the rows of the boxes are in no order."""
    site = hospital(patients=2)
    for path in _folder(site, 0).iterdir():
        path.unlink()
    dataset = dcmread(write_still(patient="H01-000", number=1, frames=40).rename(_folder(site, 0) / "cine.dcm"))
    path = site.data / "lesions.csv"
    rows = [row for row in path.read_text().strip().split("\n") if not row.startswith("H01-000")]
    for frame in np.random.default_rng(1).permutation(40):
        start = f"H01-000,{dataset.SOPInstanceUID}"
        rows += [f"{start},lesion,30,20,50,36,{frame}", f"{start},background,4,30,20,50,{frame}"]
    path.write_text("\n".join(rows) + "\n")
    cohort = load_cohort(site, study.changed(cohort={"views": 4}))
    case = site_pseudonyms(site.work).patient("H01-000")
    told = [(one.code, one.cause) for one in cohort.findings if one.case == case]
    assert told == [("W_MORE_VIEWS", "36 of 40 images not used, the study takes 4")]
    assert np.bincount(cohort.owner).tolist() == [4, 2]
    box = Box("", 0, "lesion", 30, 20, 50, 36)
    for frame in range(4):
        wanted = crop(dataset.pixel_array[frame], box, 16, study.cohort.lesion_margin)
        np.testing.assert_array_equal(cohort.images["lesion"][frame], standardise(wanted))


def test_frames_of_a_cine_are_views(hospital: MakeHospital, study: Study, write_still: Callable[..., Path]) -> None:
    site = hospital()
    for path in _folder(site, 0).iterdir():
        path.unlink()
    cine = write_still(patient="H01-000", number=1, frames=4).rename(_folder(site, 0) / "cine.dcm")
    dataset = dcmread(cine)
    uid = dataset.SOPInstanceUID
    path = site.data / "lesions.csv"
    rows = [row for row in path.read_text().strip().split("\n") if not row.startswith("H01-000")]
    for frame in (3, 1):
        rows += [f"H01-000,{uid},lesion,30,20,50,36,{frame}", f"H01-000,{uid},background,4,30,20,50,{frame}"]
    path.write_text("\n".join(rows) + "\n")
    cohort = load_cohort(site, study)
    wanted = crop(dataset.pixel_array[1], Box("", 0, "lesion", 30, 20, 50, 36), 16, study.cohort.lesion_margin)
    np.testing.assert_array_equal(cohort.images["lesion"][0], standardise(wanted))
    assert cohort.owner[:3].tolist() == [0, 0, 1]


def test_a_study_of_whole_scans_gets_them_at_one_brightness_and_shape(hospital: MakeHospital, study: Study) -> None:
    """Schmauch 2019: 240 × 345, the median of the upper fifth at 70 of 255; here at a fifteenth of the size."""
    whole = study.changed(cohort={"crops": "whole"}, model={"image_px": 16})
    images = load_cohort(hospital(), whole).images
    assert list(images) == ["lesion"]
    assert images["lesion"].shape == (24, 16, 23)
    upper = np.median(images["lesion"][:, :3].reshape(24, -1), axis=1)
    assert pytest.approx(float(np.median(upper)), abs=0.05) == 70 / 255
