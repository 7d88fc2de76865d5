"""What a series is: which MR sequence or CT contrast phase of the liver. Tags first, order in time next, words last.

Nothing is forced: `kind` stays None where headers do not tell, and a series that nothing tells gets no finding. The
first rule that fits counts. Those above the line look at one series (`sequences`), those below at its whole study.

    series.toml names it                                                                   mapping   what it says
    ImageType: localizer, ADC or other map, subtraction, MIP, MPR, fat image, screenshot   tags      ignore
    description: the same, or test bolus                                                   text      ignore
    CT of fewer than 5 places, or for bone or lung; MR in-phase or opposed-phase                     None
    MR, b ≥ 10 s/mm² and no fast gradient echo; ImageType DIFFUSION; echo-planar with b    tags      dwi
    MR, spin echo, not echo-planar, TR ≥ 800 ms, TE 60–160 ms, no TI above 300 ms          tags      t2
    MR, the same with a longer TE (MRCP)                                                             None
    MR, no fast T1 (below): words where TR, TE and ScanningSequence do not contradict      text      t2, dwi, a phase
    ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    fast T1 of MR (gradient echo, TR ≤ 10 ms, one TE ≤ 3 ms, water images 5 ms, flip 5–25°) and CT:
      before contrast, or 20–50, 55–90, 120–300 s after it (`contrast` gives sources)      tags      pre, arterial, …
      no agent named, and earlier than all with one that were made alike                   tags      pre
      order in time among series made alike (MR: same TR, TE, flip angle, orientation)     order     pre, arterial, …
      words, or a delay as in "70s"                                                        text      pre, arterial, …

Two tellings that contradict each other cancel out: time of contrast and order, order and words. VIBE, LAVA, THRIVE and
Quick3D protocols lie inside the ranges of a fast T1; in/opposed-phase 2-D (TR > 60 ms), balanced gradient echo (flip
> 35°) and hepatobiliary images at 30° lie outside. A hepatobiliary image made like the dynamic is told by its time.
"""

from __future__ import annotations

from collections.abc import Sequence

from fl_liver.client.cohort.series.contrast import UNTOLD, Phase, Timed, by_bolus, in_order, started_s
from fl_liver.client.cohort.series.facts import SeriesFacts, facts_of
from fl_liver.client.cohort.series.guess import KIND_NAMES, Guess, guessed_fault, not_told
from fl_liver.client.cohort.series.mapping import NO_MAPPING, Mapping
from fl_liver.client.cohort.series.sequences import BY_WORDS, KINDS, alone, described_phase, is_water
from fl_liver.errors import DataError
from fl_liver.study_cohort import SequenceKind

__all__ = [
    "KIND_NAMES",
    "Guess",
    "SeriesFacts",
    "best_of_kind",
    "facts_of",
    "guessed_fault",
    "passed_over",
    "recognise",
]

_SAME_S = {"MR": 1.0, "CT": 8.0}
"""Series that began no further apart are one acquisition; CT reconstructions may start at different slices of it."""
_SAME_TR_MS, _SAME_TE_MS, _SAME_FLIP_DEG = 0.2, 0.1, 0.5
_BEST_B, _LEAST_B = 800.0, 400.0
_RANKED_BY = (
    "series.toml names another",
    "another is nearer to axial",
    "another is told by stronger evidence",
    "another has a b-value nearer to 800 s/mm²",
    "another has more slices",
    "another has a higher series number",
    "another was acquired later",
)


def recognise(
    study: Sequence[SeriesFacts], mapping: Mapping = NO_MAPPING, folders: Sequence[str] | None = None
) -> list[Guess]:
    """What each series of one study of one patient is, in the order given; the order given changes nothing.

    Args:
        folders: of each series, below dicom/, for the folder globs of `mapping`.

    Raises:
        DataError: `folders` are not as many as the series.
    """
    if folders is not None and len(folders) != len(study):
        raise DataError(f"{len(folders)} folders for {len(study)} series; give one for each")
    told: dict[int, Guess] = {}
    waiting: list[int] = []
    for i, one in enumerate(study):
        guess = alone(one)
        if guess is None:
            waiting.append(i)
        else:
            told[i] = guess
    told |= _phases(study, waiting)
    where = folders or [""] * len(study)
    return [_mapped(study[i], told[i], mapping, where[i]) for i in range(len(study))]


def best_of_kind(guesses: Sequence[Guess], study: Sequence[SeriesFacts]) -> dict[SequenceKind, int]:
    """The index of the series to take for each kind that was told; `guesses` and `study` are of one study.

    Of several: what series.toml names, axial before oblique or other planes, tags before order before words, of
    diffusion the b-value nearest to 800 s/mm² (below 400 never, not stated last), more slices, the higher series number
    (later reconstruction), the later acquisition.
    """
    best: dict[SequenceKind, int] = {}
    for i, guess in enumerate(guesses):
        if guess.kind is None or guess.ignore or _weakly_weighted(guess):
            continue
        holder = best.get(guess.kind)
        if holder is None or _rank(guess, study[i]) > _rank(guesses[holder], study[holder]):
            best[guess.kind] = i
    return best


def passed_over(guesses: Sequence[Guess], study: Sequence[SeriesFacts]) -> dict[int, str]:
    """Why series of a told kind are not the ones that `best_of_kind` takes, by index; for people."""
    best = best_of_kind(guesses, study)
    found: dict[int, str] = {}
    for i, guess in enumerate(guesses):
        if guess.kind is None or guess.ignore or best.get(guess.kind) == i:
            continue
        if _weakly_weighted(guess):
            found[i] = f"b {guess.b_value:.0f} s/mm² is below {_LEAST_B:.0f}"
            continue
        winner = best[guess.kind]
        ranks = zip(_RANKED_BY, _rank(guess, study[i]), _rank(guesses[winner], study[winner]), strict=True)
        found[i] = next((name for name, mine, other in ranks if mine != other), "another series like it is used")
    return found


def _phases(study: Sequence[SeriesFacts], waiting: list[int]) -> dict[int, Guess]:
    """The phases of the dynamic MR series and of the CT series of a study."""
    times = started_s(study)
    bolus = by_bolus(study, times)
    told: dict[int, Guess] = {}
    order: dict[int, Timed] = {}
    single = [i for i in waiting if not _is_one_of_two_echoes(study, times, i, waiting)]
    for group in _belonging_together(study, single):
        timed = [(i, time) for i in group if (time := times[i]) is not None]
        same_s = _SAME_S[study[group[0]].modality]
        found = in_order([time for _, time in timed], [study[i].contrast for i, _ in timed], same_s)
        order |= {i: one for (i, _), one in zip(timed, found, strict=True)}
    for i in waiting:
        if i in single:
            told[i] = _agreed(study[i], bolus[i], order.get(i, UNTOLD))
        else:
            told[i] = not_told("one of two echoes: in-phase or opposed-phase image")
    return told


def _agreed(one: SeriesFacts, bolus: Timed, order: Timed) -> Guess:
    """The first that tells, of time since contrast, order in time and description, unless the next objects."""
    said = described_phase(one)
    if bolus.phase is not None:
        if order.phase not in (None, bolus.phase):
            return not_told("the time of contrast and the order in time contradict each other")
        return _guess(one, bolus.phase, bolus)
    if bolus.final or order.final:
        return not_told(bolus.reason if bolus.final else order.reason)
    if bolus is UNTOLD and order.phase is not None:
        if order.basis == "order" and said not in (None, order.phase):
            return not_told("the order in time and the description contradict each other")
        return _guess(one, order.phase, order)
    if said is not None and (bolus is UNTOLD or said != "pre"):
        return Guess(KINDS[one.modality, said], "text", BY_WORDS)
    if bolus is not UNTOLD:
        return not_told(bolus.reason)
    given = one.contrast or "post" in one.acquisition.words
    return not_told("contrast given, phase unknown" if given else order.reason)


def _guess(one: SeriesFacts, phase: Phase, timed: Timed) -> Guess:
    return Guess(KINDS[one.modality, phase], timed.basis, timed.reason)


def _is_one_of_two_echoes(
    study: Sequence[SeriesFacts], times: Sequence[float | None], i: int, waiting: Sequence[int]
) -> bool:
    """Whether another MR series was acquired at the same time with another echo time."""
    mine, time = study[i].acquisition.echo_ms, times[i]
    if time is None or mine is None or study[i].modality != "MR" or is_water(study[i]):
        return False
    others = [(study[j].acquisition.echo_ms, times[j]) for j in waiting if j != i and study[j].modality == "MR"]
    return any(
        echo is not None and began is not None and abs(began - time) <= _SAME_S["MR"] and abs(echo - mine) > _SAME_TE_MS
        for echo, began in others
    )


def _belonging_together(study: Sequence[SeriesFacts], which: Sequence[int]) -> list[list[int]]:
    """Series whose order in time means something: all CT series; MR series made alike, also by way of a third."""
    groups: list[list[int]] = []
    for i in which:
        linked = [group for group in groups if any(_alike(study[i], study[j]) for j in group)]
        groups = [group for group in groups if group not in linked] + [[i, *(j for group in linked for j in group)]]
    return groups


def _alike(one: SeriesFacts, other: SeriesFacts) -> bool:
    if one.modality != other.modality or one.modality == "CT":
        return one.modality == other.modality
    a, b = one.acquisition, other.acquisition
    near = (
        (a.repetition_ms, b.repetition_ms, _SAME_TR_MS),
        (a.echo_ms, b.echo_ms, _SAME_TE_MS),
        (a.flip_deg, b.flip_deg, _SAME_FLIP_DEG),
    )
    close = all(x == y or (x is not None and y is not None and abs(x - y) <= within) for x, y, within in near)
    return close and one.orientation == other.orientation


def _mapped(one: SeriesFacts, guess: Guess, mapping: Mapping, folder: str) -> Guess:
    kind = mapping.kind_of(one.acquisition.description, folder)
    if kind is None:
        return guess
    if kind == "ignore":
        return Guess(None, "mapping", "series.toml says so", ignore=True)
    if (one.modality, kind) not in KIND_NAMES:
        return Guess(None, "mapping", f"series.toml says {kind}, which is no kind of {one.modality}")
    return Guess(kind, "mapping", "series.toml says so", one.b_value if kind == "dwi" else None)


def _weakly_weighted(guess: Guess) -> bool:
    stated = guess.kind == "dwi" and guess.basis != "mapping" and guess.b_value is not None
    return stated and (guess.b_value or 0.0) < _LEAST_B


def _rank(guess: Guess, one: SeriesFacts) -> tuple[float, ...]:
    """In the order of `_RANKED_BY`; the greater is taken."""
    axial = {"axial": 2.0, "oblique axial": 1.0, None: 1.0}.get(one.orientation, 0.0)
    far = abs(guess.b_value - _BEST_B) if guess.b_value is not None else 1e9
    return (
        float(guess.basis == "mapping"),
        axial,
        float(("none", "text", "order", "tags", "mapping").index(guess.basis)),
        -far if guess.kind == "dwi" else 0.0,
        float(one.slices),
        float(one.acquisition.series_number),
        one.acquired_s or 0.0,
    )
