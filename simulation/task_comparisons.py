"""Do two tasks of a study tell the same patients apart equally well? DeLong's test between them (Zhen 2020, Table 3).

Each task is a study of its own with scores of its own at every hospital. A hospital joins them by its own pseudonyms,
which are the same in every study, and answers as to any plan: through floors and masked sums. Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.analyse import MIN_SITES, answers
from fl_liver.client.cohort.cohort import PARTS
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import load_site
from fl_liver.client.table import cohort_columns
from fl_liver.server.run import FEDERATED
from fl_liver.stats.conversation import Table
from fl_liver.stats.plan import Plan, parse_plan
from fl_liver.study import Study

Row = dict[str, Any]
Rows = dict[str, Row]
"""A hospital's patients in one task, by pseudonym: "test", and of each question its truth and the score."""


def task_comparisons(studies: Mapping[str, Study], hospitals: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Every two tasks that ask the same classes, on the patients whom both tested in the same part.

    Args:
        studies: by task, as they were run.
        hospitals: folder of each hospital that took part, by name.
    Returns:
        A line for each pair, part and, with several classes, class against the rest: {"a", "b", "class" ("" for two
        classes), "rows" ("internal", "external"), "auc" [a, b], "difference" (a − b), "ci95", "p", "n"} or, in the
        place of the figures, "not_released": why. None with fewer than three hospitals.
    """
    if len(hospitals) < MIN_SITES:
        return []
    lines: list[dict[str, Any]] = []
    read: dict[tuple[str, str], Rows] = {}
    for a, b in combinations(studies, 2):
        if studies[a].task.classes == studies[b].task.classes:
            questions = _questions(studies[a])
            for task, name in product((a, b), hospitals):
                if (task, name) not in read:  # images and all: once is dear enough
                    read[task, name] = _rows(studies[task], hospitals[name])
            tables = {name: _joined(read[a, name], read[b, name], questions) for name in hospitals}
            written, _ = answers(_plan(questions), tables, sums="masked")
            for question in questions:
                lines += [{"a": a, "b": b, "class": question} | line for line in _lines(written[question or "disease"])]
    return lines


def _questions(study: Study) -> tuple[str, ...]:
    """What is asked of every patient: "" for disease or not, or each class against the rest."""
    return tuple(study.task.classes) if len(study.task.classes) > 2 else ("",)


def _rows(study: Study, home: Path) -> Rows:
    """The patients of a hospital who were scored and never trained on."""
    site = load_site(home / "site.toml")
    cohort = load_cohort(site, study)
    columns = cohort_columns(cohort, study, ScoreStore(site.study_folder(study.sha256), len(cohort.patients)))
    found: Rows = {}
    for row, case in enumerate(cohort.patients):
        part = PARTS[cohort.part[row]]
        if part not in ("internal", "external"):
            continue
        found[case] = {"test": part}
        for question in _questions(study):
            score = columns.get(f"score:{FEDERATED}:{question}" if question else f"score:{FEDERATED}")
            truth = columns["class_name"][row] == question if question else columns["label"][row]
            found[case][question] = float(truth), np.nan if score is None else float(score[row])
    return found


def _joined(a: Rows, b: Rows, questions: tuple[str, ...]) -> Table:
    """Who stands in both, in the same part and with the same truth."""
    both = [case for case in a if case in b and _agree(a[case], b[case], questions)]
    columns: dict[str, NDArray[Any]] = {"test": np.array([a[case]["test"] for case in both], dtype=object)}
    for question in questions:
        columns[f"label {question}"] = np.array([a[case][question][0] for case in both], np.float64)
        for name, rows in (("a", a), ("b", b)):
            columns[f"{name} {question}"] = np.array([rows[case][question][1] for case in both], np.float64)
    return Table(columns)


def _agree(one: Row, other: Row, questions: tuple[str, ...]) -> bool:
    same_truth = all(one[question][0] == other[question][0] for question in questions)
    return bool(one["test"] == other["test"] and same_truth)


def _plan(questions: tuple[str, ...]) -> Plan:
    entries = [
        {
            "id": question or "disease",
            "kind": "compare_paired",
            "scores": [f"a {question}", f"b {question}"],
            "label": f"label {question}",
            "by": "test",
        }
        for question in questions
    ]
    return parse_plan({"analysis": entries}, "comparison of tasks")


def _lines(result: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("auc", "difference", "ci95", "p")
    lines: list[dict[str, Any]] = []
    for rows, one in result.get("strata", {"": result}).items():
        if "not_released" in one:
            lines.append({"rows": rows, "not_released": one["not_released"]})
        else:
            lines.append({"rows": rows} | {key: one[key] for key in keys} | {"n": one["n_pos"] + one["n_neg"]})
    return lines
