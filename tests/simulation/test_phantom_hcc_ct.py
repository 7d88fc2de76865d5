"""HCC and its mimics: pathology as in Wang 2021, phases that enhance as the table says, files that a hospital reads."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.series.series import Series
from fl_liver.client.cohort.series.volume import read_volume
from fl_liver.client.site import load_site
from fl_liver.study_files import load_study
from simulation.phantom.anatomy import Tissue
from simulation.phantom.body import FIRST_LESION, sections
from simulation.phantom.ct import TISSUE_HU
from simulation.phantom.ct_enhancement import hu_at
from simulation.phantom.ct_liver_patients import NOTHING_SEEN, LiverPatient, hcc_log_odds
from simulation.phantom.ct_people import ct_person
from simulation.phantom.hcc_ct import NODULARITY_HU, breath_mm, hospitals, make_nodular
from simulation.phantom.volumes import add_lesion, body_grid, draw_person, moved
from simulation.phantom.write import write_hospitals
from tests.simulation.phantom_reading import checked, errors, fingerprint

STUDY = load_study("hcc_ct")


@pytest.fixture(scope="module")
def patients() -> list[LiverPatient]:
    """About 3000, as many of each training hospital."""
    return [one.patient(i) for seed in (1, 2, 3) for one in hospitals(seed, 8, 0) for i in range(125)]


@pytest.fixture(scope="module")
def carcinomas(patients: list[LiverPatient]) -> list[LiverPatient]:
    return [one for one in patients if one.hcc]


def arterial(some: list[LiverPatient]) -> float:
    return float(np.mean([one.contrast_hu[1] for one in some]))


def test_people_are_those_of_the_paper(patients: list[LiverPatient], carcinomas: list[LiverPatient]) -> None:
    """Table 1: 77 % men with HCC and about 40 % without, age 56 and 53; half of the test sets have HCC."""
    others = [one for one in patients if not one.hcc]
    assert len(carcinomas) / len(patients) == pytest.approx(0.475, abs=0.06)
    for group, men, age in ((carcinomas, 0.77, 57), (others, 0.40, 54)):
        assert np.mean([one.male for one in group]) == pytest.approx(men, abs=0.05)
        assert np.mean([one.age_years for one in group]) == pytest.approx(age, abs=1.5)
    assert {one.diagnosis for one in others} == {
        "metastasis", "hemangioma", "fnh", "cyst", "cholangiocarcinoma", "none"
    }  # fmt: skip


def test_pathology_is_that_of_an_hcc_and_stages_follow_from_it(
    patients: list[LiverPatient], carcinomas: list[LiverPatient]
) -> None:
    """AJCC, 7th edition: a solitary tumour without invasion is I, several over 5 cm at least III."""
    for one in carcinomas:
        assert one.stage is not None
        assert one.grade in (1, 2, 3)
        if one.stage == "I":
            assert len(one.sizes_mm) == 1
            assert one.vascular_invasion is False
        if len(one.sizes_mm) > 1 and one.sizes_mm[0] > 50:
            assert one.stage in ("III", "IV")
    others = [(one.stage, one.grade, one.vascular_invasion) for one in patients if not one.hcc]
    assert set(others) == {(None, None, None)}
    assert 0.05 < np.mean([one.stage in ("III", "IV") for one in carcinomas]) < 0.3
    assert np.mean([one.fibrosis >= 3 for one in carcinomas]) == pytest.approx(0.65, abs=0.06)
    assert np.mean([one.afp_ng_ml > 200 for one in carcinomas if not math.isnan(one.afp_ng_ml)]) > 0.25


def test_several_and_fibrosis_make_an_hcc_conspicuous_and_stage_and_size_do_not(carcinomas: list[LiverPatient]) -> None:
    """What the paper's score follows: number (p .006) and fibrosis (p < .001), hardly size (p .06)."""
    simple = [one for one in carcinomas if len(one.sizes_mm) == 1 and one.fibrosis <= 2]
    several = [one for one in carcinomas if len(one.sizes_mm) > 1 and one.fibrosis <= 2]
    fibrotic = [one for one in carcinomas if len(one.sizes_mm) == 1 and one.fibrosis >= 3]
    assert arterial(several) > 1.15 * arterial(simple)
    assert arterial(fibrotic) > 1.15 * arterial(simple)
    large = [one for one in simple if one.sizes_mm[0] > 50]
    assert arterial(large) == pytest.approx(arterial(simple), rel=0.15)


def test_an_ideal_observer_tells_most_but_one_lesion_in_five_is_atypical(patients: list[LiverPatient]) -> None:
    seen = [one for one in patients[::4] if one.diagnosis != "none"]
    assert 0.93 < roc_auc_score([one.hcc for one in seen], [hcc_log_odds(one) for one in seen]) < 0.995
    assert {hcc_log_odds(one) for one in patients if one.diagnosis == "none"} == {NOTHING_SEEN}


def test_lesions_of_one_diagnosis_vary(carcinomas: list[LiverPatient]) -> None:
    spread = np.std([one.contrast_hu for one in carcinomas], axis=0)
    assert (spread[1:] > 8).all()


@pytest.fixture(scope="module")
def hospital_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H02 of seed 2020 with 12 patients."""
    root = tmp_path_factory.mktemp("livers")
    write_hospitals([hospitals(2020, 8, 2, scale=0.01)[1]], root)
    return root / "H02"


def test_a_hospital_reads_everybody_whom_the_study_asks_about(hospital_folder: Path) -> None:
    cohort = load_cohort(load_site(hospital_folder / "site.toml"), STUDY)
    assert [one.code for one in cohort.findings if one.severity != "W"] == []
    with (hospital_folder / "clinical.csv").open() as file:
        rows = list(csv.DictReader(file))
    asked = [row for row in rows if row["hcc"] != "healthy"]
    assert len(cohort.label) == len(asked)
    assert cohort.label.sum() == sum(row["hcc"] == "1" for row in rows)
    assert cohort.images["lesion"].shape[1:] == (3, 64, 64)
    visible = cohort.images["mask"].any(axis=(1, 2))
    assert 0.4 < visible.mean() < 0.9, "slices with and without a lesion"
    drawn = {path.name.removesuffix(".nii.gz") for path in (hospital_folder / "masks").iterdir()}
    assert drawn == {row["patient_id"] for row in asked}
    assert all(bool(row["tnm_stage"]) == (row["hcc"] == "1") for row in rows)


def test_liver_and_aorta_have_the_hounsfield_units_of_room_and_time(tmp_path: Path) -> None:
    """Curve at the room's delay × its iodine × the person's ± 10 %, plus the calibration's error."""
    hospital = hospitals(2020, 8, 2)[3]
    person = hospital.write_patient(0, tmp_path).patient_id
    report, room = checked(tmp_path), hospital.scanner
    assert errors(report) == []
    assert len(report.series) == 3
    header = pydicom.dcmread(next((tmp_path / "dicom" / person).iterdir()), stop_before_pixels=True)
    assert header.Manufacturer == room.make.manufacturer
    factors = []
    for series in report.series:
        assert series.guess is not None
        number = ("arterial", "portal", "delayed").index(str(series.guess.kind))
        hu = read_volume(series).values
        middle = hu[hu.shape[0] // 2]
        liver = np.median(middle[(middle > 60) & (middle < 220)]) - room.offset_hu
        wanted = hu_at(TISSUE_HU[Tissue.LIVER], room.delays_s[number])
        factors.append((liver - 58) / (wanted - 58) / room.iodine)
    assert factors[1] == pytest.approx(1, abs=0.35)
    assert factors[2] == pytest.approx(factors[1], rel=0.15)


def test_another_breath_hold_moves_the_whole_body() -> None:
    """What is drawn in one place is found in the other, with the anatomy and the lesion in it."""
    random = np.random.default_rng(3)
    body = add_lesion(random, draw_person(random), "cyst", 20, aspect=1.1, irregularity=0.05)
    grid = body_grid(body, pixel_mm=3, columns=64, gap_mm=3, slices=50)
    here, there = (sections(one, grid)[:, 0] for one in (body, moved(body, (0.0, 0.0, 6.0))))
    assert (here >= FIRST_LESION).sum() > 50
    assert np.array_equal(here[4:-4], there[6:-2])
    assert not np.array_equal(here, there)


def off_mm(folder: Path, patient_id: str, series: Series) -> NDArray[np.float64]:
    """Up and back: how far what is as dark as water lies from where the mask says that the cyst is."""
    volume = read_volume(series)
    drawn = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "masks" / f"{patient_id}.nii.gz"))) == 1
    dark = ndimage.binary_dilation(drawn, iterations=4) & (ndimage.gaussian_filter(volume.values, 0.7) < 40)
    pieces, _ = ndimage.label(dark)
    middle = pieces == np.bincount(pieces[drawn & dark]).argmax()
    apart = np.subtract(ndimage.center_of_mass(middle), ndimage.center_of_mass(drawn)) * volume.grid.spacing_mm
    return np.asarray(apart[:2])


def test_lesions_lie_on_the_portal_venous_phase_and_breath_moves_the_others(tmp_path: Path) -> None:
    """Cysts, seen by their attenuation alone, are found where the breath-hold has put them, to a third of a slice."""
    hospital = hospitals(2020, 8, 2)[0]
    moved_mm = []
    for index in (65, 313, 377, 384):
        patient, folder = hospital.patient(index), tmp_path / str(index)
        assert (patient.diagnosis, len(patient.sizes_mm)) == ("cyst", 1)
        person = ct_person(hospital.name, hospital.seed, index, age_years=patient.age_years, male=patient.male)
        written = hospital.write_patient(index, folder).patient_id
        for series in checked(folder).series:
            assert series.guess is not None
            assert series.guess.kind is not None
            _, back, up = breath_mm(person, series.guess.kind)
            assert off_mm(folder, written, series) == pytest.approx(
                [up, back], abs=hospital.scanner.optics.gap_mm / 3
            ), series.guess.kind
            moved_mm.append(abs(up))
    assert sum(one == 0 for one in moved_mm) == 4
    assert max(moved_mm) > 5


def test_fibrosis_is_seen_in_the_liver_and_nowhere_else() -> None:
    """Cirrhosis is coarse: the standard deviation of the texture is that of its stage."""
    body = draw_person(np.random.default_rng(3))
    grid = body_grid(body, pixel_mm=2, columns=64, gap_mm=6, slices=3, shift_mm=(-69.0, -3.0, 0.0))
    labels = sections(body, grid)
    liver = (labels == Tissue.LIVER).all(axis=1)
    for fibrosis in range(5):
        hu = np.full(grid.shape, 100, np.float32)
        make_nodular(hu, labels, grid, np.random.default_rng(1), fibrosis)
        assert hu[liver].std() == pytest.approx(NODULARITY_HU[fibrosis], rel=0.15)
        assert (hu[(labels != Tissue.LIVER).all(axis=1)] == 100).all()


def test_healthy_livers_have_images_a_code_of_their_own_and_no_mask(tmp_path: Path) -> None:
    hospital = hospitals(2020, 8, 2)[0]
    index = next(i for i in range(400) if hospital.patient(i).diagnosis == "none")
    rows = hospital.write_patient(index, tmp_path).rows["clinical.csv"]
    assert rows[0][1:3] == ["healthy", "none"]
    assert "healthy" in STUDY.task.not_asked
    assert list((tmp_path / "dicom").iterdir())
    assert not (tmp_path / "masks").exists()


def test_one_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    hospital = hospitals(7, 8, 2)[0]
    first, again = (hospital.write_patient(1, tmp_path / folder) for folder in "ab")
    assert first == again
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
