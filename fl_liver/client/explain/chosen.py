"""Whom a hospital asks about: parts of its cohort, or patients by pseudonym."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import PARTS, Cohort
from fl_liver.errors import DataError

ALL, UNSEEN = "all", "unseen"
"""Everybody; those whom the network was not trained on."""
_SHOWN = 5


def chosen_patients(cohort: Cohort, words: str) -> NDArray[np.int64]:
    """Indices, ascending, of what a comma-separated list names: parts, "all", "unseen", pseudonyms.

    >>> from types import SimpleNamespace
    >>> cohort = SimpleNamespace(patients=("a1", "b2", "c3"), part=np.array([0, 2, 3]))
    >>> chosen_patients(cohort, "unseen").tolist(), chosen_patients(cohort, "a1,external").tolist()
    ([1, 2], [0, 2])

    Raises:
        DataError: a pseudonym of nobody here, or nobody at all.
    """
    place = {patient: index for index, patient in enumerate(cohort.patients)}
    found: set[int] = set()
    absent: list[str] = []
    for word in filter(None, (one.strip() for one in words.split(","))):
        if word in (ALL, UNSEEN, *PARTS):
            found |= set(np.flatnonzero(_of_part(cohort, word)).tolist())
        elif word in place:
            found.add(place[word])
        else:
            absent.append(word)
    if absent:
        raise DataError(
            f"{len(absent)} of the named patients are not among the {len(place)} usable ones here:"
            f" {', '.join(absent[:_SHOWN])}{', …' if len(absent) > _SHOWN else ''}; wanted pseudonyms as"
            f" `fl-liver site check` shows them, or {', '.join((ALL, UNSEEN, *PARTS))}"
        )
    if not found:
        raise DataError(f"nobody of the {len(place)} usable patients is '{words:.60}'; choose others with --patients")
    return np.array(sorted(found), dtype=np.int64)


def _of_part(cohort: Cohort, word: str) -> NDArray[np.bool_]:
    if word == ALL:
        return np.ones(len(cohort.patients), dtype=bool)
    if word == UNSEEN:
        unseen: NDArray[np.bool_] = cohort.part >= PARTS.index("internal")
        return unseen
    of_part: NDArray[np.bool_] = cohort.part == [str(part) for part in PARTS].index(word)
    return of_part
