"""The row of `clinical.csv` that a study of ultrasound lesions asks for; a study of another modality adds its own."""

from __future__ import annotations

import math

from simulation.phantom.patients import Patient

CLINICAL_COLUMNS = (
    "patient_id", "malignant", "subtype", "age_years", "sex", "hepatitis", "tumour_history", "afp_ng_ml", "diabetes",
    "symptoms", "halo", "vascularity", "hypoechoic", "calcification", "posterior_enhancement", "multiple", "left_lobe",
    "background", "size_mm",
)  # fmt: skip

_YES_NO = (
    "hepatitis", "tumour_history", "diabetes", "symptoms", "halo", "vascularity", "hypoechoic", "calcification",
    "posterior_enhancement", "multiple", "left_lobe",
)  # fmt: skip


def clinical_row(patient: Patient) -> list[str]:
    """Cells in the order of CLINICAL_COLUMNS: yes is 1, no is 0, a value that nobody measured is empty."""
    findings = patient.findings
    cells = {name: str(int(getattr(findings, name))) for name in _YES_NO} | {
        "patient_id": patient.patient_id,
        "malignant": str(int(patient.malignant)),
        "subtype": patient.subtype,
        "age_years": str(findings.age_years),
        "sex": "M" if findings.male else "F",
        "afp_ng_ml": "" if math.isnan(findings.afp_ng_ml) else f"{findings.afp_ng_ml:.1f}",
        "background": patient.background,
        "size_mm": f"{patient.lesion.size_mm:.1f}",
    }
    return [cells[column] for column in CLINICAL_COLUMNS]
