"""Adding hospitals' vectors in the clear over an exchange; the masked way has the same face (`Summer`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fl_liver.errors import IncompleteError, PrivacyError, ProtocolError
from fl_liver.messages import Purpose, Sum, Totals
from fl_liver.server.exchange import Exchange
from fl_liver.stats.conversation import IntVector, Question
from fl_liver.stats.conversation import Totals as SumTotals
from fl_liver.study import Study


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

    def total(self, questions: Sequence[Question]) -> SumTotals:
        """Raises IncompleteError where a hospital did not answer: a sum over the others would reveal its part."""
        ask = Sum(self._study.sha256, self._purpose, len(self._sites), tuple(questions))
        answers = self._exchange.ask(ask, self._sites, Totals, timeout_s=self._study.training.round_timeout_s)
        if len(answers.answered) < len(self._sites):
            raise IncompleteError(f"a sum over {len(self._sites)} hospitals was not opened: {answers.why_not()}")
        wanted = sum(question.length for question in questions)
        total = np.zeros(wanted, np.int64)
        for site, answer in answers.answered.items():
            if answer.vector.shape != (wanted,) or answer.vector.dtype != np.int64:
                raise ProtocolError(f"{site} sent a sum of length {answer.vector.size}, wanted {wanted}")
            total += answer.vector
        return _cut(total, questions)


def _cut(total: IntVector, questions: Sequence[Question]) -> SumTotals:
    ends = np.cumsum([question.length for question in questions])
    return np.split(total, ends[:-1]) if questions else []
