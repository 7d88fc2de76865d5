"""A plan with every kind of analysis over seeded tables, answered through the sums: what the page is tested with."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fl_liver.guarded_summer import GuardedSummer
from fl_liver.server.report.analysis.beside import questions_beside
from fl_liver.stats.conversation import Table
from fl_liver.stats.permit import permit_of_plan
from fl_liver.stats.plan import Plan, parse_plan, run_plan

ENTRIES: tuple[dict[str, Any], ...] = (
    {"id": "auc", "kind": "roc", "score": "p", "label": "y", "partial": {"on": "specificity", "from": 1.0, "to": 0.9}},
    {"id": "auc by sex", "kind": "roc", "score": "p", "label": "y", "by": "sex"},
    {"id": "lesions", "kind": "roc", "score": "p", "label": "y", "cluster": "patient"},
    {"id": "two", "kind": "compare_paired", "scores": ["p", "q"], "label": "y"},
    {"id": "both", "kind": "compare_joint", "scores": ["p", "q", "age"], "label": "y"},
    {"id": "sexes", "kind": "compare_unpaired", "score": "p", "label": "y", "strata": "sex", "levels": ["F", "M"]},
    {"id": "cut", "kind": "diagnostic", "score": "p", "label": "y", "threshold": 0.5},
    {"id": "share", "kind": "proportion", "column": "smoke"},
    {"id": "pair", "kind": "mcnemar", "first": "smoke", "second": "y"},
    {"id": "kappa", "kind": "cohen_kappa", "raters": ["grade", "grade2"]},
    {"id": "fleiss", "kind": "fleiss_kappa", "raters": ["grade", "grade2"]},
    {"id": "ranks", "kind": "rank_sum", "x": "age", "group": "y"},
    {"id": "kruskal", "kind": "kruskal_wallis", "x": "age", "group": "grade"},
    {"id": "odds", "kind": "logistic", "outcome": "y", "terms": ["age", "grade", "smoke"], "factors": {"grade": "a"}},
    {
        "id": "rulers",
        "kind": "nomogram",
        "outcome": "y",
        "terms": ["age", "grade", "smoke"],
        "factors": {"grade": "a", "smoke": 0},
        "limits": {"age": [40, 80]},
    },
    {"id": "fit", "kind": "hosmer_lemeshow", "y": "y", "p": "p"},
    {"id": "risk", "kind": "calibration", "y": "y", "p": "p", "apparent": True},
    {"id": "decide", "kind": "decision_curve", "y": "y", "p": "p", "thresholds": [0.1, 0.2, 0.3, 0.5]},
    {"id": "table", "kind": "table_one", "group": "y", "numeric": ["age"], "categorical": ["sex"]},
    {"id": "classes", "kind": "multiclass", "label": "grade", "scores": {"a": "sa", "b": "sb", "c": "sc"}},
    {
        "id": "readers",
        "kind": "readers",
        "label": "y",
        "readers": ["smoke", "called"],
        "model": "p",
        "experience": ["junior", "senior"],
    },
    {
        "id": "twice",
        "kind": "readers_with_ai",
        "label": "y",
        "alone": ["smoke", "called"],
        "with_ai": ["called", "called_ai"],
        "experience": ["1-5 years", "> 15 years"],
        "model": "p",
    },
    {"id": "mean", "kind": "reader_mean", "scores": ["p", "q"], "label": "y", "against": ["age"]},
    {"id": "unsure", "kind": "low_confidence", "scales": {"p": "probability", "q": "probability"}},
    {"id": "few", "kind": "proportion", "column": "rare"},
)
"""The last one is below the floor of 5."""
PRIVATE = {"id": "noised", "kind": "private_roc", "scores": ["lp", "lq"], "label": "y", "epsilon": 4.0, "sites": 5}
"""Its own plan: it may not stand beside exact analyses of its label."""


def plan(*ids: str) -> Plan:
    """The entries with these ids, or all."""
    return parse_plan({"analysis": [entry for entry in ENTRIES if not ids or entry["id"] in ids]}, "plan")


def private_plan() -> Plan:
    """The plan of the kind that stands alone."""
    return parse_plan({"analysis": [PRIVATE]}, "plan")


def guarded(of: Plan, hospitals: dict[str, Table], min_cell: int = 5) -> dict[str, Any]:
    """{id: result} of a plan over tables that answer behind its permit, as `analyse` asks them."""
    return run_plan(of, GuardedSummer(hospitals, permit_of_plan(of, min_cell=min_cell)), min_cell=min_cell)


def private_results() -> dict[str, Any]:
    """Its JSON results, with new noise at every call."""
    answered = guarded(private_plan(), tables())
    return {name: result.to_json() for name, result in answered.items()}


def tables(sites: int = 5, patients: int = 60) -> dict[str, Table]:
    """{site: table} with every column of the plan; site n of a seed of its own."""
    return {f"S{site}": _table(np.random.default_rng(site), patients, first=site == 1) for site in range(1, sites + 1)}


def _table(rng: np.random.Generator, n: int, *, first: bool) -> Table:
    y = (rng.random(n) < 0.4).astype(np.float64)
    grade = np.array(list("abc"), dtype=object)[rng.integers(0, 3, n)]
    grade2 = np.where(rng.random(n) < 0.7, grade, "a").astype(object)
    rare = np.zeros(n)
    rare[: 3 * first] = 1.0
    shift = {level: (grade == level) * 0.5 + rng.random(n) for level in "abc"}
    lp, lq = rng.normal(size=n) + 1.5 * y - 1, rng.normal(size=n) + 0.5 * y - 1
    return Table(
        {
            "y": y,
            "lp": lp,
            "lq": lq,
            "p": 1 / (1 + np.exp(-lp)),
            "q": 1 / (1 + np.exp(-lq)),
            "age": np.round(rng.normal(60, 10, n) + 3 * y),
            "smoke": (rng.random(n) < 0.3 + 0.2 * y).astype(np.float64),
            "called_ai": (rng.random(n) < 0.15 + 0.7 * y).astype(np.float64),
            "called": (rng.random(n) < 0.2 + 0.5 * y).astype(np.float64),
            "sex": np.array(list("FM"), dtype=object)[rng.integers(0, 2, n)],
            "patient": np.floor(np.arange(n) / 2.0),
            "grade": grade,
            "grade2": grade2,
            "rare": rare,
            **{f"s{level}": values for level, values in shift.items()},
        }
    )


@cache
def _answered(min_cell: int) -> tuple[Plan, dict[str, Any]]:
    whole = plan()
    beside = questions_beside(whole.analyses)
    answered = guarded(Plan((*whole.analyses, *beside)), tables(), min_cell)
    results = {one.id: answered[one.id].to_json() for one in whole.analyses}
    for question in beside:
        question.put(results, answered[question.id].to_json())
    return whole, results


def results(*ids: str, min_cell: int = 5) -> dict[str, Any]:
    """The JSON results of these ids, or of all, with what the page asks beside them; a fresh top level every time."""
    return {name: dict(result) for name, result in _answered(min_cell)[1].items() if not ids or name in ids}
