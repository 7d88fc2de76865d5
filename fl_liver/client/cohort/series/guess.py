"""What a series was taken for, and how that was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fl_liver.client.cohort.series.geometry import Fault
from fl_liver.study_cohort import SequenceKind

Basis = Literal["tags", "order", "text", "mapping", "none"]
KIND_NAMES: dict[tuple[str, SequenceKind], str] = {
    ("MR", "t2"): "MR T2",
    ("MR", "dwi"): "MR diffusion",
    ("MR", "t1_pre"): "MR T1 pre-contrast",
    ("MR", "arterial"): "MR late arterial",
    ("MR", "portal"): "MR portal venous",
    ("MR", "equilibrium"): "MR equilibrium",
    ("CT", "plain"): "CT plain",
    ("CT", "arterial"): "CT arterial",
    ("CT", "portal"): "CT portal venous",
    ("CT", "delayed"): "CT delayed",
}
"""(modality, kind) as people read it; a kind that is not here does not exist for its modality."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What one series is.

    kind      None where the header does not tell
    basis     what told it: headers, the order in time within its study, words of its description, series.toml
    reason    for people; holds no text of the header, no date and no time of day
    b_value   s/mm², of diffusion where stated
    ignore    derived from other series or no image of the body, or series.toml says so
    """

    kind: SequenceKind | None
    basis: Basis
    reason: str
    b_value: float | None = None
    ignore: bool = False


def not_told(reason: str) -> Guess:
    return Guess(None, "none", reason)


def guessed_fault(guess: Guess) -> Fault | None:
    """W_PHASE_GUESSED where the order in time or words told the kind; None where tags or series.toml did, or nothing.

    >>> guessed_fault(Guess("portal", "order", "by its order in time, 40 s after the first with contrast"))
    ('W_PHASE_GUESSED', 'taken for portal: by its order in time, 40 s after the first with contrast')
    >>> guessed_fault(Guess("portal", "tags", "70 s after contrast")) is None
    True
    """
    if guess.kind is None or guess.basis not in ("order", "text"):
        return None
    return "W_PHASE_GUESSED", f"taken for {guess.kind}: {guess.reason}"
