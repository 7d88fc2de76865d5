"""Sums over tables in this process, each behind its own hospital's guard: what may be asked is what a hospital answers.

A `GuardedTable` is one hospital: it holds every question against what the plan permits, answers it from its own rows,
and hears the opened totals, from which it knows what may come next. How the answers are added is the summer's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from fl_liver.errors import FLLiverError
from fl_liver.stats.conversation import IntVector, Question, Table, Totals, answer
from fl_liver.stats.guard import Guard, require_own_part
from fl_liver.stats.permit import Permit


class GuardedTable:
    """One hospital's table. Every error names the hospital."""

    def __init__(self, site: str, table: Table, permit: Permit) -> None:
        self._site, self._table, self._guard = site, table, Guard(permit)
        self._asked: Sequence[Question] = ()
        self._own: list[IntVector] = []

    def answered(self, questions: Sequence[Question]) -> list[IntVector]:
        """This hospital's vector for each question of one exchange.

        Raises:
            ProtocolError: a question that the plan does not have next, or that cannot be answered from this table.
            PrivacyError, DataError: a floor, or rows that the question cannot be asked of.
        """
        with self._named():
            self._guard.check(questions)
            self._asked, self._own = questions, [answer(question, self._table) for question in questions]
        return self._own

    def opened(self, totals: Totals) -> None:
        """Hear the totals of the exchange that was answered last.

        Raises:
            ProtocolError: they are less than this hospital's own counts, or of another length.
        """
        with self._named():
            require_own_part(self._asked, totals, self._own)
            self._guard.opened(self._asked, totals)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except FLLiverError as error:
            raise type(error)(f"site {self._site}: {error}") from error


class GuardedSummer:
    """Adds in the clear over named tables, none of which answers what its guard refuses."""

    method = "plain"

    def __init__(self, tables: Mapping[str, Table], permit: Permit) -> None:
        self._sites = [GuardedTable(site, table, permit) for site, table in tables.items()]

    def total(self, questions: Sequence[Question]) -> Totals:
        """One total a question over all hospitals; refused as a whole where one hospital refuses.

        Raises:
            ProtocolError, PrivacyError, DataError: as `GuardedTable` says it.
        """
        totals = [np.zeros(question.length, np.int64) for question in questions]
        for site in self._sites:
            for total, own in zip(totals, site.answered(questions), strict=True):
                total += own
        for site in self._sites:
            site.opened(totals)
        return totals
