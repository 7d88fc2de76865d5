import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from fl_liver.errors import ConfigError, PrivacyError
from fl_liver.stats.compose import Withheld, or_withheld
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.delong import auc_and_variance, score_interval
from fl_liver.stats.roc import RocResult, roc
from fl_liver.stats.roc_curve import merge_steps


def pooled(columns: dict[str, np.ndarray], sites: list[list[int]] | None = None, **options: object) -> RocResult:
    parts = [np.arange(len(columns["y"]))] if sites is None else [np.array(part, int) for part in sites]
    tables = [Table({name: values[part] for name, values in columns.items()}) for part in parts]
    settled = {"min_cell": 1, **options}
    result: RocResult = converse({"a": roc("x", "y", **settled)}, TablesSummer(tables))["a"]  # type: ignore[arg-type]
    return result


def by_definition(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """DeLong from the m × n matrix of comparisons, patient by patient."""
    kernel = (x[y == 1][:, None] > x[y == 0][None, :]) + 0.5 * (x[y == 1][:, None] == x[y == 0][None, :])
    v10, v01 = kernel.mean(axis=1), kernel.mean(axis=0)
    return float(kernel.mean()), float(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))


def example(seed: int, n: int = 120, *, decimals: int = 15) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(float)
    return {"y": y, "x": np.round(rng.normal(size=n) + y, decimals)}


rows = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([-3.5, -1.0, -0.0, 0.0, 0.25, 0.5, 1e-9, 2.0]), st.integers(0, 4)),
    min_size=4,
    max_size=40,
).filter(lambda found: 2 <= sum(r[0] for r in found) <= len(found) - 2)


@settings(max_examples=60)
@given(rows)
def test_any_split_over_sites_equals_the_pooled_definition(found: list[tuple[int, float, int]]) -> None:
    """Sites with nobody, with one row and with one class need no special case."""
    y, x, site = (np.array(column, float) for column in zip(*found, strict=True))
    parts = [np.flatnonzero(site == s).tolist() for s in range(5)]
    result = pooled({"y": y, "x": x}, parts)
    auc, var = by_definition(y, x)
    assert result.auc == pytest.approx(auc, rel=1e-12)
    assert result.var == pytest.approx(var, rel=1e-10, abs=1e-15)
    assert pooled({"y": y, "x": x}).to_json() == result.to_json()


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_a_rising_map_and_a_new_order_of_patients_change_nothing(seed: int) -> None:
    columns = example(seed % 1000, decimals=1)
    order = np.random.default_rng(seed).permutation(len(columns["y"]))
    base = pooled(columns)
    moved = pooled({"y": columns["y"][order], "x": np.exp(columns["x"][order]) * 1e-3 - 5.0})
    assert (moved.auc, moved.var, moved.n_pos) == (base.auc, base.var, base.n_pos)
    assert base.youden is not None
    assert moved.youden is not None
    assert (moved.youden.tp, moved.youden.fp) == (base.youden.tp, base.youden.fp)


@pytest.mark.parametrize(
    ("x", "auc", "var", "ci95"),
    [
        ([0.1, 0.5, 0.5, 0.7, 0.5, 0.5, 0.8, 0.7, 0.9], 0.775, 0.02375, [0.472949264209661, 1.0]),
        ([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95], 1.0, 0.0, [1.0, 1.0]),
    ],
)
def test_nine_patients_agree_with_proc(x: list[float], auc: float, var: float, ci95: list[float]) -> None:
    """pROC 1.18.0: ci.auc(roc(y, s, levels = c(0, 1), direction = '<'), method = 'delong'); var(r)."""
    found = pooled({"y": np.array([0.0] * 4 + [1.0] * 5), "x": np.array(x)}, [[0, 8], [], [3], [1, 2, 4, 5, 6, 7]])
    assert found.auc == pytest.approx(auc, rel=1e-10)
    assert found.var == pytest.approx(var, rel=1e-10)
    assert found.ci95 == pytest.approx(tuple(ci95), rel=1e-10)


def test_negated_scores_give_one_minus_the_auc() -> None:
    columns = example(5)
    flipped = pooled({"y": columns["y"], "x": -columns["x"]})
    base = pooled(columns)
    assert base.auc is not None
    assert flipped.auc == pytest.approx(1 - base.auc, rel=1e-14)
    assert flipped.var == pytest.approx(base.var, rel=1e-12)


def test_without_a_floor_the_curve_is_that_of_scikit_learn() -> None:
    columns = example(7, decimals=1)
    curve = pooled(columns).curve
    fpr, tpr, _ = roc_curve(columns["y"], columns["x"])
    assert curve is not None
    ours = np.interp(fpr, curve.fpr, curve.tpr)
    steps = np.flatnonzero(np.diff(fpr, prepend=-1) > 0)  # at a vertical step interpolation has two answers
    np.testing.assert_allclose(ours[steps], [tpr[fpr == f].max() for f in fpr[steps]], atol=1e-12)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(roc_auc_score(columns["y"], columns["x"]), rel=1e-12)


def test_logit_keys_give_the_auc_of_the_log_odds() -> None:
    columns = example(8)
    assert pooled(columns, key="logit32").auc == pytest.approx(roc_auc_score(columns["y"], columns["x"]), rel=1e-12)
    assert pooled(columns, key="logit32").certificate == 0.0


def test_published_steps_hold_at_least_the_floor() -> None:
    columns = example(9)
    result = pooled(columns, min_cell=10)
    curve = result.curve
    assert curve is not None
    patients = np.diff(curve.fpr) * result.n_neg + np.diff(curve.tpr) * result.n_pos
    assert patients.min() > 9.999
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert result.auc == pooled(columns).auc


def test_the_cutoff_classifies_as_its_cells_say() -> None:
    columns = example(10)
    cut = pooled(columns).youden
    assert cut is not None
    positive = columns["x"] >= cut.threshold
    assert (positive & (columns["y"] == 1)).sum() == cut.tp
    assert (positive & (columns["y"] == 0)).sum() == cut.fp
    fpr, tpr, _ = roc_curve(columns["y"], columns["x"])
    assert cut.sensitivity + cut.specificity - 1 == pytest.approx((tpr - fpr).max(), rel=1e-12)


def test_partial_areas_add_up_to_the_whole() -> None:
    columns = example(11, decimals=1)
    parts = [
        pooled(columns, partial={"on": "specificity", "from": a, "to": b}).partial_auc
        for a, b in [(1.0, 0.9), (0.9, 0.35), (0.35, 0.0)]
    ]
    whole = pooled(columns, partial={"on": "sensitivity", "from": 0.0, "to": 1.0})
    assert sum(p for p in parts if p is not None) == pytest.approx(whole.auc, rel=1e-12)
    assert whole.partial_auc == pytest.approx(whole.auc, rel=1e-12)


@pytest.mark.parametrize(
    "partial",
    [{"on": "accuracy", "from": 0, "to": 1}, {"on": "specificity", "from": 1.5, "to": 0}, {"on": "specificity"}],
)
def test_a_partial_range_that_is_none_is_refused(partial: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="wanted on = 'specificity' or 'sensitivity'"):
        pooled(example(1), partial=partial)


def test_the_band_covers_the_curve_and_has_the_width_of_a_patient_bootstrap() -> None:
    """Oracle: resampling patients one by one, curve by curve; the widths agree within Monte-Carlo error."""
    columns = example(12, n=300)
    curve = pooled(columns).curve
    assert curve is not None
    rng = np.random.default_rng(0)
    positives, negatives = columns["x"][columns["y"] == 1], columns["x"][columns["y"] == 0]
    at = 0.2
    drawn = []
    for _ in range(1000):
        p, n = rng.choice(positives, len(positives)), np.sort(rng.choice(negatives, len(negatives)))
        drawn.append((p >= np.quantile(n, 1 - at)).mean())
    low, high = np.percentile(drawn, [2.5, 97.5])
    ours = np.interp(at, curve.fpr, curve.tpr_low), np.interp(at, curve.fpr, curve.tpr_high)
    assert ours == pytest.approx((low, high), abs=0.035)
    assert all(a - 1e-9 <= t <= b + 1e-9 for a, t, b in zip(curve.tpr_low, curve.tpr, curve.tpr_high, strict=True))


def test_one_class_has_counts_and_a_flag_and_no_auc() -> None:
    result = pooled({"y": np.ones(6), "x": np.arange(6.0)}, min_cell=5)
    assert (result.n_pos, result.n_neg, result.auc, result.flags) == (6, 0, None, ("one_class",))
    assert result.to_json()["roc"] is None


def test_nobody_at_all_is_one_class_too() -> None:
    assert pooled({"y": np.array([]), "x": np.array([])}).flags == ("one_class",)


def test_perfect_scores_have_a_degenerate_variance_and_a_score_interval_beside_it() -> None:
    result = pooled({"y": np.array([0.0, 0, 0, 1, 1, 1]), "x": np.arange(6.0)})
    assert (result.auc, result.var, result.ci95, result.flags) == (1.0, 0.0, (1.0, 1.0), ("degenerate_variance",))
    assert result.ci95_score is not None
    assert 0.4 < result.ci95_score[0] < 0.9


def test_all_tied_is_a_half() -> None:
    result = pooled({"y": np.array([0.0, 0, 1, 1]), "x": np.full(4, 0.5)})
    assert (result.auc, result.var, result.certificate) == (0.5, 0.0, 0.5)


def test_a_class_of_one_has_an_auc_and_no_variance() -> None:
    result = pooled({"y": np.array([0.0, 0, 0, 1]), "x": np.array([1.0, 2, 3, 2.5])})
    assert (result.auc, result.var, result.ci95, result.flags) == (2 / 3, None, None, ("no_variance",))


def test_a_class_below_the_floor_is_refused_before_any_bin_is_asked() -> None:
    columns = {"y": np.array([1.0, 1, 1] + [0.0] * 9), "x": np.arange(12.0)}
    with pytest.raises(PrivacyError, match="min_cell: 'y' 1: fewer than 5 patients"):
        pooled(columns, min_cell=5)


def test_a_refusal_can_be_a_result_of_a_batch() -> None:
    table = Table({"y": np.array([1.0, 0, 0]), "x": np.arange(3.0)})
    talk = or_withheld(roc("x", "y", min_cell=5))
    result = converse({"a": talk}, TablesSummer([table]))["a"]
    assert isinstance(result, Withheld)
    assert "fewer than 5 patients" in result.to_json()["not_released"]


def test_rows_without_a_score_are_left_out() -> None:
    columns = example(13)
    missing = {"y": np.concatenate([columns["y"], [1.0, 0.0]]), "x": np.concatenate([columns["x"], [math.nan] * 2])}
    assert pooled(missing).to_json() == pooled(columns).to_json()


def test_counts_of_2_to_the_53_do_not_wrap() -> None:
    """Doubling every count keeps the AUC exactly and divides the variance; past int64 the sums are Python integers."""
    h0, h1 = np.array([5, 3, 1, 0]), np.array([0, 2, 2, 4])
    big = 2**50
    auc, small = auc_and_variance(h0, h1)
    same, var = auc_and_variance(h0 * big, h1 * big)
    assert same == auc
    assert small is not None
    assert var is not None
    n = 8 * big  # the first term's m; both classes hold 8 and 9 units
    assert 0 < float(var) < float(small) / big
    assert float(var) * n == pytest.approx(float(auc_and_variance(h0 * 10**6, h1 * 10**6)[1] or 0) * 8e6, rel=1e-5)


@pytest.mark.parametrize(("auc", "m", "n"), [(0.0, 5, 7), (0.5, 1, 1), (0.83, 40, 60), (1.0, 3, 2)])
def test_the_score_interval_solves_its_equation(auc: float, m: int, n: int) -> None:
    low, high = score_interval(auc, m, n)
    for end in {low, high} - {auc}:
        half = (m + n) / 2 - 1
        v = end * (1 - end) * (1 + half * (1 - end) / (2 - end) + half * end / (1 + end)) / (m * n)
        assert abs(end - auc) == pytest.approx(1.959963984540054 * math.sqrt(v), rel=1e-6)
    assert 0.0 <= low <= auc <= high <= 1.0


def test_merging_leaves_no_small_remainder() -> None:
    assert merge_steps(np.array([1, 1, 1, 1, 1, 1, 1]), 3).tolist() == [3, 7]
    assert merge_steps(np.array([1, 1]), 5).tolist() == [2]
