"""Do two tasks of a study tell the same patients apart equally well? DeLong's test between them (Zhen 2020, Table 3).

Each hospital joins the two (`task_rows`) and answers as to any plan: through floors and masked sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from fl_liver.analyse import MIN_SITES, answers
from fl_liver.stats.plan import Plan, parse_plan
from simulation.task_rows import TESTED, Question, TaskRows, label_column, questions_of, score_column


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
        plan = _plan(a, b, questions)
        written = {part: answers(plan, tasks.joined((a, b), part), sums="masked")[0] for part in TESTED}
        for question in questions:
            found = [paired_line(written[part][_id(question)], part) for part in TESTED]
            lines += [{"a": a, "b": b, "class": question[1]} | line for line in found]
    return lines


def paired_line(result: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Of a `compare_paired` over the patients of a part."""
    if "not_released" in result:
        return {"rows": part, "not_released": result["not_released"]}
    figures = {key: result[key] for key in ("auc", "difference", "ci95", "p")}
    return {"rows": part} | figures | {"n": result["n_pos"] + result["n_neg"]}


def _plan(a: str, b: str, questions: list[Question]) -> Plan:
    entries = [
        {
            "id": _id(question),
            "kind": "compare_paired",
            "scores": [score_column(a, question), score_column(b, question)],
            "label": label_column(question),
        }
        for question in questions
    ]
    return parse_plan({"analysis": entries}, "comparison of tasks")


def _id(question: Question) -> str:
    return question[1] or "disease"
