"""Virtual hospitals: a case mix shared by all modalities, and the scanner of one modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fl_liver.errors import ConfigError
from simulation.phantom.clinical import CLINICAL_COLUMNS, clinical_row
from simulation.phantom.patients import CaseMix, Patient, draw_patient
from simulation.phantom.scanners import MAKES, UltrasoundMake, UltrasoundScanner, draw_scanner, outside_the_hull
from simulation.phantom.ultrasound_evidence import malignancy_log_odds
from simulation.phantom.ultrasound_files import LESION_COLUMNS, write_ultrasound
from simulation.phantom.virtual import PatientRows

TRAIN_SIZES = (120, 96, 84, 72, 64, 56, 48, 44, 40, 36, 32)
EXTERNAL_SIZES = (110, 90)
SMALLEST_HOSPITAL = 12
"""Patients left after scaling down; a site refuses to work with fewer than 10."""
MOST_HOSPITALS = 200

_CASES, _SCANNER, _PATIENTS, _MAKES = range(4)  # purposes of the random streams; append only


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """One hospital with known truth; a `virtual.VirtualHospital`."""

    name: str
    external: bool
    """Tests only; its scanner lies outside the range of the training hospitals."""
    seed: int
    """Start of the random streams of its patients."""
    cases: CaseMix
    scanner: UltrasoundScanner

    def patient(self, index: int) -> Patient:
        """Patient `index`, 0 ≤ index < cases.patients (more may be drawn for a check of distributions)."""
        return draw_patient(self.cases, self.name, self.seed, index)

    @property
    def patients(self) -> int:
        return self.cases.patients

    @property
    def device(self) -> str:
        return self.scanner.make.device

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {"clinical.csv": CLINICAL_COLUMNS, "lesions.csv": LESION_COLUMNS}

    def parameters(self) -> dict[str, Any]:
        return asdict(self)

    def write_patient(self, index: int, folder: Path) -> PatientRows:
        patient = self.patient(index)
        images = folder / "dicom" / patient.patient_id
        images.mkdir(parents=True)
        boxes = write_ultrasound(patient, self.name, self.scanner, images)
        rows = {"clinical.csv": [clinical_row(patient)], "lesions.csv": boxes}
        return PatientRows(patient.patient_id, rows, (malignancy_log_odds(patient.lesion),))


def phantom_hospitals(seed: int, train: int = 11, external: int = 2, *, scale: float = 1.0) -> tuple[Hospital, ...]:
    """Training hospitals H01, H02, …, then the external ones.

    The default is the layout of Yang et al. (2020): 692 patients in 11 hospitals and 200 in two others. For other
    numbers the sizes repeat. A hospital depends on `seed`, its number and `train` (which fixes who is external), not
    on how many come after it.

    Args:
        seed: ≥ 0.
        train, external: numbers of hospitals, 1 ≤ train, 0 ≤ external, together at most 200.
        scale: multiplies every hospital's patients, > 0; at least 12 are left.
    Raises:
        ConfigError: a number outside these ranges.
    """
    sizes = hospital_sizes(seed, train, external, scale, (TRAIN_SIZES, EXTERNAL_SIZES))
    return tuple(_hospital(seed, number, number - train, size) for number, size in enumerate(sizes))


def hospital_sizes(
    seed: int, train: int, external: int, scale: float, sizes: tuple[Sequence[int], Sequence[int]]
) -> list[int]:
    """Patients of each hospital of any phantom, training ones first; `sizes` of both kinds repeat as needed.

    Raises:
        ConfigError: as `phantom_hospitals`.
    """
    if seed < 0:
        raise ConfigError(f"phantom: seed is {seed}, wanted 0 or more")
    if train < 1 or external < 0 or train + external > MOST_HOSPITALS:
        raise ConfigError(
            f"phantom: {train} training and {external} external hospitals; wanted at least 1 and 0,"
            f" together at most {MOST_HOSPITALS}"
        )
    if not 0 < scale < float("inf"):
        raise ConfigError(f"phantom: scale is {scale}, wanted a positive number such as 0.25")
    usual = [sizes[0][number % len(sizes[0])] for number in range(train)]
    usual += [sizes[1][number % len(sizes[1])] for number in range(external)]
    return [max(SMALLEST_HOSPITAL, round(size * scale)) for size in usual]


def _hospital(seed: int, number: int, beyond: int, size: int) -> Hospital:
    """`beyond` counts external hospitals from 0; it is negative for a training hospital."""
    external = beyond >= 0
    scanner = draw_scanner(
        np.random.default_rng([seed, number, _SCANNER]), _make_of(seed, number), sign=1 if (number + seed) % 2 else -1
    )
    return Hospital(
        name=f"H{number + 1:02d}",
        external=external,
        seed=int(np.random.default_rng([seed, number, _PATIENTS]).integers(2**31)),
        cases=_case_mix(np.random.default_rng([seed, number, _CASES]), size),
        scanner=outside_the_hull(scanner, beyond % 2) if external else scanner,
    )


def _case_mix(random: np.random.Generator, patients: int) -> CaseMix:
    return CaseMix(
        patients=patients,
        prevalence=float(random.uniform(0.35, 0.80)),
        benign_mix=tuple(float(share) for share in random.dirichlet((4, 3, 3))),
        malignant_mix=tuple(float(share) for share in random.dirichlet((6, 3, 1.5))),
        log_size_shift=float(random.uniform(-0.25, 0.25)),
    )


def _make_of(seed: int, number: int) -> UltrasoundMake:
    """Makes come in shuffled rounds, so that any seven hospitals in a row from a round own all seven."""
    turn, place = divmod(number, len(MAKES))
    return MAKES[int(np.random.default_rng([seed, turn, _MAKES]).permutation(len(MAKES))[place])]
