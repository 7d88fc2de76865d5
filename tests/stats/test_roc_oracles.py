"""R's answers (pROC 1.18.0, ResourceSelection 0.3-6, glm) on public tables split over seven sites."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.stats.calibration import calibration, hosmer_lemeshow
from fl_liver.stats.compare import compare, compare_unpaired
from fl_liver.stats.conversation import Conversation, Table, TablesSummer, converse
from fl_liver.stats.design import Factor
from fl_liver.stats.logistic import logistic
from fl_liver.stats.roc import roc
from fl_liver.stats.rows import union_levels

ORACLES = Path(__file__).resolve().parents[2] / "../shared/oracles"
REFERENCE = ORACLES / "reference.json"
CASES = json.loads(REFERENCE.read_text())["cases"] if REFERENCE.exists() else []
REFERENCE_LEVELS = {"race": "1", "sex": "m"}

pytestmark = pytest.mark.skipif(not CASES, reason="needs shared/oracles beside the repository")


def cases(stat: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in CASES if case["stat"] == stat]


def number(text: str) -> float:
    return math.nan if text in ("", "NA") else float(text)


def column(texts: list[str]) -> np.ndarray:
    try:
        return np.array([number(text) for text in texts])
    except ValueError:
        return np.array(texts, object)


def load(names: str) -> dict[str, np.ndarray]:
    rows: list[dict[str, str]] = []
    for name in names.split("|"):
        with (ORACLES / "data" / name).open(newline="") as handle:
            rows += [{**row, "cohort": name} for row in csv.DictReader(handle)]
    return {name: column([row[name] for row in rows]) for name in rows[0]}


def split(columns: dict[str, np.ndarray], sites: int = 7) -> list[Table]:
    """Uneven sites in a seeded order: one with nobody and the last with one row."""
    rng = np.random.default_rng(7)
    order = rng.permutation(len(next(iter(columns.values()))))
    cuts = [0, *np.sort(rng.integers(0, len(order), sites - 3)).tolist(), len(order) - 1]
    return [Table({k: v[part] for k, v in columns.items()}) for part in np.split(order, cuts)]


def ask(talk: Conversation[Any], tables: list[Table]) -> dict[str, Any]:
    found: dict[str, Any] = converse({"a": talk}, TablesSummer(tables))["a"].to_json()
    return found


def same(found: dict[str, Any], expected: dict[str, Any], names: dict[str, str], rel: float = 1e-10) -> None:
    for ours, theirs in names.items():
        if theirs in expected:
            limit = 1e-8 if ours.split("_")[0] == "p" else rel
            np.testing.assert_allclose(
                np.array(found[ours], float), expected[theirs], rtol=limit, atol=1e-14, err_msg=ours
            )


@pytest.mark.parametrize("case", cases("roc_auc_delong_ci"))
def test_auc_variance_and_cutoff_agree_with_proc(case: dict[str, Any]) -> None:
    expected, args = case["expected"], case["args"]
    tables = split(load(case["data"]))
    found = ask(roc(args["score"], args["label"], min_cell=1), tables)
    names = {"n_pos": "n_pos", "n_neg": "n_neg", "auc": "auc", "var": "var_delong", "se": "se", "ci95": "ci95"}
    same(found, expected, names)
    youden = expected.get("youden", {})
    if not isinstance(youden.get("sensitivity"), list):
        same(found["youden"], youden, {k: k for k in ("sensitivity", "specificity", "tp", "fp", "fn", "tn")})
    for on, key in (("specificity", "pauc_spec_1_0.9"), ("sensitivity", "pauc_sens_1_0.9")):
        if key in expected:
            talk = roc(args["score"], args["label"], partial={"on": on, "from": 1.0, "to": 0.9})
            assert ask(talk, tables)["partial_auc"] == pytest.approx(expected[key], rel=1e-10)


@pytest.mark.parametrize("case", cases("delong_test_paired"))
def test_paired_delong_agrees_with_proc(case: dict[str, Any]) -> None:
    talk = compare(case["args"]["scores"], "y", min_cell=1)
    found = converse({"a": talk}, TablesSummer(split(load(case["data"]))))["a"].paired().to_json()
    same(found, case["expected"], {k: k for k in ("auc", "var", "cov", "z", "p")})


@pytest.mark.parametrize("case", cases("delong_joint_chi2"))
def test_the_joint_test_agrees_with_proc(case: dict[str, Any]) -> None:
    talk = compare(case["args"]["scores"], "y", min_cell=1)
    found = converse({"a": talk}, TablesSummer(split(load(case["data"]))))["a"].joint().to_json()
    same(found, case["expected"], {k: k for k in ("auc", "cov", "chi2", "df", "p")})


@pytest.mark.parametrize("case", cases("delong_test_unpaired"))
def test_unpaired_delong_agrees_with_proc(case: dict[str, Any]) -> None:
    args = case["args"]
    strata, levels = args.get("strata", "cohort"), args.get("levels") or args["cohorts"]
    found = ask(compare_unpaired(args["score"], "y", strata, levels, min_cell=1), split(load(case["data"])))
    names = {"auc": "auc", "var": "var", "t": "D", "df": "df", "p": "p", "z": "z_normal", "p_normal": "p_normal"}
    same(found, case["expected"], names)


@pytest.mark.parametrize("case", cases("logistic_regression"))
def test_logistic_regression_agrees_with_newton_refined_glm(case: dict[str, Any]) -> None:
    outcome, right = (part.strip() for part in case["args"]["formula"].split("~"))
    terms = [term.strip() for term in right.split("+")]
    tables = split(load(case["data"]))
    factors = {t: Factor(tuple(union_levels(tables, t)), REFERENCE_LEVELS[t]) for t in terms if t in REFERENCE_LEVELS}
    found = ask(logistic(outcome, terms, factors=factors, min_cell=1), tables)
    assert found["terms"] == case["expected"]["terms"]
    names = {k: k for k in ("n", "beta", "se", "z", "p", "deviance", "null_deviance", "loglik", "aic")}
    same(found, case["expected"], names | {"odds_ratio": "or", "or_ci95": "or_ci95_wald", "cov": "vcov"}, rel=1e-8)


@pytest.mark.parametrize("case", cases("hosmer_lemeshow"))
def test_hosmer_lemeshow_agrees_with_resource_selection(case: dict[str, Any]) -> None:
    args = case["args"]
    found = ask(hosmer_lemeshow(args["y"], args["p"], groups=args["g"], min_cell=1), split(load(case["data"])))
    same(found, case["expected"], {k: k for k in ("chi2", "df", "p", "observed", "expected")})


@pytest.mark.parametrize("case", cases("calibration"))
def test_calibration_agrees_with_glm(case: dict[str, Any]) -> None:
    found = ask(calibration(case["args"]["y"], case["args"]["p"], min_cell=1), split(load(case["data"])))
    names = ("slope", "slope_se", "intercept", "citl", "citl_se", "brier", "mean_pred", "obs_rate", "n")
    same(found, case["expected"], {k: k for k in names}, rel=1e-8)
    held = [n for n in case["expected"]["fixed_bins_n"] if n]
    assert found["fixed_bins"]["n"] == held
