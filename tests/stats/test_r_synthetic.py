"""R's answers on seeded synthetic tables, which every clone has, over 3, 7 and 13 hospitals.

`tests/data/make_oracles.R` drew the tables and asked R; `r_answers.json` names the versions and every expression. Here
each table is dealt out to hospitals, one of which has nobody and one a single patient, and asked through a plan.
"""

from __future__ import annotations

import csv
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_liver.stats import hcc_risk_score
from fl_liver.stats.centres import centre_auc
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.plan import parse_plan, run_plan

DATA = Path(__file__).resolve().parents[1] / "data"
CASES = json.loads((DATA / "r_answers.json").read_text(encoding="utf-8"))["cases"]
TABLES = sorted({case["table"] for case in CASES} - {"none"})
NOT_IN_PLANS = {"centre_auc", "hcc_risk_score"}
LOOSER = {"logistic", "nomogram", "calibration", "hosmer_lemeshow"}  # CONTRACT.md: fits and p-values 1e-8
P_VALUES = {"p", "p_cc", "p_nocc", "p_exact", "p_normal", "welch_p", "F_p", "chi2_p", "kappa_p", "reader_t_p"}
ONE_ROW = 1


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in CASES if one["id"] == name)
    return found


@cache
def load(name: str) -> dict[str, NDArray[Any]]:
    """Columns of a table: float64 with NaN for NA, or text."""
    with (DATA / f"r_{name}.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    columns: dict[str, NDArray[Any]] = {}
    for column in rows[0]:
        texts = [row[column] for row in rows]
        try:
            columns[column] = np.array([math.nan if text == "NA" else float(text) for text in texts])
        except ValueError:
            columns[column] = np.array(texts, dtype=object)
    return columns


def deal(columns: dict[str, NDArray[Any]], sites: int) -> list[Table]:
    """Hospitals of uneven size in a seeded order: the first has nobody, the last one row.

    A patient's lesions stay at one hospital, so lesions are dealt patient by patient.
    """
    rng = np.random.default_rng(sites)
    n = len(next(iter(columns.values())))
    unit = np.unique(columns["patient"], return_inverse=True)[1] if "patient" in columns else np.arange(n)
    home = np.sort(rng.integers(1, sites - 1, unit.max() + 1))
    home[-ONE_ROW:] = sites - 1
    site_of = rng.permutation(home)[unit]
    return [Table({name: column[site_of == site] for name, column in columns.items()}) for site in range(sites)]


@cache
def answers(table: str, sites: int) -> dict[str, Any]:
    """{case: result as JSON} of all cases of a table, as one batch."""
    asked = [one for one in CASES if one["table"] == table and one["entry"]["kind"] not in NOT_IN_PLANS]
    plan = parse_plan({"analysis": [{"id": one["id"], **one["entry"]} for one in asked]}, "plan")
    results = run_plan(plan, TablesSummer(deal(load(table), sites)), min_cell=1)
    return {name: json.loads(json.dumps(result.to_json(), allow_nan=False)) for name, result in results.items()}


def differences(wanted: Any, found: Any, limit: float, path: str = "") -> list[str]:
    """Where `found` differs from `wanted`; keys and items that R did not give are not compared."""
    if isinstance(wanted, dict):
        absent = [f"{path}.{key}: absent" for key in wanted if key not in found]
        pairs = [(key, wanted[key], found[key]) for key in wanted if key in found]
        return absent + [
            line
            for key, w, f in pairs
            for line in differences(w, f, 1e-8 if key in P_VALUES else limit, f"{path}.{key}")
        ]
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return [f"{path}: wanted {len(wanted)} values, found {found!r:.80}"]
        pairs = [(str(i), w, f) for i, (w, f) in enumerate(zip(wanted, found, strict=True))]
        return [line for i, w, f in pairs for line in differences(w, f, limit, f"{path}[{i}]")]
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        return [] if math.isclose(wanted, found, rel_tol=limit) else [f"{path}: wanted {wanted!r}, found {found!r}"]
    return [] if str(wanted) == str(found) else [f"{path}: wanted {wanted!r}, found {found!r}"]


@pytest.mark.parametrize("sites", [3, 7, 13])
@pytest.mark.parametrize("name", [one["id"] for one in CASES if one["entry"]["kind"] not in NOT_IN_PLANS])
def test_the_sum_over_hospitals_gives_the_answer_of_r(name: str, sites: int) -> None:
    wanted = case(name)
    found = answers(wanted["table"], sites)[name]
    assert "not_released" not in found, found
    limit = 1e-8 if wanted["entry"]["kind"] in LOOSER else 1e-10
    assert differences(wanted["expected"], found, limit) == []


@pytest.mark.parametrize("sites", [3, 7, 13])
@pytest.mark.parametrize("table", TABLES)
def test_the_dealing_leaves_one_hospital_empty_and_loses_nobody(table: str, sites: int) -> None:
    sizes = [len(one) for one in deal(load(table), sites)]
    assert sizes[0] == 0
    assert sizes[-1] == 1 or table == "lesions"
    assert sum(sizes) == len(next(iter(load(table).values())))


@pytest.mark.parametrize("name", ["centres.logit_a", "centres.uneven"])
def test_the_auc_within_centres_and_its_spread_agree_with_r(name: str) -> None:
    """R: pROC in each centre, then DerSimonian and Laird's formulas as they stand in `make_oracles.R`."""
    wanted, columns = case(name), load("patients")
    centres = [columns["centre"] == one for one in np.unique(columns["centre"])]
    tables = [Table({column: values[rows] for column, values in columns.items()}) for rows in centres]
    talk = centre_auc(wanted["entry"]["score"], "malignant")
    found = converse({"it": talk}, TablesSummer(tables))["it"]
    assert (wanted["expected"]["tau2"] > 0) == (name == "centres.uneven")
    assert differences(wanted["expected"], found.to_json(), 1e-10) == []


def test_the_risk_score_of_a_patient_agrees_with_r() -> None:
    """The form printed in Wang 2021, with one image, several, and none that looks like HCC."""
    wanted = case("hcc_risk_score")
    images = [one if isinstance(one, list) else [one] for one in wanted["entry"]["images"]]
    assert [hcc_risk_score(np.array(one)) for one in images] == pytest.approx(wanted["expected"]["score"], rel=1e-10)


def test_a_wrong_answer_is_seen() -> None:
    """The comparison itself can fail: a last digit, a missing key, a shorter list, another name."""
    right = {"auc": 0.75, "n": [1, 2], "terms": "age"}
    assert differences(right, dict(right), 1e-10) == []
    assert differences(right, right | {"auc": 0.75 * (1 + 1e-9)}, 1e-10) == [
        f".auc: wanted 0.75, found {0.75 * (1 + 1e-9)}"
    ]
    assert differences(right, {"n": [1], "terms": "sex"}, 1e-10) == [
        ".auc: absent",
        ".n: wanted 2 values, found [1]",
        ".terms: wanted 'age', found 'sex'",
    ]
