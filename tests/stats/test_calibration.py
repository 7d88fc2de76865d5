import math
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logit

from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.stats.calibration import Calibration, HosmerLemeshow, calibration, hosmer_lemeshow
from fl_liver.stats.conversation import Conversation, Table, TablesSummer, converse
from fl_liver.stats.quantile_groups import group_cuts, group_of


def example(seed: int, n: int = 200, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(2, 3, n), decimals).clip(0.01, 0.99)
    return (rng.random(n) < p**1.3).astype(float), p


def split(y: np.ndarray, p: np.ndarray, seed: int = 0, sites: int = 6) -> TablesSummer:
    part = np.random.default_rng(seed).integers(0, sites, len(y))
    part[0] = sites  # a site with one row; and one with none
    return TablesSummer([Table({"y": y[part == s], "p": p[part == s]}) for s in range(sites + 2)])


def ask(talk: Conversation[object], summer: TablesSummer) -> object:
    return converse({"a": talk}, summer)["a"]


def hoslem(y: np.ndarray, p: np.ndarray, groups: int) -> tuple[float, int, list[int]]:
    """ResourceSelection::hoslem.test by hand: cut at unique type-7 quantiles, (a, b], lowest included."""
    edges = np.unique(np.quantile(p, np.linspace(0, 1, groups + 1)))
    group = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, None)
    chi2, sizes = 0.0, []
    for g in np.unique(group):
        inside = group == g
        n, o, e = inside.sum(), y[inside].sum(), p[inside].sum()
        chi2 += (o - e) ** 2 / e + (o - e) ** 2 / (n - e)
        sizes.append(int(n))
    return chi2, len(sizes) - 2, sizes


@settings(max_examples=25)
@hypothesis.example(20881, 1, 10)  # the lowest tenth is one tied value: R's first interval goes on to the next
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 12]), st.sampled_from([4, 8, 10]))
def test_any_split_gives_hosmer_and_lemeshows_groups(seed: int, decimals: int, groups: int) -> None:
    """With two decimals many predictions are tied; ties can leave fewer groups."""
    y, p = example(seed, decimals=decimals)
    found = ask(hosmer_lemeshow("y", "p", groups=groups, min_cell=1), split(y, p, seed))
    assert isinstance(found, HosmerLemeshow)
    chi2, df, sizes = hoslem(y, p, groups)
    assert [sum(pair) for pair in found.observed] == sizes
    assert found.chi2 == pytest.approx(chi2, rel=1e-9)
    assert found.df == df
    assert found.p == pytest.approx(stats.chi2.sf(chi2, df), rel=1e-8)
    assert ("fewer_groups" in found.flags) == (len(sizes) < groups)


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from([-3.0, -0.0, 0.0, 0.1, 0.2, 0.2000001, 5.0]), min_size=1, max_size=40), st.integers(2, 6)
)
def test_cuts_put_everybody_up_to_the_quantiles_patient_into_the_group(values: list[float], groups: int) -> None:
    x = np.array(values)
    talk = group_cuts("x", len(x), groups)
    cuts = converse({"a": talk}, TablesSummer([Table({"x": x[::2]}), Table({"x": x[1::2]})]))["a"]
    ordered = sorted(values)
    # R's cut over unique type-7 quantiles, in fractions: (a, b], and the lowest interval holds its lower end too
    quantiles = set()
    for j in range(groups + 1):
        low, rest = divmod((len(values) - 1) * j, groups)
        above = Fraction(ordered[min(low + 1, len(values) - 1)])
        quantiles.add(Fraction(ordered[low]) + Fraction(rest, groups) * (above - Fraction(ordered[low])))
    inner = sorted(quantiles)[1:]
    expected = [sum(edge < Fraction(value) for edge in inner) for value in values]
    found = group_of(cuts, x)
    np.testing.assert_array_equal(np.unique(found, return_inverse=True)[1], np.unique(expected, return_inverse=True)[1])


@pytest.mark.parametrize(
    ("values", "groups", "sizes"),
    [
        ([1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9], 5, [5, 2, 2, 2]),  # h = 2 is the last of the tied minimum: no cut there
        ([1, 1, 1, 2, 3, 4, 5, 6, 7, 8], 5, [4, 2, 2, 2]),  # h = 1.8 lies inside the ties
        ([1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9], 3, [4, 4, 4]),  # h = 3.67 lies above them: a cut
        ([1.5, 1.6, 1.7, 2, 3, 4, 5, 6, 7, 8, 9], 5, [3, 2, 2, 2, 2]),  # in one bin at first, but no tie
        ([-2, -2, -2, 0, 0], 2, [5]),  # the median is the minimum
    ],
)
def test_a_quantile_on_the_last_of_the_tied_minimum_is_no_cut(
    values: list[float], groups: int, sizes: list[int]
) -> None:
    """R 4.2.2: table(cut(x, unique(quantile(x, (0:g)/g)), include.lowest = TRUE))."""
    x = np.array(values, np.float64)
    talk = group_cuts("x", len(x), groups)
    cuts = converse({"a": talk}, TablesSummer([Table({"x": x[::2]}), Table({"x": x[1::2]})]))["a"]
    np.testing.assert_array_equal(np.bincount(group_of(cuts, x)), sizes)


def test_slope_intercept_and_citl_are_those_of_statsmodels() -> None:
    y, p = example(1)
    found = ask(calibration("y", "p", min_cell=1), split(y, p))
    assert isinstance(found, Calibration)
    x = logit(p)
    slope = sm.Logit(y, sm.add_constant(x)).fit(method="newton", tol=1e-14, disp=False)
    large = sm.GLM(y, np.ones(len(y)), family=sm.families.Binomial(), offset=x).fit(tol=1e-14)
    assert (found.intercept, found.slope) == pytest.approx(tuple(slope.params), rel=1e-8)
    assert found.slope_se == pytest.approx(slope.bse[1], rel=1e-8)
    assert found.citl == pytest.approx(large.params[0], rel=1e-8)
    assert found.citl_se == pytest.approx(large.bse[0], rel=1e-7)
    assert found.brier == pytest.approx(((p - y) ** 2).mean(), rel=1e-12)
    assert sum(found.n) == len(y)


def test_log_odds_give_the_calibration_of_their_probabilities() -> None:
    y, p = example(2)
    one = ask(calibration("y", "p"), split(y, p))
    other = ask(calibration("y", "p", log_odds=True), split(y, logit(p)))
    assert isinstance(one, Calibration)
    assert isinstance(other, Calibration)
    assert other.slope == pytest.approx(one.slope, rel=1e-9)
    assert other.brier == pytest.approx(one.brier, rel=1e-12)
    np.testing.assert_allclose(other.mean_pred, one.mean_pred, rtol=1e-12)
    assert other.n == one.n


def test_the_smooth_curve_is_local_linear_regression() -> None:
    """Oracle: weighted least squares at every point, from the patients."""
    y, p = example(3)
    found = ask(calibration("y", "p"), split(y, p))
    assert isinstance(found, Calibration)
    assert found.smooth.bandwidth == pytest.approx(1.06 * p.std(ddof=1) * len(p) ** -0.2, rel=1e-10)
    assert len(found.smooth.predicted) > 20
    for at, value in zip(found.smooth.predicted, found.smooth.observed, strict=True):
        w = np.exp(-0.5 * ((p - at) / found.smooth.bandwidth) ** 2)
        line = sm.WLS(y, np.column_stack([np.ones(len(p)), p - at]), weights=w).fit()
        assert value == pytest.approx(min(max(line.params[0], 0.0), 1.0), abs=1e-9)
        assert w.sum() >= 5


def test_fixed_bins_are_tenths() -> None:
    y, p = example(4)
    found = ask(calibration("y", "p", min_cell=1), split(y, p))
    assert isinstance(found, Calibration)
    place = np.minimum((p * 10).astype(int), 9)
    assert list(found.fixed_bins.n) == [n for n in np.bincount(place, minlength=10).tolist() if n]


def test_published_groups_hold_the_floor() -> None:
    y, p = example(5, n=60)
    found = ask(calibration("y", "p", min_cell=9), split(y, p))
    assert isinstance(found, Calibration)
    assert min(found.n) >= 9
    assert min(found.fixed_bins.n) >= 9


def test_rows_used_for_fitting_are_marked_apparent() -> None:
    y, p = example(6)
    for talk in (calibration("y", "p", apparent=True), hosmer_lemeshow("y", "p", apparent=True)):
        found = ask(talk, split(y, p))
        assert found.to_json()["flags"] == ["apparent"]  # type: ignore[attr-defined]


def test_predictions_that_separate_the_outcomes_have_no_slope_and_say_why() -> None:
    y, p = np.array([0.0] * 10 + [1.0] * 10), np.linspace(0.05, 0.95, 20)
    found = ask(calibration("y", "p"), split(y, p))
    assert isinstance(found, Calibration)
    assert (found.slope, found.slope_se) == (None, None)
    assert "separation" in found.flags[0]
    assert found.citl == pytest.approx(0.0, abs=1e-9)


def test_a_constant_prediction_is_one_group() -> None:
    y, p = np.array([0.0, 1.0] * 10), np.full(20, 0.5)
    found = ask(hosmer_lemeshow("y", "p"), split(y, p))
    assert isinstance(found, HosmerLemeshow)
    assert (found.observed, found.df, found.p) == (((10, 10),), -1, None)


@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_a_value_that_is_no_probability_is_refused(bad: float) -> None:
    y, p = example(7)
    p[3] = bad
    with pytest.raises(DataError, match=r"1 of \d+ values are outside \[0, 1\]"):
        ask(hosmer_lemeshow("y", "p"), split(y, p))


def test_a_probability_of_one_has_no_log_odds() -> None:
    y, p = example(7)
    p[3] = 1.0
    with pytest.raises(DataError, match="not strictly between 0 and 1: no log-odds; store log-odds"):
        ask(calibration("y", "p"), split(y, p))


def test_refusals_come_before_any_finer_question() -> None:
    y, p = example(8)
    with pytest.raises(ConfigError, match="needs two or more"):
        ask(hosmer_lemeshow("y", "p", groups=1), split(y, p))
    few = np.where(np.arange(200) < 3, 1.0, 0.0)
    with pytest.raises(PrivacyError, match="'y' 1: fewer than 5"):
        ask(calibration("y", "p"), split(few, p))
    nobody = TablesSummer([Table({"y": np.array([math.nan]), "p": np.array([0.5])})])
    with pytest.raises(DataError, match="no hospital has a row with 'y' and 'p' both present"):
        ask(hosmer_lemeshow("y", "p"), nobody)
