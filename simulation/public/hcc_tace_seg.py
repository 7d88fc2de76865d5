"""TCIA HCC-TACE-Seg: multiphase CT of 105 patients with HCC round chemoembolisation, tumours as DICOM SEG.

Moawad et al., Scientific Data 10 (2023) 33, s41597-023-01928-3. MD Anderson; one SEG a patient, on a series of the
study before treatment, with the segments Liver, Mass, Portal vein and Abdominal aorta (Necrosis in one); only masses
are lesions. One segment holds all masses, so parts that hang together become lesions of their own. The study after
treatment is left out: it shows what is to be foretold. A series may hold all phases, told apart by AcquisitionNumber;
which phase each is, headers have to tell, as in a hospital.

Everybody has HCC: what can be asked is the course after treatment, not whether it is one.
"""

from __future__ import annotations

import re
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
    require_seg_reader,
    scanner_columns,
    segmentation,
    tcia_series,
)

PATIENT = re.compile(r"HCC_\d{3}")
MASS = ("mass", "tumor", "tumour")
ID = "TCIA_ID"
_PROGRESSION, _DEATH = "Censored_0_progressed_1", "Death_1_StillAliveorLostToFU_0"
_OUTCOMES = {"progression": _PROGRESSION, "death": _DEATH, "vascular_invasion": "Vascular invasion"}
_FLAGS = {
    "smoking": "Smoking",
    "alcohol": "Alcohol",
    "diabetes": "Diabetes",
    "cirrhosis": "Evidence_of_cirh",
    "portal_vein_thrombosis": "Portal Vein Thrombosis",
}
_NUMBERS = {"age_years": "age", "sex_code": "Sex", "afp_ng_ml": "AFP"}
_TEXTS = {"hepatitis": "hepatitis", "child_pugh": "CPS", "bclc": "BCLC", "nodularity": "tumor_nodul"}
REFUSED = {
    "patient_id": "an id is no finding",
    "TTP": "it is the time to what is asked",
    "OS": "it is the time to what is asked",
    "Interval_FU": "it is the time of the study after treatment",
    **dict.fromkeys(
        [f"{n}_{rule}{end}" for n in (1, 2, 3) for rule in ("EASL", "RECIST", "mRECIST") for end in ("", "_BL", "_FU")],
        "it is measured with the study after treatment",
    ),
}
QUESTION = Question(
    title="Will hepatocellular carcinoma progress after chemoembolisation?",
    outcome="progression",
    classes={"stable": "0", "progression": "1"},
    positive=("progression",),
)


@dataclass(frozen=True, slots=True)
class _Imaged:
    """The CT series of the study that was drawn on, and the drawing."""

    drawn_on: TciaSeries
    study: tuple[TciaSeries, ...]
    drawn: Segmentation = field(repr=False)
    masses: tuple[int, ...]


def read(folder: Path) -> PublicCohort:
    """Find every patient's study before treatment and its masses, and join the clinical table.

    Returns:
        Columns patient_id, progression, death, vascular_invasion (0/1 or missing), age_years, sex_code (as published:
        the workbook's legend says which is which), afp_ng_ml, flags and the published stagings as text.
    Raises:
        ConfigError: highdicom is not installed.
        DataError: no series of this collection, no clinical table, or nobody with a CT and drawn masses.
    """
    require_seg_reader()
    found = tcia_series(folder, lambda patient: PATIENT.fullmatch(patient) is not None, "HCC_001/…/*.dcm")
    imaged = {patient: one for patient, series in found.items() if (one := _imaged(series)) is not None}
    if not imaged:
        raise DataError(f"{folder}: {len(found)} patients, none with a CT and a drawn mass; fetch the SEG series too")
    clinical = _clinical(find_table(folder, (ID, _PROGRESSION, _DEATH), "clinical table"), list(imaged))
    columns = scanner_columns([imaged[patient].drawn_on for patient in clinical["patient_id"]])
    columns["age_band"] = np.array(band(clinical["age_years"], (50, 60, 70), ""), dtype=np.str_)
    without = len(found) - len(imaged)
    notes = (f"{without} patients without a CT on which a mass is drawn are left out",) if without else ()
    return PublicCohort(
        name="hcc_tace_seg",
        clinical=clinical,
        outcomes=tuple(name for name in _OUTCOMES if name in clinical),
        partition_columns=columns,
        refused=REFUSED,
        notes=(
            *notes,
            "phases are told from headers; a patient whose phases they do not tell is left out by the cohort",
            *incomplete(folder, found),
        ),
        images=PublicImages(
            modality="CT",
            patients=frozenset(imaged),
            lesions="masks",
            write=_Writer(imaged),
            sequences=("plain", "arterial", "portal", "delayed"),
            drawn_on=("arterial", "portal", "delayed", "plain"),
            split=("acquisition_number", "acquired_s"),
        ),
        question=QUESTION,
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    imaged: dict[str, _Imaged] = field(repr=False)

    def __call__(self, patient: str, folder: Path) -> Written:
        one = self.imaged[patient]
        labels, grid = drawn_lesions(one.drawn, one.masses, separate=True)
        write_mask(labels, grid, folder / MASK_FOLDER / f"{patient}.nii.gz")
        for number, series in enumerate(one.study, start=1):
            link_files(series.files, folder / DICOM_FOLDER / patient / f"{number:02d}")
        return Written(lesions=tuple(int(label) for label in np.unique(labels) if label))


def _imaged(series: list[TciaSeries]) -> _Imaged | None:
    """The earliest study on which a mass is drawn."""
    images = {one.series_uid: one for one in series if one.modality == "CT"}
    for one in sorted(series, key=lambda one: (one.study_date, one.series_uid)):
        drawn = segmentation(one) if one.modality == "SEG" else None
        if drawn is None or drawn.series_uid not in images:
            continue
        masses = tuple(
            number for number, label in sorted(drawn.segments.items()) if any(word in label.lower() for word in MASS)
        )
        if masses:
            drawn_on = images[drawn.series_uid]
            study = tuple(ct for ct in images.values() if ct.study_uid == drawn_on.study_uid)
            return _Imaged(drawn_on, study, drawn, masses)
    return None


def _clinical(table: pd.DataFrame, patients: list[str]) -> pd.DataFrame:
    if not table[ID].isin(patients).any():
        raise DataError(f"hcc_tace_seg: {ID} of the clinical table holds no id such as {patients[0]}; is it another?")
    rows = table.drop_duplicates(ID).set_index(ID).reindex(patients).fillna("")
    out = pd.DataFrame({"patient_id": patients})
    for name, source in _OUTCOMES.items():
        if source in rows:
            out[name] = flags(rows[source]).to_numpy()
    for name, source in _NUMBERS.items():
        out[name] = numbers(rows[source]).to_numpy() if source in rows else np.nan
    for name, source in _FLAGS.items():
        if source in rows:
            out[name] = flags(rows[source]).to_numpy()
    for name, source in _TEXTS.items():
        if source in rows:
            out[name] = rows[source].where(rows[source] != "").to_numpy()
    return out
