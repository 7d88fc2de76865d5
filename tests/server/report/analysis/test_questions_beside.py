"""What the page asks beside a plan is answered for the same patients and under the same floors, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix, roc_auc_score

from fl_liver.server.report.analysis.beside import questions_beside
from fl_liver.stats.conversation import Table
from fl_liver.stats.plan import Plan
from tests.server.report.analysis.whole_plan import guarded, plan, results, tables


def pooled(column: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.concatenate([table[column] for table in tables().values()])


def test_the_plans_own_answers_do_not_change() -> None:
    whole = plan()
    alone = guarded(whole, tables())
    for name, result in results().items():
        expected = alone[name].to_json()
        if "strata" in expected:
            continue
        assert {key: value for key, value in result.items() if key in expected} == expected


def test_curves_of_a_comparison_are_of_its_own_patients() -> None:
    """A patient without the second score is in neither curve, although the first alone would count him."""
    changed = tables()
    q = changed["S1"]["q"].copy()
    q[:20] = np.nan
    changed["S1"] = Table({**changed["S1"].columns, "q": q})
    asked = plan("two")
    beside = questions_beside(asked.analyses)
    found = guarded(Plan((*asked.analyses, *beside)), changed)
    curves = {one.name: found[one.id] for one in beside}
    assert found["two"].auc == (curves["p"].auc, curves["q"].auc)
    assert curves["p"].n_pos + curves["p"].n_neg == 5 * 60 - 20


def test_curves_of_two_groups_are_of_each_group() -> None:
    curves = results()["sexes"]["curves"]
    for level, auc in zip("FM", results()["sexes"]["auc"], strict=True):
        rows = pooled("sex") == level
        assert curves[f"sex = {level}"]["auc"] == pytest.approx(roc_auc_score(pooled("y")[rows], pooled("p")[rows]))
        assert curves[f"sex = {level}"]["auc"] == auc


def test_raters_table_is_the_pooled_one() -> None:
    found = results()["kappa"]
    truth = confusion_matrix(list(pooled("grade")), list(pooled("grade2")), labels=found["table"]["levels"])
    assert found["table"]["counts"] == truth.tolist()
    assert found["kappa"] == pytest.approx(cohen_kappa_score(list(pooled("grade")), list(pooled("grade2"))))


def test_auc_within_hospitals_is_asked_for_roc_but_not_for_clusters() -> None:
    """Its variance takes rows for patients."""
    assert results()["auc"]["centres"]["centres"] == 5
    assert results()["auc by sex"]["strata"]["F"]["centres"]["centres"] == 5
    assert "centres" not in results()["lesions"]


def test_a_refusal_beside_refuses_nothing_of_the_plan() -> None:
    """Two hospitals with both classes are too few for an AUC within hospitals, and enough for the pooled one."""
    few = tables()
    for name in ("S3", "S4", "S5"):
        few[name] = Table({**few[name].columns, "y": np.zeros(60)})
    asked = plan("auc")
    (beside,) = questions_beside(asked.analyses)
    found = guarded(Plan((*asked.analyses, beside)), few)
    written = {"auc": found["auc"].to_json()}
    beside.put(written, found[beside.id].to_json())
    assert written["auc"]["auc"] is not None
    assert "fewer than 3 hospitals" in written["auc"]["centres"]["not_released"]


def test_a_refused_analysis_gets_nothing_beside_it() -> None:
    asked = plan("kappa")
    (beside,) = questions_beside(asked.analyses)
    written = {"kappa": {"not_released": "min_cell: too few"}}
    beside.put(written, {"levels": [], "counts": []})
    assert written == {"kappa": {"not_released": "min_cell: too few"}}
