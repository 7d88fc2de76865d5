"""Floors where a patient may have several rows (lesions, images): patients are counted, not rows.

Statistics count before they ask anything finer, and hold their counts of rows against the floor. Beside every such
count `PatientFloors` asks, in the same exchange, in how many patients each of its groups is found, and a statistic that
reads a count with a group of 1 to k − 1 patients ends in a PrivacyError, as if the rows had been too few. No statistic
knows of this. A patient is never at two hospitals, so that each hospital counts its own and the sum is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fl_liver.errors import DataError, PrivacyError
from fl_liver.stats.asked import asked_of
from fl_liver.stats.conversation import IntVector, Question, Summer, Table, Totals, answer, answers
from fl_liver.stats.floors import require_floor
from fl_liver.stats.rows import missing

PATIENTS = "patients"
"""The kind of question that counts the patients of another's groups."""
_MANY_TIMES = frozenset({"level_bytes", "rating_sums"})
"""Kinds that count one row several times, once for each rater."""


def _cells(_: Question, counts: IntVector) -> IntVector:
    return counts


def _margins(question: Question, counts: IntVector) -> IntVector:
    """The levels of each column of a cross-table, one column after the other."""
    if question.kind == "cross_table":
        shape = [len(levels) for levels in question.arguments["levels"]]
    else:
        shape = [2] * int(math.log2(question.length))
    table, axes = counts.reshape(shape), range(len(shape))
    return np.concatenate([table.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes])


def _table_or_margins(question: Question, counts: IntVector) -> IntVector:
    return _margins(question, counts) if question.arguments.get("margins") else counts


def _categories(_: Question, counts: IntVector) -> IntVector:
    return counts[:-2]


def _classes_of_calls(_: Question, counts: IntVector) -> IntVector:
    classes: IntVector = counts[:8].reshape(2, 2, 2).sum(axis=(1, 2))
    return classes


def _classes_of_bins(question: Question, counts: IntVector) -> IntVector:
    classes: IntVector = counts.reshape(len(question.arguments["levels"]), -1).sum(axis=1)
    return classes


_GROUPS: Mapping[str, Callable[[Question, IntVector], IntVector]] = {
    "binary_cells": _cells,
    "bins": _classes_of_bins,
    "cell_counts": _cells,
    "class_counts": _cells,
    "cross_table": _table_or_margins,
    "left_out": _cells,
    "level_bytes": _cells,
    "low_confidence_zone": _margins,
    "other_levels": _cells,
    "paired_zero_one": _margins,
    "rating_sums": _categories,
    "reader_model_calls": _classes_of_calls,
    "reader_pair_calls": _classes_of_calls,
    "zero_one_counts": _cells,
}
"""How many rows each group holds that its statistic holds against the floor, from the counts that it asks for."""


def has_floor(question: Question) -> bool:
    """Whether a statistic holds what it learns by this question against the floor."""
    if question.kind == "bins":
        return question.arguments["label"] is not None and question.arguments["depth"] == 0
    return question.kind in _GROUPS


def patients_question(question: Question) -> Question:
    """Ask how many patients have a row in each group of a question that `has_floor`."""
    length = _groups(question, np.zeros(question.length, np.int64)).size
    arguments = {**question.arguments, "of": question.kind, "length": question.length}
    return Question(PATIENTS, arguments, length, question.arrays, question.bound)


def counted_of(question: Question) -> Question:
    """The question whose groups a `patients_question` counts."""
    arguments = dict(question.arguments)
    kind, length = arguments.pop("of"), arguments.pop("length")
    if kind not in _GROUPS:
        raise ValueError(f"question '{kind}' has no groups")
    return Question(kind, arguments, length, question.arrays, question.bound)


def require_patients(question: Question, total: IntVector, min_cell: int) -> None:
    """Hold the answer to a `patients_question` against the floor.

    Raises:
        PrivacyError: a group of 1 to `min_cell` − 1 patients.
    """
    of = counted_of(question)
    if of.kind == "binary_cells":
        cells = total.reshape(-1, 5)  # a column with further values is a measurement: its cells are not told
        total = cells[cells[:, 0] == 0, 1:]
    smallest = int(total[total > 0].min(initial=min_cell))
    columns = ", ".join(sorted({column for _, column in asked_of(of).named}))
    require_floor({f"a group by {columns} (patients, of one or more rows)": smallest}, min_cell)


def patients_of(table: Table, column: str) -> NDArray[np.int64]:
    """(n,) whose each row is, 0, 1, …, by a column that names the patient; with "" as the table itself says.

    Raises:
        DataError: a row has no patient, or the table says nothing of them.
    """
    if not column:
        if table.patients is None:
            raise DataError("rows are to be taken by patient, but this table does not say whose its rows are")
        return np.unique(table.patients, return_inverse=True)[1].astype(np.int64)
    values = table[column]
    if nobody := int(np.count_nonzero(missing(values))):
        raise DataError(f"column '{column}': {nobody} of {len(values)} rows say no patient; fill it in")
    return np.unique(values.astype(str) if values.dtype == object else values, return_inverse=True)[1].astype(np.int64)


def count_patients(patients: NDArray[Any] | None, rows: NDArray[np.bool_]) -> int:
    """Of how many patients these rows are; where nobody is told apart, every row is a patient."""
    return int(np.count_nonzero(rows)) if patients is None else len(np.unique(patients[rows]))


class PatientFloors:
    """Adds as another summer does; a total with a group of too few patients cannot be read."""

    def __init__(self, summer: Summer, min_cell: int) -> None:
        self.method, self._summer, self._min_cell = summer.method, summer, min_cell

    def total(self, questions: Sequence[Question]) -> Totals:
        """See `asked_with_patients`."""
        return asked_with_patients(questions, self._summer.total, self._min_cell)


def asked_with_patients(
    questions: Sequence[Question], ask: Callable[[Sequence[Question]], Totals], min_cell: int
) -> Totals:
    """What `ask` gives for the questions, asked together with the patients of each count; 1 switches the floor off.

    Raises, where a total is read:
        PrivacyError: a group of it has 1 to `min_cell` − 1 patients.
    """
    if min_cell <= 1:
        return ask(questions)
    places = [place for place, question in enumerate(questions) if has_floor(question)]
    beside = [patients_question(questions[place]) for place in places]
    totals = ask([*questions, *beside])
    refused = [""] * len(questions)
    for place, question, total in zip(places, beside, totals[len(questions) :], strict=True):
        try:
            require_patients(question, total, min_cell)
        except PrivacyError as error:
            refused[place] = str(error)
    return _Held(totals[: len(questions)], refused)


class _Held(Sequence[IntVector]):
    """Totals, some of which raise a PrivacyError where a statistic reads them; cutting is not reading."""

    def __init__(self, totals: Totals, refused: Sequence[str]) -> None:
        self._totals, self._refused = totals, refused

    def __len__(self) -> int:
        return len(self._totals)

    @overload
    def __getitem__(self, place: int) -> IntVector: ...
    @overload
    def __getitem__(self, place: slice) -> _Held: ...
    def __getitem__(self, place: int | slice) -> IntVector | _Held:
        if isinstance(place, slice):
            return _Held(self._totals[place], self._refused[place])
        if self._refused[place]:
            raise PrivacyError(self._refused[place])
        return self._totals[place]


def _groups(question: Question, counts: IntVector) -> IntVector:
    return _GROUPS[question.kind](question, counts)


@answers(PATIENTS)
def _count_patients(question: Question, table: Table) -> IntVector:
    patient = patients_of(table, "")
    rows = np.bincount(patient)
    of = counted_of(question)
    columns = {name: table[name] for name in asked_of(of).present}
    once = np.zeros(len(table), np.bool_) if _counts_many_times(of) else rows[patient] == 1
    total = _groups(of, answer(of, _part(columns, np.flatnonzero(once))))
    order = np.argsort(patient, kind="stable")
    for mine in np.split(order, np.cumsum(rows)[:-1]):
        if len(mine) and not once[mine[0]]:
            total = total + np.minimum(_groups(of, answer(of, _part(columns, mine))), 1)
    return total.astype(np.int64)


def _counts_many_times(question: Question) -> bool:
    return question.kind in _MANY_TIMES and len(question.arguments.get("columns", (0, 0))) > 1


def _part(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> Table:
    return Table({name: column[rows] for name, column in columns.items()})
