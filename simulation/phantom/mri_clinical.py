"""Virtual hospitals with liver tumours on MR in six sequences: what `mri_clinical` reads.

Seven classes after Zhen et al., Front Oncol 10 (2020) 680. Their 201 patients for validation had 47 HCC, 37 metastases,
15 other primary malignancies, 9 FNH and 9 other benign nodules (read off Tables 1 and 2's intervals), and 84 cysts and
haemangiomas. Here classes come as the square roots of these numbers, so that small hospitals have some of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simulation.phantom.lesion import LESION_KINDS, LesionKind
from simulation.phantom.mr_lesions import (
    MALIGNANT_KINDS,
    SUBTYPE_OF,
    MrLook,
    class_log_density,
    draw_look,
    malignancy_log_odds,
)
from simulation.phantom.mr_people import CLINICAL_COLUMNS, clinical_row
from simulation.phantom.mr_scanners import MAGNETS, MrScanner, draw_mr_scanner, outside_the_hull
from simulation.phantom.mr_study import ShortStudy
from simulation.phantom.patients import Patient, draw_patient_with
from simulation.phantom.places import CASES, SCANNER, Place, places
from simulation.phantom.reader_classes import NAMED_CLASSES
from simulation.phantom.virtual import PatientRows, PhantomHospital, Unit
from simulation.phantom.volume_patient import write_case
from simulation.phantom.volumes import Case, draw_body

TRAIN_SIZES = (60, 52, 44, 40, 36, 32, 28, 24)
EXTERNAL_SIZES = (60, 44)
CLASS_COUNTS: dict[LesionKind, int] = {
    "cyst": 38, "hemangioma": 46, "fnh": 9, "other_benign": 9, "hcc": 47, "metastasis": 37, "other_malignant": 15,
}  # fmt: skip
"""Of the source's 201 patients for validation; which of cyst and haemangioma has 38 is not printed."""
LARGEST_MM = 50.0
"""More would need more slices than a short study has."""

_LOOK, _RECORD, _MAGNET = 50, 51, 52  # purposes of a patient's random streams
_CONCENTRATION = 40.0
"""Of the Dirichlet distribution of a hospital's classes about those of the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MrHospital(PhantomHospital[MrScanner]):
    """One hospital with known truth; a `virtual.VirtualHospital`."""

    opinions = (NAMED_CLASSES,)

    patients: int
    mix: tuple[float, ...]
    """Probability of each class, in the order of LESION_KINDS."""
    log_size_shift: float

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {"clinical.csv": CLINICAL_COLUMNS}

    def patient(self, index: int) -> tuple[Patient, LesionKind, MrLook]:
        """Patient `index`, ≥ 0, the class of the lesion, and what MR shows of it."""
        random = np.random.default_rng([self.seed, index])
        kind = LESION_KINDS[int(random.choice(len(LESION_KINDS), p=self.mix))]
        patient_id, entropy = f"{self.name}-{index + 1:04d}", (self.seed, index)
        patient = draw_patient_with(random, SUBTYPE_OF[kind], self.log_size_shift, patient_id, entropy)
        lesion = replace(patient.lesion, size_mm=min(patient.lesion.size_mm, LARGEST_MM))
        patient = replace(patient, lesion=lesion)
        return patient, kind, draw_look(patient.random(_LOOK), kind, patient)

    def magnet(self, patient: Patient, kind: LesionKind) -> MrScanner:
        """Which of the two a patient was scanned on."""
        chance = 0.5 + self.scanner.confounding * (0.5 if kind in MALIGNANT_KINDS else -0.5)
        return self.scanner.second() if patient.random(_MAGNET).random() < chance else self.scanner

    def write_patient(self, index: int, folder: Path) -> PatientRows:
        patient, kind, look = self.patient(index)
        study = ShortStudy(Case(patient, self.name, draw_body(patient, kind)), self.magnet(patient, kind), look)
        write_case(study.case, folder, lambda _, images: study.write(images), ("t2",))
        row = clinical_row(patient, kind, patient.random(_RECORD))
        classes: dict[str, float] = {one: class_log_density(look, patient, one) for one in LESION_KINDS}
        unit = Unit(malignancy_log_odds(look, patient), kind, classes)
        return PatientRows(patient.patient_id, {"clinical.csv": [row]}, (unit,))


def hospitals(seed: int, train: int, external: int, *, scale: float = 1.0) -> tuple[MrHospital, ...]:
    """Training hospitals H01, H02, …, then the external ones; 316 and 104 patients in eight and two by default.

    Arguments and errors are those of `places.places`.
    """
    return tuple(_hospital(place) for place in places(seed, train, external, scale, (TRAIN_SIZES, EXTERNAL_SIZES)))


def _hospital(place: Place) -> MrHospital:
    scanner = draw_mr_scanner(place.random(SCANNER), place.make_of(MAGNETS), place.sign)
    cases = place.random(CASES)
    counts = np.sqrt([CLASS_COUNTS[kind] for kind in LESION_KINDS])
    mix = cases.dirichlet(_CONCENTRATION * counts / counts.sum())
    return MrHospital(
        name=place.name,
        external=place.external,
        seed=place.patient_seed,
        patients=place.patients,
        mix=tuple(float(share) for share in mix),
        log_size_shift=float(cases.uniform(-0.2, 0.2)),
        scanner=outside_the_hull(scanner, place.beyond % 2) if place.external else scanner,
    )
