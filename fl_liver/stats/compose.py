"""Conversations put together: several in the same rounds, within a part of the rows, or a refusal as a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from fl_liver.errors import DataError, PrivacyError
from fl_liver.stats.conversation import Conversation, Question, Totals, Withheld

__all__ = ["Withheld", "among", "or_withheld", "together", "within"]

R = TypeVar("R")


def together(conversations: Sequence[Conversation[R]]) -> Conversation[list[R]]:
    """Run conversations in the same rounds, as one; results in their order. For use inside a statistic."""
    results: dict[int, R] = {}
    questions: dict[int, list[Question]] = {}

    def advance(index: int, totals: Totals | None) -> None:
        try:
            questions[index] = next(conversations[index]) if totals is None else conversations[index].send(totals)
        except StopIteration as end:
            questions.pop(index, None)
            results[index] = end.value

    for index in range(len(conversations)):
        advance(index, None)
    while questions:
        asked = dict(questions)
        totals = yield [question for part in asked.values() for question in part]
        for index, part in asked.items():
            mine, totals = totals[: len(part)], totals[len(part) :]
            advance(index, mine)
    return [results[index] for index in range(len(conversations))]


def among(conversation: Conversation[R], columns: Sequence[str]) -> Conversation[R]:
    """The same conversation over the rows that have a value in each of `columns`."""
    totals: Totals | None = None
    while True:
        try:
            questions = next(conversation) if totals is None else conversation.send(totals)
        except StopIteration as end:
            result: R = end.value
            return result
        totals = yield [replace(one, arguments={**one.arguments, "among": list(columns)}) for one in questions]


def within(conversation: Conversation[R], *, where: Mapping[str, str | float]) -> Conversation[R]:
    """The same conversation over the rows that have the given levels, {column: level}; strata nest."""
    totals: Totals | None = None
    while True:
        try:
            questions = next(conversation) if totals is None else conversation.send(totals)
        except StopIteration as end:
            result: R = end.value
            return result
        totals = yield [_narrowed(question, where) for question in questions]


def _narrowed(question: Question, where: Mapping[str, str | float]) -> Question:
    nested = {**question.arguments.get("where", {}), **where}
    return replace(question, arguments={**question.arguments, "where": nested})


def or_withheld(conversation: Conversation[R]) -> Conversation[R | Withheld]:
    """The same conversation; where it ends in a DataError or PrivacyError of its own, the result is `Withheld`.

    For batches, in which one statistic below a floor or under separation must not end the others. Errors of a
    hospital's answer are not caught: they come through the `Summer`.
    """
    try:
        return (yield from conversation)
    except (DataError, PrivacyError) as error:
        return Withheld(str(error))
