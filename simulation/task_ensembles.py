"""Tasks of a study that ask the same, averaged: their mean probability per patient (Schmauch 2019, Table 2).

A hospital makes the mean inside its own joined table (`task_rows`), and answers about it as to any plan: through floors
and masked sums. Of several classes the mean is of probability vectors. Further endpoints are not averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.analyse import MIN_SITES, answers
from fl_liver.client.scores import disease_log_odds, mean_probability
from fl_liver.client.table import positive_classes
from fl_liver.stats.conversation import Table
from fl_liver.stats.plan import Plan, parse_plan
from fl_liver.study import Study
from simulation.task_comparisons import paired_lines
from simulation.task_rows import DISEASE, TaskRows, label_column, questions_of, score_column

MEAN = ":mean"
"""In the place of a task's name: no variant has a colon in its own."""


def task_ensembles(tasks: TaskRows, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean of every two or more tasks that ask the same, on the patients whom all tested in the same part.

    Args:
        lines: figures of each task, as `SideStudies.tasks` gives them: they say which is best.
    Returns:
        For each set {"of": tasks, "internal", "external": {"auc", "ci95", "n", "accuracy" where the tasks tell several
        classes apart} or {"not_released": why}, "against_best": lines in the form of `task_comparisons`, of the mean
        and the task with the largest AUC of internal patients}. None with fewer than three hospitals.
    """
    if len(tasks.hospitals) < MIN_SITES:
        return []
    return [_ensemble(tasks, group, _best(group, lines)) for group in tasks.alike()]


def mean_name(of: Sequence[str]) -> str:
    """What people call it."""
    return f"Mean of {', '.join(of)}"


def _ensemble(tasks: TaskRows, of: tuple[str, ...], best: str | None) -> dict[str, Any]:
    study = tasks.studies[of[0]]
    tables = {name: _averaged(table, study, of) for name, table in tasks.joined(of).items()}
    written, _ = answers(_plan(study, best), tables, sums="masked")
    whole, classes = _by_part(written["whole"]), _by_part(written.get("classes", {}))
    found: dict[str, Any] = {"of": list(of)}
    for rows, one in whole.items():
        found[rows] = one
        if "auc" in one:
            found[rows] = {"auc": one["auc"], "ci95": one["ci95"], "n": one["n_pos"] + one["n_neg"]}
            accuracy = classes.get(rows, {}).get("accuracy")
            found[rows] |= {} if accuracy is None else {"accuracy": accuracy}
    against = [] if best is None else paired_lines(written["against"])
    return found | {"against_best": [{"a": mean_name(of), "b": best, "class": DISEASE} | line for line in against]}


def _averaged(table: Table, study: Study, of: Sequence[str]) -> Table:
    """With the columns of the mean: NaN where a task has no score."""
    columns: dict[str, NDArray[Any]] = dict(table.columns)
    classes = questions_of(study)[1:]
    vectors = [np.stack([columns[score_column(task, one)] for one in classes or (DISEASE,)], axis=1) for task in of]
    mean = mean_probability(vectors)
    columns[score_column(MEAN, DISEASE)] = disease_log_odds(mean, positive_classes(study))
    columns |= {score_column(MEAN, one): mean[:, place] for place, one in enumerate(classes)}
    return replace(table, columns=columns)


def _plan(study: Study, best: str | None) -> Plan:
    label, mean = label_column(DISEASE), score_column(MEAN, DISEASE)
    entries: list[dict[str, Any]] = [{"id": "whole", "kind": "roc", "score": mean, "label": label, "by": "test"}]
    if classes := questions_of(study)[1:]:
        scores = {one: score_column(MEAN, one) for one in classes}
        entries.append({"id": "classes", "kind": "multiclass", "label": "class_name", "scores": scores, "by": "test"})
    if best is not None:
        both = [mean, score_column(best, DISEASE)]
        entries.append({"id": "against", "kind": "compare_paired", "scores": both, "label": label, "by": "test"})
    return parse_plan({"analysis": entries}, "mean of tasks")


def _by_part(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Both parts: a part that nobody is in has no figures."""
    nobody = {"not_released": result.get("not_released", "no patient is in all of these tasks")}
    strata: dict[str, dict[str, Any]] = result.get("strata", {})
    return {rows: strata.get(rows, nobody) for rows in ("internal", "external")}


def _best(of: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str | None:
    """The task with the largest AUC of internal patients, of equals the first; None where none was released."""
    aucs = {line["task"]: line["internal"].get("auc") for line in lines}
    known = [task for task in of if aucs.get(task) is not None]
    return max(known, key=lambda task: float(aucs[task])) if known else None
