"""A hospital's own check of every question of a batch, before it answers. Pure: no rows, no files.

The hospital runs the plan's state machine beside the server. It sees each question, and after each exchange the opened
totals, and refuses
 * a question of other columns or rows than one analysis of the plan asks it of, a threshold that this analysis lacks,
 * children of bins that were not active and mixed, and a depth that jumps,
 * a step of a fit that does not follow from the steps before it, and more than 25 of them,
 * groups or cumulative counts that are not those of the opened histograms,
 * anything finer once a class is below the floor,
 * where a patient may have several rows, a count without its patients, or patients of what is not counted,
 * a noised histogram with other noise than was agreed, or a second one.
The totals are the server's word. A server that lies about them to everybody alike loosens the rules about bins as far
as it lies; `require_own_part` catches a total below the hospital's own counts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import FalseTotalsError, PrivacyError, ProtocolError
from fl_liver.stats.allowed import Allowed, Order
from fl_liver.stats.conversation import IntVector, Question
from fl_liver.stats.cross import cross_arrays
from fl_liver.stats.order_search import FIRST_BITS, KEY_BITS, STEP_BITS
from fl_liver.stats.patients import PATIENTS, counted_of, has_floor, patients_question, require_patients
from fl_liver.stats.permit import Permit
from fl_liver.stats.refine import Leaves, children
from fl_liver.stats.walk import CHOICE_OF_ROWS, Walk, begin, plain_arguments, walk_of, why_not

_COUNTS = frozenset({"bins", "key_children", "level_bytes", "cell_counts", "class_counts", "cross_table", PATIENTS})
"""Kinds whose totals steer what may be asked next; each entry is a count of rows or patients."""
_ALL_BUT_ROWS = frozenset({"depth", "bits", "thresholds"})


class Guard:
    """One batch of questions as a state machine. `check` before an answer, `opened` when its totals are known."""

    def __init__(self, permit: Permit) -> None:
        self._permit = permit
        self._walks: dict[str, list[Walk]] = {}
        self._searches: dict[str, _Search] = {}
        self._cutoffs: dict[str, set[float]] = {}
        self._noised = False

    def check(self, questions: Sequence[Question]) -> None:
        """Nothing, if every question of the exchange may be answered.

        Raises:
            ProtocolError: names the rule that a question breaks.
            PrivacyError, DataError: the walk ended at a floor, or its data allow no further step.
        """
        together = {_words(question) for question in questions} if self._permit.by_patient else set()
        for question in questions:
            try:
                allowing = self._permit.allowing(question)
                self._check_patients(question, together)
                if question.kind == PATIENTS:
                    continue
                self._check_steps(question, allowing)
                self._check_public_numbers(question, allowing)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise ProtocolError(
                    f"question '{question.kind}': its arguments cannot be read ({type(error).__name__})"
                ) from error

    def opened(self, questions: Sequence[Question], totals: Sequence[IntVector]) -> None:
        """Take note of the totals of an exchange that was answered."""
        for question, total in zip(questions, totals, strict=True):
            if total.shape != (question.length,):
                raise ProtocolError(f"question '{question.kind}': a total of {total.size}, wanted {question.length}")
            for walk in self._walks.get(walk_of(question), []):
                walk.opened(question, total)
            if question.kind == "key_children":
                self._searches[plain_arguments(question, _ALL_BUT_ROWS)].opened(question, total)
        for question, total in zip(questions, totals, strict=True):
            if question.kind == PATIENTS:
                self._hold_patients(question, total)

    def _check_patients(self, question: Question, together: Collection[str]) -> None:
        """Patients are counted beside the count that they belong to, and every such count comes with them."""
        if question.kind == PATIENTS:
            of = counted_of(question)
            if not has_floor(of) or _words(of) not in together:
                raise ProtocolError(
                    f"question '{PATIENTS}': '{of.kind}' is not asked beside it or has no groups, or rows are patients"
                )
            return
        wanted = self._permit.by_patient and self._permit.min_cell > 1 and has_floor(question)
        if wanted and _words(patients_question(question)) not in together:
            raise ProtocolError(
                f"question '{question.kind}': a patient may have several rows here, and its patients are not asked"
                " beside it"
            )

    def _hold_patients(self, question: Question, total: IntVector) -> None:
        try:
            require_patients(question, total, self._permit.min_cell)
        except PrivacyError as error:
            for walk in self._walks.get(walk_of(counted_of(question)), []):
                walk.stop(error)

    def _check_steps(self, question: Question, allowing: Sequence[Allowed]) -> None:
        if question.kind == "key_children":
            name = plain_arguments(question, _ALL_BUT_ROWS)
            order = frozenset[Order]().union(*(one.order for one in allowing))
            self._searches.setdefault(name, _Search(order, self._permit.min_cell)).check(question)
            return
        name = walk_of(question)
        if name not in self._walks:
            groups = frozenset[int]().union(*(one.groups for one in allowing))
            self._walks[name] = begin(question, groups, self._permit.min_cell)
        walks = self._walks[name]
        if walks and not any(walk.allows(question) for walk in walks):
            raise why_not(question, walks)

    def _check_public_numbers(self, question: Question, allowing: Sequence[Allowed]) -> None:
        match question.kind:
            case "counts_at_thresholds":
                self._check_thresholds(question, question.arguments["thresholds"], allowing)
            case "reader_model_calls":
                self._check_thresholds(question, [question.arguments["threshold"]], allowing)
            case "delong_cross" | "cluster_cross":
                self._check_components(question)
            case "calibration_groups" if "cuts" in question.arrays:
                self._check_cuts(question)
            case "noised_histogram":
                self._check_noise(question)

    def _check_thresholds(self, question: Question, thresholds: Sequence[float], allowing: Sequence[Allowed]) -> None:
        """Those of the analyses of this very score and label, among the same patients."""
        further = set(map(float, thresholds)).difference(*(one.thresholds for one in allowing))
        if not further:
            return
        cutoffs = max(one.cutoffs for one in allowing)
        known = self._cutoffs.setdefault(plain_arguments(question, _ALL_BUT_ROWS), set())
        if len(known | further) > cutoffs:
            raise ProtocolError(
                f"question '{question.kind}': {len(further)} thresholds are not in the plan,"
                f" which allows {cutoffs} further ones for this score"
            )
        known |= further

    def _check_components(self, question: Question) -> None:
        """Cumulative counts must be those of histograms that were opened here, of the same scores and rows."""
        named = question.arguments
        for place, score in enumerate(named["scores"]):
            part = {name: question.arrays.get(f"{name}{place}") for name in ("low", "x", "y")}
            known = self._results(question, column=score, label=named["label"])
            if not any(_are(part, leaves) for leaves in known if isinstance(leaves, Leaves)):
                raise ProtocolError(
                    f"question '{question.kind}': the counts below each bin of '{score}' are not those of its histogram"
                )

    def _check_cuts(self, question: Question) -> None:
        cuts = question.arrays["cuts"]
        known = self._results(question, column=question.arguments["p"], label=None)
        if not any(isinstance(one, np.ndarray) and np.array_equal(one, cuts) for one in known):
            raise ProtocolError("question 'calibration_groups': the cuts are not those of groups of equal size")

    def _check_noise(self, question: Question) -> None:
        """The agreed noise, once: answers to the same question with new noise could be averaged."""
        asked = question.arguments["epsilon"], question.arguments["honest"]
        if asked != self._permit.noise:
            raise ProtocolError(f"question 'noised_histogram': noise {asked} was asked, agreed is {self._permit.noise}")
        if self._noised:
            raise ProtocolError("question 'noised_histogram': the plan asks once, for all models together")
        self._noised = True

    def _results(self, question: Question, *, column: str, label: str | None) -> list[Any]:
        """The ends of walks over the bins of a column, among the same rows."""
        found: list[Any] = []
        for walk in (one for name, walks in self._walks.items() if name.startswith("bins ") for one in walks):
            if walk.result is None or not walk.about(column=column, label=label):
                continue
            if _rows_of(walk.first) == _rows_of(question):
                found.append(walk.result)
        return found


class _Search:
    """The ranges that an order search may split, by depth."""

    def __init__(self, order: frozenset[Order], min_cell: int) -> None:
        self._order, self._min_cell = order, min_cell
        self._allowed: dict[int, NDArray[np.uint64]] = {0: np.zeros(1, np.uint64)}

    def check(self, question: Question) -> None:
        depth, bits = question.arguments["depth"], question.arguments["bits"]
        if depth not in self._allowed or bits != (STEP_BITS if depth else FIRST_BITS):
            raise ProtocolError(f"question 'key_children': depth jumps: {depth} and {bits} further bits were asked")
        strangers = np.setdiff1d(question.arrays["active"], self._allowed[depth])
        if len(strangers):
            raise ProtocolError(
                f"question 'key_children': {len(strangers)} ranges are not children of active ranges with enough in"
                " them; only these are split"
            )

    def opened(self, question: Question, total: IntVector) -> None:
        depth, bits, active = question.arguments["depth"], question.arguments["bits"], question.arrays["active"]
        if depth + bits >= KEY_BITS:
            return
        held = total.reshape(-1, len(active) << bits)
        keep = np.compress(self._go_on(question, held), children(active, bits))
        before = self._allowed.get(depth + bits, np.zeros(0, np.uint64))
        self._allowed[depth + bits] = np.union1d(before, keep)

    def _go_on(self, question: Question, held: IntVector) -> NDArray[np.bool_]:
        go_on = np.zeros(held.shape[1], np.bool_)
        if "mixed" in self._order:
            go_on |= (held > 0).sum(axis=0) > 1
        if "occupied" in self._order:
            go_on |= held.sum(axis=0) > 1
        if "search" in self._order:
            exact = question.arguments["resolution"] > 0
            go_on |= held.max(axis=0) >= (1 if exact else self._min_cell)
        return go_on


def require_own_part(questions: Sequence[Question], totals: Sequence[IntVector], own: Sequence[IntVector]) -> None:
    """A total of counts holds at least what this hospital put in.

    Raises:
        FalseTotalsError: it does not; the totals that were shown are not the sum.
    """
    for question, total, part in zip(questions, totals, own, strict=True):
        if question.kind in _COUNTS and bool(np.any(total < part)):
            raise FalseTotalsError(
                f"question '{question.kind}': {int(np.count_nonzero(total < part))} totals are below this hospital's"
                " own counts; they are not the sum"
            )


def _are(part: Mapping[str, NDArray[Any] | None], leaves: Leaves) -> bool:
    wanted = cross_arrays([leaves])
    return all(array is not None and np.array_equal(array, wanted[f"{name}0"]) for name, array in part.items())


def _words(question: Question) -> str:
    """The same for questions that ask the same of the same rows."""
    arrays = {name: [array.dtype.str, array.tobytes().hex()] for name, array in question.arrays.items()}
    return json.dumps([question.kind, question.length, question.arguments, arrays], sort_keys=True)


def _rows_of(question: Question) -> dict[str, Any]:
    return {name: question.arguments.get(name) for name in CHOICE_OF_ROWS}
