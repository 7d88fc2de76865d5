"""Everything that may cross a hospital's wall, and nothing else.

Frozen dataclasses; `wire` turns them into Flower's RecordDict and back. A field is a JSON value, bytes or an array. No
field describes fewer patients than the site's floor: `client.egress` sees to that.

server → site   Prepare  Fit     Score  Look  Combine  Average  Sum     Named
site → server   Ready    Update  Done   Done  Done     Done     Totals  Figures      or, to any of them, Refusal

Around a masked sum (docs/security.md; the fields are those of `securesum.site.SiteSum`):

server → site   Keys       Shares  Survivors  Open      Abandon
site → server   Announced  Sealed  Endorsed   Released  Abandoned
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fl_liver.securesum.context import Bits, Slot
from fl_liver.stats.conversation import Question

Vector = NDArray[np.float32]
Unsigned = NDArray[np.uint16] | NDArray[np.uint32] | NDArray[np.uint64]
Purpose = Literal["masked", "named"]
RefusalCode = Literal[
    "NOT_APPROVED", "CONFIG", "DATA", "BELOW_FLOOR", "ONE_CLASS", "ROLE", "CONSENT", "PROTOCOL", "TRAINING", "BUSY"
]


class SiteFailure(IntEnum):
    """Why a message got no answer at all: all that a hospital's daemon says then."""

    CRASHED = 13
    """The process that worked on it ended: a defect, or out of memory."""
    LOST = 14
    """The daemon was restarted or stopped in between; ask again."""
    UNREADABLE = 15
    AUDIT = 16
    """The answer could not be written into the hospital's audit log; it did not leave."""
    CONFIG = 17
    """The hospital's site.toml cannot be read."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Read the cohort for this study and say whether you can take part.

    `toml` is the study's text, so that a hospital that does not know it can look at it; empty where nobody should ask.
    """

    study_sha256: str
    toml: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """The site can take part. `figures` (patients, positives, excluded) only with its consent to named release."""

    site: str
    version: str
    role: str
    named: bool
    figures: dict[str, int] | None


class _InSlot:
    """A message about one sum: the study stands in its slot."""

    __slots__ = ()
    slot: Slot

    @property
    def study_sha256(self) -> str:
        return self.slot.study


@dataclass(frozen=True, slots=True)
class Keys(_InSlot):
    """Announce fresh keys for a slot. `sites` are the hospitals of a batch of statistics; empty for training."""

    slot: Slot
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Announced:
    """A hospital's signed keys: 128 bytes."""

    keys: bytes


@dataclass(frozen=True, slots=True)
class Shares(_InSlot):
    """Seal shares of your secrets for these hospitals, given their keys."""

    slot: Slot
    announced: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Sealed:
    """Holder → 82 bytes that only it can open."""

    sealed: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Fit(_InSlot):
    """Train on your own patients, starting from `vector`; the slot says the round and the rows.

    `announced`: the keys of the hospitals that the update is masked with; empty where the study's sums are plain.
    `abandoned`: for a further attempt, who swore off the one before.
    """

    slot: Slot
    vector: Vector
    announced: dict[str, bytes]
    abandoned: dict[str, bytes]

    @property
    def round(self) -> int:
        return self.slot.round

    @property
    def rows(self) -> str:
        """ "train" or "not-fold-K"; "selection-" before either is the federation that selects images."""
        return self.slot.purpose.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Update:
    """A site's encoded (`securesum.encoding.UpdateCode`) and masked update, and its keys for the next round, if any."""

    round: int
    vector: NDArray[np.uint32]
    announced: bytes


@dataclass(frozen=True, slots=True)
class Survivors(_InSlot):
    """Sign the list of those whose updates came; seal shares of the next round for the hospitals in `ahead`."""

    slot: Slot
    survivors: tuple[str, ...]
    ahead: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Endorsed:
    """The signature over the list, and the sealed shares of the next round."""

    signature: bytes
    sealed: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Open(_InSlot):
    """Give your shares: enough hospitals signed one list. `sealed` is what each participant sealed for you."""

    slot: Slot
    endorsements: dict[str, bytes]
    sealed: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Released:
    """One share of every participant: of its own mask if it survived, of its mask key if it was lost."""

    shares: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Abandon(_InSlot):
    """Swear off an attempt that was not opened."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The signature: no share of it was released and none ever will be."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class Score:
    """Score your patients with `vector` and keep the float64 logits under `name`. `rows`: "all", a part, or "fold-K".

    `layers`: whose own BatchNorm layers to put in where the strategy is FedBN: "train" or "not-fold-K", "" for none.
    `endpoint`: which of the study's further questions is answered; "" is the study's own.
    """

    study_sha256: str
    name: str
    rows: str
    layers: str
    vector: Vector
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Look with `vector`, the model of the federation "selection-ROWS", at the images of `rows`, and keep on which a
    lesion is visible, for the federation `rows` that follows. Nothing is told, and no statistic reads it.
    """

    study_sha256: str
    rows: str
    vector: Vector


@dataclass(frozen=True, slots=True)
class Combine:
    """Make the score `name` = intercept + base_beta · score `base` + Σ beta · factor, and keep it."""

    study_sha256: str
    name: str
    base: str
    base_beta: float
    intercept: float
    factors: dict[str, float]


@dataclass(frozen=True, slots=True)
class Average:
    """Make the score `name` from the mean of the probabilities of the scores `of`, and keep it: an ensemble."""

    study_sha256: str
    name: str
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The site did what was asked; nothing else to tell."""

    count: int


@dataclass(frozen=True, slots=True)
class Sum:
    """Answer these questions over your rows, as one vector.

    `purpose` "masked": the sum is opened over `contributors` ≥ min_sites hospitals. "named": it is this hospital's own
    figure, or a sum over fewer than min_sites, and needs its consent.

    One analysis plan is one `batch`, asked in steps 0, 1, … over `sites`, the same in each. `previous` holds the opened
    totals of the step before, one behind the other, so that a hospital can follow the plan; empty at step 0.

    `scores`: stored score → its origin (`score_origin`), of every score that a question names.

    The sum is modulo 2^`bits`. `announced`: the keys of the hospitals that it is masked with; empty where it is not.
    """

    study_sha256: str
    purpose: Purpose
    contributors: int
    questions: tuple[Question, ...]
    batch: str = ""
    step: int = 0
    sites: tuple[str, ...] = ()
    previous: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    scores: dict[str, str] = dataclasses.field(default_factory=dict)
    bits: Bits = 64
    run: str = ""
    announced: dict[str, bytes] = dataclasses.field(default_factory=dict)

    @property
    def slot(self) -> Slot:
        """The place of this step among all sums of the study."""
        return Slot(self.study_sha256, self.run, f"statistics/{self.batch}", 0, self.step)


@dataclass(frozen=True, slots=True)
class Totals:
    """The answers to a `Sum`, one behind the other, encoded and masked; the site's commitment to its cohort (64 hex
    digits); its keys for the next step.
    """

    vector: Unsigned
    commitment: str = ""
    announced: bytes = b""


@dataclass(frozen=True, slots=True)
class Named:
    """Publish your own figures for these scores over these rows ("internal" or "external")."""

    study_sha256: str
    rows: str
    scores: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """One hospital's own published figures: score → AUC with interval, counts, ROC merged to ≥ min_cell."""

    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The site does not do it. The reason in words stays in the site's own log; a code and a count leave it."""

    code: RefusalCode
    count: int


Incoming = Prepare | Fit | Score | Look | Combine | Average | Sum | Named | Keys | Shares | Survivors | Open | Abandon
Outgoing = Ready | Update | Done | Totals | Figures | Refusal | Announced | Sealed | Endorsed | Released | Abandoned
