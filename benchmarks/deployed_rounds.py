"""A round of a deployment taken apart: from the journal of the run and the notes of the hospitals' daemons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.deployed_town import RunSeen

PARTS = ("out", "work", "back", "agree", "save")


@dataclass(frozen=True, slots=True)
class RoundParts:
    """Seconds of one round, from its beginning to that of the next; together they are the round.

    out    until the last hospital has the model
    work   until the last hospital's update is ready: unpacked, checked, clipped, encoded, masked, packed
    back   until the last update is with the server and added
    agree  until the sum is open: signatures over who answered, shares (nothing where sums are plain), decoding
    save   checkpoint
    """

    out: float
    work: float
    back: float
    agree: float
    save: float

    @property
    def total(self) -> float:
        return self.out + self.work + self.back + self.agree + self.save


def take_apart(seen: RunSeen, steps: Sequence[Sequence[dict[str, Any]]]) -> list[RoundParts]:
    """The whole rounds but the first, which pays for cohorts, processes and keys. `steps`: each hospital's.

    A hospital that was asked again counts with its last answer.
    """
    found = []
    for number in range(2, seen.rounds + 1):
        (began,), (done,) = seen.times("round_started", number)[:1], seen.times("round_done", number)[:1]
        (ended,) = seen.times("checkpoint", number)[:1]
        answered = max(seen.times("site_answered", number))
        mine = [
            [step for step in site if step["kind"] == "train" and began <= step["taken"] < done][-1:] for site in steps
        ]
        last = {key: max(step[key] for site in mine for step in site) for key in ("fetched", "computed")}
        computed = min(last["computed"], answered)
        ends = [began, min(last["fetched"], computed), computed, answered, done, ended]
        found.append(RoundParts(*(after - before for before, after in itertools.pairwise(ends))))
    return found


def medians(rounds: Sequence[RoundParts]) -> dict[str, float]:
    """Of each part."""
    return {name: median(getattr(one, name) for one in rounds) for name in PARTS}


def growth(values: Sequence[float]) -> float:
    """Median of the last quarter over that of the first: 1 where nothing grows.

    >>> growth([2.0, 2.0, 9.0, 2.0, 2.0, 3.0, 3.0, 3.0])
    1.5
    """
    quarter = max(len(values) // 4, 1)
    return median(values[-quarter:]) / median(values[:quarter])
