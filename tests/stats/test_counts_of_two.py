"""Proportions, 2 × 2 tables and agreement against scipy, statsmodels and scikit-learn, over any split of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss
from statsmodels.stats.proportion import proportion_confint

from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.stats.conversation import Conversation, Table, TablesSummer, converse
from fl_liver.stats.decision_curve import decision_curve
from fl_liver.stats.diagnostic import diagnostic
from fl_liver.stats.fleiss import fleiss_kappa
from fl_liver.stats.kappa import cohen_kappa
from fl_liver.stats.mcnemar import mcnemar
from fl_liver.stats.proportion import clopper_pearson, newcombe, proportion, wilson


def over_sites(talk: Conversation[Any], columns: Mapping[str, NDArray[Any]], cuts: list[int] | None = None) -> Any:
    """The conversation's result on the rows cut into hospitals; some are empty."""
    n = len(next(iter(columns.values())))
    edges = [0, *sorted(cut % (n + 1) for cut in (cuts or [n // 3, n // 2, n // 2])), n]
    tables = [Table({k: v[a:b] for k, v in columns.items()}) for a, b in pairwise(edges)]
    return converse({"it": talk}, TablesSummer(tables))["it"]


def rated(n: int = 120, raters: int = 4, seed: int = 3) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    names = np.array(["benign", "HCC", "9. métastase"], dtype=object)
    return {f"r{i}": names[np.where(rng.random(n) < 0.6, truth, rng.integers(0, 3, n))] for i in range(raters)}


def called(n: int = 300, seed: int = 5) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(float)
    score = np.round(rng.normal(y, 1.0), 1)
    score[::17] = np.nan
    y[3] = np.nan
    return {"y": y, "score": score}


@pytest.mark.parametrize(("x", "n"), [(0, 7), (9, 9), (1, 1), (171, 218), (3, 100_000)])
def test_clopper_pearson_and_wilson_equal_scipy(x: int, n: int) -> None:
    exact = stats.binomtest(x, n).proportion_ci(method="exact")
    score = stats.binomtest(x, n).proportion_ci(method="wilson")
    assert clopper_pearson(x, n) == pytest.approx((exact.low, exact.high), rel=1e-9, abs=1e-12)
    assert wilson(x, n) == pytest.approx((score.low, score.high), rel=1e-9, abs=1e-12)


def test_clopper_pearson_at_99_percent_equals_statsmodels() -> None:
    assert clopper_pearson(8, 15, 0.99) == pytest.approx(proportion_confint(8, 15, 0.01, "beta"), rel=1e-10)


def test_newcombe_swaps_sign_with_the_groups() -> None:
    low, high = newcombe(9, 10, 3, 10)
    assert newcombe(3, 10, 9, 10) == pytest.approx((-high, -low))
    assert (round(low, 4), round(high, 4)) == (0.1705, 0.8090)  # Newcombe 1998, table II (e), method 10


def test_proportion_counts_only_rows_with_a_value() -> None:
    hit = np.array([1, 0, np.nan, 1, 1, np.nan, 0, 1])
    found = over_sites(proportion("hit", min_cell=1), {"hit": hit})
    assert (found.x, found.n, found.estimate) == (4, 6, 4 / 6)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=5)
)
def test_mcnemar_of_any_split_equals_statsmodels_pooled(pairs: list[tuple[bool, bool]], cuts: list[int]) -> None:
    a, b = np.array(pairs, dtype=float).T
    found = over_sites(mcnemar("a", "b", min_cell=1), {"a": a, "b": b}, cuts)
    table = [[int(((a == i) & (b == j)).sum()) for j in (1, 0)] for i in (1, 0)]
    assert (found.b, found.c) == (table[0][1], table[1][0])
    assert found.p_exact == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue, rel=1e-9)


def test_kappa_equals_scikit_learn_and_statsmodels() -> None:
    columns = rated()
    found = over_sites(cohen_kappa(("r0", "r1"), min_cell=1), columns)
    assert found.kappa == pytest.approx(cohen_kappa_score(columns["r0"], columns["r1"]), rel=1e-12)
    levels = sorted({*columns["r0"], *columns["r1"]})
    theirs = cohens_kappa(confusion_matrix(columns["r0"], columns["r1"], labels=levels))
    assert found.ase == pytest.approx(theirs.std_kappa, rel=1e-10)
    assert found.z == pytest.approx(theirs.kappa / theirs.std_kappa0, rel=1e-10)


def test_kappa_of_raters_who_use_one_level_is_undefined() -> None:
    same = np.array(["benign"] * 8, dtype=object)
    found = over_sites(cohen_kappa(("a", "b")), {"a": same, "b": same})
    assert found.to_json() == {"kappa": None, "z": None, "p": None, "ase": None, "n": 8}


def test_fleiss_kappa_equals_statsmodels() -> None:
    columns = rated()
    found = over_sites(fleiss_kappa(list(columns), min_cell=1), columns)
    stacked = np.stack(list(columns.values()), axis=1)
    table, _ = aggregate_raters(stacked)
    assert found.kappa == pytest.approx(statsmodels_fleiss(table), rel=1e-12)
    assert found.agree_percent == pytest.approx(100 * float((stacked == stacked[:, :1]).all(1).mean()))
    assert (found.subjects, found.raters) == (120, 4)


def test_diagnostic_equals_scikit_learn_on_complete_rows() -> None:
    columns = called()
    found = over_sites(diagnostic("score", "y", 0.5), columns)
    keep = ~np.isnan(columns["y"]) & ~np.isnan(columns["score"])
    y, call = columns["y"][keep], columns["score"][keep] >= 0.5
    tn, fp, fn, tp = confusion_matrix(y, call).ravel().tolist()
    assert (found.tn, found.fp, found.fn, found.tp) == (tn, fp, fn, tp)
    assert found.f1 == pytest.approx(f1_score(y, call), rel=1e-12)
    assert found.kappa == pytest.approx(cohen_kappa_score(y, call), rel=1e-12)
    assert found.ppv[0] == tp / (tp + fp)


def test_a_threshold_above_every_score_has_no_positive_predictive_value() -> None:
    found = over_sites(diagnostic("score", "y", 99.0), called())
    assert found.to_json()["ppv"] == [None, None, None]
    assert (found.tp, found.fp, found.specificity[0]) == (0, 0, 1.0)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 10))
def test_decision_curve_of_any_split_equals_counting(cuts: list[int], seed: int) -> None:
    columns = called(seed=seed)
    columns["p"] = 1 / (1 + np.exp(-columns["score"]))
    thresholds = [0.0, 0.1, 0.5, 0.9]
    found = over_sites(decision_curve("y", "p", thresholds), columns, cuts)
    keep = ~np.isnan(columns["y"]) & ~np.isnan(columns["p"])
    y, p = columns["y"][keep], columns["p"][keep]
    wanted = [float(((p >= t) & (y == 1)).mean() - ((p >= t) & (y == 0)).mean() * t / (1 - t)) for t in thresholds]
    assert found.net_benefit == pytest.approx(wanted, abs=1e-12)
    assert found.treat_all[0] == pytest.approx(float(y.mean()))


def test_a_class_below_the_floor_is_refused_by_name_and_without_its_count() -> None:
    y = np.array([1.0] * 3 + [0.0] * 30)
    with pytest.raises(PrivacyError, match=r"min_cell: y = 1: fewer than 5 patients over all sites"):
        over_sites(diagnostic("s", "y", 0.5), {"y": y, "s": y})
    with pytest.raises(PrivacyError, match=r"hit = 1"):
        over_sites(proportion("hit"), {"hit": y})


def test_cells_inside_a_mcnemar_table_have_no_floor_of_their_own() -> None:
    a = np.array([1.0] * 10 + [0.0] * 10)
    b = a.copy()
    b[0] = 0.0
    assert over_sites(mcnemar("a", "b", min_cell=5), {"a": a, "b": b}).b == 1
    with pytest.raises(PrivacyError, match="first = 0"):
        over_sites(mcnemar("first", "b", min_cell=5), {"first": np.array([1.0] * 18 + [0.0] * 2), "b": b})


def test_a_label_other_than_zero_or_one_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 3 values are neither 0 nor 1; recode it"):
        over_sites(proportion("hit"), {"hit": np.array([0.0, 1.0, 2.0])}, [3])


def test_nobody_is_an_error_that_names_the_columns() -> None:
    with pytest.raises(DataError, match="'s' against 'y': no site has a complete row"):
        over_sites(diagnostic("s", "y", 0.5), {"s": np.array([np.nan, 1.0]), "y": np.array([1.0, np.nan])})


def test_a_threshold_of_one_has_no_net_benefit() -> None:
    with pytest.raises(ConfigError, match=r"thresholds must lie in \[0, 1\), found 1.0"):
        over_sites(decision_curve("y", "p", [1.0]), {"y": np.zeros(3), "p": np.zeros(3)})
