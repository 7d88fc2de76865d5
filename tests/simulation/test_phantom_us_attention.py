"""The ultrasound hospitals of `lesion_us_attention`: who is there, what a whole scan shows, that a site can read it."""

from __future__ import annotations

import functools
import hashlib
import math
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.site import load_site
from fl_liver.errors import ConfigError
from fl_liver.study_files import load_study
from simulation.phantom.lesion_us_attention import (
    CLASS_COUNTS,
    CLINICAL_COLUMNS,
    SEVERAL,
    WholeScanHospital,
    hospitals,
    lesions_of,
)
from simulation.phantom.patients import NO_LESION, Lesion, Patient
from simulation.phantom.subtypes import LOOKS, Subtype
from simulation.phantom.ultrasound import Exam, field_of_view
from simulation.phantom.ultrasound_whole import Spot, WholeView, draw_whole_view, vessel_section
from simulation.phantom.write import write_hospitals

DEFAULT = hospitals(2020, 7, 2)
QUIET = replace(DEFAULT[0].scanner, looks=40, noise=0.0, smoothing_px=0.5, tgc_db_per_mm=0.0, gamma=1.0, gain_db=0.0)
"""Little speckle, so that single scans show what was planted."""
EXAM = Exam(pixel_mm=0.8, second_machine=False)


@functools.cache
def crowd() -> tuple[Patient, ...]:
    """4,000 patients of 100 hospitals, so that no single case mix decides."""
    return tuple(hospital.patient(index) for hospital in hospitals(11, 100, 0) for index in range(40))


def first_of(subtype: Subtype) -> Patient:
    return next(patient for patient in crowd() if patient.subtype == subtype)


def planted(subtype: Subtype, number: int = 0, **latents: float) -> WholeView:
    """One lesion of 30 mm in a quiet scan, on a liver that is neither fatty nor coarse."""
    patient = replace(first_of(subtype), background="normal")
    lesion: Lesion = replace(patient.lesion, size_mm=30.0, halo=False, **latents)
    return draw_whole_view(patient, (lesion,), QUIET, EXAM, number)


def test_classes_come_as_the_square_roots_of_table_1() -> None:
    assert sum(CLASS_COUNTS.values()) == 367
    roots = {subtype: math.sqrt(count) for subtype, count in CLASS_COUNTS.items()}
    found = Counter(patient.subtype for patient in crowd())
    for subtype, root in roots.items():
        assert found[subtype] / len(crowd()) == pytest.approx(root / sum(roots.values()), abs=0.03)


def test_lesion_free_patients_have_no_lesion_and_metastases_come_in_numbers() -> None:
    several: dict[Subtype, list[bool]] = {subtype: [] for subtype in CLASS_COUNTS}
    for patient in crowd():
        lesions = lesions_of(patient)
        assert (patient.subtype == "none") == (not lesions) == (patient.lesion == NO_LESION)
        several[patient.subtype].append(len(lesions) > 1)
        assert all(lesion.size_mm <= patient.lesion.size_mm for lesion in lesions)
    for subtype, found in several.items():
        assert np.mean(found) == pytest.approx(SEVERAL.get(subtype, 0.0), abs=0.07)


def test_a_box_is_drawn_round_each_lesion_and_nothing_else() -> None:
    for patient in crowd()[:40]:
        lesions = lesions_of(patient)
        view = draw_whole_view(patient, lesions, DEFAULT[0].scanner, DEFAULT[0].plan(patient), 0)
        assert [kind for kind, _ in view.boxes] == ["lesion"] * len(lesions)
        boxed = np.zeros_like(view.lesion_mask)
        for _, box in view.boxes:
            boxed[box.y_min_px : box.y_max_px, box.x_min_px : box.x_max_px] = True
        assert (boxed & view.lesion_mask).sum() >= 0.7 * view.lesion_mask.sum()
        assert not (view.grey[~field_of_view(DEFAULT[0].scanner.curvature_px)]).any()


def test_an_angioma_is_brighter_than_the_liver_and_a_cyst_black() -> None:
    brightness = {}
    echo_db: dict[Subtype, float] = {"hemangioma": 5.5, "fnh": 0.0, "cyst": -13.0}
    for subtype, level in echo_db.items():
        view = planted(subtype, echo_db=level)
        brightness[subtype] = float(np.median(view.grey[view.lesion_mask]))
    assert brightness["cyst"] < 0.7 * brightness["fnh"] < brightness["fnh"] < brightness["hemangioma"] / 1.05


def test_the_liver_is_brighter_behind_a_cyst() -> None:
    """By what tells it from a vessel: against the same pictures without the enhancement."""
    field, gained = field_of_view(QUIET.curvature_px), []
    for number in range(8):
        bright, plain = (planted("cyst", number, posterior_db=db) for db in (5.0, 0.0))
        rows, columns = np.nonzero(bright.lesion_mask)
        middle, last = int(columns.mean()), int(rows.max())
        behind = (slice(last + 6, last + 16), slice(middle - 5, middle + 5))
        if field[behind].sum() > 50:
            gained.append(bright.grey[behind][field[behind]].mean() - plain.grey[behind][field[behind]].mean())
    assert np.mean(gained) > 5


def test_vessels_are_as_black_and_round_as_cysts_but_nothing_is_brighter_behind_them() -> None:
    """The paper's false positives; half have the bright wall of a portal branch."""
    cyst_db, walls = LOOKS["cyst"].echo_db[0], []
    for seed in range(100):
        echo_db = vessel_section(np.random.default_rng(seed), Spot(64, 96, 8), pixel_mm=0.8)
        assert echo_db[64, 96] == pytest.approx(cyst_db, abs=2)
        assert np.abs(echo_db[64 + 20 :]).max() < 0.1
        walls.append(echo_db.max() > 2)
    assert np.mean(walls) == pytest.approx(0.5, abs=0.15)


def test_a_scan_without_a_lesion_shows_such_vessels() -> None:
    """Something dark to be read as a cyst, in most of its views."""
    patient, inside = replace(first_of("none"), background="normal"), field_of_view(QUIET.curvature_px)
    scans = [draw_whole_view(patient, (), QUIET, EXAM, number) for number in range(12)]
    assert all(not view.boxes and not view.lesion_mask.any() for view in scans)
    dark = [((view.grey < 0.6 * np.median(view.grey[inside])) & inside).sum() for view in scans]
    assert np.median(dark) > 40


def test_which_machine_patients_with_a_lesion_go_to_turns_round_from_hospital_to_hospital() -> None:
    for hospital in DEFAULT:
        people = [hospital.patient(index) for index in range(200)]
        second = np.array([hospital.plan(patient).second_machine for patient in people])
        lesion = np.array([patient.subtype != "none" for patient in people])
        assert second[lesion].mean() - second[~lesion].mean() == pytest.approx(hospital.scanner.confounding, abs=0.2)
    signs = [np.sign(hospital.scanner.confounding) for hospital in DEFAULT]
    assert {1, -1} <= set(signs[:7])
    assert signs[7:] == [0, 0]


def test_external_scanners_lie_outside_every_training_range() -> None:
    *train, smooth, coarse = (hospital.scanner for hospital in hospitals(5, 60, 2))
    assert smooth.smoothing_px > max(scanner.smoothing_px for scanner in train)
    assert coarse.looks < min(scanner.looks for scanner in train)


def test_a_hospital_does_not_depend_on_those_after_it_and_small_ones_keep_twelve_patients() -> None:
    assert hospitals(3, 9, 0) == hospitals(3, 30, 0)[:9]
    assert {one.patients for one in hospitals(3, 9, 2, scale=0.01)} == {12}
    with pytest.raises(ConfigError, match="scale is -1"):
        hospitals(3, 9, 2, scale=-1)


def bytes_of(hospital: WholeScanHospital, index: int, folder: Path) -> str:
    hospital.write_patient(index, folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(path.name).encode() + path.read_bytes() for path in paths)).hexdigest()


def test_a_patient_is_the_same_bytes_again_in_another_process(tmp_path: Path) -> None:
    """A worker gets a pickled hospital."""
    again: WholeScanHospital = pickle.loads(pickle.dumps(DEFAULT[0]))  # noqa: S301 - our own bytes
    first = bytes_of(DEFAULT[0], 1, tmp_path / "a")
    assert bytes_of(again, 1, tmp_path / "b") == first
    assert bytes_of(DEFAULT[0], 2, tmp_path / "c") != first


def test_a_site_reads_every_patient_and_masks_say_who_has_a_lesion(tmp_path: Path) -> None:
    study = load_study("lesion_us_attention")
    some = [replace(DEFAULT[place], patients=8) for place in (0, 3, 8)]
    write_hospitals(some, tmp_path)
    for hospital in some:
        cohort = load_cohort(load_site(tmp_path / hospital.name / "site.toml"), study)
        assert [one for one in cohort.findings if one.severity == "E"] == []
        assert len(cohort.patients) == 8
        drawn = cohort.images["mask"].reshape(len(cohort.owner), -1).any(axis=1)
        assert np.array_equal(drawn, cohort.label[cohort.owner] != list(study.task.classes).index("none"))
        header = (tmp_path / hospital.name / "clinical.csv").read_text().splitlines()[0]
        assert header.split(",") == list(CLINICAL_COLUMNS)
