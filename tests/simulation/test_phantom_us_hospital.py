"""The hospitals of `lesion_us_fusion` as virtual hospitals: their patients are those of earlier versions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from sklearn.metrics import roc_auc_score

from simulation.phantom.hospitals import Hospital, phantom_hospitals
from simulation.phantom.ultrasound_evidence import malignancy_log_odds
from simulation.phantom.virtual import VirtualHospital

WRITTEN = {
    "H01": ("0b43099a4b37c427", 143488, 9933228, 476742705),
    "H02": ("399a59af0de2d0b8", 390720, 42355911, 2036141207),
    "H03": ("19fa1a95b9d0e471", 143488, 15245768, 731496998),
}
"""Of patient 1 of each hospital of seed 7, at b1a8d90 (before cysts and lesion-free patients were drawn): SHA-256 of
the tables' rows; number of pixels, their sum, and their sum weighted by place mod 97."""


@pytest.mark.parametrize("hospital", phantom_hospitals(7, 2, 1, scale=0.01), ids=lambda one: one.name)
def test_patients_are_those_of_earlier_versions(hospital: Hospital, tmp_path: Path) -> None:
    """Pixels within what another processor's rounding may change; the tables exactly."""
    written: VirtualHospital = hospital
    rows = written.write_patient(1, tmp_path).rows
    files = sorted((tmp_path / "dicom").rglob("*.dcm"))
    pixels = np.concatenate([pydicom.dcmread(path).pixel_array.ravel() for path in files]).astype(np.int64)
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]
    wanted = WRITTEN[hospital.name]
    assert (digest, pixels.size) == wanted[:2]
    assert pixels.sum() == pytest.approx(wanted[2], rel=1e-5)
    assert (pixels * (np.arange(pixels.size) % 97)).sum() == pytest.approx(wanted[3], rel=1e-5)


def test_the_ideal_observer_is_as_good_as_the_latents_allow() -> None:
    """0.988 by gradient boosting on the latents of such patients; Bayes' rule is 0.987 here."""
    people = [hospital.patient(index) for hospital in phantom_hospitals(3, 40, 0) for index in range(40)]
    odds = [malignancy_log_odds(patient.lesion) for patient in people]
    assert roc_auc_score([patient.malignant for patient in people], odds) == pytest.approx(0.987, abs=0.006)


def test_evidence_and_tables_come_with_each_patient(tmp_path: Path) -> None:
    hospital = phantom_hospitals(7, 1, 0, scale=0.01)[0]
    found = hospital.write_patient(0, tmp_path)
    assert [unit.evidence for unit in found.units] == [malignancy_log_odds(hospital.patient(0).lesion)]
    for table, header in hospital.tables.items():
        assert all(len(row) == len(header) for row in found.rows[table])
    assert json.dumps(hospital.parameters())
