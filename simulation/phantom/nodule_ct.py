"""The virtual hospitals of `nodule_ct`: small liver nodules in portal venous CT of patients with colorectal cancer.

Khalili et al., Sci Rep 10 (2020) 15248. A thin slab of a targeted reconstruction holds all nodules of a patient; label
n of the mask is row n of the patient in the clinical table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.anatomy import LESION_ROOM, Ellipsoid
from simulation.phantom.body import Appearance, Body, paint, sections
from simulation.phantom.ct_enhancement import hu_at, tissues_at
from simulation.phantom.ct_files import CtExam, write_ct
from simulation.phantom.ct_hospitals import ct_rooms, has_disease
from simulation.phantom.ct_nodules import (
    Nodule,
    NoduleCases,
    NodulePatient,
    draw_nodule_cases,
    draw_nodule_patient,
    malignancy_log_odds,
)
from simulation.phantom.ct_people import ct_person
from simulation.phantom.ct_scan import add_soft_lesion, scanned
from simulation.phantom.ct_scanners import CtProtocols, CtScanner
from simulation.phantom.patients import Patient
from simulation.phantom.places import CASES
from simulation.phantom.virtual import PatientRows, PhantomHospital, Unit
from simulation.phantom.volume_patient import write_case
from simulation.phantom.volumes import Case, add_lesion, draw_person

CLINICAL_COLUMNS = (
    "patient_id", "lesion", "malignant", "kind", "size_mm", "age_years", "sex", "stage", "liver_metastasis",
    "extrahepatic_metastasis",
)  # fmt: skip
TRAIN_SIZES = (80, 65, 55, 48, 42, 38, 34, 30)
EXTERNAL_SIZES = (70, 60)
PROTOCOLS = CtProtocols(
    pixel_mm=(0.72, 0.88), thickness_mm=(2.5, 3.5), gap_share=(0.55, 0.75), blur_mm=(0.5, 0.9), noise_hu=(5.0, 9.0),
    grain_mm=(0.5, 1.0),
)  # fmt: skip

_PHASES: frozenset[SequenceKind] = frozenset({"plain", "arterial", "delayed"})
_MATRIX, _SLAB_MM = 160, 38.0
_ROOM_MM = (32.0, 36.0, 13.0)
"""Half axes of what the nodules of a patient lie in: patches of 24 mm round them stay in the field of view."""
_ASPECT = (1.0, 1.2)
_RIM_HU = 14.0
_LATENTS, _PLACES, _NOISE, _UPTAKE = range(61, 65)  # purposes of the patient's random streams


@dataclass(frozen=True, slots=True, kw_only=True)
class NoduleHospital(PhantomHospital[CtScanner]):
    """One hospital with known truth; a `virtual.VirtualHospital`."""

    patients: int
    cases: NoduleCases

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {"clinical.csv": CLINICAL_COLUMNS}

    def patient(self, index: int) -> NodulePatient:
        """Patient `index` (from 0), whoever was drawn before; more may be drawn than the hospital has."""
        malignant = has_disease(self.seed, index, self.cases.prevalence)
        return draw_nodule_patient(np.random.default_rng([self.seed, index, _LATENTS]), self.cases, malignant=malignant)

    def write_patient(self, index: int, folder: Path) -> PatientRows:
        patient = self.patient(index)
        person = ct_person(self.name, self.seed, index, age_years=patient.age_years, male=patient.male)
        scanner = self.scanner.used_for(person, disease=patient.malignant)
        case = Case(person, self.name, _body(person, patient))
        exam = _exam(case.body, scanner)

        def picture(_: SequenceKind, grid: Grid) -> NDArray[np.int16]:
            return _picture(case, patient, scanner, grid)

        write_case(case, folder, lambda one, images: write_ct(one, scanner.make, images, exam, picture), ("portal",))
        rows = [_row(person, patient, number) for number in range(len(patient.nodules))]
        units = tuple(Unit(malignancy_log_odds(nodule, patient)) for nodule in patient.nodules)
        return PatientRows(person.patient_id, {"clinical.csv": rows}, units)


def hospitals(seed: int, train: int = 8, external: int = 2, *, scale: float = 1.0) -> tuple[NoduleHospital, ...]:
    """392 patients in 8 training hospitals and 130 in two others; see `ct_hospitals.ct_rooms` for arguments and errors.

    The paper has one hospital with 199.
    """
    rooms = ct_rooms(seed, train, external, scale=scale, sizes=(TRAIN_SIZES, EXTERNAL_SIZES), usual=PROTOCOLS)
    return tuple(
        NoduleHospital(
            name=room.place.name,
            external=room.place.external,
            seed=room.place.patient_seed,
            patients=room.place.patients,
            cases=draw_nodule_cases(room.place.random(CASES)),
            scanner=room.scanner,
        )
        for room in rooms
    )


def _body(person: Patient, patient: NodulePatient) -> Body:
    """The nodules near one another in the right lobe, each clear of the others."""
    random = person.random(_PLACES)
    body = draw_person(random)
    middle = np.asarray(LESION_ROOM.centre) + random.uniform((-8, -8, -30), (8, 8, 30))
    x, y, z = middle.tolist()
    for nodule in patient.nodules:
        body = add_lesion(
            random,
            body,
            "metastasis" if nodule.malignant else "cyst",
            nodule.size_mm,
            aspect=float(random.uniform(*_ASPECT)),
            irregularity=nodule.irregularity,
            room=Ellipsoid((x, y, z), _ROOM_MM),
        )
    return body


def _exam(body: Body, scanner: CtScanner) -> CtExam:
    """The portal venous phase in a slab about the nodules."""
    centres = np.array([lesion.centre_mm for lesion in body.lesions])
    x, y, z = (float(v) for v in np.round((centres.min(axis=0) + centres.max(axis=0)) / 2 - body.centre_mm, 1))
    return CtExam(
        matrix=_MATRIX,
        fov_mm=_MATRIX * scanner.optics.pixel_mm,
        thickness_mm=scanner.optics.thickness_mm,
        gap_mm=scanner.optics.gap_mm,
        height_mm=_SLAB_MM,
        missing=_PHASES,
        enhanced=scanner.enhanced,
        shift_mm=(x, y, z),
        delays_s=scanner.delays_s,
    )


def _picture(case: Case, patient: NodulePatient, scanner: CtScanner, grid: Grid) -> NDArray[np.int16]:
    seconds = scanner.delays_s[1]
    iodine = scanner.iodine * float(case.patient.random(_UPTAKE).normal(1, 0.1))
    bare = replace(case.body, lesions=())
    hu = paint(sections(bare, grid, scanner.optics.thickness_mm), Appearance(tissues_at(seconds, iodine)))
    for nodule, lesion in zip(patient.nodules, case.body.lesions, strict=True):
        add_soft_lesion(
            hu,
            grid,
            scanner.optics.thickness_mm,
            lesion,
            inside_hu=_nodule_hu(nodule, seconds, iodine),
            margin_mm=nodule.margin_mm,
            rim_hu=_RIM_HU * nodule.rim,
        )
    return scanned(hu, grid, scanner, case.patient.random(_NOISE))


def _nodule_hu(nodule: Nodule, seconds: float, iodine: float) -> float:
    """A nodule's uptake follows the liver's in time."""
    liver = hu_at((0, 12, 54, 38), seconds, iodine) / 54
    return nodule.plain_hu + nodule.uptake_hu * liver


def _row(person: Patient, patient: NodulePatient, number: int) -> list[str]:
    nodule = patient.nodules[number]
    cells = {
        "patient_id": person.patient_id,
        "lesion": str(number + 1),
        "malignant": str(int(nodule.malignant)),
        "kind": nodule.kind,
        "size_mm": f"{nodule.size_mm:.1f}",
        "age_years": str(patient.age_years),
        "sex": "M" if patient.male else "F",
        "stage": patient.stage,
        "liver_metastasis": str(int(patient.liver_metastasis)),
        "extrahepatic_metastasis": str(int(patient.extrahepatic_metastasis)),
    }
    return [cells[column] for column in CLINICAL_COLUMNS]
