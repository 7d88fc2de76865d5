"""What a public data set can be asked where it cannot answer a study's own question.

A set of metastases alone holds no benign nodule: the question of `nodule_ct` cannot be put to it, but its network and
its recipe can be taught another, "will the liver relapse?". That is a different study, so it gets another title, and
every change of it is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A question that a data set answers.

    classes      name → code in the column `outcome`
    lesion_free  classes of patients without a lesion; such a question needs whole pictures
    endpoints    further questions, as `[[endpoint]]` of a study has them
    factors      `[[factor]]` sections that take the place of the study's, where the set's columns are unlike any other
    """

    title: str
    outcome: str
    classes: dict[str, str]
    positive: tuple[str, ...]
    lesion_free: tuple[str, ...] = ()
    endpoints: tuple[dict[str, Any], ...] = ()
    factors: tuple[dict[str, Any], ...] = ()
