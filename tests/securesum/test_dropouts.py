"""Hospitals lost at every step, in every combination: the sum over the survivors exactly, or a refusal that names who
is missing, and nothing opened.

Each of five hospitals is gone from one of the five steps on (its question or its answer is lost, which is the same to
everybody else), or never, or only its signature is lost and it is back to give its shares (after another lost answer
nothing more is asked of it): 7^5 courses. Up to which hospital has which fate there are C(11, 5) = 462; each of them is
run with its fates dealt out in a fixed shuffle, and all 16,807 in the slow run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations_with_replacement, permutations, product

import pytest

from fl_liver.errors import IncompleteError, ProtocolError
from tests.securesum.hospitals import STATISTICS, STEPS, Sum, key_of

COUNT, NEEDED = 5, 4
NEVER, ONCE = "never", "signature lost"
FATES = (*STEPS, NEVER, ONCE)
ORDER = {fate: place for place, fate in enumerate(STEPS)} | {NEVER: 9, ONCE: 9}


class Course:
    """What happens, and what must come of it, said without the code under test."""

    def __init__(self, fates: Sequence[str]) -> None:
        self.sum = Sum(COUNT)
        self.fates = dict(zip(self.sum.roster.names, fates, strict=True))

    def there(self, step: str) -> list[str]:
        """Who still answers at a step."""
        return [name for name, fate in self.fates.items() if ORDER[fate] > ORDER[step]]

    def run(self) -> object:
        one, lost = self.sum, {step: set(self.fates) - set(self.there(step)) for step in STEPS}
        one.announce(lost["announce"])
        one.seal(lost["seal"])
        one.mask(lost["mask"])
        survivors = one.server.survivors()
        for name in set(survivors) - lost["endorse"]:
            signature = one.sites[name].endorse(survivors, key_of(name))
            if self.fates[name] != ONCE:
                one.server.take_endorsement(name, signature)
        endorsements = one.server.endorsements()
        for name in set(survivors) - lost["release"]:
            one.server.take_released(name, one.shares(name, endorsements))
        return one.server.open().tolist()

    def refusal(self) -> tuple[str, list[str]] | None:
        """The step that fails, and who is missing there; None where the sum is opened."""
        counts = {
            "have keys": self.there("seal"),
            "answered": self.there("mask"),
            "signed the list": [name for name in self.there("endorse") if self.fates[name] != ONCE],
            "released": self.there("release"),
        }
        everybody = set(self.fates)
        for step, there in counts.items():
            if len(there) < NEEDED:
                missing = (set(self.there("mask")) if step in ("signed the list", "released") else everybody) - set(
                    there
                )
                return step, sorted(missing)
        return None


def check(fates: Sequence[str]) -> bool:
    course = Course(fates)
    expected = course.refusal()
    if expected is None:
        assert course.run() == course.sum.expected(*course.there("mask")).tolist(), fates
        return True
    step, missing = expected
    with pytest.raises(IncompleteError) as refused:
        course.run()
    assert step in str(refused.value), fates
    assert str(refused.value).endswith(f"missing: {', '.join(missing)}"), fates
    with pytest.raises((IncompleteError, ProtocolError)):
        course.sum.server.open()
    return False


def test_every_combination_of_fates_ends_in_the_exact_sum_or_in_a_named_refusal() -> None:
    """Those that end in a sum are run for every order of the hospitals: of a pair, the first by name adds."""
    draw = random.Random(7)
    opened = 0
    for fates in combinations_with_replacement(FATES, COUNT):
        if check(draw.sample(fates, COUNT)):
            opened += sum(check(order) for order in sorted(set(permutations(fates))))
    assert opened == 1 + 6 * 5 + 20, "nobody is lost; one of six fates at one of five; one of two fates each at two"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_assignment_of_fates_ends_in_the_exact_sum_or_in_a_named_refusal() -> None:
    for fates in product(FATES, repeat=COUNT):
        check(fates)


def test_a_sum_of_statistics_is_opened_over_all_or_never() -> None:
    for fates in product(("announce", "mask", NEVER), repeat=COUNT):
        one = Sum(COUNT, STATISTICS)
        lost = {
            step: {name for name, fate in zip(one.roster.names, fates, strict=True) if fate == step} for step in STEPS
        }
        if not (lost["announce"] or lost["mask"]):
            assert one.opened().tolist() == one.expected().tolist()
            continue
        with pytest.raises(IncompleteError) as refused:
            one.opened(announce=lost["announce"], mask=lost["mask"])
        missing = lost["announce"] or lost["mask"]
        assert str(refused.value).endswith(f"missing: {', '.join(sorted(missing))}")
        with pytest.raises(ProtocolError):
            one.server.open()
