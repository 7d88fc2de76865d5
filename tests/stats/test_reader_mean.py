"""The mean of readers: its curve, its two intervals, and what is refused. R's answer is in `test_r_synthetic.py`."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.errors import ConfigError, PrivacyError
from fl_liver.stats.compare import compare
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.plan import parse_plan, run_plan
from fl_liver.stats.reader_mean import ReaderMean, reader_mean


def cohort(seed: int = 1, n: int = 90, readers: int = 3) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) % 2).astype(float)
    latent = truth + rng.normal(size=n)
    ratings = {f"r{i}": np.clip(np.round(3 + latent + rng.normal(size=n)), 1, 5) for i in range(readers)}
    return {"truth": truth, **ratings, "model": latent + 0.3 * rng.normal(size=n)}


def ask(
    columns: dict[str, NDArray[np.float64]], scores: list[str], against: list[str], min_cell: int = 1
) -> ReaderMean:
    tables = [Table({k: v[site::4] for k, v in columns.items()}) for site in range(4)]
    found = converse({"it": reader_mean(scores, "truth", against, min_cell=min_cell)}, TablesSummer(tables))["it"]
    assert isinstance(found, ReaderMean)
    return found


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), readers=st.integers(2, 4))
def test_the_area_under_the_mean_curve_is_the_mean_area(seed: int, readers: int) -> None:
    found = ask(cohort(seed, 40, readers), [f"r{i}" for i in range(readers)], [])
    assert np.trapezoid(found.curve.tpr, found.curve.fpr) == pytest.approx(found.auc, rel=1e-12)
    assert (found.curve.fpr[0], found.curve.fpr[-1], found.curve.tpr[-1]) == (0.0, 1.0, 1.0)
    assert all(a <= b for a, b in pairwise(found.curve.fpr))
    assert all(a <= b + 1e-15 for a, b in pairwise(found.curve.tpr))


def test_readers_against_themselves_do_not_differ() -> None:
    found = ask(cohort(), ["r0", "r1"], ["r0", "r1"])
    assert found.difference is not None
    assert (found.difference.estimate, found.difference.p) == (0.0, 1.0)
    assert found.difference_random is not None
    assert (found.difference_random.se, found.difference_random.p) == (0.0, 1.0)


def test_conditions_exchanged_turn_the_difference_and_keep_p() -> None:
    columns = cohort(readers=4)
    there, back = ask(columns, ["r0", "r1"], ["r2", "r3"]), ask(columns, ["r2", "r3"], ["r0", "r1"])
    assert there.difference is not None
    assert back.difference is not None
    assert there.difference.estimate == -back.difference.estimate
    assert there.difference.p == pytest.approx(back.difference.p, rel=1e-12)


def test_a_negative_covariance_of_readers_counts_as_none() -> None:
    """Two readers each against the other: the differences are opposite, and one degree of freedom remains."""
    found = ask(cohort(), ["r0", "r1"], ["r1", "r0"])
    gap = found.readers["r0"].auc - found.readers["r1"].auc
    assert found.difference_random is not None
    assert found.difference_random.df == pytest.approx(1.0, rel=1e-12)
    assert found.difference_random.se == pytest.approx(abs(gap), rel=1e-12)


def test_readers_against_a_model_use_the_covariance_with_it() -> None:
    """By hand: variance of (A₀ + A₁)/2 − A_model from the full matrix; readers random by their own differences."""
    columns = cohort()
    found = ask(columns, ["r0", "r1"], ["model"])
    full = converse({"it": compare(["r0", "r1", "model"], "truth")}, TablesSummer([Table(columns)]))["it"]
    s, w = np.array(full.cov, dtype=float), np.array([0.5, 0.5, -1.0])
    assert found.difference is not None
    assert found.difference.var == pytest.approx(w @ s @ w, rel=1e-12)
    gaps = np.array(full.auc, dtype=float)[:2] - float(full.auc[2])
    shared = s[0, 1] - s[0, 2] - s[1, 2] + s[2, 2]
    assert found.difference_random is not None
    assert found.difference_random.se == pytest.approx(math.sqrt(np.var(gaps, ddof=1) / 2 + max(shared, 0)), rel=1e-10)


def test_one_reader_has_no_interval_over_readers() -> None:
    found = ask(cohort(), ["r0"], ["model"])
    assert found.random_readers is None
    assert found.difference_random is None
    assert found.difference is not None


def test_readers_who_agree_exactly_have_infinite_degrees_of_freedom_and_null_in_json() -> None:
    columns = cohort()
    found = ask(columns | {"r1": columns["r0"]}, ["r0", "r1"], [])
    assert found.random_readers is not None
    assert math.isinf(found.random_readers.df)
    assert found.random_readers.se == pytest.approx(math.sqrt(found.var), rel=1e-12)
    assert found.to_json()["random_readers"]["df"] is None


def test_the_floor_merges_each_curve_before_the_mean() -> None:
    columns = cohort(n=60) | {"r0": np.arange(60.0), "r1": np.arange(60.0)}
    found = ask(columns, ["r0", "r1"], [], min_cell=5)
    assert len(found.curve.fpr) == 60 // 5 + 1


def test_a_class_below_the_floor_is_refused() -> None:
    columns = cohort(n=20)
    with pytest.raises(PrivacyError, match="min_cell: 'truth' 0, 'truth' 1: fewer than 11"):
        ask(columns, ["r0", "r1"], [], min_cell=11)


def test_against_that_fits_neither_readers_nor_a_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="against has 2 columns for 3 readers"):
        ask(cohort(), ["r0", "r1", "r2"], ["r0", "model"])


def test_a_plan_asks_for_it() -> None:
    columns = cohort()
    entry = {"id": "mean", "kind": "reader_mean", "scores": ["r0", "r1", "r2"], "label": "truth", "against": ["model"]}
    plan = parse_plan({"analysis": [entry]}, "plan")
    assert plan.columns() == ["r0", "r1", "r2", "model", "truth"]
    tables = [Table({k: v[site::3] for k, v in columns.items()}) for site in range(3)]
    found = run_plan(plan, TablesSummer(tables))["mean"].to_json()
    assert list(found["readers"]) == ["r0", "r1", "r2"]
    assert found["ci95"][0] < found["auc"] < found["ci95"][1]
