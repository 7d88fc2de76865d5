"""A statistic's walk, run by a hospital beside the server's: which question comes next follows from the opened totals.

The statistic is the very generator that the server runs. A question is allowed if it is the one that the generator asks
next, or one that was asked before (a repeat says nothing new). Integers must agree exactly; coefficients of a fit to
10⁻⁴, because two machines' linear algebra differs in the last bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError, FLLiverError, PrivacyError, ProtocolError
from fl_liver.stats.calibration_curve import smooth_curve
from fl_liver.stats.centres import centre_auc
from fl_liver.stats.conversation import Conversation, IntVector, Question, Totals
from fl_liver.stats.design import Term
from fl_liver.stats.firth import firth
from fl_liver.stats.floors import require_floor
from fl_liver.stats.levels import learn_levels
from fl_liver.stats.moments import moments
from fl_liver.stats.newton import MAX_ITERATIONS, Problem, newton
from fl_liver.stats.quantile_groups import group_cuts
from fl_liver.stats.refine import FIRST_BITS, bins_question, refine

CHOICE_OF_ROWS = frozenset({"rows", "where", "among"})
"""Arguments that say which rows a conversation is about; its own questions do not have them."""
_STEP = frozenset({"depth", "step", "bits", "beginnings", "phase", "scale_bits"})
_TOGETHER = {"firth_penalty": "newton_step", "local_linear": "prediction_spread", "centre_sums": "centre_counts"}
"""Kinds that belong to the walk of another kind."""
_CLOSE = 1e-4
_LAST = 2
"""A finished fit may be asked its last step once more: its tolerance can fall between two machines' rounding."""


class Walk:
    """One conversation that yields one question at a time.

    first    the question that began it, with its choice of rows
    result   its end; `stopped` says why it has none
    """

    def __init__(self, talk: Conversation[Any], first: Question) -> None:
        self._talk = talk
        self.first = first
        self._asked: list[Question] = []
        self._after_the_end = 0
        self.next: Question | None = None
        self.result: Any = None
        self.stopped: FLLiverError | None = None
        self._advance(None)

    def allows(self, question: Question) -> bool:
        if self.next is not None and same(question, self.next, close=_CLOSE):
            return True
        if any(same(question, one, close=0.0) for one in self._asked):
            return True
        ended = self.next is None and self.stopped is None and self._after_the_end < _LAST
        return ended and any(same(question, one, close=_CLOSE) for one in self._asked[-_LAST:])

    def about(self, **arguments: Any) -> bool:
        """Whether it is about this column, this label, …"""
        return all(self.first.arguments.get(name) == value for name, value in arguments.items())

    def opened(self, question: Question, total: IntVector) -> None:
        """Go on with the total of a question that was allowed."""
        if self.next is not None and same(question, self.next, close=_CLOSE):
            self._asked.append(question)
            self._advance([total])
        elif self.next is None and not any(same(question, one, close=0.0) for one in self._asked):
            self._after_the_end += 1
            self._asked.append(question)

    def stop(self, error: PrivacyError) -> None:
        """End it without a result: a floor that is not its own."""
        self.next, self.result, self.stopped = None, None, error

    def _advance(self, totals: Totals | None) -> None:
        self.next = None
        try:
            with np.errstate(all="ignore"):  # totals that a server made up may be any numbers
                (self.next,) = next(self._talk) if totals is None else self._talk.send(totals)
        except StopIteration as end:
            self.result = end.value
        except (DataError, PrivacyError) as error:
            self.stopped = error
        except (ArithmeticError, ValueError) as error:
            self.stopped = DataError(f"its totals cannot be computed with ({type(error).__name__})")


def plain_arguments(question: Question, without: frozenset[str] = CHOICE_OF_ROWS) -> str:
    """A question's arguments as canonical JSON, less the ones in `without`."""
    kept = {name: value for name, value in question.arguments.items() if name not in without}
    return json.dumps(kept, sort_keys=True)


def same(asked: Question, own: Question, *, close: float) -> bool:
    """Whether two questions ask the same; numbers in float arrays may differ by `close` of the largest, plus `close`.

    Which rows they are about is not compared.
    """
    return (
        asked.kind == own.kind
        and asked.length == own.length
        and asked.arrays.keys() == own.arrays.keys()
        and plain_arguments(asked) == plain_arguments(own)
        and all(_near(array, own.arrays[name], close) for name, array in asked.arrays.items())
    )


def _near(asked: NDArray[Any], own: NDArray[Any], close: float) -> bool:
    if asked.shape != own.shape or asked.dtype != own.dtype:
        return False
    if asked.dtype.kind != "f" or close == 0.0:
        return asked.tobytes() == own.tobytes()
    if not (np.isfinite(asked).all() and np.isfinite(own).all()):
        return False
    return bool(np.all(np.abs(asked - own) <= close * (1.0 + np.abs(own).max(initial=0.0))))


def walk_of(question: Question) -> str:
    """The name of the walk that a question belongs to: the same for all its steps."""
    kind = _TOGETHER.get(question.kind, question.kind)
    return f"{kind} {plain_arguments(question, _STEP)}"


def begin(question: Question, groups: Iterable[int], floor: int) -> list[Walk]:
    """The conversations that this question can be a step of; none where its kind has no walk.

    groups: the numbers of groups of equal size that its column may be cut into.
    """
    return [Walk(talk, question) for talk in _talks(question, groups, floor)]


def _talks(question: Question, groups: Iterable[int], floor: int) -> list[Conversation[Any]]:
    named = question.arguments
    match question.kind:
        case "bins" if named["label"] is None:
            return [_cuts(named, count) for count in sorted(groups)]
        case "bins":
            return [_refinement(named, floor)]
        case "level_bytes":
            return [learn_levels(named["columns"], named["complete"], min_cell=floor)]
        case "newton_step" | "firth_penalty":
            return [newton(_problem(named)), firth(_problem(named))]
        case "moments":
            return [moments([_term(one) for one in named["terms"]], complete=named["complete"])]
        case "prediction_spread" | "local_linear":
            return [smooth_curve(named["y"], named["p"], log_odds=named["log_odds"])]
        case "centre_sums" | "centre_counts":
            return [centre_auc(named["score"], named["label"], min_cell=floor)]
    return []


def _refinement(named: Mapping[str, Any], min_cell: int) -> Conversation[Any]:
    """`refine`, with the floor of each class after the first histogram."""
    column, label, levels = named["column"], named["label"], named["levels"]
    talk = refine(column, label, key=named["key"], levels=levels, complete=named["complete"], others=named["others"])
    totals = yield next(talk)
    sizes = totals[0].reshape(len(levels), -1).sum(axis=1).tolist()
    require_floor({f"'{label}' {level}": size for level, size in zip(levels, sizes, strict=True)}, min_cell)
    return (yield from _go_on(talk, totals))


def _cuts(named: Mapping[str, Any], groups: int) -> Conversation[Any]:
    """`group_cuts`, which knows the number of rows from the first histogram."""
    column, complete = named["column"], named["complete"]
    totals = yield [bins_question(column, None, (), "float64", np.zeros(1, np.uint64), 0, FIRST_BITS, complete)]
    count = int(totals[0].sum())
    if count == 0:
        return np.array([], np.uint64)
    talk = group_cuts(column, count, groups, complete=complete)
    next(talk)
    return (yield from _go_on(talk, totals))


def _go_on(talk: Conversation[Any], totals: Totals) -> Conversation[Any]:
    while True:
        try:
            questions = talk.send(totals)
        except StopIteration as end:
            return end.value
        totals = yield questions


def _problem(named: Mapping[str, Any]) -> Problem:
    columns = tuple(dict(one) for one in named["columns"])
    return Problem(
        outcome=named["outcome"],
        columns=columns,
        names=tuple(f"{one['column']}{one['level'] or ''}" for one in columns),
        factors=named["factors"],
        complete=tuple(named["complete"]),
        offset=None if named["offset"] is None else _term(named["offset"]),
    )


def _term(named: Mapping[str, Any]) -> Term:
    return Term(named["column"], named["level"], named["logit"])


def why_not(question: Question, walks: list[Walk]) -> FLLiverError:
    """The rule that a refused step of a walk breaks."""
    stopped = [walk.stopped for walk in walks if walk.stopped is not None]
    if all(walk.next is None for walk in walks) and stopped:
        return type(stopped[0])(f"question '{question.kind}': the walk ended before it: {stopped[0]}")
    head = f"question '{question.kind}'"
    if question.kind in ("newton_step", "firth_penalty"):
        return ProtocolError(
            f"{head}: its coefficients are not the fit's next step; a fit starts at 0, follows Newton, and ends within"
            f" {MAX_ITERATIONS} steps"
        )
    wanted = [walk.next for walk in walks if walk.next is not None and walk.next.kind == question.kind]
    if question.kind == "bins" and wanted:
        return _why_not_these_bins(head, question, wanted[0])
    return ProtocolError(f"{head}: it is not the plan's next question, nor one that was answered")


def _why_not_these_bins(head: str, question: Question, wanted: Question) -> ProtocolError:
    depth, due = question.arguments.get("depth"), wanted.arguments["depth"]
    if depth != due or question.arguments.get("step") != wanted.arguments["step"]:
        return ProtocolError(f"{head}: depth jumps: {depth} bits were asked, the plan goes on at {due}")
    strangers = np.setdiff1d(question.arrays.get("active", np.zeros(0, np.uint64)), wanted.arrays["active"])
    return ProtocolError(
        f"{head}: {len(strangers)} bins are not children of active and mixed bins; only these are split"
    )
