"""Virtual hospitals: a case mix shared by all modalities, and the scanner of one modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulation.phantom.clinical import CLINICAL_COLUMNS, clinical_row
from simulation.phantom.ct_mri_reports import CT_MRI
from simulation.phantom.patients import CaseMix, Patient, draw_patient
from simulation.phantom.places import CASES, SCANNER, Place, places
from simulation.phantom.scanners import MAKES, UltrasoundScanner, draw_scanner, outside_the_hull
from simulation.phantom.ultrasound_evidence import malignancy_log_odds
from simulation.phantom.ultrasound_files import LESION_COLUMNS, write_ultrasound
from simulation.phantom.virtual import PatientRows, PhantomHospital, Unit

TRAIN_SIZES = (120, 96, 84, 72, 64, 56, 48, 44, 40, 36, 32)
EXTERNAL_SIZES = (110, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital(PhantomHospital[UltrasoundScanner]):
    """One hospital with known truth; a `virtual.VirtualHospital`."""

    opinions = (CT_MRI,)

    cases: CaseMix

    def patient(self, index: int) -> Patient:
        """Patient `index`, 0 ≤ index < cases.patients (more may be drawn for a check of distributions)."""
        return draw_patient(self.cases, self.name, self.seed, index)

    @property
    def patients(self) -> int:
        return self.cases.patients

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {"clinical.csv": CLINICAL_COLUMNS, "lesions.csv": LESION_COLUMNS}

    def write_patient(self, index: int, folder: Path) -> PatientRows:
        patient = self.patient(index)
        images = folder / "dicom" / patient.patient_id
        images.mkdir(parents=True)
        boxes = write_ultrasound(patient, self.name, self.scanner, images)
        rows = {"clinical.csv": [clinical_row(patient)], "lesions.csv": boxes}
        return PatientRows(patient.patient_id, rows, (Unit(malignancy_log_odds(patient.lesion), patient.subtype),))


def phantom_hospitals(seed: int, train: int = 11, external: int = 2, *, scale: float = 1.0) -> tuple[Hospital, ...]:
    """Training hospitals H01, H02, …, then the external ones.

    The default is the layout of Yang et al. (2020): 692 patients in 11 hospitals and 200 in two others. Arguments and
    errors are those of `places.places`.
    """
    return tuple(_hospital(place) for place in places(seed, train, external, scale, (TRAIN_SIZES, EXTERNAL_SIZES)))


def _hospital(place: Place) -> Hospital:
    scanner = draw_scanner(place.random(SCANNER), place.make_of(MAKES), sign=place.sign)
    return Hospital(
        name=place.name,
        external=place.external,
        seed=place.patient_seed,
        cases=_case_mix(place.random(CASES), place.patients),
        scanner=outside_the_hull(scanner, place.beyond % 2) if place.external else scanner,
    )


def _case_mix(random: np.random.Generator, patients: int) -> CaseMix:
    return CaseMix(
        patients=patients,
        prevalence=float(random.uniform(0.35, 0.80)),
        benign_mix=tuple(float(share) for share in random.dirichlet((4, 3, 3))),
        malignant_mix=tuple(float(share) for share in random.dirichlet((6, 3, 1.5))),
        log_size_shift=float(random.uniform(-0.25, 0.25)),
    )
