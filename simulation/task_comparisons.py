"""Do two tasks of a study tell the same patients apart equally well? DeLong's test between them (Zhen 2020, Table 3).

Each hospital joins the two (`task_rows`) and answers as to any plan: through floors and masked sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from fl_liver.analyse import MIN_SITES, answers
from fl_liver.stats.plan import Plan, parse_plan
from simulation.task_rows import Question, TaskRows, label_column, questions_of, score_column


def task_comparisons(tasks: TaskRows) -> list[dict[str, Any]]:
    """Every two tasks that ask the same, on the patients whom both tested in the same part.

    Returns:
        A line for each pair, part and, where the tasks tell several classes apart, class against the rest: {"a", "b",
        "class" ("" for disease or not), "rows" ("internal", "external"), "auc" [a, b], "difference" (a − b), "ci95",
        "p", "n"} or, in the place of the figures, "not_released": why. None with fewer than three hospitals.
    """
    if len(tasks.hospitals) < MIN_SITES:
        return []
    lines: list[dict[str, Any]] = []
    for a, b in (pair for group in tasks.alike() for pair in combinations(group, 2)):
        whole, *classes = questions_of(tasks.studies[a])
        questions = classes or [whole]
        written, _ = answers(_plan(a, b, questions), tasks.joined((a, b)), sums="masked")
        for question in questions:
            found = paired_lines(written[_id(question)])
            lines += [{"a": a, "b": b, "class": question[1]} | line for line in found]
    return lines


def paired_lines(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a `compare_paired` by part: a line for each, or one with "rows" "" where there is no part."""
    keys = ("auc", "difference", "ci95", "p")
    lines: list[dict[str, Any]] = []
    for rows, one in result.get("strata", {"": result}).items():
        if "not_released" in one:
            lines.append({"rows": rows, "not_released": one["not_released"]})
        else:
            lines.append({"rows": rows} | {key: one[key] for key in keys} | {"n": one["n_pos"] + one["n_neg"]})
    return lines


def _plan(a: str, b: str, questions: list[Question]) -> Plan:
    entries = [
        {
            "id": _id(question),
            "kind": "compare_paired",
            "scores": [score_column(a, question), score_column(b, question)],
            "label": label_column(question),
            "by": "test",
        }
        for question in questions
    ]
    return parse_plan({"analysis": entries}, "comparison of tasks")


def _id(question: Question) -> str:
    return question[1] or "disease"
