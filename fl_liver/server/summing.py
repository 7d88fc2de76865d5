"""Adding hospitals' vectors in the clear over an exchange; the masked way has the same face (`Summer`).

One summer is one batch: an analysis plan that is asked in steps over hospitals that never change. A hospital that does
not answer is asked again; if it stays away the batch is over, and is never begun again over the others, because the
difference of two such sums would be that hospital.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.messages import Purpose, Sum, Totals
from fl_liver.server.exchange import Answers, Exchange
from fl_liver.stats.conversation import IntVector, Question
from fl_liver.stats.conversation import Totals as SumTotals
from fl_liver.study import Study

ATTEMPTS = 3
"""How often a step is asked of a hospital that does not answer; together they take the study's round timeout."""
_PAUSE_S = 1.0


class PlainSummer:
    """Adds in the clear: the server sees each hospital's vector. For simulation and debugging; the result says so."""

    method = "plain"

    def __init__(self, exchange: Exchange, study: Study, sites: Sequence[str], purpose: Purpose = "masked") -> None:
        """Raises PrivacyError: a masked sum over fewer than `min_sites` hospitals."""
        if purpose == "masked" and len(sites) < study.privacy.min_sites:
            raise PrivacyError(
                f"a sum over {len(sites)} hospitals ({', '.join(sites)}) is refused, the floor is"
                f" {study.privacy.min_sites}; their own figures are named releases"
            )
        self._exchange, self._study, self._sites, self._purpose = exchange, study, tuple(sites), purpose
        self._batch = secrets.token_hex(8)
        self._step = 0
        self._previous = np.zeros(0, np.int64)
        self._commitments: dict[str, str] = {}
        self._ended: str | None = None

    def total(self, questions: Sequence[Question]) -> SumTotals:
        """One step of the batch, over all of its hospitals.

        Raises:
            IncompleteError: a hospital refused, or did not answer in time; the batch is over. A sum over the others
                would reveal its part.
            ProtocolError: a vector of the wrong length, or of a hospital whose cohort changed during the batch.
        """
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
        )
        answered = self._ask_all(ask)
        wanted = sum(question.length for question in questions)
        total = np.zeros(wanted, np.int64)
        for site in self._sites:
            total += self._checked(site, answered[site], wanted)
        self._step, self._previous = self._step + 1, total
        return _cut(total, questions)

    def record(self) -> dict[str, Any]:
        """What a result says of the batch: its name, hospitals, steps, what each hospital committed to, and its end."""
        return {
            "batch": self._batch,
            "purpose": self._purpose,
            "sites": list(self._sites),
            "steps": self._step,
            "commitments": dict(self._commitments),
            "incomplete": self._ended,
        }

    def _ask_all(self, ask: Sum) -> dict[str, Totals]:
        """Every hospital's answer; those that are lost or busy are asked again in the same words."""
        answered: dict[str, Totals] = {}
        timeout_s = self._study.training.round_timeout_s
        for attempt in range(ATTEMPTS):
            waiting = [site for site in self._sites if site not in answered]
            got: Answers[Totals] = self._exchange.ask(ask, waiting, Totals, timeout_s=timeout_s / ATTEMPTS)
            answered |= got.answered
            if len(answered) == len(self._sites):
                return answered
            if any(refusal.code != "BUSY" for refusal in got.refused.values()):
                break
            if attempt < ATTEMPTS - 1:
                time.sleep(min(_PAUSE_S, timeout_s / ATTEMPTS))
        self._ended = f"a sum over {len(self._sites)} hospitals was not opened: {got.why_not()}"
        raise IncompleteError(self._ended)

    def _checked(self, site: str, answer: Totals, wanted: int) -> IntVector:
        if answer.vector.shape != (wanted,) or answer.vector.dtype != np.int64:
            raise ProtocolError(f"{site} sent a sum of length {answer.vector.size}, wanted {wanted}")
        if self._commitments.setdefault(site, answer.commitment) != answer.commitment:
            raise ProtocolError(f"{site} committed to another cohort than at the first step of batch {self._batch}")
        return answer.vector


def _cut(total: IntVector, questions: Sequence[Question]) -> SumTotals:
    ends = np.cumsum([question.length for question in questions])
    return np.split(total, ends[:-1]) if questions else []
