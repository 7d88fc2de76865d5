"""What the writer of virtual hospitals needs of each phantom: who is there, which tables, and one patient at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np


@dataclass(frozen=True, slots=True)
class Unit:
    """A patient (or lesion) whom others than the study's model judge.

    evidence  log-odds of disease that an ideal observer sees; simulated readers are drawn from it
    truth     the class, in the words of the phantom; "" where no opinion asks
    classes   log density of what is seen among lesions of each class; empty where no opinion asks
    """

    evidence: float
    truth: str = ""
    classes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opinion:
    """Columns of readers.csv that one phantom has beside the five readers' calls.

    draw  (unit, the readers' calls 0 or 1 without AI in their order, a random stream of its own that begins anew for
          each unit) → the cells
    """

    columns: tuple[str, ...]
    draw: Callable[[Unit, Sequence[int], np.random.Generator], Sequence[str]]


@dataclass(frozen=True, slots=True)
class PatientRows:
    """What the tables of a hospital say of one patient.

    rows   table file → its rows, in the order of its header
    units  each that has a diagnosis (patient or lesion), in their order; none where nobody else judges them
    """

    patient_id: str
    rows: dict[str, list[list[str]]]
    units: tuple[Unit, ...] = ()


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

    @property
    def opinions(self) -> Sequence[Opinion]:
        """In the order of their columns in readers.csv. They may not change what is drawn of anything else."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Everything that the bytes depend on, as JSON values."""
        ...

    def write_patient(self, index: int, folder: Path) -> PatientRows:
        """Write the images of patient `index` (from 0) into a hospital's data folder."""
        ...


class Scanner(Protocol):
    """What patients are scanned with."""

    @property
    def device(self) -> str: ...


S = TypeVar("S", bound=Scanner)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomHospital(Generic[S]):
    """What every phantom's hospital is; a `VirtualHospital` once it has `patients`, `tables` and `write_patient`.

    Its fields are its parameters: a field that is added, renamed or dropped makes other hospitals of the same seed.
    """

    opinions: ClassVar[Sequence[Opinion]] = ()

    name: str
    external: bool
    seed: int
    """Start of the random streams of its patients."""
    scanner: S

    @property
    def device(self) -> str:
        return self.scanner.device

    def parameters(self) -> dict[str, Any]:
        return asdict(self)
