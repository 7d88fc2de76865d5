"""Which contrast phase an acquisition is: from the seconds since the agent was given, else from the order in time.

Windows. LI-RADS v2018 (American College of Radiology, technical recommendations) asks for late arterial, portal venous
and delayed or transitional phases, the last at 2–5 min, and for hepatobiliary images at about 20 min. In practice the
late arterial phase is made at about 25–45 s and the portal venous phase at 60–80 s. Headers tell when a scan began, and
scans last 5–20 s, so each window is widened by 5 s at its ends (portal venous to 90 s), and time between two windows
tells nothing. What is later than 5 min is neither equilibrium nor delayed phase.

Order. Without a time of contrast phases of one examination are told from each other: 25–60 s after the arterial phase
begins the portal venous one, 90–270 s after it the late one, and 30 s or more before it one without contrast. Where the
pattern does not fit, or fits in two ways, nothing is told. What it cannot see: that the arterial phase is missing and
portal venous phases were made twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fl_liver.client.cohort.series.facts import SeriesFacts, unwrapped

Phase = Literal["pre", "arterial", "portal", "late"]
"""Late is the equilibrium phase of MR and the delayed phase of CT."""
WINDOWS_S: dict[Phase, tuple[float, float]] = {"arterial": (20.0, 50.0), "portal": (55.0, 90.0), "late": (120.0, 300.0)}
_PORTAL_AFTER_S = (25.0, 60.0)
_LATE_AFTER_S = (90.0, 270.0)
_ARTERIAL_AFTER_PRE_S = 30.0
_OVER_S = WINDOWS_S["late"][1]
_UNRELATED_S = 7200.0
_COPIED_S = 1.0
_ONE_BOLUS_S = 5.0


@dataclass(frozen=True, slots=True)
class Timed:
    """What time says of one acquisition.

    phase    None where it says nothing
    basis    "tags" where headers state it, "order" where it follows from the order in time
    reason   for people: delays, never times of day
    final    no description may overrule it: clearly outside every phase
    """

    phase: Phase | None
    basis: Literal["tags", "order", "none"]
    reason: str
    final: bool = False


UNTOLD = Timed(None, "none", "neither the time of contrast nor the order in time tells the phase")


def phase_at(delay_s: float) -> Phase | None:
    """The phase of a scan that begins `delay_s` after contrast; negative is before.

    >>> phase_at(-60), phase_at(35), phase_at(52), phase_at(180), phase_at(1200)
    ('pre', 'arterial', None, 'late', None)
    """
    if delay_s < 0:
        return "pre"
    return next((phase for phase, (start, end) in WINDOWS_S.items() if start <= delay_s <= end), None)


def started_s(study: Sequence[SeriesFacts]) -> list[float | None]:
    """When each series of a study began, s after midnight.

    Phases split from one dynamic series may all state its beginning; then TriggerTime tells them apart.
    """
    stated = unwrapped([one.acquired_s for one in study])
    times: list[float | None] = []
    for i, (one, time) in enumerate(zip(study, stated, strict=True)):
        number, trigger = one.acquisition.series_number, one.acquisition.trigger_ms
        others = [
            study[j].acquisition.trigger_ms
            for j, other in enumerate(stated)
            if j != i and other == time and study[j].acquisition.series_number == number
        ]
        told_by_trigger = trigger is not None and any(found not in (None, trigger) for found in others)
        times.append(time + trigger / 1000 if time is not None and trigger is not None and told_by_trigger else time)
    return times


def by_bolus(study: Sequence[SeriesFacts], times_s: Sequence[float | None]) -> list[Timed]:
    """What the time of contrast says of each series; one time stated in a study holds for all its series.

    A time that equals the series' own was copied by the machine, and one more than two hours away is another bolus.
    """
    own = [_bolus_s(one) for one in study]
    stated = [time for time in own if time is not None]
    shared = min(stated) if stated and max(stated) - min(stated) <= _ONE_BOLUS_S else None
    found: list[Timed] = []
    for bolus, time in zip(own, times_s, strict=True):
        given = shared if bolus is None else bolus
        delay = None if given is None or time is None else (time - given + 43200.0) % 86400.0 - 43200.0
        found.append(UNTOLD if delay is None or abs(delay) > _UNRELATED_S else _at(delay))
    return found


def in_order(times_s: Sequence[float], named: Sequence[bool], same_s: float) -> list[Timed]:
    """What the order in time says of acquisitions that belong together.

    Args:
        times_s: when each began.
        named: whether an agent is named for it.
        same_s: times no further apart are one acquisition, reconstructed several times.
    """
    groups = _at_one_time(times_s, same_s)
    starts = [min(times_s[i] for i in group) for group in groups]
    agents = [any(named[i] for i in group) for group in groups]
    first = _first_with_contrast(starts, agents)
    if first is None:
        return [UNTOLD] * len(times_s)
    stated = agents[first] and not any(agents[:first])
    told = {i: _placed(starts, first, place, stated) for place, group in enumerate(groups) for i in group}
    return [told[i] for i in range(len(times_s))]


def _bolus_s(one: SeriesFacts) -> float | None:
    if one.contrast_s is None or one.acquired_s is None:
        return one.contrast_s
    return None if abs(one.contrast_s - one.acquired_s) <= _COPIED_S else one.contrast_s


def _at(delay_s: float) -> Timed:
    phase = phase_at(delay_s)
    if phase == "pre":
        return Timed("pre", "tags", "acquired before contrast was given")
    if phase is not None:
        return Timed(phase, "tags", f"{delay_s:.0f} s after contrast")
    if delay_s > _OVER_S:
        return Timed(None, "none", f"{delay_s / 60:.0f} min after contrast, later than any of the phases", final=True)
    return Timed(None, "none", f"{delay_s:.0f} s after contrast, between two phases")


def _at_one_time(times_s: Sequence[float], same_s: float) -> list[list[int]]:
    """Indices of the acquisitions, grouped and in order of time."""
    groups: list[list[int]] = []
    for i in sorted(range(len(times_s)), key=lambda i: times_s[i]):
        if groups and times_s[i] - times_s[groups[-1][0]] <= same_s:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _first_with_contrast(starts: list[float], agents: list[bool]) -> int | None:
    """The place of the first acquisition after contrast; None where it cannot be told.

    An agent named from one place on tells it. Named for all, either the first or the second place begins the pattern
    of phases, and exactly one of them must. Named for none, the whole pattern must begin at the second place alone.
    """
    named = any(agents)
    if named and not all(agents):
        first = agents.index(True)
        return first if all(agents[first:]) else None
    at_once = _fits(starts)
    after_pre = _fits(starts[1:], whole=not named) and starts[1] - starts[0] >= _ARTERIAL_AFTER_PRE_S
    if at_once == after_pre:
        return None
    return 1 if after_pre else (0 if named else None)


def _fits(starts: list[float], *, whole: bool = False) -> bool:
    """Whether these times look like an arterial phase with a portal venous one after it, and a late one if `whole`."""
    after = [start - starts[0] for start in starts[1:]]
    several_arterial = any(gap < _PORTAL_AFTER_S[0] for gap in after)
    late = any(_LATE_AFTER_S[0] <= gap <= _LATE_AFTER_S[1] for gap in after)
    return not several_arterial and any(gap <= _PORTAL_AFTER_S[1] for gap in after) and (late or not whole)


def _placed(starts: list[float], first: int, place: int, stated: bool) -> Timed:
    if place < first and stated:
        return Timed("pre", "tags", "no agent named, acquired before the same with one")
    if place < first:
        return Timed(
            "pre", "order", f"by its order in time, first of {len(starts)} that follow each other as phases do"
        )
    gap = starts[place] - starts[first]
    if gap > _LATE_AFTER_S[1]:
        late = f"{gap / 60:.0f} min after the first with contrast, later than any of the phases"
        return Timed(None, "none", late, final=True)
    if not _fits(starts[first:]):
        return UNTOLD
    if place == first:
        return Timed("arterial", "order", f"by its order in time, first of {len(starts) - first} with contrast")
    after = f"by its order in time, {gap:.0f} s after the first with contrast"
    if gap <= _PORTAL_AFTER_S[1]:
        return Timed("portal", "order", after)
    return (
        Timed("late", "order", after)
        if gap >= _LATE_AFTER_S[0]
        else Timed(None, "none", after + ": between two phases")
    )
