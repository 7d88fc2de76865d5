"""Any course of events: lost questions and answers, repeats, restarts from the disk, hospitals that swear off.

Whatever happens in whatever order, it ends in the exact sum over the survivors or in a refusal, a repeat gives the same
answer, and a hospital that swore off is in no sum that needed it later.
"""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.securesum.encoding import checked
from fl_liver.securesum.site import SiteSum
from tests.securesum.hospitals import STATISTICS, STEPS, TRAINING, Sum, Words, key_of, names, refusal_of

COUNT = 4
NAMES = st.sampled_from(names(COUNT))


class AnyCourse(RuleBasedStateMachine):
    """One sum; the server goes on when it likes, each hospital is asked when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.over = False
        self.total: Words | None = None
        self.answers: dict[tuple[str, str], object] = {}
        self.sworn: set[str] = set()

    @initialize(training=st.booleans(), seed=st.integers(0, 9))
    def meet(self, training: bool, seed: int) -> None:
        self.one = Sum(COUNT, TRAINING if training else STATISTICS, length=3, seed=seed)
        self.steps = STEPS if training else ("announce", "mask")

    @property
    def now(self) -> str:
        return self.steps[self.step]

    def expects(self, name: str) -> bool:
        """Whether the server would ask this hospital at this step."""
        one = self.one
        match self.now:
            case "announce":
                return True
            case "seal":
                return name in one.server.announced
            case "mask":
                return name in one.server._participants
        return name in one.server._survivors

    def act(self, name: str) -> object:
        one, server = self.one, self.one.server
        site = one.sites[name]
        match self.now:
            case "announce":
                return site.announcement(key_of(name))
            case "seal":
                return site.sealed(server.announced)
            case "mask":
                return one.answer(name, announced=server._participants)
            case "endorse":
                return site.endorse(server._survivors, key_of(name))
        return site.release(server.endorsements(), server.sealed_for(name))

    def hand_over(self, name: str, answer: object) -> None:
        server = self.one.server
        take = {
            "announce": server.take_announcement,
            "seal": server.take_sealed,
            "mask": server.take_masked,
            "endorse": server.take_endorsement,
            "release": server.take_released,
        }[self.now]
        take(name, answer)  # type: ignore[operator]

    @precondition(lambda self: not self.over)
    @rule(name=NAMES, lost=st.booleans())
    def ask(self, name: str, lost: bool) -> None:
        self.ask_one(name, lost)

    def ask_one(self, name: str, lost: bool) -> None:
        """One hospital, perhaps once more; a masked vector is kept by whoever answers, as `SiteSums` does."""
        if not self.expects(name):
            return
        known = self.answers.get((name, self.now))
        if known is not None and self.now == "mask":
            answer: object = known
        else:
            try:
                answer = self.act(name)
            except (ProtocolError, PrivacyError):
                late = self.now == "endorse" and (name, "mask") not in self.answers
                assert name in self.sworn or late or (name, self.before()) not in self.answers
                return
            assert name not in self.sworn
            assert known is None or answer == known, "the same words, the same answer"
        self.answers[name, self.now] = answer
        if not lost:
            first = not (self.now == "mask" and name in self.one.server._masked)
            if first:
                self.hand_over(name, answer)
            else:
                assert "came twice" in refusal_of(lambda: self.hand_over(name, answer))

    @precondition(lambda self: not self.over)
    @rule(without=st.sampled_from([(), (), (), *names(COUNT)]))
    def a_whole_step(self, without: str | tuple[()]) -> None:
        """All are asked, or all but one, and the server goes on."""
        for name in self.one.roster.names:
            if name != without:
                self.ask_one(name, lost=False)
        self.next_step()

    def before(self) -> str:
        return self.steps[max(0, self.step - 1)]

    @rule(name=NAMES)
    def restart(self, name: str) -> None:
        old = self.one.sites[name]
        state = json.loads(json.dumps(old.to_json()))
        self.one.sites[name] = SiteSum.from_json(name, self.one.roster, self.one.slot, state)
        assert self.one.sites[name].to_json() == old.to_json()

    @precondition(lambda self: not self.over)
    @rule(name=NAMES, rarely=st.integers(0, 9))
    def swear_off(self, name: str, rarely: int) -> None:
        if rarely:
            return
        if (name, "release") in self.answers:
            try:
                self.one.sites[name].abandon(key_of(name))
            except PrivacyError:
                return
            raise AssertionError("what was released was sworn off")
        self.one.sites[name].abandon(key_of(name))
        self.sworn.add(name)

    @precondition(lambda self: not self.over)
    @rule(rarely=st.integers(0, 9))
    def give_up_waiting(self, rarely: int) -> None:
        if not rarely:
            self.next_step()

    def next_step(self) -> None:
        server = self.one.server
        try:
            if self.steps[self.step + 1 : self.step + 2] == ("mask",):
                server.begin(self.one.context)
            if self.now == "mask":
                server.survivors()
            if self.now == "endorse":
                server.endorsements()
            if self.step + 1 == len(self.steps):
                self.total, self.over = server.open(), True
            else:
                self.step += 1
        except IncompleteError:
            self.over = True

    @invariant()
    def what_is_opened_is_the_sum_over_the_survivors(self) -> None:
        if self.total is not None:
            survivors = self.one.server._survivors
            assert self.total.tolist() == self.one.expected(*survivors).tolist()
            assert len(survivors) >= (3 if self.one.slot.recovers else COUNT)
            checked(self.total, 32, len(survivors))


AnyCourse.TestCase.settings = settings(max_examples=120, stateful_step_count=50)
TestAnyCourse = AnyCourse.TestCase
