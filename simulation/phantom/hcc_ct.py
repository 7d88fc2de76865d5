"""The virtual hospitals of `hcc_ct`: hepatocellular carcinoma, its mimics and healthy livers in multiphase CT.

Wang et al., Br J Cancer 125 (2021) 1111–1121. Arterial, portal venous and delayed phase of a field of view about the
liver, each in a breath-hold of its own; lesions are drawn on the portal venous phase.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.series.grid import Grid, Triple
from fl_liver.errors import ConfigError
from fl_liver.study_cohort import SequenceKind
from simulation.phantom.anatomy import Ellipsoid, Tissue
from simulation.phantom.body import Appearance, Body, paint, sections
from simulation.phantom.ct import CT_PHASES, LESION_HU, TISSUE_HU, Curve
from simulation.phantom.ct_enhancement import LesionCurves, lesion_at, tissues_at
from simulation.phantom.ct_files import CtExam, write_ct
from simulation.phantom.ct_hospitals import ct_rooms, has_disease
from simulation.phantom.ct_liver_patients import (
    LiverCases,
    LiverPatient,
    draw_liver_cases,
    draw_liver_patient,
    hcc_log_odds,
)
from simulation.phantom.ct_people import ct_person
from simulation.phantom.ct_scan import scanned
from simulation.phantom.ct_scanners import CtProtocols, CtScanner
from simulation.phantom.fields import texture
from simulation.phantom.lesion import Zone
from simulation.phantom.patients import Patient
from simulation.phantom.places import CASES
from simulation.phantom.virtual import PatientRows, PhantomHospital, Unit
from simulation.phantom.volume_patient import write_case
from simulation.phantom.volumes import Case, add_lesion, draw_person, moved

CLINICAL_COLUMNS = (
    "patient_id", "hcc", "diagnosis", "age_years", "sex", "afp_ng_ml", "size_mm", "tumours", "tnm_stage",
    "vascular_invasion", "fibrosis", "grade",
)  # fmt: skip
TRAIN_SIZES = (56, 46, 40, 36, 32, 28, 26, 24)
EXTERNAL_SIZES = (66, 54)
PROTOCOLS = CtProtocols(
    pixel_mm=(1.9, 2.2), thickness_mm=(5.5, 7.0), gap_share=(1.0, 1.0), blur_mm=(1.1, 2.0), noise_hu=(5.0, 9.0),
    grain_mm=(1.2, 2.4),
)  # fmt: skip

_MATRIX, _SLICES = 80, 15
_ROOM = Ellipsoid((-69, -3, -2), (56, 67, 44))
_MIDDLE_MM: Triple = (-66.0, -3.0, -2.0)
"""Of the field of view, against the body's."""
_BREATH_MM = (0.0, 1.2, 3.0)
"""Standard deviations of a phase's place against the portal venous one: left, back, up."""
NODULARITY_HU = (1.5, 1.5, 2.5, 4.5, 7.0)
"""Of the liver's texture by METAVIR stage."""
_NODULE_MM = 4.0
_ATTEMPTS = 20
_LATENTS, _PLACES, _NOISE, _UPTAKE, _BREATH, _TEXTURE = range(71, 77)  # purposes of the patient's random streams


@dataclass(frozen=True, slots=True, kw_only=True)
class LiverHospital(PhantomHospital[CtScanner]):
    """One hospital with known truth; a `virtual.VirtualHospital`."""

    patients: int
    cases: LiverCases

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        return {"clinical.csv": CLINICAL_COLUMNS}

    def patient(self, index: int) -> LiverPatient:
        """Patient `index` (from 0), whoever was drawn before; more may be drawn than the hospital has."""
        hcc = has_disease(self.seed, index, self.cases.prevalence)
        return draw_liver_patient(np.random.default_rng([self.seed, index, _LATENTS]), self.cases, hcc=hcc)

    def write_patient(self, index: int, folder: Path) -> PatientRows:
        patient = self.patient(index)
        person = ct_person(self.name, self.seed, index, age_years=patient.age_years, male=patient.male)
        scanner = self.scanner.used_for(person, disease=patient.hcc)
        case = Case(person, self.name, _body(person, patient))
        scan = _Scan(case, patient, scanner)
        write_case(
            case, folder, lambda one, images: write_ct(one, scanner.make, images, _exam(scanner), scan.picture),
            ("portal",),
        )  # fmt: skip
        return PatientRows(person.patient_id, {"clinical.csv": [_row(person, patient)]}, (Unit(hcc_log_odds(patient)),))


def hospitals(seed: int, train: int = 8, external: int = 2, *, scale: float = 1.0) -> tuple[LiverHospital, ...]:
    """288 patients in 8 training hospitals and 120 in two others; see `ct_hospitals.ct_rooms` for arguments and errors.

    The paper has 7897 patients in one hospital and 556 in another.
    """
    rooms = ct_rooms(seed, train, external, scale=scale, sizes=(TRAIN_SIZES, EXTERNAL_SIZES), usual=PROTOCOLS)
    return tuple(
        LiverHospital(
            name=room.place.name,
            external=room.place.external,
            seed=room.place.patient_seed,
            patients=room.place.patients,
            cases=draw_liver_cases(room.place.random(CASES)),
            scanner=room.scanner,
        )
        for room in rooms
    )


def _body(person: Patient, patient: LiverPatient) -> Body:
    """The lesions where they find room; a large one may leave none for others, and then lies elsewhere."""
    for attempt in range(_ATTEMPTS):
        try:
            return _placed(person.random(_PLACES, attempt), patient)
        except ConfigError:
            continue
    raise ConfigError(f"phantom: {person.patient_id} has lesions that find no room together")


def _placed(random: np.random.Generator, patient: LiverPatient) -> Body:
    body = draw_person(random)
    for size_mm in patient.sizes_mm:
        aspect, irregularity = float(random.uniform(1, 1.3)), float(random.uniform(0.03, 0.15))
        body = add_lesion(random, body, patient.kind, size_mm, aspect=aspect, irregularity=irregularity, room=_ROOM)
    return body


def _exam(scanner: CtScanner) -> CtExam:
    return CtExam(
        matrix=_MATRIX,
        fov_mm=_MATRIX * scanner.optics.pixel_mm,
        thickness_mm=scanner.optics.thickness_mm,
        gap_mm=scanner.optics.gap_mm,
        height_mm=_SLICES * scanner.optics.gap_mm,
        missing=frozenset({"plain"}),
        enhanced=scanner.enhanced,
        shift_mm=_MIDDLE_MM,
        delays_s=scanner.delays_s,
    )


def breath_mm(person: Patient, kind: SequenceKind) -> Triple:
    """How far the body lies, left, back and up, from where it was in the portal venous phase."""
    if kind == "portal":
        return (0.0, 0.0, 0.0)
    x, y, z = (person.random(_BREATH, CT_PHASES.index(kind)).normal(size=3) * _BREATH_MM).tolist()
    return x, y, z


@dataclass(frozen=True, slots=True)
class _Scan:
    """One patient's phases. `case.body` is the body in the portal venous one."""

    case: Case
    patient: LiverPatient
    scanner: CtScanner

    def picture(self, kind: SequenceKind, grid: Grid) -> NDArray[np.int16]:
        """Hounsfield units of one phase, (slices, rows, columns)."""
        number, person = CT_PHASES.index(kind), self.case.patient
        seconds = self.scanner.delays_s[number - 1]
        iodine = self.scanner.iodine * float(person.random(_UPTAKE).normal(1, 0.1))
        body = moved(self.case.body, breath_mm(person, kind))
        labels = sections(body, grid, self.scanner.optics.thickness_mm)
        looks = (lesion_at(_curves(self.patient), seconds, iodine),) * len(body.lesions)
        hu = paint(labels, Appearance(tissues_at(seconds, iodine), looks))
        make_nodular(hu, labels, grid, person.random(_TEXTURE), self.patient.fibrosis)
        return scanned(hu, grid, self.scanner, person.random(_NOISE, number))


def _curves(patient: LiverPatient) -> LesionCurves:
    if not patient.sizes_mm:
        return {}
    liver, zones = np.array(TISSUE_HU[Tissue.LIVER], float), LESION_HU[patient.kind][1]
    found: dict[Zone, Curve] = {}
    for zone in Zone:
        added = patient.zone_factor * np.array(zones.get(zone, (0, 0, 0, 0)), float)
        plain, arterial, portal, delayed = (liver + np.array(patient.contrast_hu) + added).tolist()
        found[zone] = plain, arterial, portal, delayed
    return found


def make_nodular(
    hu: NDArray[np.float32], labels: NDArray[np.uint8], grid: Grid, random: np.random.Generator, fibrosis: int
) -> None:
    """Give the liver the texture of its METAVIR stage (0–4), in place; one stream gives all phases the same."""
    liver = (labels == Tissue.LIVER).mean(axis=1, dtype=np.float32)
    for plane, share in zip(hu, liver, strict=True):
        rows, columns = plane.shape
        nodules = texture(random, (rows, columns), _NODULE_MM / grid.spacing_mm[2])
        plane += np.float32(NODULARITY_HU[fibrosis]) * share * nodules


def _row(person: Patient, patient: LiverPatient) -> list[str]:
    """Pathology is known of an HCC alone; what nobody knows is empty."""
    pathology = {
        "tnm_stage": patient.stage,
        "vascular_invasion": None if patient.vascular_invasion is None else int(patient.vascular_invasion),
        "fibrosis": patient.fibrosis if patient.hcc else None,
        "grade": patient.grade,
    }
    cells = {name: "" if value is None else str(value) for name, value in pathology.items()} | {
        "patient_id": person.patient_id,
        "hcc": "healthy" if patient.diagnosis == "none" else str(int(patient.hcc)),
        "diagnosis": patient.diagnosis,
        "age_years": str(patient.age_years),
        "sex": "M" if patient.male else "F",
        "afp_ng_ml": "" if math.isnan(patient.afp_ng_ml) else f"{patient.afp_ng_ml:.1f}",
        "size_mm": f"{patient.sizes_mm[0]:.1f}" if patient.sizes_mm else "",
        "tumours": str(len(patient.sizes_mm)),
    }
    return [cells[column] for column in CLINICAL_COLUMNS]
