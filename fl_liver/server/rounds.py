"""One round of training after another as sums of encoded updates: who is asked, who answered, the total.

Updates are integers, so that their sum does not depend on the order in which they come, and masked and plain sums of
the same updates are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.messages import Fit, Update, Vector
from fl_liver.securesum.context import Slot
from fl_liver.securesum.encoding import UpdateCode, check_words
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.study import Study

OnAnswer = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Opened:
    """The sum of a round's encoded updates, check words included, and who is in it."""

    total: NDArray[np.uint32]
    answered: tuple[str, ...]
    missing: tuple[str, ...]


class Rounds(Protocol):
    """The rounds of one federation."""

    def ask(self, number: int, vector: Vector, code: UpdateCode, on_answer: OnAnswer) -> Opened:
        """Have every hospital train on `vector` and add their updates; `on_answer` is told who answered.

        Raises:
            IncompleteError: too few hospitals answered; nothing is opened.
            LostRoundError: the round was begun before an interruption and may not be asked again.
        """
        ...


class PlainRounds:
    """Adds in the clear: the server sees each hospital's update. For debugging; the result says so."""

    def __init__(
        self, exchange: Exchange, study: Study, sites: Sequence[str], rows: str, run: str, journal: Journal
    ) -> None:
        self._exchange, self._study, self._sites, self._journal = exchange, study, tuple(sites), journal
        self._run, self._purpose = run, f"training/{rows}"

    def ask(self, number: int, vector: Vector, code: UpdateCode, on_answer: OnAnswer) -> Opened:
        """See `Rounds.ask`."""
        total = np.zeros(code.length + check_words(32), np.uint32)
        answered: list[str] = []

        def receive(site: str, update: Update) -> None:
            check_update(site, update, number, len(total))
            np.add(total, update.vector, out=total)
            answered.append(site)
            on_answer(site)

        fit = Fit(Slot(self._study.sha256, self._run, self._purpose, number, 0), vector, {}, {})
        timeout_s = self._study.training.round_timeout_s
        answers = self._exchange.ask(fit, self._sites, Update, timeout_s=timeout_s, on_answer=receive)
        if reasons := answers.why_not():
            self._journal.write("warning", text=f"round {number}: {reasons}")
        missing = tuple(site for site in self._sites if site not in answered)
        if len(answered) < self._study.privacy.min_sites:
            raise IncompleteError(
                f"round {number}: {len(answered)} of {len(self._sites)} hospitals answered, wanted at least"
                f" {self._study.privacy.min_sites}; missing: {', '.join(missing)}"
            )
        return Opened(total, tuple(sorted(answered)), missing)


def check_update(site: str, update: Update, number: int, length: int) -> None:
    """Raises ProtocolError where an update is of another round or length."""
    if update.round != number:
        raise ProtocolError(f"round {number}: {site} answered round {update.round}")
    if update.vector.shape != (length,):
        raise ProtocolError(f"round {number}: {site} sent {update.vector.shape}, wanted ({length},)")
