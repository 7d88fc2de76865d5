"""Adding hospitals' vectors over an exchange, masked or in the clear.

One summer is one batch: an analysis plan that is asked in steps over hospitals that never change. A hospital that does
not answer is asked again; if it stays away the batch is over, and is never begun again over the others, because the
difference of two such sums would be that hospital. Nothing of a batch can be recovered, so a step costs one exchange:
the masked vectors come with the keys for the next step.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.messages import Announced, Incoming, Keys, Outgoing, Purpose, Sum, Totals
from fl_liver.score_origin import score_names
from fl_liver.securesum.context import Context, Roster
from fl_liver.securesum.encoding import bits_for, check_words, decode_integers, words
from fl_liver.securesum.server import ServerSum
from fl_liver.server.exchange import Answers, Exchange
from fl_liver.stats.conversation import IntVector, Question
from fl_liver.stats.conversation import Totals as SumTotals
from fl_liver.stats.patients import asked_with_patients
from fl_liver.study import Study
from fl_liver.wire import question_digest

ATTEMPTS = 3
"""How often a step is asked of a hospital that does not answer; together they take the study's round timeout."""
_PAUSE_S = 1.0
A = TypeVar("A", bound=Outgoing)


class BatchSummer:
    """One batch over hospitals. Without a roster it adds in the clear: the server sees each hospital's vector."""

    def __init__(
        self,
        exchange: Exchange,
        study: Study,
        sites: Sequence[str],
        purpose: Purpose = "masked",
        roster: Roster | None = None,
        run: str = "run",
        origins: Mapping[str, str] | None = None,
    ) -> None:
        """Raises PrivacyError: a masked sum over fewer than `min_sites` hospitals."""
        if purpose == "masked" and len(sites) < study.privacy.min_sites:
            raise PrivacyError(
                f"a sum over {len(sites)} hospitals ({', '.join(sites)}) is refused, the floor is"
                f" {study.privacy.min_sites}; their own figures are named releases"
            )
        self.method = "plain" if roster is None else "masked"
        self._exchange, self._study, self._sites, self._purpose = exchange, study, tuple(sites), purpose
        self._roster, self._run, self._batch = roster, run, secrets.token_hex(8)
        self._origins = dict(origins or {})
        self._step = 0
        self._previous = np.zeros(0, np.int64)
        self._commitments: dict[str, str] = {}
        self._ahead: ServerSum | None = None
        self._ended: str | None = None

    def total(self, questions: Sequence[Question]) -> SumTotals:
        """One step of the batch, over all of its hospitals. Where rows are lesions, floors are of patients.

        Raises:
            IncompleteError: a hospital refused, or did not answer in time; the batch is over. A sum over the others
                would reveal its part.
            ProtocolError: a vector of the wrong length, of a hospital whose cohort changed during the batch, or masks
                that did not cancel.
        """
        if self._study.cohort.unit == "lesion":
            return asked_with_patients(questions, self._step_of, self._study.analysis.min_cell)
        return self._step_of(questions)

    def _step_of(self, questions: Sequence[Question]) -> SumTotals:
        if self._ended is not None:
            raise IncompleteError(self._ended)
        ask = Sum(
            self._study.sha256,
            self._purpose,
            len(self._sites),
            tuple(questions),
            self._batch,
            self._step,
            self._sites,
            self._previous,
            {name: self._origins[name] for name in score_names(questions) if name in self._origins},
            bits_for([question.bound for question in questions]),
            self._run,
        )
        coded = self._masked(ask, self._roster) if self._roster is not None else self._plain(ask)
        total = decode_integers(coded, ask.bits, len(self._sites))
        self._step, self._previous = self._step + 1, total
        return _cut(total, questions)

    def record(self) -> dict[str, Any]:
        """What a result says of the batch: its name, hospitals, steps, what each hospital committed to, and its end."""
        return {
            "batch": self._batch,
            "purpose": self._purpose,
            "method": self.method,
            "sites": list(self._sites),
            "steps": self._step,
            "commitments": dict(self._commitments),
            "incomplete": self._ended,
        }

    def _plain(self, ask: Sum) -> np.ndarray:
        total = np.zeros(_length(ask) + check_words(ask.bits), words(ask.bits))

        def receive(site: str, answer: Totals) -> None:
            self._check(site, answer)
            if answer.vector.shape != total.shape or answer.vector.dtype != total.dtype:
                raise ProtocolError(
                    f"{site} sent {answer.vector.dtype}{answer.vector.shape}, wanted {total.dtype}{total.shape}"
                )
            np.add(total, answer.vector, out=total)

        self._ask_all(ask, Totals, receive)
        return total

    def _masked(self, ask: Sum, roster: Roster) -> np.ndarray:
        current = self._with_keys(ask, roster)
        context = Context(ask.slot, _length(ask), ask.bits, question_digest(ask), self._study.privacy.keystream)
        announced = current.begin(context)
        ahead = ServerSum(roster, replace(ask.slot, sum=ask.step + 1))

        def receive(site: str, answer: Totals) -> None:
            self._check(site, answer)
            ahead.take_announcement(site, answer.announced)
            current.take_masked(site, answer.vector)

        self._ask_all(replace(ask, announced=announced), Totals, receive)
        current.survivors()
        self._ahead = ahead
        return current.open()

    def _with_keys(self, ask: Sum, roster: Roster) -> ServerSum:
        """The sum of this step with every hospital's keys: they came with the step before, or are asked now."""
        if self._ahead is not None:
            return self._ahead
        first = ServerSum(roster, ask.slot)
        self._ask_all(
            Keys(ask.slot, self._sites), Announced, lambda site, word: first.take_announcement(site, word.keys)
        )
        return first

    def _ask_all(self, question: Incoming, expected: type[A], receive: Callable[[str, A], None]) -> None:
        """Every hospital's answer; those that are lost or busy are asked again in the same words."""
        waiting = list(self._sites)
        timeout_s = self._study.training.round_timeout_s
        for attempt in range(ATTEMPTS):
            got: Answers[A] = self._exchange.ask(question, waiting, expected, timeout_s=timeout_s / ATTEMPTS)
            for site, answer in got.answered.items():
                receive(site, answer)
            waiting = [site for site in waiting if site not in got.answered]
            if not waiting:
                return
            if any(refusal.code != "BUSY" for refusal in got.refused.values()):
                break
            if attempt < ATTEMPTS - 1:
                time.sleep(min(_PAUSE_S, timeout_s / ATTEMPTS))
        self._ended = f"a sum over {len(self._sites)} hospitals was not opened: {got.why_not()}"
        raise IncompleteError(self._ended)

    def _check(self, site: str, answer: Totals) -> None:
        if self._commitments.setdefault(site, answer.commitment) != answer.commitment:
            raise ProtocolError(f"{site} committed to another cohort than at the first step of batch {self._batch}")


def _length(ask: Sum) -> int:
    return sum(question.length for question in ask.questions)


def _cut(total: IntVector, questions: Sequence[Question]) -> SumTotals:
    ends = np.cumsum([question.length for question in questions])
    return np.split(total, ends[:-1]) if questions else []
