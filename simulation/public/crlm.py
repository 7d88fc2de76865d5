"""TCIA Colorectal-Liver-Metastases: CT of 197 patients before liver resection, each metastasis drawn as DICOM SEG.

Simpson et al., Scientific Data 11 (2024) 172, s41597-024-02981-2. Memorial Sloan Kettering; portal venous phase. One CT
series a patient, some with several acquisitions, and one SEG with the segments Liver, Liver Remnant, Hepatic, Portal
and Tumor_1, Tumor_2, …; only the tumours are lesions. The clinical table comes as a workbook beside the images, with
-999 for what is not known, and sex 1 male, 2 female.

Everybody has metastases, so no study of benign and malignant can be served. What can be asked is whether the liver will
relapse, at any time that was followed: censoring is not taken into account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fl_liver.client.cohort.layout import DICOM_FOLDER, MASK_FOLDER
from fl_liver.errors import DataError
from simulation.public.cohort import PublicCohort
from simulation.public.images import PublicImages, Written
from simulation.public.nifti import write_mask
from simulation.public.question import Question
from simulation.public.series_files import link_files
from simulation.public.tables import band, find_table, flags, numbers
from simulation.public.tcia import (
    Segmentation,
    TciaSeries,
    drawn_lesions,
    incomplete,
    one_volume,
    require_seg_reader,
    scanner_columns,
    segmentation,
    tcia_series,
)

PREFIX = "CRLM-CT-"
TUMOUR = "tumor"
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


@dataclass(frozen=True, slots=True)
class _Imaged:
    ct: TciaSeries
    drawn: Segmentation = field(repr=False)
    tumours: tuple[int, ...]


def read(folder: Path) -> PublicCohort:
    """Find every patient's CT and tumours, and join the clinical table.

    Returns:
        Columns patient_id, liver_recurrence, recurrence, death (0/1 or missing), sex, the numbers and flags of the
        table that were known before the operation, and tumours (how many are drawn).
    Raises:
        ConfigError: highdicom is not installed.
        DataError: no series of this collection, no clinical table, or nobody with a CT and drawn tumours.
    """
    require_seg_reader()
    found = tcia_series(folder, lambda patient: patient.startswith(PREFIX), f"{PREFIX}1001/…/*.dcm")
    imaged = {patient: one for patient, series in found.items() if (one := _imaged(series)) is not None}
    if not imaged:
        raise DataError(f"{folder}: {len(found)} patients, none with a CT and drawn tumours; fetch the SEG series too")
    clinical = _clinical(find_table(folder, ("age", "sex", *_OUTCOMES.values()), "clinical table"), list(imaged))
    clinical["tumours"] = [len(imaged[patient].tumours) for patient in clinical["patient_id"]]
    columns = scanner_columns([imaged[patient].ct for patient in clinical["patient_id"]])
    columns["age_band"] = np.array(band(clinical["age_years"], (50, 60, 70), ""), dtype=np.str_)
    without = len(found) - len(imaged)
    notes = (f"{without} patients without a CT on which tumours are drawn are left out",) if without else ()
    return PublicCohort(
        name="crlm",
        clinical=clinical,
        outcomes=tuple(_OUTCOMES),
        partition_columns=columns,
        refused=REFUSED,
        notes=(*notes, *incomplete(folder, found)),
        images=PublicImages(
            modality="CT",
            patients=frozenset(imaged),
            lesions="masks",
            write=_Writer(imaged),
            sequences=("portal",),
            drawn_on=("portal",),
            series=(("*", "portal"),),
        ),
        question=QUESTION,
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    imaged: dict[str, _Imaged] = field(repr=False)

    def __call__(self, patient: str, folder: Path) -> Written:
        one = self.imaged[patient]
        labels, grid = drawn_lesions(one.drawn, one.tumours, separate=False)
        write_mask(labels, grid, folder / MASK_FOLDER / f"{patient}.nii.gz")
        link_files(one_volume(one.ct, one.drawn.images), folder / DICOM_FOLDER / patient / "ct")
        return Written(lesions=tuple(int(label) for label in np.unique(labels) if label))


def _imaged(series: list[TciaSeries]) -> _Imaged | None:
    images = {one.series_uid: one for one in series if one.modality == "CT"}
    for one in series:
        drawn = segmentation(one) if one.modality == "SEG" else None
        if drawn is None or drawn.series_uid not in images:
            continue
        tumours = tuple(number for number, label in sorted(drawn.segments.items()) if TUMOUR in label.lower())
        if tumours:
            return _Imaged(images[drawn.series_uid], drawn, tumours)
    return None


def _clinical(table: pd.DataFrame, patients: list[str]) -> pd.DataFrame:
    """The rows of the imaged patients, in their order; the workbook has them under two ids."""
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
    return out
