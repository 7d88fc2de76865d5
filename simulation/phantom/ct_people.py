"""A person of a CT study: name, dates and random streams as everywhere in the phantom, age and sex as the study has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulation.phantom.patients import CaseMix, Patient, draw_patient

_ANYBODY = CaseMix(
    patients=1, prevalence=1.0, benign_mix=(1.0, 0.0, 0.0), malignant_mix=(0.0, 1.0, 0.0), log_size_shift=0.0
)
_PERSON = 52  # purpose of the patient's random stream


def ct_person(hospital: str, hospital_seed: int, index: int, *, age_years: int, male: bool) -> Patient:
    """Patient `index` (from 0) of a hospital; lesion and findings beyond age and sex are nobody's."""
    patient = draw_patient(_ANYBODY, hospital, hospital_seed, index)
    day = np.datetime64(f"{patient.study_date[:4]}-{patient.study_date[4:6]}-{patient.study_date[6:]}")
    days = 365 * age_years + age_years // 4 + int(patient.random(_PERSON).integers(1, 360))
    return replace(
        patient,
        birth_date=str(day - days).replace("-", ""),
        findings=replace(patient.findings, age_years=age_years, male=male),
    )
