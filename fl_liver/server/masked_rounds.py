"""Rounds of training whose updates the server cannot see: three exchanges a round (`securesum` has the steps).

    Fit        →  masked update, keys for the next round
    Survivors  →  signature over the list of those who answered, sealed shares of the next round
    Open       →  shares, with which the server removes what masks are left in the total

Hospitals without keys for a round (in the first one, or back after a loss) are asked for them before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fl_liver.errors import IncompleteError, LostRoundError
from fl_liver.messages import (
    Abandon,
    Abandoned,
    Announced,
    Endorsed,
    Fit,
    Keys,
    Open,
    Released,
    Sealed,
    Shares,
    Survivors,
    Update,
    Vector,
)
from fl_liver.securesum.context import Context, Roster, Slot, abandon_statement
from fl_liver.securesum.encoding import UpdateCode, check_words
from fl_liver.securesum.keys import verify
from fl_liver.securesum.server import ServerSum, check_abandoned
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.rounds import OnAnswer, Opened, check_update
from fl_liver.server.run_record import RunRecord
from fl_liver.study import Study
from fl_liver.wire import question_digest

SETTLE_S = 60.0
"""How long keys, signatures and shares are waited for: no hospital has to compute for them."""


class MaskedRounds:
    """The rounds of one federation over the study's roster of training hospitals."""

    def __init__(
        self,
        exchange: Exchange,
        study: Study,
        sites: Sequence[str],
        rows: str,
        roster: Roster,
        record: RunRecord,
        journal: Journal,
    ) -> None:
        """sites: hospitals of the roster that can take part."""
        self._exchange, self._study, self._sites, self._journal = exchange, study, tuple(sites), journal
        self._purpose, self._roster, self._record = f"training/{rows}", roster, record
        self._settle_s = min(SETTLE_S, study.training.round_timeout_s)
        self._ahead: ServerSum | None = None

    def ask(self, number: int, vector: Vector, code: UpdateCode, on_answer: OnAnswer) -> Opened:
        """See `Rounds.ask`."""
        slot, abandoned = self._slot(number)
        current = self._with_keys(slot)
        fit = Fit(slot, vector, {}, abandoned)
        context = Context(slot, code.length, 32, question_digest(fit), self._study.privacy.keystream)
        fit = replace(fit, announced=current.begin(context))
        self._record.begin(slot)
        ahead = self._next(slot)
        self._collect(fit, current, ahead, code, on_answer)
        survivors = self._survivors(current)
        self._agree(Survivors(slot, survivors, ahead.announced if ahead else {}), current, ahead)
        self._open(slot, current, survivors)
        total = current.open()
        self._ahead = ahead
        return Opened(total, survivors, tuple(site for site in self._sites if site not in survivors))

    def _survivors(self, current: ServerSum) -> tuple[str, ...]:
        """Raises IncompleteError where fewer answered than the sum, or the study's floor, needs."""
        survivors, floor = current.survivors(), self._study.privacy.min_sites
        if len(survivors) < floor:
            raise IncompleteError(
                f"{current.slot}: {len(survivors)} of {len(self._roster.names)} hospitals answered, wanted at least"
                f" {floor}; missing: {', '.join(sorted(set(self._roster.names) - set(survivors)))}"
            )
        return survivors

    def _collect(
        self, fit: Fit, current: ServerSum, ahead: ServerSum | None, code: UpdateCode, on_answer: OnAnswer
    ) -> None:
        def receive(site: str, update: Update) -> None:
            check_update(site, update, fit.round, code.length + check_words(32))
            if ahead is not None:
                ahead.take_announcement(site, update.announced)
            current.take_masked(site, update.vector)
            on_answer(site)

        timeout_s = self._study.training.round_timeout_s
        answers = self._exchange.ask(fit, tuple(fit.announced), Update, timeout_s=timeout_s, on_answer=receive)
        self._warn(fit.round, answers.why_not())

    def _agree(self, question: Survivors, current: ServerSum, ahead: ServerSum | None) -> None:
        def receive(site: str, word: Endorsed) -> None:
            current.take_endorsement(site, word.signature)
            if ahead is not None:
                ahead.take_sealed(site, word.sealed)

        answers = self._exchange.ask(
            question, question.survivors, Endorsed, timeout_s=self._settle_s, on_answer=receive
        )
        self._warn(question.slot.round, answers.why_not())

    def _open(self, slot: Slot, current: ServerSum, survivors: tuple[str, ...]) -> None:
        endorsements = current.endorsements()
        answers = self._exchange.ask_each(
            {site: Open(slot, endorsements, current.sealed_for(site)) for site in survivors},
            Released,
            timeout_s=self._settle_s,
            on_answer=lambda site, word: current.take_released(site, word.shares),
        )
        self._warn(slot.round, answers.why_not())

    def _with_keys(self, slot: Slot) -> ServerSum:
        """The sum of a slot with the keys and shares that travelled ahead, and those of hospitals that lack them."""
        current = self._ahead if self._ahead is not None and self._ahead.slot == slot else ServerSum(self._roster, slot)
        silent = [site for site in self._sites if site not in current.ready()]
        if not silent:
            return current
        answers = self._exchange.ask(
            Keys(slot, ()),
            silent,
            Announced,
            timeout_s=self._settle_s,
            on_answer=lambda site, word: current.take_announcement(site, word.keys),
        )
        self._warn(slot.round, answers.why_not())
        if set(silent) & current.announced.keys():
            shares = self._exchange.ask(
                Shares(slot, current.announced),
                tuple(current.announced),
                Sealed,
                timeout_s=self._settle_s,
                on_answer=lambda site, word: current.take_sealed(site, word.sealed),
            )
            self._warn(slot.round, shares.why_not())
        return current

    def _slot(self, number: int) -> tuple[Slot, dict[str, bytes]]:
        """The slot of a round; after an interruption a further attempt, with the statements that allow it.

        Raises:
            LostRoundError: too few hospitals swore off the attempt before.
        """
        first = Slot(self._study.sha256, self._record.run, self._purpose, number, 0)
        begun = self._record.begun(self._purpose)
        if begun is None or begun[0] < number:
            return first, {}
        before = replace(first, round=begun[0], attempt=begun[1])
        statements: dict[str, bytes] = {}

        def receive(site: str, word: Abandoned) -> None:
            # One at a time: a hospital whose statement is no good is lost, and not the run.
            verify(self._roster, site, word.signature, abandon_statement(self._roster, before), "statement to abandon")
            statements[site] = word.signature

        self._exchange.ask(
            Abandon(before),
            self._sites,
            Abandoned,
            timeout_s=self._settle_s,
            on_answer=receive,
        )
        try:
            check_abandoned(self._roster, before, statements)
        except IncompleteError as error:
            raise LostRoundError(str(error)) from error
        return replace(before, attempt=before.attempt + 1), statements

    def _next(self, slot: Slot) -> ServerSum | None:
        if slot.round >= self._study.training.rounds:
            return None
        return ServerSum(self._roster, replace(slot, round=slot.round + 1, attempt=0))

    def _warn(self, number: int, reasons: str) -> None:
        if reasons:
            self._journal.write("warning", text=f"round {number}: {reasons}")
