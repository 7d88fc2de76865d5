"""CT rooms of virtual hospitals: they differ, external ones lie beyond the others, and each has its own shortcut."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType

import numpy as np
import pytest

from fl_liver.client.cohort.series.contrast import phase_at
from fl_liver.client.cohort.series.grid import Grid
from simulation.phantom import hcc_ct, nodule_ct
from simulation.phantom.ct_enhancement import PLAIN_S, hu_at
from simulation.phantom.ct_hospitals import ct_rooms, has_disease
from simulation.phantom.ct_people import ct_person
from simulation.phantom.ct_scan import add_soft_lesion, scanned
from simulation.phantom.ct_scanners import CtOptics, CtScanner
from simulation.phantom.lesion import SolidLesion

SIZES = ((30, 20), (40,))
OPTICS = CtOptics(pixel_mm=1.0, thickness_mm=2.0, gap_share=1.0, blur_mm=0.8, noise_hu=10.0, grain_mm=1.0)
GRID = Grid((9, 64, 64), (0, 0, 0), (0, 0, 2), (0, 1, 0), (1, 0, 0))


def room(**changes: float) -> CtScanner:
    optics = CtOptics(**{one.name: changes.get(one.name, getattr(OPTICS, one.name)) for one in fields(CtOptics)})
    return CtScanner(
        maker="ge", enhanced=False, kvp=120, tube_ma=200, iodine=1.0, optics=optics, offset_hu=changes.get("offset", 0),
        delays_s=(35, 70, 180), confounding=changes.get("confounding", 0.8),
    )  # fmt: skip


@pytest.mark.parametrize("study", [nodule_ct, hcc_ct])
def test_external_hospitals_lie_outside_the_hull_of_the_training_ones(study: ModuleType) -> None:
    for seed in range(5):
        rooms = study.hospitals(seed, 8, 2)
        train = [one.scanner for one in rooms if not one.external]
        for one in rooms[8:]:
            values = ("iodine", "offset_hu", "kvp")
            for name in values:
                others = [getattr(other, name) for other in train]
                found = getattr(one.scanner, name)
                assert found < min(others) or found > max(others) or (name, found) == ("kvp", 140), (seed, name)
            for name in ("blur_mm", "grain_mm", "noise_hu", "pixel_mm"):
                others = [getattr(other.optics, name) for other in train]
                assert not min(others) <= getattr(one.scanner.optics, name) <= max(others), (seed, name)
            assert one.scanner.confounding == 0


@pytest.mark.parametrize("study", [nodule_ct, hcc_ct])
def test_training_hospitals_differ_and_their_shortcuts_point_both_ways(study: ModuleType) -> None:
    rooms = [one.scanner for one in study.hospitals(2020, 8, 2)[:8]]
    assert len({one.maker for one in rooms}) == 4
    assert len({one.optics for one in rooms}) == 8
    assert sorted(np.sign([one.confounding for one in rooms])) == [-1] * 4 + [1] * 4
    assert {one.enhanced for one in rooms} == {True, False}


def test_the_sick_get_the_low_dose_protocol_as_often_as_the_confounding_says() -> None:
    """Chance ½ + c/2 for the sick and ½ − c/2 for others; c = 0.8: 90 % and 10 %."""
    shares = {}
    for disease in (True, False):
        used = [room().used_for(ct_person("H01", 5, i, age_years=60, male=True), disease=disease) for i in range(400)]
        shares[disease] = np.mean([one.sharp for one in used])
        sharp = [one for one in used if one.sharp]
        assert all(one.optics.blur_mm < OPTICS.blur_mm and one.tube_ma < 200 for one in sharp)
        assert sharp[0].make.kernel == ("DETAIL",)
    assert shares[True] == pytest.approx(0.9, abs=0.05)
    assert shares[False] == pytest.approx(0.1, abs=0.05)


def test_every_delay_is_in_the_window_of_its_phase() -> None:
    """Readers tell phases by their time: a study whose phases nobody recognises would lose the hospital."""
    for seed in range(6):
        for one in hcc_ct.hospitals(seed, 8, 2):
            assert [phase_at(delay) for delay in one.scanner.delays_s] == ["arterial", "portal", "late"]


def test_enhancement_follows_time_and_iodine() -> None:
    """Between two knots of the curve halfway; before the bolus nothing; iodine scales what was added."""
    liver = (58, 70, 112, 96)
    assert hu_at(liver, 52.5) == pytest.approx(91)
    assert hu_at(liver, PLAIN_S, iodine=3) == 58
    assert hu_at(liver, 70, iodine=0.5) == pytest.approx(58 + 27)
    assert hu_at(liver, 500) == 96


def test_noise_has_the_stated_strength_and_the_image_the_stated_offset() -> None:
    flat = np.full(GRID.shape, 100, np.float32)
    for grain in (0.3, 1.0, 2.0):
        image = scanned(flat, GRID, room(grain_mm=grain, offset=-7), np.random.default_rng(1))
        assert image.mean() == pytest.approx(93, abs=2)
        assert image.std() == pytest.approx(10, rel=0.08)


def test_the_point_spread_function_keeps_what_there_is_and_widens_it() -> None:
    """A point of 10000 HU in water becomes a Gaussian: its sum stays, its height is 1/(2πσ²) of it, σ in pixels."""
    point = np.zeros(GRID.shape, np.float32)
    point[4, 32, 32] = 10000
    image = scanned(point, GRID, room(noise_hu=0.0, blur_mm=1.2), np.random.default_rng(1))[4]
    assert image.sum() == pytest.approx(10000, rel=0.01)
    assert image.max() == pytest.approx(10000 / (2 * np.pi * 1.2**2), rel=0.02)


def test_a_soft_lesion_has_its_hounsfield_units_within_and_its_volume_in_all() -> None:
    """A ball of 8 mm in liver of 110 HU: 40 HU in the middle; what is missing in all is volume × contrast."""
    hu = np.full(GRID.shape, 110, np.float32)
    ball = SolidLesion(centre_mm=(31, 30, 8), radii_mm=(6, 6, 6))
    add_soft_lesion(hu, GRID, 2.0, ball, inside_hu=40, margin_mm=0.4, rim_hu=0)
    assert hu[4, 30, 31] == pytest.approx(40, abs=0.5)
    missing = float((110 - hu).sum()) * GRID.voxel_mm3
    assert missing == pytest.approx(70 * ball.volume_mm3, rel=0.06)
    assert hu[4, 30, 50] == 110


def test_wide_margins_are_softer() -> None:
    steep = []
    for margin in (0.4, 2.5):
        hu = np.full(GRID.shape, 110, np.float32)
        ball = SolidLesion(centre_mm=(31, 30, 8), radii_mm=(6, 6, 6))
        add_soft_lesion(hu, GRID, 2.0, ball, inside_hu=40, margin_mm=margin, rim_hu=0)
        steep.append(np.abs(np.diff(hu[4, 30])).max())
    assert steep[0] > 2 * steep[1]


def test_rooms_depend_on_seed_and_number_alone_and_scale_multiplies_patients() -> None:
    few, many = (ct_rooms(3, 4, n, scale=1, sizes=SIZES, usual=nodule_ct.PROTOCOLS) for n in (1, 2))
    assert many[:5] == few
    assert [one.place.patients for one in many] == [30, 20, 30, 20, 40, 40]
    half = ct_rooms(3, 4, 1, scale=2, sizes=SIZES, usual=nodule_ct.PROTOCOLS)
    assert [one.place.patients for one in half] == [60, 40, 60, 40, 80]
    assert ct_rooms(4, 4, 1, scale=1, sizes=SIZES, usual=nodule_ct.PROTOCOLS)[0] != few[0]


def test_the_smallest_hospital_has_patients_of_both_kinds() -> None:
    for seed in range(30):
        assert 2 <= sum(has_disease(seed, index, 0.24) for index in range(12)) <= 4


def test_a_person_is_as_old_on_the_day_of_the_study_as_the_record_says() -> None:
    """By the calendar: a leap year in four is 22 days at 88, which would make some people 87."""
    for index in range(300):
        person = ct_person("H01", 9, index, age_years=88, male=index % 2 == 0)
        born, studied = (int(one) for one in (person.birth_date, person.study_date))
        assert (studied - born) // 10000 == person.findings.age_years == 88
        assert person.findings.male == (index % 2 == 0)
