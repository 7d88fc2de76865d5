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
from fl_liver.client.table import cohort_columns
from fl_liver.server.run import FEDERATED
from fl_liver.stats.conversation import Table
from fl_liver.study import Study

DISEASE = ""
"""The question whether a patient has one of `task.positive`; any other question is a class against the rest."""


@dataclass(frozen=True, slots=True)
class Row:
    """A patient in one task: the log-odds to each question; NaN where there is no score."""

    part: str
    truth: str
    label: float
    scores: Mapping[str, float]


def questions_of(study: Study) -> tuple[str, ...]:
    """What a task's scores answer: disease or not and, where it tells classes apart, each against the rest."""
    return (DISEASE, *study.task.classes) if study.asks_which_class else (DISEASE,)


def score_column(task: str, question: str) -> str:
    """Of a joined table: a task's log-odds."""
    return f"score:{task}:{question}"


def label_column(question: str) -> str:
    """Of a joined table: 1 where the answer is yes."""
    return f"label:{question}"


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

    def joined(self, tasks: Sequence[str]) -> dict[str, Table]:
        """For each hospital its patients in all of these tasks, tested in the same part and with the same truth.

        Columns: test, class_name, `label_column` of each question and `score_column` of each task and question.
        """
        return {name: self._joined(tasks, name) for name in self.hospitals}

    def _joined(self, tasks: Sequence[str], name: str) -> Table:
        questions = questions_of(self.studies[tasks[0]])
        first, *others = [self._rows(task, name) for task in tasks]
        cases = [case for case in first if all(_same(first[case], other.get(case)) for other in others)]
        columns: dict[str, NDArray[Any]] = {
            "test": np.array([first[case].part for case in cases], dtype=object),
            "class_name": np.array([first[case].truth for case in cases], dtype=object),
        }
        for question in questions:
            truth = columns["class_name"] == question if question else [first[case].label for case in cases]
            columns[label_column(question)] = np.array(truth, np.float64)
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


def _tested(study: Study, home: Path) -> dict[str, Row]:
    """The patients of a hospital who were scored and never trained on, by pseudonym."""
    site = load_site(home / "site.toml")
    cohort = load_cohort(site, study)
    columns = cohort_columns(cohort, study, ScoreStore(site.study_folder(study.sha256), len(cohort.patients)))
    named = {
        question: columns.get(f"score:{FEDERATED}:{question}" if question else f"score:{FEDERATED}")
        for question in questions_of(study)
    }
    found: dict[str, Row] = {}
    for row, case in enumerate(cohort.patients):
        part = PARTS[cohort.part[row]]
        if part in ("internal", "external"):
            scores = {question: np.nan if score is None else float(score[row]) for question, score in named.items()}
            found[case] = Row(part, columns["class_name"][row], float(columns["label"][row]), scores)
    return found
