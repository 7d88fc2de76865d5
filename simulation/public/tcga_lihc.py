"""TCIA TCGA-LIHC: CT and MR of hepatocellular carcinoma, and TCGA's clinical tables. No lesion is drawn.

    …/TCGA-BC-A10W/<study>/<series>/*.dcm             as NBIA writes it, or any other depth
    *clinical_patient_lihc.txt                        tab-separated, three rows of names, "[Not Available]"
    masks/TCGA-BC-A10W.nii.gz                         lesions that you drew yourself; then images can be used

The collection has no segmentations, so by itself it serves studies of tables. Traps, all seen in the table: platelets
stand in thousands or in units, and "INR" is an INR in some hospitals and seconds in others (refused). The barcode's
second part is the hospital that gave the tissue, the one real centre in all of these sets: `--partition by:site`.
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
from simulation.public.question import Question
from simulation.public.series_files import link_files
from simulation.public.tables import band, find_table, numbers
from simulation.public.tcia import TciaSeries, incomplete, scanner_columns, tcia_series

ID, GRADE = "bcr_patient_barcode", "tumor_grade"
PREFIX = "TCGA-"
_NUMBERS = {
    "age_years": "age_at_diagnosis",
    "height_cm": "height_cm_at_diagnosis",
    "weight_kg": "weight_kg_at_diagnosis",
    "afp_ng_ml": "alpha_fetoprotien_at_procurement",
    "albumin_g_dl": "serum_albumin_preresection",
    "bilirubin_mg_dl": "bilirubin_total",
    "creatinine_mg_dl": "creatinine_level_preresection",
}
_PLATELETS = "platelet_count_preresection"
_RISKS = {"hepatitis": "Hepatitis [BC]", "alcohol": "Alcohol", "fatty_liver": "Fatty Liver"}
_AFTER = "it is known only after the operation"
REFUSED = {
    "patient_id": "an id is no finding",
    "prothrombin_time_INR_at_procurement": "some hospitals wrote an INR, others seconds",
    "tissue_source_site": "it is the hospital; part by it instead (by:site)",
    **dict.fromkeys(
        ("vital_status", "tumor_status", "death_days_to", "last_contact_days_to", "residual_tumor"), _AFTER
    ),
    **dict.fromkeys(("ajcc_tumor_pathologic_pt", "ajcc_pathologic_tumor_stage", "ishak_fibrosis_score"), _AFTER),
    "new_tumor_event_dx_indicator": _AFTER,
}
QUESTION = Question(
    title="Is a resected hepatocellular carcinoma poorly differentiated (G3 or G4)?",
    outcome="high_grade",
    classes={"low_grade": "0", "high_grade": "1"},
    positive=("high_grade",),
)


def read(folder: Path) -> PublicCohort:
    """Read the clinical table, and find the images where they are there.

    Returns:
        Columns patient_id (barcode), high_grade, vascular_invasion (0/1 or missing), grade (G1 to G4), sex, numbers,
        platelets in 1000/µl, and risk factors 0/1.
    Raises:
        DataError: no such table, or a barcode stands twice.
    """
    table = find_table(folder, (ID, GRADE, "vascular_invasion", "gender"), "clinical table of TCGA-LIHC")
    twice = table[ID][table[ID].duplicated()]
    if len(twice):
        raise DataError(f"tcga_lihc: {twice.iloc[0]} stands twice in the clinical table; take clinical_patient alone")
    clinical = _parse(table.sort_values(ID).reset_index(drop=True))
    imaged = _imaged(folder, set(clinical["patient_id"]))
    columns = _partition_columns(clinical, imaged)
    without = len(clinical) - len(imaged)
    notes = (f"{without} of {len(clinical)} patients have no CT here",) if imaged and without else ()
    return PublicCohort(
        name="tcga_lihc",
        clinical=clinical,
        outcomes=("high_grade", "vascular_invasion", "grade"),
        partition_columns=columns,
        refused=REFUSED,
        notes=(*notes, *(incomplete(folder, {patient: list(many) for patient, many in imaged.items()}))),
        images=_images(folder, imaged),
        question=QUESTION,
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    imaged: dict[str, tuple[TciaSeries, ...]] = field(repr=False)
    masks: dict[str, Path] = field(repr=False)

    def __call__(self, patient: str, folder: Path) -> Written:
        (folder / MASK_FOLDER).mkdir(exist_ok=True)
        link_files([self.masks[patient]], folder / MASK_FOLDER)
        for number, series in enumerate(self.imaged[patient], start=1):
            link_files(series.files, folder / DICOM_FOLDER / patient / f"{number:02d}")
        return Written()


def _images(folder: Path, imaged: dict[str, tuple[TciaSeries, ...]]) -> PublicImages | None:
    """CT of the patients on whose images somebody drew lesions; of all, unusable ones, where nobody did."""
    if not imaged:
        return None
    masks = {path.name.removesuffix(".nii.gz"): path for path in sorted((folder / MASK_FOLDER).glob("TCGA-*.nii.gz"))}
    drawn = frozenset(imaged) & frozenset(masks)
    return PublicImages(
        modality="CT",
        patients=drawn,
        lesions="masks" if drawn else "none",
        write=_Writer(imaged, masks),
        sequences=("plain", "arterial", "portal", "delayed"),
        drawn_on=("arterial", "portal", "delayed", "plain"),
        split=("acquisition_number", "acquired_s"),
    )


def _imaged(folder: Path, patients: set[str]) -> dict[str, tuple[TciaSeries, ...]]:
    """The CT series of each patient's first study with CT."""
    try:
        found = tcia_series(folder, lambda patient: patient in patients, f"{PREFIX}BC-A10W/…/*.dcm")
    except DataError:
        return {}
    imaged: dict[str, tuple[TciaSeries, ...]] = {}
    for patient, series in found.items():
        ct = sorted((one for one in series if one.modality == "CT"), key=lambda one: (one.study_date, one.series_uid))
        if ct:
            imaged[patient] = tuple(one for one in ct if one.study_uid == ct[0].study_uid)
    return imaged


def _parse(table: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame({"patient_id": table[ID]})
    grade = table[GRADE].where(table[GRADE].isin(["G1", "G2", "G3", "G4"]))
    out["high_grade"] = grade.map({"G1": 0, "G2": 0, "G3": 1, "G4": 1}).astype("Int64")
    out["vascular_invasion"] = table["vascular_invasion"].map({"None": 0, "Micro": 1, "Macro": 1}).astype("Int64")
    out["grade"] = grade
    out["sex"] = table["gender"].map({"MALE": "M", "FEMALE": "F"})
    for name, source in _NUMBERS.items():
        if source in table:
            out[name] = numbers(table[source])
    if _PLATELETS in table:
        count = numbers(table[_PLATELETS])
        out["platelets_1000_ul"] = count.where(~(count >= 10_000), count / 1000)
    risks = table.get("history_hepato_carcinoma_risk_factors", pd.Series([""] * len(table)))
    for name, word in _RISKS.items():
        out[name] = risks.str.contains(word).astype("Int64").where(risks != "")
    return out


def _partition_columns(clinical: pd.DataFrame, imaged: dict[str, tuple[TciaSeries, ...]]) -> dict[str, np.ndarray]:
    site = clinical["patient_id"].str.split("-").str[1]
    columns = {
        "site": site.fillna("unknown").to_numpy(dtype=np.str_),
        "sex": clinical["sex"].fillna("unknown").to_numpy(dtype=np.str_),
        "age_band": np.array(band(clinical["age_years"], (50, 60, 70), ""), dtype=np.str_),
    }
    if imaged:
        scanners = scanner_columns([many[0] for many in imaged.values()])["scanner"]
        of = dict(zip(imaged, scanners, strict=True))
        columns["scanner"] = np.array([of.get(patient, "no CT") for patient in clinical["patient_id"]], dtype=np.str_)
    return columns
