"""Who has which liver lesion, and what the record and the laboratory say: the clinical vector of `mri_clinical`.

Zhen et al., Front Oncol 10 (2020) 680 list what they coded ("age, gender, cirrhosis-related history, other cancers,
tumor marker (AFP, CEA, CA-125, CA19-9, PSA, Ferritin), and liver function (albumin, total bilirubin, prolonged
prothrombin time, hepatic encephalopathy, ascites)") but print no distribution; Tables S1 to S3 stand in a supplement
that we do not have. Age, sex, hepatitis and tumour history are those of `subtypes`, after Yang et al. (2020); the
laboratory is invented within usual ranges. History and laboratory were collected for malignant tumours; others have
few values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulation.phantom.lesion import LesionKind
from simulation.phantom.mr_lesions import MALIGNANT_KINDS
from simulation.phantom.patients import Patient

CLINICAL_COLUMNS = (
    "patient_id", "malignant", "diagnosis", "age_years", "sex", "cirrhosis_history", "other_cancer", "afp_ng_ml",
    "cea_ng_ml", "ca125_u_ml", "ca19_9_u_ml", "psa_ng_ml", "ferritin_ng_ml", "albumin_g_l", "bilirubin_umol_l",
    "prothrombin_prolonged_s", "encephalopathy", "ascites", "size_mm",
)  # fmt: skip
_MEASURED = {True: 0.97, False: 0.30}
"""Share of laboratory values that were measured, in malignant and other tumours."""
_PSA_MEASURED = 0.6


@dataclass(frozen=True, slots=True)
class _Marker:
    """A tumour marker: normal values log-normal about `median`, raised ones about `raised`, both log-sd 0.6 and 1."""

    median: float
    raised: float
    share: dict[LesionKind, float]
    """Of patients with raised values; others 3 in 100."""


_MARKERS: dict[str, _Marker] = {
    "afp_ng_ml": _Marker(4.0, 900.0, {"hcc": 0.60, "other_malignant": 0.10, "metastasis": 0.03}),
    "cea_ng_ml": _Marker(1.8, 40.0, {"metastasis": 0.60, "other_malignant": 0.25, "hcc": 0.05}),
    "ca125_u_ml": _Marker(12.0, 120.0, {"metastasis": 0.30, "other_malignant": 0.40, "hcc": 0.15}),
    "ca19_9_u_ml": _Marker(10.0, 400.0, {"metastasis": 0.30, "other_malignant": 0.70, "hcc": 0.10}),
    "psa_ng_ml": _Marker(1.1, 9.0, {"metastasis": 0.05}),
    "ferritin_ng_ml": _Marker(150.0, 900.0, {"hcc": 0.45, "metastasis": 0.20, "other_malignant": 0.15}),
}
_CIRRHOSIS: dict[LesionKind, float] = {"hcc": 0.88, "other_malignant": 0.35, "other_benign": 0.45, "metastasis": 0.10}
_OTHER_CANCER: dict[LesionKind, float] = {"hcc": 0.05, "other_malignant": 0.05, "metastasis": 0.88}
_DECOMPENSATED = 0.22
"""Share of the cirrhotic whose liver function is poor."""


def clinical_row(patient: Patient, kind: LesionKind, random: np.random.Generator) -> list[str]:
    """Cells in the order of CLINICAL_COLUMNS; what nobody measured is empty."""
    findings, malignant = patient.findings, kind in MALIGNANT_KINDS
    cirrhotic = bool(random.random() < _CIRRHOSIS.get(kind, 0.08))
    cells = {
        "patient_id": patient.patient_id,
        "malignant": str(int(malignant)),
        "diagnosis": kind,
        "age_years": str(findings.age_years),
        "sex": "M" if findings.male else "F",
        "cirrhosis_history": "NY"[cirrhotic],
        "other_cancer": "NY"[bool(random.random() < _OTHER_CANCER.get(kind, 0.05))],
        "size_mm": f"{patient.lesion.size_mm:.1f}",
    }
    laboratory = _markers(random, kind) | _liver_function(random, cirrhotic)
    measured = {name: value for name, value in laboratory.items() if random.random() < _MEASURED[malignant]}
    if not findings.male or random.random() > _PSA_MEASURED:
        measured.pop("psa_ng_ml", None)
    cells |= measured
    return [cells.get(column, "") for column in CLINICAL_COLUMNS]


def _markers(random: np.random.Generator, kind: LesionKind) -> dict[str, str]:
    found = {}
    for name, marker in _MARKERS.items():
        raised = random.random() < marker.share.get(kind, 0.03)
        value = np.exp(np.log(marker.raised if raised else marker.median) + (1.0 if raised else 0.6) * random.normal())
        found[name] = f"{max(value, 1.0 if name == 'ferritin_ng_ml' else 0.1):.1f}"
    return found


def _liver_function(random: np.random.Generator, cirrhotic: bool) -> dict[str, str]:
    """Poor in some of the cirrhotic, and then all of it together, as Child and Pugh found."""
    poor = cirrhotic and bool(random.random() < _DECOMPENSATED)
    albumin = np.clip(random.normal(30 if poor else 38 if cirrhotic else 42, 4), 15, 60)
    bilirubin = np.exp(np.log(45 if poor else 18 if cirrhotic else 12) + 0.45 * random.normal())
    prolonged = np.clip(random.normal(4.5 if poor else 1.5 if cirrhotic else 0.3, 1.2), -2, 20)
    ascites = random.choice(("none", "mild", "severe"), p=(0.35, 0.4, 0.25) if poor else (0.96, 0.03, 0.01))
    return {
        "albumin_g_l": f"{albumin:.0f}",
        "bilirubin_umol_l": f"{np.clip(bilirubin, 3, 500):.1f}",
        "prothrombin_prolonged_s": f"{prolonged:.1f}",
        "encephalopathy": str(int(random.choice(4, p=(0.75, 0.13, 0.08, 0.04))) if poor else 0),
        "ascites": str(ascites),
    }
