"""What a stored score was made by: the digests of the questions that made it, the same at every hospital or no sum.

A sum over scores is a sum of what the hospitals were asked before. A server that gave each hospital another model to
score with, or another intercept, could read each one's part off a masked histogram. So the origin of every score that a
sum names stands in the question, every hospital compares it with its own, and the masks are bound to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fl_liver.messages import Average, Combine, Score
from fl_liver.stats.conversation import Question
from fl_liver.wire import question_digest

_PREFIX = "score:"


def followed_by(parts: Mapping[str, str], rows: str, made: str) -> dict[str, str]:
    """Rows → the question that scored them, in the order in which they were last scored, after one more question.

    The order counts: rows of two names may overlap, and then hold what came last.
    """
    kept = {} if rows == "all" else {name: one for name, one in parts.items() if name != rows}
    return {**kept, rows: made}


def origin(parts: Mapping[str, str]) -> str:
    """Hex SHA-256 over which rows were scored by which question, in which order (`followed_by`)."""
    return hashlib.sha256(json.dumps(list(parts.items())).encode()).hexdigest()


def builds_on(question: Score | Combine | Average) -> tuple[str, ...]:
    """The stored scores that a score is made from."""
    if isinstance(question, Average):
        return question.of
    return (question.base,) if isinstance(question, Combine) else ()


def made_by(question: Score | Combine | Average, origins: Mapping[str, str] | None = None) -> str:
    """Hex SHA-256 of the question that scores some rows, and of the `origins` of the scores that it builds on."""
    digest = question_digest(question)
    if isinstance(question, Score):
        return digest
    below = " ".join((origins or {}).get(name, "") for name in builds_on(question))
    return hashlib.sha256(f"{digest} {below}".encode()).hexdigest()


def score_names(questions: Sequence[Question]) -> tuple[str, ...]:
    """The stored scores that questions name in a column `score:NAME` or `score:NAME:CLASS`, sorted."""
    found: set[str] = set()
    for question in questions:
        _collect(question.arguments, found)
    return tuple(sorted(found))


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, str) and value.startswith(_PREFIX):
        found.add(value.split(":")[1])
    elif isinstance(value, Mapping):
        for one in (*value.keys(), *value.values()):
            _collect(one, found)
    elif isinstance(value, list | tuple):
        for one in value:
            _collect(one, found)
