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
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fl_liver.errors import DataError
from simulation.public.cohort import PublicCohort
from simulation.public.question import Question
from simulation.public.tables import flags, numbers
from simulation.public.tcia_drawn import DrawnCollection, DrawnCt

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


def read(folder: Path) -> PublicCohort:
    """Find every patient's study before treatment and its masses, and join the clinical table.

    Returns:
        Columns patient_id, progression, death, vascular_invasion (0/1 or missing), age_years, sex_code (as published:
        the workbook's legend says which is which), afp_ng_ml, flags and the published stagings as text.
    Raises:
        ConfigError, DataError: as `DrawnCollection.read`.
    """
    return DrawnCollection(
        name="hcc_tace_seg",
        belongs=lambda patient: PATIENT.fullmatch(patient) is not None,
        wanted="HCC_001/…/*.dcm",
        words=MASS,
        lesion="a mass is",
        separate=True,
        files=_files,
        columns=(ID, _PROGRESSION, _DEATH),
        clinical=_clinical,
        outcomes=tuple(_OUTCOMES),
        refused=REFUSED,
        question=QUESTION,
        sequences=("plain", "arterial", "portal", "delayed"),
        drawn_on=("arterial", "portal", "delayed", "plain"),
        split=("acquisition_number", "acquired_s"),
        notes=("phases are told from headers; a patient whose phases they do not tell is left out by the cohort",),
    ).read(folder)


def _files(one: DrawnCt) -> Mapping[str, Sequence[Path]]:
    return {f"{number:02d}": series.files for number, series in enumerate(one.study, start=1)}


def _clinical(table: pd.DataFrame, imaged: Mapping[str, DrawnCt]) -> pd.DataFrame:
    patients = list(imaged)
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
