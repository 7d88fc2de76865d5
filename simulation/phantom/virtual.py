"""What the writer of virtual hospitals needs of each phantom: who is there, which tables, and one patient at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class PatientRows:
    """What the tables of a hospital say of one patient.

    rows      table file → its rows, in the order of its header
    evidence  log-odds of disease that an ideal observer sees, for each unit with a diagnosis (patient or lesion);
              simulated readers are drawn from it
    """

    patient_id: str
    rows: dict[str, list[list[str]]]
    evidence: tuple[float, ...] = ()


class VirtualHospital(Protocol):
    """One hospital with known truth. Instances are pickled: worker processes write the patients."""

    @property
    def name(self) -> str: ...
    @property
    def external(self) -> bool:
        """Tests only; its devices lie outside the range of the training hospitals."""
        ...

    @property
    def patients(self) -> int: ...
    @property
    def device(self) -> str:
        """In words, for a report."""
        ...

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        """Table file → header; "clinical.csv" always, "lesions.csv" where lesions are boxes."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Everything that the bytes depend on, as JSON values."""
        ...

    def write_patient(self, index: int, folder: Path) -> PatientRows:
        """Write the images of patient `index` (from 0) into a hospital's data folder."""
        ...
