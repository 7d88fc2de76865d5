"""Frames and their DICOM: readable, with the region, colours and boxes that the header and tables claim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from simulation.phantom import Hospital, phantom_hospitals
from simulation.phantom.patients import Patient
from simulation.phantom.scanners import MAKES, UltrasoundMake, UltrasoundScanner
from simulation.phantom.ultrasound import COLUMNS, ROWS, VIEWS, Box, draw_view, field_of_view, plan_exam
from simulation.phantom.ultrasound_files import write_ultrasound

HOSPITALS = phantom_hospitals(2020)


def views(count: int) -> Iterator[tuple[Patient, UltrasoundScanner, int]]:
    for index in range(count):
        hospital = HOSPITALS[index % len(HOSPITALS)]
        yield hospital.patient(index), hospital.scanner, index % VIEWS


def cut(frame: np.ndarray, box: Box) -> np.ndarray:
    return frame[box.y_min_px : box.y_max_px, box.x_min_px : box.x_max_px]


def with_make(make: UltrasoundMake) -> Hospital:
    return replace(HOSPITALS[0], scanner=replace(HOSPITALS[0].scanner, make=make))


def files(make: UltrasoundMake, folder: Path, index: int = 0) -> tuple[list[Dataset], list[list[str]]]:
    hospital = with_make(make)
    rows = write_ultrasound(hospital.patient(index), hospital.name, hospital.scanner, folder)
    return [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))], rows


def test_background_box_is_free_of_lesion_and_inside_the_field_of_view() -> None:
    for patient, scanner, number in views(130):
        view = draw_view(patient, scanner, plan_exam(patient, scanner), number)
        assert not cut(view.lesion_mask, view.background).any()
        assert cut(field_of_view(scanner.curvature_px), view.background).all()
        both = np.zeros((ROWS, COLUMNS), int)
        cut(both, view.lesion)[...] += 1
        cut(both, view.background)[...] += 1
        assert both.max() == 1


def test_lesion_box_holds_the_lesion() -> None:
    """An operator's square round the mean radius leaves out some bulges, never most of the lesion."""
    shares = []
    for patient, scanner, number in views(130):
        view = draw_view(patient, scanner, plan_exam(patient, scanner), number)
        box = view.lesion
        assert 0 <= box.x_min_px < box.x_max_px <= COLUMNS
        assert 0 <= box.y_min_px < box.y_max_px <= ROWS
        shares.append(cut(view.lesion_mask, box).sum() / view.lesion_mask.sum())
    assert min(shares) > 0.55
    assert np.mean(shares) > 0.93


def test_the_largest_lesion_still_leaves_liver_for_the_background() -> None:
    hospital = HOSPITALS[0]
    for index in range(40):
        patient = hospital.patient(index)
        lesion = replace(patient.lesion, size_mm=110.0, aspect=1.7, irregularity=0.35, margin_mm=5.0, halo=True)
        patient = replace(patient, lesion=lesion)
        view = draw_view(patient, hospital.scanner, plan_exam(patient, hospital.scanner), 0)
        assert not cut(view.lesion_mask, view.background).any()


def test_lesion_contrast_follows_its_echo_level() -> None:
    hospital = HOSPITALS[0]
    contrast = []
    for echo_db in (-9.0, 9.0):
        patient = hospital.patient(0)
        lesion = replace(patient.lesion, echo_db=echo_db, heterogeneity_db=0.2, size_mm=30.0)
        patient = replace(patient, lesion=lesion)
        view = draw_view(patient, hospital.scanner, plan_exam(patient, hospital.scanner), 0)
        contrast.append(view.grey[view.lesion_mask].mean() - cut(view.grey, view.background).mean())
    assert contrast[0] < -15
    assert contrast[1] > 15


def test_backgrounds_differ_as_their_names_say() -> None:
    """A fatty liver fades with depth; a fibrotic one varies more at the scale of 3 mm than a normal one."""
    hospital = HOSPITALS[0]
    fade: dict[str, list[float]] = {"normal": [], "steatosis": [], "fibrosis": []}
    coarse: dict[str, list[float]] = {"normal": [], "steatosis": [], "fibrosis": []}
    for index in range(25):
        for name in ("normal", "steatosis", "fibrosis"):
            patient = replace(hospital.patient(index), background=name)
            view = draw_view(patient, hospital.scanner, plan_exam(patient, hospital.scanner), 0)
            middle = view.grey[16:112, 60:132].astype(float)
            fade[name].append(middle[:30].mean() - middle[-30:].mean())
            patch = cut(view.grey, view.background).astype(float)
            blocks = patch[: patch.shape[0] // 7 * 7, : patch.shape[1] // 7 * 7]
            means = blocks.reshape(blocks.shape[0] // 7, 7, -1, 7).mean((1, 3))
            coarse[name].append(means.std())
    assert np.median(fade["steatosis"]) > np.median(fade["normal"]) + 5
    assert np.median(coarse["fibrosis"]) > 1.3 * np.median(coarse["normal"])


def test_confounded_machine_is_used_more_for_one_class() -> None:
    scanner = replace(HOSPITALS[0].scanner, confounding=0.5)
    share = {}
    for malignant in (False, True):
        some = [p for p in (HOSPITALS[0].patient(index) for index in range(800)) if p.malignant == malignant]
        share[malignant] = np.mean([plan_exam(patient, scanner).second_machine for patient in some])
    assert share[False] == pytest.approx(0.25, abs=0.08)
    assert share[True] == pytest.approx(0.75, abs=0.08)


@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.manufacturer.split()[0])
def test_pydicom_reads_what_each_make_claims(make: UltrasoundMake, tmp_path: Path) -> None:
    datasets, rows = files(make, tmp_path)
    assert len(datasets) == (1 if make.multi_frame else VIEWS)
    assert len(rows) == 2 * VIEWS
    for dataset in datasets:
        assert dataset.PhotometricInterpretation == make.pixel_style
        assert dataset.get("NumberOfFrames", 1) == (VIEWS if make.multi_frame else 1)
        assert dataset.file_meta.TransferSyntaxUID.is_compressed is False
        pixels = dataset.pixel_array
        assert pixels.dtype == np.uint8
        frames = (VIEWS,) if make.multi_frame else ()
        samples = () if make.pixel_style == "MONOCHROME2" else (3,)
        assert pixels.shape == (*frames, make.screen.rows, make.screen.columns, *samples)
        (region,) = dataset.SequenceOfUltrasoundRegions
        assert (region.RegionSpatialFormat, region.RegionDataType, region.PhysicalUnitsXDirection) == (1, 1, 3)
        assert region.RegionLocationMaxX1 - region.RegionLocationMinX0 + 1 == COLUMNS
        assert region.RegionLocationMaxY1 - region.RegionLocationMinY0 + 1 == ROWS
        assert 0.03 < region.PhysicalDeltaX < 0.2
    uids = [dataset.SOPInstanceUID for dataset in datasets]
    assert len(set(uids)) == len(uids)
    assert {row[1] for row in rows} == set(uids)


@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.manufacturer.split()[0])
def test_every_make_shows_the_same_scan_in_its_region(make: UltrasoundMake, tmp_path: Path) -> None:
    hospital = with_make(make)
    patient = hospital.patient(0)
    expected = draw_view(patient, hospital.scanner, plan_exam(patient, hospital.scanner), 0).grey
    datasets, _ = files(make, tmp_path)
    (region,) = datasets[0].SequenceOfUltrasoundRegions
    pixels = datasets[0].pixel_array[0] if make.multi_frame else datasets[0].pixel_array
    left, top = region.RegionLocationMinX0, region.RegionLocationMinY0
    scan = pixels[top : region.RegionLocationMaxY1 + 1, left : region.RegionLocationMaxX1 + 1]
    luma = scan if make.pixel_style == "MONOCHROME2" else scan[..., 0]
    np.testing.assert_array_equal(luma, expected)
    if make.pixel_style != "MONOCHROME2":  # pydicom turns YBR_FULL into RGB; the scan is without colour in both
        np.testing.assert_array_equal(scan[..., 1], expected)
        np.testing.assert_array_equal(scan[..., 2], expected)


@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.manufacturer.split()[0])
def test_boxes_lie_inside_the_region_of_their_frame(make: UltrasoundMake, tmp_path: Path) -> None:
    datasets, rows = files(make, tmp_path, index=3)
    (region,) = datasets[0].SequenceOfUltrasoundRegions
    for _, _, kind, x_min, y_min, x_max, y_max, frame in rows:
        assert kind in {"lesion", "background"}
        assert region.RegionLocationMinX0 <= int(x_min) < int(x_max) <= region.RegionLocationMaxX1 + 1
        assert region.RegionLocationMinY0 <= int(y_min) < int(y_max) <= region.RegionLocationMaxY1 + 1
        assert 0 <= int(frame) < (VIEWS if make.multi_frame else 1)


def test_identity_is_present_as_in_a_hospital(tmp_path: Path) -> None:
    (dataset, *_), _ = files(MAKES[3], tmp_path)
    patient = HOSPITALS[0].patient(0)
    assert str(dataset.PatientName) == patient.name
    assert "^" in patient.name
    assert dataset.PatientID == patient.patient_id
    born, studied = int(patient.birth_date), int(patient.study_date)
    assert (studied - born) // 10000 == patient.findings.age_years
    assert dataset.PatientBirthDate == patient.birth_date
