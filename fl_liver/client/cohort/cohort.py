"""A hospital's patients as arrays: what the rest of the client sees of a cohort.

Made by `fl_liver.client.cohort.load.load_cohort`; pseudonyms and values stay inside the hospital.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["train", "calibration", "internal", "external"]
PARTS: tuple[Part, ...] = ("train", "calibration", "internal", "external")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with one patient, series or file. `cause` and `remedy` are for the hospital's own eyes."""

    code: str
    """Stable, such as E_TRUNCATED; E excludes the case, W keeps it, F stops the site."""
    case: str
    """Pseudonym of the patient, or a short name of the folder where no patient is known."""
    cause: str
    remedy: str
    series: str = ""

    @property
    def severity(self) -> str:
        return self.code[0]


@dataclass(frozen=True, slots=True)
class Cohort:
    """n patients in a fixed order (sorted by the site's own patient id), with m images where the study has images.

    Where the study's unit is the lesion, rows are lesions, a patient's one after the other; `group` tells the patient.

    patients    n pseudonyms (HMAC under the site's key), of lesions where they are the rows
    label       (n,) int64, index into `study.task.classes`
    part        (n,) int8, index into PARTS
    fold        (n,) int8, cross-fitting fold of a training patient, −1 where there is none
    factors     (n, f) float64 in the order of `study.factor`; NaN is missing
    background  (n,) int64, index into `study.task.background_classes`; −1 where unknown
    size_mm     (n,) float64; NaN where unknown
    images      name → (m, H, W) or (m, C, H, W) float16. "lesion" and, where the study has backgrounds, "background":
                standardised to mean 0, standard deviation 1; 0 to 1 with a window and for whole ultrasound scans.
                "mask", where the study wants it: (m, H, W), 0 to 1, share of each pixel inside a drawn lesion
    owner       (m,) int64, row of each image, ascending
    findings    what was excluded or noticed, in a fixed order
    group       (n,) int64, the same number for all rows of a patient, ascending; by default every row is a patient
    """

    patients: tuple[str, ...]
    label: NDArray[np.int64]
    part: NDArray[np.int8]
    fold: NDArray[np.int8]
    factors: NDArray[np.float64]
    background: NDArray[np.int64]
    size_mm: NDArray[np.float64]
    images: dict[str, NDArray[np.float16]]
    owner: NDArray[np.int64]
    findings: tuple[Finding, ...]
    group: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if not len(self.group):
            object.__setattr__(self, "group", np.arange(len(self.patients)))

    @property
    def people(self) -> tuple[str, ...]:
        """A name for each patient: what floors and ledgers count, whatever the rows are."""
        return tuple(self.patients[first] for first in np.unique(self.group, return_index=True)[1])

    def rows(self, part: Part) -> NDArray[np.int64]:
        """Indices of the rows of one part, ascending."""
        return np.flatnonzero(self.part == PARTS.index(part))
