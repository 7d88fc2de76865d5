"""MCT-LTDiag's two tables (517 patients, five focal liver lesions), with the columns that leak the diagnosis taken out.

Wu, Su et al., Scientific Data (2025), s41597-025-06343-4. One hospital (Peking Union Medical College Hospital).
Leaks were measured on the 517 patients with a depth-4 tree on the format alone (number of characters, decimals, a
unit, a remark), 5-fold cross-validated, one class against the rest, .50 being none:

    age, "62" or "062Y"        BCLM .81: all 76 ages without a unit are BCLM   parsed, format gone
    ID prefix (a batch date)   12 of its 15 values hold one class              refused, ids replaced
    chemotherapy history       present in 103 of 115 BCLM and no haemangioma   refused
    mean volume, decimals      HCC .61: they tell how many lesions there are   refused, also wrong in places
    Y/N remarks, missing Y/N   BCLM .52 (all 8 unknown hepatitis are BCLM)     remarks dropped; see `notes`

Peripheral nodular enhancement (80 of 96 haemangiomas, no one else) and capsule (24 HCC, no one else) are real signs and
are kept; whether the readers knew the diagnosis is not stated. Sex is real too: all BCLM patients are women.

The volumes (180 GB) may lie below the tables' folder: `mct_ltdiag_images`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_liver.errors import DataError
from simulation.public.cohort import PublicCohort
from simulation.public.mct_ltdiag_images import volumes

PATIENT_FILE = "meta_info_patient.csv"
TUMOUR_FILE = "meta_info_tumor.csv"
FILES = tuple(f"{name}|{name.replace('.csv', '.tab')}" for name in (PATIENT_FILE, TUMOUR_FILE))
"""Dataverse hands out tables as .tab, parted by tabs."""

DIAGNOSES = ("HH", "HCC", "ICC", "CRLM", "BCLM")
"""Hepatic haemangioma (benign), hepatocellular and intrahepatic cholangiocellular carcinoma, colorectal and breast
cancer metastasis."""

_CHEMOTHERAPY = "History of chemotherapy (Y/N)"
_PATIENT_COLUMNS = {
    "type": "diagnosis",
    "patient_sex": "sex",
    "patient_age": "age_years",
    "Cirrhosis status (Y/N)": "cirrhosis",
    "History of viral hepatitis (Y/N)": "hepatitis",
}
_TUMOUR_COLUMNS = {
    "InExp_Volume_mm3": "volume_mm3",
    "Max3D_Diameter_mm": "diameter_mm",
    "Nonrim APHE": "nonrim_aphe",
    "Washout": "washout",
    "Capsule presence": "capsule",
    "Peripheral nodular enhancement": "peripheral_nodular_enhancement",
    "Central scar": "central_scar",
    "Rim APHE": "rim_aphe",
    "Lobulated": "lobulated",
}
_YES_NO = ("cirrhosis", "hepatitis", *list(_TUMOUR_COLUMNS.values())[2:])

_ID_REASON = "the data set's ids begin with a batch date that nearly tells the diagnosis"
_CHEMOTHERAPY_REASON = (
    "chemotherapy follows the diagnosis (103 of 115 breast metastases, no haemangioma), so it would tell it"
)
_AGE_REASON = "its format tells the diagnosis (all 76 ages without 'Y' are breast metastases); take age_years"
_MEAN_VOLUME_REASON = (
    "its decimals tell the number of lesions, and in 12 patients it is above the lesion's own volume; take volume_mm3"
)
REFUSED = {
    "ID": _ID_REASON,
    "patient_id": "an id is no finding",
    "patient_age": _AGE_REASON,
    "age_format": _AGE_REASON,
    _CHEMOTHERAPY: _CHEMOTHERAPY_REASON,
    "history_of_chemotherapy": _CHEMOTHERAPY_REASON,
    "chemotherapy_history": _CHEMOTHERAPY_REASON,
    "chemotherapy": _CHEMOTHERAPY_REASON,
    "Avg_Volume_mm3": _MEAN_VOLUME_REASON,
    "mean_volume_mm3": _MEAN_VOLUME_REASON,
    "type": "it is the diagnosis itself",
}
"""Column → why it is not written and must not be a factor."""

AGE_BANDS = ("under-40", "40-49", "50-59", "60-69", "70-up")
DIAMETER_BANDS = ("under-30", "30-49", "50-79", "80-up")


def read(folder: Path) -> PublicCohort:
    """Read and join the two tables, and find the volumes where they are there.

    Ids become P0001, P0002, … in the order of a SHA-256 of the old id: neither the new id nor the row order tells the
    class, and both are the same on every machine and for every seed.

    Returns:
        Columns patient_id, diagnosis (`DIAGNOSES`), malignant (0/1, all but HH), sex (M/F), age_years, cirrhosis,
        hepatitis (0/1 or missing), volume_mm3 (mm³), diameter_mm, seven findings in CT (0/1), and hcc (0/1).
    Raises:
        DataError: a file or column is missing, the ids of the two files differ, or a value cannot be understood.
    """
    patients = _table(folder / PATIENT_FILE, ("ID", *_PATIENT_COLUMNS))
    tumours = _table(folder / TUMOUR_FILE, ("ID", *_TUMOUR_COLUMNS))
    _check_ids(patients["ID"], tumours["ID"])
    joined = patients.merge(tumours, on="ID", validate="one_to_one").rename(columns=_PATIENT_COLUMNS | _TUMOUR_COLUMNS)
    digests = joined["ID"].map(lambda old: hashlib.sha256(f"mct_ltdiag {old}".encode()).hexdigest())
    joined = joined.iloc[np.argsort(digests.to_numpy(dtype=str))].reset_index(drop=True)
    clinical = _parse(joined)
    return PublicCohort(
        name="mct_ltdiag",
        clinical=clinical,
        outcomes=("diagnosis", "malignant", "hcc"),
        partition_columns=_partition_columns(clinical),
        refused={**REFUSED, **_unknown_columns(patients, tumours)},
        notes=_notes(clinical),
        images=volumes(folder, dict(zip(clinical["patient_id"], joined["ID"], strict=True))),
    )


def _table(path: Path, wanted: tuple[str, ...]) -> pd.DataFrame:
    tabs = path.with_suffix(".tab")
    path = tabs if tabs.is_file() and not path.is_file() else path
    separator = "\t" if path == tabs else ","
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}); wanted {PATIENT_FILE} and {TUMOUR_FILE}"
        ) from error
    except ValueError as error:  # pandas' parser errors and a wrong encoding are both ValueErrors
        raise DataError(f"{path}: not a UTF-8 CSV table ({error}); fetch the file again") from error
    missing = [name for name in wanted if name not in table]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)} (found {', '.join(map(str, table))}); wanted the published file"
        )
    if table.empty:
        raise DataError(f"{path}: no patients (found 0 rows, wanted at least one); fetch the file again")
    return table


def _check_ids(patients: pd.Series[str], tumours: pd.Series[str]) -> None:
    for file, ids in ((PATIENT_FILE, patients), (TUMOUR_FILE, tumours)):
        twice = ids[ids.duplicated()]
        if len(twice):
            raise DataError(f"{file}: {len(twice)} ids stand twice (first {twice.iloc[0]}); wanted one row per patient")
    lone = sorted(set(patients) ^ set(tumours))
    if lone:
        raise DataError(
            f"{len(lone)} ids are in one of {PATIENT_FILE} and {TUMOUR_FILE} only (first {lone[0]});"
            " wanted the same patients in both, take both files from one version"
        )


def _parse(joined: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame({"patient_id": [f"P{k:04d}" for k in range(1, len(joined) + 1)]})
    out["diagnosis"] = _matched(joined, "diagnosis", rf"({'|'.join(DIAGNOSES)})", "one of " + ", ".join(DIAGNOSES))
    out["malignant"] = (out["diagnosis"] != "HH").astype(np.int64)
    out["sex"] = _matched(joined, "sex", r"([MF])", "M or F")
    out["age_years"] = _matched(joined, "age_years", r"0*((?:1[01]|[1-9])?[0-9])Y?", "062Y or 62").astype(np.int64)
    for column in ("volume_mm3", "diameter_mm"):
        text = _matched(joined, column, r"(\d+(?:\.\d+)?)", "a number above 0")
        out[column] = text.astype(np.float64)
        _refuse(joined, column, (out[column] <= 0).to_numpy(), "a number above 0")
    for column in _YES_NO:
        out[column] = _yes_no(joined, column)
    out["hcc"] = (out["diagnosis"] == "HCC").astype(np.int64)
    first = ["patient_id", "diagnosis", "malignant", "sex", "age_years", "cirrhosis", "hepatitis"]
    return out[first + [name for name in out if name not in first]]


def _yes_no(joined: pd.DataFrame, column: str) -> pd.Series[int]:
    """1 for Y, 0 for N, missing for an empty cell, NA, `N?` and an N whose remark says that there is no record.

    A remark in brackets is dropped: it is written more often for some diagnoses.
    """
    text = joined[column].str.strip()
    wanted = "Y or N, with or without a remark in brackets, or NA"
    letter = _matched(joined, column, r"(Y|NA|N\??|)(?:\s*\(.*)?", wanted)
    unknown = ~letter.isin(["Y", "N"]) | text.str.contains("no medical record", case=False)
    return (letter == "Y").astype("Int64").mask(unknown)


def _matched(joined: pd.DataFrame, column: str, pattern: str, wanted: str) -> pd.Series[str]:
    found = joined[column].str.strip().str.extract(rf"^(?:{pattern})$", expand=False)
    _refuse(joined, column, found.isna().to_numpy(), wanted)
    return found


def _refuse(joined: pd.DataFrame, column: str, bad: NDArray[np.bool_], wanted: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"mct_ltdiag: {column} of {int(bad.sum())} patients cannot be understood (first: id {joined['ID'][row]},"
            f" found '{joined[column][row]}'; wanted {wanted}); correct the table or fetch it again"
        )


def _partition_columns(clinical: pd.DataFrame) -> dict[str, NDArray[np.str_]]:
    answers = {0: "no", 1: "yes"}
    ages = np.searchsorted([40, 50, 60, 70], clinical["age_years"].to_numpy(), side="right")
    sizes = np.searchsorted([30, 50, 80], clinical["diameter_mm"].to_numpy(), side="right")
    return {
        "sex": clinical["sex"].to_numpy(dtype=np.str_),
        "cirrhosis": clinical["cirrhosis"].map(answers).fillna("unknown").to_numpy(dtype=np.str_),
        "hepatitis": clinical["hepatitis"].map(answers).fillna("unknown").to_numpy(dtype=np.str_),
        "age_band": np.array(AGE_BANDS)[ages],
        "diameter_band": np.array(DIAMETER_BANDS)[sizes],
    }


def _unknown_columns(patients: pd.DataFrame, tumours: pd.DataFrame) -> dict[str, str]:
    """Columns that a later version of the files may bring: nobody has measured whether they leak."""
    known = {"ID", *_PATIENT_COLUMNS, *_TUMOUR_COLUMNS, *REFUSED}
    return {name: "this reader does not know it" for name in (*patients, *tumours) if name not in known}


def _notes(clinical: pd.DataFrame) -> tuple[str, ...]:
    return tuple(
        f"{column} is not known for {count} of {len(clinical)} patients ({', '.join(diagnoses)}); left empty, and that"
        " it is empty must not be used as a finding"
        for column in _YES_NO
        if (count := int(clinical[column].isna().sum()))
        for diagnoses in [sorted(set(clinical["diagnosis"][clinical[column].isna()]))]
    )
