"""Which images of whom are wanted: a worklist in CSV, or one patient or study named on the command line.

Columns of a worklist, one row a patient or study; only `patient_id` must be there, and empty cells ask for nothing:

patient_id           the hospital's own id, as in clinical.csv; names the folder, and is asked for in the archive
archive_id           the patient's id in the archive, where it is another than patient_id
study_uid            one study
accession_number     one study, by its order
from, to             days of the study, YYYY-MM-DD, both included
modality             such as MR, or MR;SEG; in place of `modalities` in site.toml
series_description   a part of it, or a pattern with * and ?, such as "*t2*"; capitals do not count
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from pydicom.config import IGNORE
from pydicom.uid import UID

from fl_liver.errors import ConfigError, DataError

COLUMNS = ("patient_id", "archive_id", "study_uid", "accession_number", "from", "to", "modality", "series_description")
_MAX_ID = 64
_MODALITY = re.compile(r"[A-Z0-9]{1,16}")
_SAID_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """One row. An empty field asks for nothing; `patient_id` is empty only where one study was named.

    first_day, last_day    YYYYMMDD
    modalities             empty: those of site.toml
    """

    patient_id: str = field(default="", repr=False)
    archive_id: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
    first_day: str = field(default="", repr=False)
    last_day: str = field(default="", repr=False)
    modalities: tuple[str, ...] = ()
    series_description: str = ""

    def describes(self, series_description: str) -> bool:
        """Whether a series with this description is wanted."""
        pattern = self.series_description.casefold()
        if not set(pattern) & set("*?"):
            return pattern in series_description.casefold()
        return fnmatch.fnmatchcase(series_description.casefold(), pattern)

    def is_on(self, study_date: str) -> bool:
        """Whether a study of this day, YYYYMMDD, is wanted; a study without a day is."""
        return not re.fullmatch(r"[0-9]{8}", study_date) or (self.first_day or "0") <= study_date <= (
            self.last_day or "9"
        )


def valid_uid(text: str) -> bool:
    """Whether `text` is a UID by DICOM's own rule, and nothing behind it.

    >>> valid_uid("1.2.840.10008"), valid_uid("../../etc/passwd"), valid_uid("1.2.3" + chr(10))
    (True, False, False)
    """
    # Without IGNORE, pydicom warns about a UID that is none, and quotes it.
    return text.isascii() and text.isprintable() and bool(UID(text, validation_mode=IGNORE).is_valid)


def folder_fault(patient_id: str) -> str:
    """Why a patient's id cannot name a folder, or ""."""
    if not patient_id:
        return "is empty"
    if len(patient_id) > _MAX_ID:
        return f"has {len(patient_id)} characters, at most {_MAX_ID} name a folder"
    if patient_id.startswith("."):
        return "begins with a dot, which hides a folder"
    if set(patient_id) & set("/\\") or any(unicodedata.category(one).startswith("C") for one in patient_id):
        return "holds / or \\ or a control character, which no folder may"
    return "ends with a dot or a space" if patient_id[-1] in ". " or patient_id[0] == " " else ""


def archive_fault(text: str) -> str:
    """Why a text cannot be asked for in the archive, or ""."""
    if len(text) > _MAX_ID:
        return f"has {len(text)} characters, at most {_MAX_ID} are an id in DICOM"
    if set(text) & set("*?\\") or any(unicodedata.category(one).startswith("C") for one in text):
        return "holds * or ? (which ask for many), a backslash or a control character"
    return ""


def one_patient(patient_id: str) -> Wanted:
    """`--patient`. Raises ConfigError where the id cannot name a folder, or be asked for."""
    fault = folder_fault(patient_id) or archive_fault(patient_id)
    if fault:
        raise ConfigError(f"--patient: the id {fault}; use a worklist with another patient_id and this as archive_id")
    return Wanted(patient_id=patient_id, archive_id=patient_id)


def one_study(study_uid: str) -> Wanted:
    """`--study`. Raises ConfigError where that is no UID."""
    if not valid_uid(study_uid):
        raise ConfigError("--study: no valid UID; wanted a StudyInstanceUID, digits and dots, at most 64")
    return Wanted(study_uid=study_uid)


def read_worklist(path: Path) -> list[Wanted]:
    """The rows of a worklist, in order, each once.

    Raises:
        DataError: not a table, an unknown column, or cells that cannot be used, named by row and column; no cell is
            quoted.
    """
    from fl_liver.client.cohort.table.tables import read_table, require_columns

    table = read_table(path)
    require_columns(table, ["patient_id"], path)
    unknown = sorted({str(name) for name in table.columns} - set(COLUMNS))
    if unknown:
        raise DataError(f"{path}: unknown column '{unknown[0]}'; known: {', '.join(COLUMNS)}")
    found: dict[Wanted, None] = {}
    faults: list[str] = []
    for number, record in enumerate(table.to_dict("records"), start=2):
        row = _Row({str(name): str(cell) for name, cell in record.items()})
        found[row.wanted()] = None
        faults += [f"row {number}: {fault}" for fault in row.faults]
    if faults:
        more = f"; and {len(faults) - _SAID_AT_MOST} more" if len(faults) > _SAID_AT_MOST else ""
        raise DataError(
            f"{path}: " + "; ".join(faults[:_SAID_AT_MOST]) + more + "; correct them, nothing was asked for"
        )
    return list(found)


class _Row:
    """One row on its way to `Wanted`; `faults` says what is wrong with its cells."""

    def __init__(self, cells: dict[str, str]) -> None:
        self.cells = cells
        self.faults: list[str] = []

    def wanted(self) -> Wanted:
        patient = self._checked("patient_id", folder_fault)
        archive = self._checked("archive_id", archive_fault)
        if not archive:
            archive = self._checked("patient_id", archive_fault)
        first, last = self._day("from"), self._day("to")
        if first and last and first > last:
            self.faults.append("'to' is before 'from'")
        return Wanted(
            patient_id=patient,
            archive_id=archive,
            study_uid=self._checked("study_uid", lambda text: "" if not text or valid_uid(text) else "is no valid UID"),
            accession_number=self._checked("accession_number", archive_fault),
            first_day=first,
            last_day=last,
            modalities=self._modalities(),
            series_description=self.cells.get("series_description", ""),
        )

    def _checked(self, column: str, fault_of: Callable[[str], str]) -> str:
        text = self.cells.get(column, "")
        fault = fault_of(text)
        if fault and (message := f"{column} {fault}") not in self.faults:
            self.faults.append(message)
        return text

    def _day(self, column: str) -> str:
        text = self.cells.get(column, "")
        if not text:
            return ""
        try:
            return date.fromisoformat(text).strftime("%Y%m%d")
        except ValueError:
            self.faults.append(f"'{column}' is no day, wanted YYYY-MM-DD")
            return ""

    def _modalities(self) -> tuple[str, ...]:
        words = [word for word in re.split(r"[;,/ ]+", self.cells.get("modality", "").upper()) if word]
        if not all(_MODALITY.fullmatch(word) for word in words):
            self.faults.append("'modality' is none, wanted such as MR or MR;SEG")
        return tuple(dict.fromkeys(words))
