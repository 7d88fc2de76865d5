"""Nodules under 1 cm: patients as in Khalili 2020, files that a hospital reads, masks that agree with the table."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from sklearn.metrics import roc_auc_score

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.site import load_site
from fl_liver.study_files import load_study
from simulation.phantom.ct_nodules import NodulePatient, malignancy_log_odds
from simulation.phantom.nodule_ct import CLINICAL_COLUMNS, hospitals
from simulation.phantom.write import write_hospitals
from tests.simulation.phantom_reading import fingerprint

STUDY = load_study("nodule_ct")


@pytest.fixture(scope="module")
def patients() -> list[NodulePatient]:
    """About 3000, as many of each training hospital."""
    return [one.patient(i) for seed in (1, 2, 3) for one in hospitals(seed, 8, 0) for i in range(125)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Cohort]]:
    """A multi-frame hospital and an external one of 12 patients each."""
    root = tmp_path_factory.mktemp("nodules")
    rooms = [one for one in hospitals(2020, 8, 2, scale=0.01) if one.name in ("H02", "H09")]
    write_hospitals(rooms, root)
    return root, {one.name: load_cohort(load_site(root / one.name / "site.toml"), STUDY) for one in rooms}


def test_patients_and_nodules_are_as_many_as_in_the_paper(patients: list[NodulePatient]) -> None:
    """Table 3: 2.75 nodules a patient, 34 % (training) and 40 % (test) of them malignant, age 62, 1.18 men a woman."""
    nodules = [nodule for patient in patients for nodule in patient.nodules]
    assert len(nodules) / len(patients) == pytest.approx(2.75, abs=0.2)
    assert 0.33 < np.mean([nodule.malignant for nodule in nodules]) < 0.45
    assert np.mean([patient.age_years for patient in patients]) == pytest.approx(62, abs=2)
    assert np.mean([patient.male for patient in patients]) == pytest.approx(1.18 / 2.18, abs=0.06)
    assert all(1 <= len(patient.nodules) <= 5 for patient in patients)
    assert max(nodule.size_mm for nodule in nodules) < 10


def test_larger_metastases_go_with_malignant_nodules_as_in_the_paper(patients: list[NodulePatient]) -> None:
    """Odds ratio 83.4 [17.7, 393.1] a nodule; in 24 % of patients, extra-hepatic metastasis in 12 %."""
    pairs = Counter((p.liver_metastasis, n.malignant) for p in patients for n in p.nodules)
    ratio = pairs[True, True] * pairs[False, False] / (pairs[True, False] * pairs[False, True])
    assert 17.7 < ratio < 150
    assert np.mean([p.liver_metastasis for p in patients]) == pytest.approx(0.24, abs=0.04)
    assert np.mean([p.extrahepatic_metastasis for p in patients]) == pytest.approx(0.12, abs=0.03)


def test_extrahepatic_metastases_tell_nothing_beside_the_liver_s(patients: list[NodulePatient]) -> None:
    """In the paper 0.48 [0.09, 2.68]: dropped."""
    for liver in (True, False):
        pairs = Counter((p.extrahepatic_metastasis, p.malignant) for p in patients if p.liver_metastasis == liver)
        odds = [pairs[one, True] / (pairs[one, False] + 1) for one in (True, False)]
        assert 0.4 < odds[0] / odds[1] < 2.5


def test_malignant_nodules_are_larger_denser_and_less_sharp(patients: list[NodulePatient]) -> None:
    """Figure 3, in which all four differ."""
    nodules = [nodule for patient in patients for nodule in patient.nodules]
    malignant = [nodule.malignant for nodule in nodules]
    for value in ("size_mm", "plain_hu", "uptake_hu", "margin_mm", "irregularity"):
        assert 0.6 < roc_auc_score(malignant, [getattr(nodule, value) for nodule in nodules]) < 0.93, value


def test_an_ideal_observer_tells_most_but_the_looks_overlap(patients: list[NodulePatient]) -> None:
    units = [(malignancy_log_odds(n, p), n.malignant) for p in patients for n in p.nodules]
    evidence, malignant = zip(*units, strict=True)
    assert 0.96 < roc_auc_score(malignant, evidence) < 0.998
    assert {n.kind for p in patients for n in p.nodules} == {"cyst", "hemangioma", "other_benign", "metastasis"}


def test_hospitals_read_without_anybody_left_out(written: tuple[Path, dict[str, Cohort]]) -> None:
    for cohort in written[1].values():
        assert [one.code for one in cohort.findings if one.severity != "W"] == []


def test_every_row_is_a_label_of_the_mask_and_every_nodule_has_sections(
    written: tuple[Path, dict[str, Cohort]],
) -> None:
    root, cohorts = written
    for name, cohort in cohorts.items():
        with (root / name / "clinical.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == CLINICAL_COLUMNS
        assert len(cohort.label) == len(rows)
        assert sorted(set(cohort.owner.tolist())) == list(range(len(rows)))
        for patient in {row["patient_id"] for row in rows}:
            mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(root / name / "masks" / f"{patient}.nii.gz")))
            labels = [int(row["lesion"]) for row in rows if row["patient_id"] == patient]
            assert sorted(set(mask.ravel().tolist()) - {0}) == labels
        assert cohort.label.sum() == sum(int(row["malignant"]) for row in rows)


def test_nodules_are_darker_than_the_liver_round_them(written: tuple[Path, dict[str, Cohort]]) -> None:
    """Hypoattenuating: 20 to 80 HU below the rim of the patches, on average; vessels and noise are in single ones."""
    assert STUDY.cohort.window_hu is not None
    low_hu, high_hu = STUDY.cohort.window_hu
    for cohort in written[1].values():
        patches = cohort.images["lesion"].astype(float)
        assert patches.shape[1:] == (32, 32)
        darker = patches[:, :, :5].mean() - patches[:, 14:18, 14:18].mean()
        assert 20 < darker * (high_hu - low_hu) < 80


def test_one_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    hospital = hospitals(7, 8, 2)[0]
    first, again = (hospital.write_patient(3, tmp_path / folder) for folder in "ab")
    assert first == again
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert len(first.rows["clinical.csv"]) == len(first.units) == len(hospital.patient(3).nodules)
