"""TCIA Colorectal-Liver-Metastases: CT of 197 patients before liver resection, each metastasis drawn as DICOM SEG.

Simpson et al., Scientific Data 11 (2024) 172, s41597-024-02981-2. Memorial Sloan Kettering; portal venous phase. One CT
series a patient, some with several acquisitions, and one SEG with the segments Liver, Liver Remnant, Hepatic, Portal
and Tumor_1, Tumor_2, …; only the tumours are lesions. The clinical table comes as a workbook beside the images, with
-999 for what is not known, and sex 1 male, 2 female.

Everybody has metastases, so no study of benign and malignant can be served. What can be asked is whether the liver will
relapse, at any time that was followed: censoring is not taken into account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fl_liver.errors import DataError
from simulation.public.cohort import PublicCohort
from simulation.public.question import Question
from simulation.public.tables import flags, numbers
from simulation.public.tcia import one_volume
from simulation.public.tcia_drawn import DrawnCollection, DrawnCt

PREFIX = "CRLM-CT-"
_MISSING = {"-999", "-999.0", ""}
_OUTCOMES = {
    "liver_recurrence": "progression_or_recurrence_liveronly",
    "recurrence": "progression_or_recurrence",
    "death": "vital_status",
}
_NUMBERS = {
    "age_years": "age",
    "bmi": "body_mass_index",
    "clinical_risk_score": "clinrisk_score",
    "cea_ng_ml": "carcinoembryonic_antigen",
    "max_tumour_size": "max_tumor_size",
}
_FLAGS = {
    "comorbidity": "major_comorbidity",
    "node_positive_primary": "node_positive_primary",
    "synchronous": "synchronous_crlm",
    "multiple_metastases": "multiple_metastases",
    "bilobar": "bilobar_disease",
    "extrahepatic_disease": "extrahep_disease",
    "chemotherapy_before": "chemo_before_liver_resection",
    "portal_vein_embolisation": "preoperative_pve",
}
_AFTER = "it is read from the resected liver, after the images were made"
_TIME = "it is a time to what is asked"
REFUSED = {
    "patient_id": "an id is no finding",
    **dict.fromkeys(
        (
            *("steatosis_yesno", "presence_sinusoidal_dilata", "NASH_score", "NASH_yesno", "NASH_greater_4"),
            *("total_response_percent", "necrosis_percent", "fibrosis_percent", "fibrosis_greater_40_percent"),
            "mucin_percent",
        ),
        _AFTER,
    ),
    **dict.fromkeys(("overall_survival_months", "months_to_DFS_progression", "months_to_liver_DFS_progression"), _TIME),
    "vital_status_DFS": "it follows from what is asked",
    "vital_status_liver_DFS": "it follows from what is asked",
}
QUESTION = Question(
    title="Will the liver relapse after resection of colorectal metastases?",
    outcome="liver_recurrence",
    classes={"relapse_free": "0", "relapse": "1"},
    positive=("relapse",),
)


def read(folder: Path) -> PublicCohort:
    """Find every patient's CT and tumours, and join the clinical table.

    Returns:
        Columns patient_id, liver_recurrence, recurrence, death (0/1 or missing), sex, the numbers and flags of the
        table that were known before the operation, and tumours (how many are drawn).
    Raises:
        ConfigError, DataError: as `DrawnCollection.read`.
    """
    return DrawnCollection(
        name="crlm",
        belongs=lambda patient: patient.startswith(PREFIX),
        wanted=f"{PREFIX}1001/…/*.dcm",
        words=("tumor",),
        lesion="tumours are",
        separate=False,
        files=_files,
        columns=("age", "sex", *_OUTCOMES.values()),
        clinical=_clinical,
        outcomes=tuple(_OUTCOMES),
        refused=REFUSED,
        question=QUESTION,
        sequences=("portal",),
        drawn_on=("portal",),
        series=(("*", "portal"),),
    ).read(folder)


def _files(one: DrawnCt) -> Mapping[str, Sequence[Path]]:
    return {"ct": one_volume(one.drawn_on, one.drawn.images)}


def _clinical(table: pd.DataFrame, imaged: Mapping[str, DrawnCt]) -> pd.DataFrame:
    """The rows of the imaged patients, in their order; the workbook has them under two ids."""
    patients = list(imaged)
    column = max(table, key=lambda name: table[name].isin(patients).sum())
    if not table[column].isin(patients).any():
        raise DataError(
            f"crlm: no column of the clinical table holds an id such as {patients[0]}; is it another table?"
        )
    rows = table.drop_duplicates(column).set_index(column).reindex(patients)
    out = pd.DataFrame({"patient_id": patients})
    for name, source in _OUTCOMES.items():
        out[name] = flags(rows[source].fillna("")).to_numpy()
    out["sex"] = [{1.0: "M", 2.0: "F"}.get(value) for value in numbers(rows["sex"].fillna(""), _MISSING)]
    for name, source in _NUMBERS.items():
        if source in rows:
            out[name] = numbers(rows[source].fillna(""), _MISSING).to_numpy()
    for name, source in _FLAGS.items():
        if source in rows:
            out[name] = flags(rows[source].fillna("")).to_numpy()
    out["tumours"] = [len(imaged[patient].lesions) for patient in patients]
    return out
