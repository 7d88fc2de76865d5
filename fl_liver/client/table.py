"""A site's rows as the statistics see them: one column a number, chosen by part of the cohort."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import PARTS, Cohort
from fl_liver.client.scores import ScoreStore, disease_log_odds
from fl_liver.errors import ProtocolError
from fl_liver.stats.conversation import Question, Table
from fl_liver.study import Endpoint, Study

SELECTION = "selection-"
"""Before the rows of the federation that selects images (`study.selection`)."""
_FOLD = re.compile(r"(not-)?fold-([0-9])")
"""One spelling of each fold (a study has ten at most): the word is also a folder's name."""


def select_rows(cohort: Cohort, rows: str) -> NDArray[np.int64]:
    """Patient indices, ascending: a part, "training" (train and calibration), "all", "fold-K" or "not-fold-K".

    "selection-" before it says what the rows are taught, not which they are.

    Raises:
        ProtocolError: any other word.
    """
    rows = rows.removeprefix(SELECTION)
    if rows in PARTS:
        return cohort.rows(rows)
    if rows == "all":
        return np.arange(len(cohort.patients))
    training = cohort.part <= PARTS.index("calibration")
    if rows == "training":
        return np.flatnonzero(training)
    if found := _FOLD.fullmatch(rows):
        inside = cohort.fold == int(found[2])
        return np.flatnonzero(training & (~inside & (cohort.fold >= 0) if found[1] else inside))
    raise ProtocolError(f"rows '{rows[:30]}' is not a part of a cohort")


def positive_classes(study: Study) -> list[int]:
    """Indices of the classes that count as disease."""
    return [index for index, name in enumerate(study.task.classes) if name in study.task.positive]


def cohort_columns(cohort: Cohort, study: Study, store: ScoreStore) -> dict[str, NDArray[Any]]:
    """Every column a question may name: class_name (text) and, (n,) float64 each, label, factors, background, size_mm,
    score:NAME (log-odds).

    A network of K > 2 classes adds score:NAME:CLASS, the log-odds of that class against the rest. A further endpoint
    adds label:ENDPOINT or, with more than two answers, class:ENDPOINT; both are empty where it does not ask.
    """
    positive = positive_classes(study)
    columns: dict[str, NDArray[Any]] = {
        "label": np.isin(cohort.label, positive).astype(np.float64),
        "class_name": np.array(list(study.task.classes), dtype=object)[cohort.label],
        "background": np.where(cohort.background < 0, np.nan, cohort.background).astype(np.float64),
        "size_mm": cohort.size_mm,
    }
    columns |= {factor.name: cohort.factors[:, index] for index, factor in enumerate(study.factor)}
    for endpoint in study.endpoint:
        columns |= endpoint_columns(endpoint, columns["class_name"])
    among = {endpoint.name: endpoint.among for endpoint in study.endpoint if not endpoint.positive}
    for name in store.names():
        scores, of = store.load(name), store.endpoint(name)
        if of not in among:
            columns[f"score:{name}"] = disease_log_odds(scores, positive)
        if scores.shape[1] > 1:
            for index, each in enumerate(among.get(of, tuple(study.task.classes))):
                columns[f"score:{name}:{each}"] = scores[:, index]
    return columns


def endpoint_columns(endpoint: Endpoint, class_name: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Its label or class, from the class (n,) of each patient; see `cohort_columns`."""
    asked = np.isin(class_name, endpoint.among)
    if not endpoint.positive:
        return {f"class:{endpoint.name}": np.where(asked, class_name, "").astype(object)}
    answer = np.isin(class_name, endpoint.positive).astype(np.float64)
    return {f"label:{endpoint.name}": np.where(asked, answer, np.nan)}


class SiteTables:
    """Tables for questions that name their rows; each part is cut once."""

    def __init__(self, cohort: Cohort, study: Study, store: ScoreStore) -> None:
        self._cohort, self._study, self._store = cohort, study, store
        self._columns: dict[str, NDArray[Any]] | None = None
        self._cut: dict[str, Table] = {}

    def columns(self) -> dict[str, NDArray[Any]]:
        """Every column over all patients."""
        if self._columns is None:
            self._columns = cohort_columns(self._cohort, self._study, self._store)
        return self._columns

    def own_columns(self) -> dict[str, NDArray[Any]]:
        """Those that the server has no hand in: all but scores."""
        return {name: column for name, column in self.columns().items() if not name.startswith("score:")}

    def table(self, rows: str) -> Table:
        """The patients that `select_rows` names."""
        if rows not in self._cut:
            chosen = select_rows(self._cohort, rows)
            columns = {name: column[chosen] for name, column in self.columns().items()}
            self._cut[rows] = Table(columns, patients=self._cohort.group[chosen])
        return self._cut[rows]

    def for_question(self, question: Question) -> Table:
        """Raises ProtocolError where a question names no rows."""
        rows = question.arguments.get("rows")
        if not isinstance(rows, str):
            raise ProtocolError(f"question '{question.kind}' names no rows")
        return self.table(rows)
