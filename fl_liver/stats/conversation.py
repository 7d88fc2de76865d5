"""A statistic as a conversation: it asks every hospital for integer sums, hears the totals, and ends with a result.

A statistic is a generator. It yields a list of `Question`s; each hospital answers a question with an int64 vector of
public length from its own rows (`answer`, a pure function); the statistic is sent the totals in the same order and goes
on. It never sees one hospital's vector, does no I/O, and does not know how the vectors were added (`Summer`). Several
statistics are run side by side (`converse`), so that what can be asked together travels as one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import IncompleteError, ProtocolError

IntVector = NDArray[np.int64]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Table:
    """One hospital's rows: columns of equal length, float64 (NaN is missing) or text (an object array of str).

    patients    (n,) whose each row is, any values; None where every row is a patient of its own
    """

    columns: Mapping[str, NDArray[Any]]
    patients: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise ProtocolError(f"no column '{name}' (columns: {', '.join(self.columns)})") from None


@dataclass(frozen=True, slots=True)
class Question:
    """What every hospital is asked to add up.

    kind       name of the site function, registered with `@answers`
    arguments  JSON values: column names, thresholds, coefficients
    arrays     larger public inputs, such as the active bins (uint64) or cumulative counts
    length     length of the int64 vector that answers it; public and the same everywhere
    bound      what no entry of the total exceeds, where that is public and no entry is negative: a sum of small
               counts then travels in 2 or 4 bytes an entry instead of 8
    """

    kind: str
    arguments: Mapping[str, Any]
    length: int
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    bound: int | None = None

    def head(self) -> dict[str, Any]:
        """All but the arrays, as JSON values."""
        return {"kind": self.kind, "arguments": dict(self.arguments), "length": self.length, "bound": self.bound}


Totals = Sequence[IntVector]
Conversation = Generator[list[Question], Totals, R]
SiteFunction = Callable[[Question, Table], IntVector]

_SITE_FUNCTIONS: dict[str, SiteFunction] = {}


def answers(kind: str) -> Callable[[SiteFunction], SiteFunction]:
    """Register the pure function with which a hospital answers questions of `kind`."""

    def register(function: SiteFunction) -> SiteFunction:
        _SITE_FUNCTIONS[kind] = function
        return function

    return register


def answer(question: Question, table: Table) -> IntVector:
    """One hospital's vector for one question.

    Raises:
        ProtocolError: unknown kind, unknown column, or a site function that did not keep to the announced length.
    """
    function = _SITE_FUNCTIONS.get(question.kind)
    if function is None:
        raise ProtocolError(f"unknown question '{question.kind}' (known: {', '.join(sorted(_SITE_FUNCTIONS))})")
    vector = function(question, table)
    if vector.dtype != np.int64 or vector.shape != (question.length,):
        raise ProtocolError(
            f"question '{question.kind}': answered {vector.dtype}{vector.shape}, announced int64({question.length},)"
        )
    return vector


class Summer(Protocol):
    """Adds the hospitals' vectors. The only way from a hospital's rows to a number in a report."""

    method: str
    """How the vectors were added, as it stands in every result: "plain" is in the clear."""

    def total(self, questions: Sequence[Question]) -> Totals:
        """One total (int64, wrap-around modulo 2^64) for each question, over all hospitals of this summer."""
        ...


@dataclass(frozen=True, slots=True)
class Withheld:
    """A statistic that is not released, and the rule or the missing hospital that withheld it."""

    reason: str

    def to_json(self) -> dict[str, Any]:
        """`{"not_released": reason}`, as result files hold it."""
        return {"not_released": self.reason}


def converse(conversations: Mapping[str, Conversation[Any]], summer: Summer) -> dict[str, Any]:
    """Run conversations side by side until all have ended; in each exchange the open questions of all go together.

    One batch: where the summer ends it with an IncompleteError (a hospital stayed away), what was finished is kept and
    the others are `Withheld` as incomplete. Nothing is asked again of the hospitals that are left.
    """
    results: dict[str, Any] = {}
    open_questions: dict[str, list[Question]] = {}

    def advance(name: str, totals: Totals | None) -> None:
        talk = conversations[name]
        try:
            open_questions[name] = next(talk) if totals is None else talk.send(totals)
        except StopIteration as end:
            open_questions.pop(name, None)
            results[name] = end.value

    for name in conversations:
        advance(name, None)
    while open_questions:
        asked = dict(open_questions)
        try:
            totals = summer.total([question for questions in asked.values() for question in questions])
        except IncompleteError as error:
            for name in asked:
                conversations[name].close()
                results[name] = Withheld(f"incomplete: {error}")
            break
        for name, questions in asked.items():
            mine, totals = totals[: len(questions)], totals[len(questions) :]
            advance(name, mine)
    return {name: results[name] for name in conversations}


def over(rows: str, conversation: Conversation[R]) -> Conversation[R]:
    """The same conversation about one part of every cohort ("internal", "external", "calibration", …)."""
    totals: Totals | None = None
    while True:
        try:
            questions = next(conversation) if totals is None else conversation.send(totals)
        except StopIteration as end:
            result: R = end.value
            return result
        totals = yield [replace(one, arguments={**one.arguments, "rows": rows}) for one in questions]


class TablesSummer:
    """Adds in the clear over tables held in this process: for one hospital's own figures, tests and `analyse`."""

    method = "plain"

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables

    def total(self, questions: Sequence[Question]) -> Totals:
        totals = [np.zeros(question.length, np.int64) for question in questions]
        for table in self._tables:
            for total, question in zip(totals, questions, strict=True):
                total += answer(question, table)
        return totals
