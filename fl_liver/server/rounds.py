"""One round of federated averaging as a state machine: who is expected, who answered, the weighted mean. No I/O.

Updates are added in the study's order of sites, whatever order they arrive in, so that the mean is the same bits on
every engine; an update that comes early waits, one that came in order is added and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.messages import Update, Vector

_BLOCK = 1 << 16
"""Elements added at a time: two blocks of float32 fit a core's second-level cache."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The mean of the sites that answered, and who they were."""

    round: int
    vector: Vector
    loss: float
    answered: tuple[str, ...]
    missing: tuple[str, ...]


class Round:
    """Receives updates of one round; `close` gives the mean over those that came (McMahan 2017, weights as sent)."""

    def __init__(self, number: int, sites: Sequence[str], size: int, min_sites: int) -> None:
        self._number, self._sites, self._size, self._min_sites = number, tuple(sites), size, min_sites
        self._waiting: dict[str, Update] = {}
        self._gone: set[str] = set()
        self._answered: list[str] = []
        self._next = 0
        self._sum = np.zeros(size, np.float32)
        self._weight = 0
        self._loss = 0.0

    def receive(self, site: str, update: Update) -> None:
        """Take one site's update.

        Raises:
            ProtocolError: not expected, twice, another round's, the wrong length, or a weight that is not positive.
        """
        if site not in self._sites or site in self._waiting or site in self._answered:
            raise ProtocolError(f"round {self._number}: an update of {site} is not expected (or came twice)")
        if update.round != self._number:
            raise ProtocolError(f"round {self._number}: {site} answered round {update.round}")
        if update.vector.shape != (self._size,) or update.vector.dtype != np.float32:
            raise ProtocolError(
                f"round {self._number}: {site} sent {update.vector.dtype}{update.vector.shape},"
                f" wanted float32({self._size},)"
            )
        if update.weight < 1 or not np.isfinite(update.loss):
            raise ProtocolError(f"round {self._number}: {site} sent weight {update.weight} and loss {update.loss}")
        self._waiting[site] = update
        self._add_in_order()

    def close(self) -> RoundResult:
        """The weighted mean.

        Raises:
            IncompleteError: fewer sites than `min_sites` answered; nothing is opened.
        """
        self._gone = {site for site in self._sites if site not in self._waiting and site not in self._answered}
        self._add_in_order()
        if len(self._answered) < self._min_sites:
            raise IncompleteError(
                f"round {self._number}: {len(self._answered)} of {len(self._sites)} hospitals answered, wanted at least"
                f" {self._min_sites}; missing: {', '.join(sorted(self._gone))}"
            )
        self._sum *= np.float32(1.0 / self._weight)
        missing = tuple(site for site in self._sites if site in self._gone)
        return RoundResult(self._number, self._sum, self._loss / self._weight, tuple(self._answered), missing)

    def _add_in_order(self) -> None:
        while self._next < len(self._sites):
            site = self._sites[self._next]
            if site not in self._waiting:
                if site not in self._gone:
                    return
            else:
                self._add(self._waiting.pop(site))
                self._answered.append(site)
            self._next += 1

    def _add(self, update: Update) -> None:
        scaled = np.empty(_BLOCK, np.float32)
        weight = np.float32(update.weight)
        for start in range(0, self._size, _BLOCK):
            block = update.vector[start : start + _BLOCK]
            np.multiply(block, weight, out=scaled[: block.size])
            self._sum[start : start + _BLOCK] += scaled[: block.size]
        self._weight += update.weight
        self._loss += update.weight * update.loss
