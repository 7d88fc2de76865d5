"""Virtual hospitals whose ultrasound scans show no lesion, one or several: what `lesion_us_attention` reads.

Six classes after Schmauch et al., Diagn Interv Imaging 100 (2019) 227–233. Their 367 images had 258 without a lesion,
48 metastases, 17 angiomas, 30 cysts, 8 FNH and 6 HCC (Table 1). Here classes come as the square roots of these numbers,
so that small hospitals have some of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simulation.phantom.patients import Lesion, Patient, draw_patient_with
from simulation.phantom.places import CASES, SCANNER, Place, places
from simulation.phantom.scanners import MAKES, UltrasoundScanner, draw_scanner, outside_the_hull
from simulation.phantom.subtypes import Subtype
from simulation.phantom.ultrasound import ROWS, Exam
from simulation.phantom.ultrasound_files import LESION_COLUMNS, write_exam
from simulation.phantom.ultrasound_whole import draw_whole_view
from simulation.phantom.virtual import PatientRows, PhantomHospital

TRAIN_SIZES = (96, 80, 68, 60, 52, 44, 36)
EXTERNAL_SIZES = (72, 60)
VIEWS = 2
CLASS_COUNTS: dict[Subtype, int] = {"none": 258, "hemangioma": 17, "hcc": 6, "fnh": 8, "cyst": 30, "metastasis": 48}
"""Table 1."""
CONFOUNDING = (0.35, 0.7)
"""Never almost certain, as in `scanners`: a lesion in a whole scan is harder to find than a machine is to know."""
SEVERAL: dict[Subtype, float] = {"metastasis": 0.6, "cyst": 0.3, "hcc": 0.25, "hemangioma": 0.15}
"""Probability of two or three lesions instead of one."""
CLINICAL_COLUMNS = (
    "patient_id", "diagnosis", "lesion", "malignant", "lesions", "age_years", "sex", "background", "size_mm",
)  # fmt: skip

_CODES: dict[Subtype, str] = {"hemangioma": "angioma"}  # the source's word
_LESIONS, _EXAM = 11, 12  # purposes of a patient's random streams
_CONCENTRATION = 60.0
"""Of the Dirichlet distribution of a hospital's classes about those of the source."""
_DEEPER = 1.1
"""The depth setting that shows a liver, against the one that shows a lesion."""
SMALLEST_MM, LARGEST_MM = 17.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeScanHospital(PhantomHospital[UltrasoundScanner]):
    """One hospital with known truth; a `virtual.VirtualHospital`."""

    patients: int
    mix: tuple[float, ...]
    """Probability of each class, in the order of CLASS_COUNTS."""
    log_size_shift: float

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {"clinical.csv": CLINICAL_COLUMNS, "lesions.csv": LESION_COLUMNS}

    def patient(self, index: int) -> Patient:
        """Patient `index`, ≥ 0; more may be drawn for a check of distributions."""
        random = np.random.default_rng([self.seed, index])
        subtype = tuple(CLASS_COUNTS)[int(random.choice(len(CLASS_COUNTS), p=self.mix))]
        patient_id, entropy = f"{self.name}-{index + 1:04d}", (self.seed, index)
        patient = draw_patient_with(random, subtype, self.log_size_shift, patient_id, entropy)
        if subtype == "none":
            return patient
        size_mm = min(max(patient.lesion.size_mm, SMALLEST_MM), LARGEST_MM)
        return replace(patient, lesion=replace(patient.lesion, size_mm=size_mm))

    def plan(self, patient: Patient) -> Exam:
        """Depth and machine; which of the two goes with whether there is a lesion, as a referral path would do."""
        has_lesion = patient.subtype != "none"
        chance = 0.5 + self.scanner.confounding * (0.5 if has_lesion else -0.5)
        return Exam(
            pixel_mm=max(_DEEPER * self.scanner.pixel_mm, 2.0 * patient.lesion.size_mm / ROWS),
            second_machine=bool(patient.random(_EXAM).random() < chance),
        )

    def write_patient(self, index: int, folder: Path) -> PatientRows:
        patient = self.patient(index)
        lesions, exam = lesions_of(patient), self.plan(patient)
        images = folder / "dicom" / patient.patient_id
        images.mkdir(parents=True)
        views = [draw_whole_view(patient, lesions, self.scanner, exam, number) for number in range(VIEWS)]
        boxes = write_exam(patient, self.name, self.scanner, exam, views, images)
        rows = {"clinical.csv": [_clinical_row(patient, len(lesions))], "lesions.csv": boxes}
        return PatientRows(patient.patient_id, rows)


def hospitals(seed: int, train: int, external: int, *, scale: float = 1.0) -> tuple[WholeScanHospital, ...]:
    """Training hospitals H01, H02, …, then the external ones; 436 and 132 patients in seven and two by default.

    Arguments and errors are those of `places.places`.
    """
    return tuple(_hospital(place) for place in places(seed, train, external, scale, (TRAIN_SIZES, EXTERNAL_SIZES)))


def lesions_of(patient: Patient) -> tuple[Lesion, ...]:
    """The patient's lesion and smaller ones like it; () where there is none."""
    if patient.subtype == "none":
        return ()
    random = patient.random(_LESIONS)
    more = int(random.integers(1, 3)) if random.random() < SEVERAL.get(patient.subtype, 0.0) else 0
    return (
        patient.lesion,
        *(
            replace(
                patient.lesion,
                size_mm=max(10.0, patient.lesion.size_mm * float(random.uniform(0.4, 0.8))),
                echo_db=patient.lesion.echo_db + float(random.normal(0, 1)),
                angle_rad=float(random.uniform(0, np.pi)),
            )
            for _ in range(more)
        ),
    )


def _hospital(place: Place) -> WholeScanHospital:
    cases = place.random(CASES)
    scanner = draw_scanner(place.random(SCANNER), place.make_of(MAKES), place.sign)
    scanner = replace(scanner, confounding=place.sign * float(cases.uniform(*CONFOUNDING)))
    counts = np.sqrt(list(CLASS_COUNTS.values()))
    mix = cases.dirichlet(_CONCENTRATION * counts / counts.sum())
    return WholeScanHospital(
        name=place.name,
        external=place.external,
        seed=place.patient_seed,
        patients=place.patients,
        mix=tuple(float(share) for share in mix),
        log_size_shift=float(cases.uniform(-0.05, 0.3)),
        scanner=outside_the_hull(scanner, place.beyond % 2) if place.external else scanner,
    )


def _clinical_row(patient: Patient, lesions: int) -> list[str]:
    findings = patient.findings
    return [
        patient.patient_id,
        _CODES.get(patient.subtype, patient.subtype),
        str(int(lesions > 0)),
        str(int(patient.malignant)),
        str(lesions),
        str(findings.age_years),
        "M" if findings.male else "F",
        patient.background,
        f"{patient.lesion.size_mm:.1f}" if lesions else "",
    ]
