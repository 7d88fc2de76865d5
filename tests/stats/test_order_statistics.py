"""Order search, rank tests, levels and Table 1: against numpy, scipy and pandas on the pooled rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.stats.conversation import Conversation, Table, TablesSummer, converse
from fl_liver.stats.group_moments import group_moments
from fl_liver.stats.kruskal import kruskal_wallis
from fl_liver.stats.levels import learn_levels, require_shared_levels
from fl_liver.stats.order_search import Grouping, narrowest_run, refine_groups, search_ranks
from fl_liver.stats.quantile import group_quantiles
from fl_liver.stats.rank_sum import exact_p, rank_sum
from fl_liver.stats.table_one import TableOne, table_one

FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.lists(st.one_of(FINITE, st.integers(-3, 3).map(float)), min_size=3, max_size=40)
CUTS = st.lists(st.integers(0, 40), max_size=5)


def over_sites(talk: Conversation[Any], columns: Mapping[str, NDArray[Any]], cuts: list[int] | None = None) -> Any:
    """The conversation's result on the rows cut into hospitals; some are empty."""
    n = len(next(iter(columns.values())))
    edges = [0, *sorted(cut % (n + 1) for cut in (cuts or [n // 3, n // 2, n // 2])), n]
    tables = [Table({k: v[a:b] for k, v in columns.items()}) for a, b in pairwise(edges)]
    return converse({"it": talk}, TablesSummer(tables))["it"]


def cohort(n: int = 240, seed: int = 11) -> dict[str, NDArray[Any]]:
    """Skewed, tied and missing values in three groups."""
    rng = np.random.default_rng(seed)
    group = np.array(["a", "b", "10"], dtype=object)[rng.integers(0, 3, n)]
    afp = np.round(np.exp(rng.normal(2, 1.5, n) + (group == "b")), 1)
    age = np.round(rng.normal(60, 9, n))
    age[::13] = np.nan
    grade = rng.integers(1, 4, n).astype(float)
    return {"group": group, "afp": afp, "age": age, "grade": grade}


@settings(max_examples=60)
@given(VALUES, CUTS)
def test_quartiles_of_any_split_equal_the_pooled_ones(values: list[float], cuts: list[int]) -> None:
    x = np.array(values)
    talk = group_quantiles(Grouping(columns=("x",)), [x.size], [0.25, 0.5, 0.75], min_cell=1)
    ((low, middle, high),) = over_sites(talk, {"x": x}, cuts)
    ordered = np.sort(x)
    for share, found in ((0.25, low), (0.5, middle), (0.75, high)):
        place = (x.size - 1) * share
        a, b, w = ordered[int(place)], ordered[min(int(np.ceil(place)), x.size - 1)], place - int(place)
        assert found == (a if w == 0 else (1 - w) * a + w * b)


@settings(max_examples=40)
@given(VALUES, st.integers(2, 8))
def test_with_a_floor_a_rank_is_an_interval_that_holds_it_and_at_least_k_patients(values: list[float], k: int) -> None:
    x = np.array(values)
    k = min(k, x.size)
    rank = x.size // 2
    found = over_sites(search_ranks(Grouping(columns=("x",)), {0: [rank]}, min_cell=k), {"x": x})[0, rank]
    assert found.low <= np.sort(x)[rank] <= found.high
    assert int(((x >= found.low) & (x <= found.high)).sum()) >= k


@given(st.lists(st.integers(0, 6), min_size=1, max_size=16), st.integers(0, 15), st.integers(1, 8))
def test_the_narrowest_run_is_as_short_as_trying_all_finds(children: list[int], child: int, floor: int) -> None:
    counts = np.array(children)
    child, floor = child % counts.size, min(floor, int(counts.sum()))
    first, last = narrowest_run(np.cumsum(counts), child, floor)
    tried = [b - a for a in range(child + 1) for b in range(child, counts.size) if counts[a : b + 1].sum() >= floor]
    assert first <= child <= last
    assert counts[first : last + 1].sum() >= floor
    assert last - first == min(tried)


def test_a_declared_resolution_releases_the_rounded_median() -> None:
    x = np.array([41.2, 52.7, 55.4, 60.1, 71.9] * 3)
    talk = group_quantiles(Grouping(columns=("x",), resolution=1.0), [15], [0.5], min_cell=5)
    assert over_sites(talk, {"x": x}) == [[55.0]]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=50), CUTS)
def test_mann_whitney_of_any_split_equals_scipy_pooled(rows: list[tuple[int, bool]], cuts: list[int]) -> None:
    x, second = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows], float)
    if second.min() == second.max():
        return
    found = over_sites(rank_sum("x", "g", ["0", "1"], min_cell=1), {"x": x, "g": second}, cuts)
    a, b = x[second == 0], x[second == 1]
    assert stats.mannwhitneyu(a, b).statistic == found.U
    if np.unique(x).size > 1:
        plain = stats.mannwhitneyu(a, b, method="asymptotic", use_continuity=False).pvalue
        corrected = stats.mannwhitneyu(a, b, method="asymptotic").pvalue
        assert found.p_nocc == pytest.approx(plain, rel=1e-9)
        assert found.p_cc == pytest.approx(min(1.0, corrected), rel=1e-9)


def test_exact_p_equals_scipy_and_is_absent_with_ties() -> None:
    rng = np.random.default_rng(8)
    x, g = rng.normal(size=30), np.array([0.0] * 12 + [1.0] * 18)
    found = over_sites(rank_sum("x", "g", min_cell=1), {"x": x, "g": g})
    wanted = stats.mannwhitneyu(x[g == 0], x[g == 1], method="exact").pvalue
    assert found.p_exact == pytest.approx(wanted, rel=1e-10)
    assert exact_p(0, 2, 2) == pytest.approx(1 / 3)
    x[1] = x[0]
    assert over_sites(rank_sum("x", "g", min_cell=1), {"x": x, "g": g}).p_exact is None


def test_swapping_the_groups_keeps_every_p_and_flips_welch() -> None:
    columns = cohort()
    one = over_sites(rank_sum("afp", "group", ["a", "b"], min_cell=1), columns)
    two = over_sites(rank_sum("afp", "group", ["b", "a"], min_cell=1), columns)
    assert one.n[0] * one.n[1] == one.U + two.U
    assert (one.p_cc, one.welch_p, one.welch_t) == pytest.approx((two.p_cc, two.welch_p, -two.welch_t), rel=1e-12)


def test_welch_means_and_medians_equal_scipy_and_numpy() -> None:
    columns = cohort()
    a, b = (columns["afp"][columns["group"] == level] for level in ("a", "b"))
    found = over_sites(rank_sum("afp", "group", ["a", "b"], min_cell=1), columns)
    wanted = stats.ttest_ind(a, b, equal_var=False)
    assert (found.welch_t, found.welch_df, found.welch_p) == pytest.approx(
        (wanted.statistic, wanted.df, wanted.pvalue), rel=1e-11
    )
    assert found.mean == pytest.approx((a.mean(), b.mean()), rel=1e-13)
    assert found.sd == pytest.approx((a.std(ddof=1), b.std(ddof=1)), rel=1e-13)
    assert found.median == (np.median(a), np.median(b))


def test_kruskal_wallis_and_anova_equal_scipy() -> None:
    columns = cohort()
    parts = [columns["afp"][columns["group"] == level] for level in ("10", "a", "b")]
    found = over_sites(kruskal_wallis("afp", "group"), columns)
    h, f = stats.kruskal(*parts), stats.f_oneway(*parts)
    assert found.groups == ("10", "a", "b")
    assert (found.H, found.p, found.F, found.F_p) == pytest.approx((h.statistic, h.pvalue, f[0], f[1]), rel=1e-10)


def test_kruskal_wallis_of_equal_values_is_undefined() -> None:
    columns = {"x": np.ones(20), "g": np.array([0.0, 1.0] * 10)}
    assert over_sites(kruskal_wallis("x", "g"), columns).to_json()["H"] is None


@settings(max_examples=40)
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=30), CUTS)
def test_full_refinement_tells_ties_exactly(values: list[int], cuts: list[int]) -> None:
    x = np.array(values, float) / 3
    leaves = over_sites(refine_groups(Grouping(columns=("x",)), "occupied"), {"x": x}, cuts)
    _, times = np.unique(x, return_counts=True)
    assert leaves.counts[0].tolist() == times.tolist()
    assert leaves.ties() == int((times**3 - times).sum())


def test_moments_do_not_cancel_far_from_zero() -> None:
    x = 1e9 + np.array([0.0, 1.0, 2.0, 3.0] * 5)
    (found,) = over_sites(group_moments("x", "g", ["0"]), {"x": x, "g": np.zeros(20)})
    assert (found.mean, found.sd) == pytest.approx((1e9 + 1.5, float(np.std([0, 1, 2, 3] * 5, ddof=1))), rel=1e-15)


@settings(max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=5).filter(lambda t: t != "NA"), min_size=1, max_size=12), CUTS)
def test_levels_of_any_split_are_those_that_occur(words: list[str], cuts: list[int]) -> None:
    column = np.array(words, dtype=object)
    assert set(over_sites(learn_levels(["w"], min_cell=1), {"w": column}, cuts)) == set(words)


def test_levels_are_ordered_by_number_then_by_code_point() -> None:
    column = np.array(["b", "10", "é", "9", "Z", ""], dtype=object)
    assert over_sites(learn_levels(["w"], min_cell=1), {"w": column}) == ["9", "10", "Z", "b", "é"]
    assert over_sites(learn_levels(["w"], min_cell=1), {"w": np.array([2.5, -1, 10, np.nan])}) == ["-1", "2.5", "10"]


def test_a_rare_level_is_refused_before_it_is_spelled() -> None:
    asked: list[int] = []
    column = np.array(["common"] * 30 + ["rare"] * 2, dtype=object)

    class Counting(TablesSummer):
        def total(self, questions: Any) -> Any:
            asked.append(len(questions))
            return super().total(questions)

    with pytest.raises(PrivacyError, match="a value of column 'w': fewer than 5 patients"):
        converse({"it": learn_levels(["w"], min_cell=5)}, Counting([Table({"w": column})]))
    assert len(asked) == 1


def test_a_column_of_measurements_is_not_a_grouping() -> None:
    with pytest.raises(DataError, match="more than 64 values"):
        over_sites(learn_levels(["x"], min_cell=1), {"x": np.arange(100.0)})


def test_a_level_that_one_site_alone_has_is_refused() -> None:
    tables = [Table({"w": np.array(["a"] * 9 + [own] * 9, dtype=object)}) for own in ("a", "b", "a")]
    with pytest.raises(PrivacyError, match="one site alone has level b of column 'w', unseen elsewhere"):
        converse({"it": require_shared_levels("w", ["a", "b"], min_cell=5)}, TablesSummer(tables))
    converse({"it": require_shared_levels("w", ["a", "b"], min_cell=1)}, TablesSummer(tables))


def test_table_one_equals_pandas() -> None:
    columns = cohort()
    found = over_sites(table_one("group", ["afp", "age"], ["grade"], min_cell=1), columns)
    frame = pd.DataFrame(columns)
    frame["group"] = frame["group"].astype(str)
    assert isinstance(found, TableOne)
    assert found.groups == ("10", "a", "b")
    shown = found.to_json()
    for name in ("afp", "age"):
        by = frame.groupby("group")[name]
        wanted = {
            "n": by.count(),
            "missing": by.size() - by.count(),
            "mean": by.mean(),
            "sd": by.std(),
            "median": by.median(),
        }
        wanted |= {"q1": by.quantile(0.25), "q3": by.quantile(0.75)}
        for key, series in wanted.items():
            assert shown[name][key] == pytest.approx(series.loc[["10", "a", "b"]].tolist(), rel=1e-12), (name, key)
    table = pd.crosstab(frame["grade"], frame["group"])[["10", "a", "b"]]
    chi2, p, df, _ = stats.chi2_contingency(table, correction=False)
    assert shown["grade"]["counts"] == table.to_numpy().tolist()
    assert (shown["grade"]["chi2"], shown["grade"]["chi2_df"], shown["grade"]["chi2_p"]) == pytest.approx((chi2, df, p))


def test_table_one_refuses_a_small_cell_and_shows_intervals_above_the_floor() -> None:
    columns = cohort()
    shown = over_sites(table_one("group", ["afp"], ["grade"], min_cell=5), columns).to_json()
    low, high = shown["afp"]["median"][0]
    assert low <= np.median(columns["afp"][columns["group"] == "10"]) <= high
    columns["grade"][np.flatnonzero((columns["grade"] == 3) & (columns["group"] == "a"))[2:]] = 1.0
    with pytest.raises(PrivacyError, match="grade = 3, group = a: fewer than 5"):
        over_sites(table_one("group", ["afp"], ["grade"], min_cell=5), columns)


def test_three_groups_have_no_rank_sum_and_an_empty_group_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'group' has 3 levels, name two"):
        over_sites(rank_sum("afp", "group"), cohort())
    with pytest.raises(DataError, match="no site has a patient with group = c"):
        over_sites(rank_sum("afp", "group", ["a", "c"]), cohort())
