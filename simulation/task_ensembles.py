"""Tasks of a study that ask the same, averaged: their mean probability per patient (Schmauch 2019, Table 2).

A hospital makes the mean inside its own joined table (`task_rows`), and answers about it as to any plan: through floors
and masked sums. Of several classes the mean is of probability vectors. Endpoints that all of them ask are averaged too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fl_liver.analyse import MIN_SITES, answers
from fl_liver.client.scores import mean_probability
from fl_liver.server.figures import composite
from fl_liver.stats.conversation import Table
from fl_liver.stats.plan import Plan, parse_plan
from fl_liver.study import Endpoint, Study
from simulation.task_comparisons import paired_line
from simulation.task_rows import (
    DISEASE,
    TESTED,
    Question,
    TaskRows,
    class_column,
    label_column,
    questions_of,
    questions_of_endpoint,
    score_column,
)

MEAN = ":mean"
"""In the place of a task's name: no variant has a colon in its own."""


def task_ensembles(tasks: TaskRows, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean of every two or more tasks that ask the same, on the patients whom all tested in the same part.

    Args:
        lines: figures of each task, as `SideStudies.tasks` gives them: they say which is best.
    Returns:
        For each set {"of": tasks, "internal", "external": {"auc", "ci95", "n", "accuracy" where the tasks tell several
        classes apart} or {"not_released": why}, with "endpoints" and "composite" as in a model's figures where they
        have endpoints in common, "against_best": lines in the form of `task_comparisons`, of the mean and the task with
        the largest AUC of internal patients}. None with fewer than three hospitals.
    """
    if len(tasks.hospitals) < MIN_SITES:
        return []
    return [_ensemble(tasks, group, _best(group, lines)) for group in tasks.alike()]


def mean_name(of: Sequence[str]) -> str:
    """What people call it."""
    return f"Mean of {', '.join(of)}"


def _ensemble(tasks: TaskRows, of: tuple[str, ...], best: str | None) -> dict[str, Any]:
    study, endpoints = tasks.studies[of[0]], tasks.endpoints(of)
    questions = [*questions_of(study), *(one for endpoint in endpoints for one in questions_of_endpoint(endpoint))]
    plan = _plan(study, endpoints, best)
    found: dict[str, Any] = {"of": list(of)}
    against: list[dict[str, Any]] = []
    for part in TESTED:
        tables = {name: _averaged(table, questions, of) for name, table in tasks.joined(of, part).items()}
        written, _ = answers(plan, tables, sums="masked")
        found[part] = _figures(written["whole"])
        if "auc" in found[part] and "accuracy" in written.get("classes", {}):
            found[part]["accuracy"] = written["classes"]["accuracy"]
        if endpoints:
            further = {one.name: _figures(written[_id(one)]) for one in endpoints}
            found[part] |= {"endpoints": further, "composite": composite(study, found[part], further)}
        if best is not None:
            line = {"a": mean_name(of), "b": best, "class": ""}
            against.append(line | paired_line(written["against"], part))
    return found | {"against_best": against}


def _averaged(table: Table, questions: Sequence[Question], of: Sequence[str]) -> Table:
    """With the columns of the mean: NaN where a task has no score.

    Probabilities of one answer are averaged at a time: a mean of vectors is the vector of means.
    """
    columns = dict(table.columns)
    for question in questions:
        said = [columns[score_column(task, question)] for task in of]
        columns[score_column(MEAN, question)] = mean_probability(said)
    return replace(table, columns=columns)


def _plan(study: Study, endpoints: Sequence[Endpoint], best: str | None) -> Plan:
    label, mean = label_column(DISEASE), score_column(MEAN, DISEASE)
    entries: list[dict[str, Any]] = [{"id": "whole", "kind": "roc", "score": mean, "label": label}]
    if classes := questions_of(study)[1:]:
        entries.append(_which("classes", classes))
    for one in endpoints:
        asked = questions_of_endpoint(one)
        if one.positive:
            answer = {"score": score_column(MEAN, asked[0]), "label": label_column(asked[0])}
            entries.append({"id": _id(one), "kind": "roc"} | answer)
        else:
            entries.append(_which(_id(one), asked))
    if best is not None:
        both = [mean, score_column(best, DISEASE)]
        entries.append({"id": "against", "kind": "compare_paired", "scores": both, "label": label})
    return parse_plan({"analysis": entries}, "mean of tasks")


def _which(name: str, classes: Sequence[Question]) -> dict[str, Any]:
    """Each class against the rest."""
    scores = {question[1]: score_column(MEAN, question) for question in classes}
    return {"id": name, "kind": "multiclass", "label": class_column(classes[0][0]), "scores": scores}


def _id(endpoint: Endpoint) -> str:
    return f"endpoint {endpoint.name}"


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """AUC, interval and n; of several classes the mean of each against the rest, without interval; or why not."""
    if "macro_auc" in result:
        return {"auc": result["macro_auc"], "n": sum(result["n"])}
    if "auc" not in result:
        return dict(result)
    if not (count := result["n_pos"] + result["n_neg"]):
        return {"not_released": "no patient is in all of these tasks"}
    return {"auc": result["auc"], "ci95": result["ci95"], "n": count}


def _best(of: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str | None:
    """The task with the largest AUC of internal patients, of equals the first; None where none was released."""
    aucs = {line["task"]: line["internal"].get("auc") for line in lines}
    known = [task for task in of if aucs.get(task) is not None]
    return max(known, key=lambda task: float(aucs[task])) if known else None
