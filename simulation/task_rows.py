"""Scores of several tasks of a study, joined patient by patient inside each hospital.

Each task is a study of its own with scores of its own at every hospital. A hospital joins them by its own pseudonyms,
which are the same in every study. What is then asked of the joined tables is `task_comparisons` and `task_ensembles`.
Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import PARTS
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import load_site
from fl_liver.client.table import cohort_columns, endpoint_columns
from fl_liver.server.figures import endpoint_score
from fl_liver.server.run import FEDERATED
from fl_liver.stats.conversation import Table
from fl_liver.study import Endpoint, Study

Question = tuple[str, str]
"""(endpoint, class): the endpoint "" is the study's own question; with the class "" a patient has one of the positive
ones or not, otherwise this class against the rest."""
DISEASE: Question = ("", "")
TESTED = ("internal", "external")
"""Parts of a cohort whose patients nothing was fitted on."""


@dataclass(frozen=True, slots=True)
class Row:
    """A patient in one task: the log-odds of each question's yes; NaN where there is no score."""

    part: str
    truth: str
    label: float
    scores: Mapping[Question, float]


def questions_of(study: Study) -> tuple[Question, ...]:
    """What a task's own scores answer: disease or not and, where it tells classes apart, each against the rest."""
    return (DISEASE, *(("", each) for each in study.task.classes)) if study.asks_which_class else (DISEASE,)


def questions_of_endpoint(endpoint: Endpoint) -> tuple[Question, ...]:
    """Yes or no where it has positive classes, otherwise each class against the rest."""
    return ((endpoint.name, ""),) if endpoint.positive else tuple((endpoint.name, each) for each in endpoint.among)


def score_column(task: str, question: Question) -> str:
    """Of a joined table: a task's log-odds."""
    return ":".join(("score", task, *question))


def label_column(question: Question) -> str:
    """Of a joined table: 1 where the answer is yes; NaN where an endpoint does not ask."""
    return ":".join(("label", *question)) if question[1] else f"label:{question[0]}"


def class_column(endpoint: str) -> str:
    """Of a joined table: a patient's class; empty where an endpoint does not ask."""
    return f"class:{endpoint}"


class TaskRows:
    """The tasks of a run at the hospitals that took part. A cohort is read once: images and all, that is dear enough.

    studies    by task, as they were run
    hospitals  folder of each, by name
    """

    def __init__(self, studies: Mapping[str, Study], hospitals: Mapping[str, Path]) -> None:
        self.studies, self.hospitals = studies, hospitals
        self._read: dict[tuple[str, str], dict[str, Row]] = {}

    def alike(self) -> list[tuple[str, ...]]:
        """Sets of two or more tasks with the same classes, positive ones, kind of answer and sites, in their order.

        Tasks with noised figures are in none: nothing exact is said beside those.
        """
        found: list[list[str]] = []
        for task, study in self.studies.items():
            if study.histogram_noise is not None:
                continue
            for group in found:
                if _asks(self.studies[group[0]]) == _asks(study):
                    group.append(task)
                    break
            else:
                found.append([task])
        return [tuple(group) for group in found if len(group) > 1]

    def joined(self, tasks: Sequence[str], part: str) -> dict[str, Table]:
        """For each hospital its patients in all of these tasks, tested in this part and with the same truth.

        A part is asked by itself: what one has too few patients for is no reason to keep the other's figures back.
        Columns: `class_column` and `label_column` of the own question and of each of `endpoints`, and `score_column` of
        each task and question.
        """
        return {name: self._joined(tasks, name, part) for name in self.hospitals}

    def endpoints(self, tasks: Sequence[str]) -> tuple[Endpoint, ...]:
        """The further questions that all of these tasks ask alike."""
        first, *others = [self.studies[task].endpoint for task in tasks]
        return tuple(one for one in first if all(one in asked for asked in others))

    def _joined(self, tasks: Sequence[str], name: str, part: str) -> Table:
        questions = list(questions_of(self.studies[tasks[0]]))
        first, *others = [self._rows(task, name) for task in tasks]
        here = [case for case, row in first.items() if row.part == part]
        cases = [case for case in here if all(_same(first[case], other.get(case)) for other in others)]
        truth = np.array([first[case].truth for case in cases], dtype=object)
        columns: dict[str, NDArray[Any]] = {class_column(""): truth}
        for question in questions:
            yes = truth == question[1] if question[1] else [first[case].label for case in cases]
            columns[label_column(question)] = np.array(yes, np.float64)
        for endpoint in self.endpoints(tasks):
            columns |= endpoint_columns(endpoint, truth)
            questions += questions_of_endpoint(endpoint)
        for question in questions:
            for task, rows in zip(tasks, (first, *others), strict=True):
                said = [rows[case].scores[question] for case in cases]
                columns[score_column(task, question)] = np.array(said, np.float64)
        return Table(columns)

    def _rows(self, task: str, name: str) -> dict[str, Row]:
        if (task, name) not in self._read:
            self._read[task, name] = _tested(self.studies[task], self.hospitals[name])
        return self._read[task, name]


def _asks(study: Study) -> tuple[Any, ...]:
    task = study.task
    return dict(task.classes), frozenset(task.positive), study.asks_which_class, study.sites


def _same(one: Row, other: Row | None) -> bool:
    return other is not None and (one.part, one.truth, one.label) == (other.part, other.truth, other.label)


def _stored(question: Question) -> str:
    """The column of a hospital's own table."""
    endpoint, each = question
    score = f"score:{endpoint_score(FEDERATED, endpoint)}"
    return f"{score}:{each}" if each else score


def _tested(study: Study, home: Path) -> dict[str, Row]:
    """The patients of a hospital who were scored and never trained on, by pseudonym."""
    site = load_site(home / "site.toml")
    cohort = load_cohort(site, study)
    columns = cohort_columns(cohort, study, ScoreStore(site.study_folder(study.sha256), len(cohort.patients)))
    asked = [*questions_of(study), *(one for endpoint in study.endpoint for one in questions_of_endpoint(endpoint))]
    named = {question: columns.get(_stored(question)) for question in asked}
    found: dict[str, Row] = {}
    for row, case in enumerate(cohort.patients):
        part = PARTS[cohort.part[row]]
        if part in TESTED:
            scores = {question: np.nan if score is None else float(score[row]) for question, score in named.items()}
            found[case] = Row(part, columns["class_name"][row], float(columns["label"][row]), scores)
    return found
