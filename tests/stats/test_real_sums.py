import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Question, Table, TablesSummer, answer, converse
from fl_liver.stats.design import Term
from fl_liver.stats.limbs import join_limbs, split_limbs
from fl_liver.stats.moments import Moments, moments
from fl_liver.stats.real_sums import answers_reals, fixed_point, real_sums


@answers_reals("test_plain_sums")
def _plain_sums(question: Question, table: Table) -> np.ndarray:
    return np.array([table[name].sum() for name in question.arguments["columns"]])


def total(columns: list[list[float]], scale_bits: int | None = None) -> list[float]:
    """Every inner list is one site with one row."""
    names = [f"c{i}" for i in range(len(columns[0]))]
    tables = [Table({name: np.array([value]) for name, value in zip(names, row, strict=True)}) for row in columns]
    talk = real_sums("test_plain_sums", {"columns": names}, len(names), scale_bits=scale_bits)
    result: list[float] = converse({"a": talk}, TablesSummer(tables))["a"].tolist()
    return result


@settings(max_examples=150)
@given(st.lists(st.floats(-1e250, 1e250), min_size=1, max_size=8))
def test_sums_of_any_size_are_exact_to_the_largest_summand(values: list[float]) -> None:
    """At least 64 bits lie below the largest sum of a hospital; Fractions are the oracle."""
    exact = sum((Fraction(v) for v in values), Fraction(0))
    found = total([[v] for v in values])[0]
    limit = len(values) * Fraction(max(abs(v) for v in values)) / 2**60 + abs(exact) / 2**53  # + rounding to float64
    assert abs(Fraction(found) - exact) <= limit


def test_columns_of_very_different_size_do_not_disturb_each_other() -> None:
    rows = [[1e-200, 1e200, 0.0], [3e-200, 2e200, 0.0]]
    assert total(rows) == [pytest.approx(4e-200, rel=1e-15), pytest.approx(3e200, rel=1e-15), 0.0]


def test_the_known_scale_takes_one_exchange_and_is_exact() -> None:
    assert total([[0.1], [0.2], [-0.25]], scale_bits=60) == [pytest.approx(0.05, rel=1e-15)]


def test_a_sum_of_squares_that_overflows_one_limb_is_right() -> None:
    """Σ bwt² of a birth-weight table at 2^-40 alone passes 2^63 some 200 times over."""
    values = np.arange(700.0, 5000.0)
    talk = moments([Term("bwt")])
    found: Moments = converse({"a": talk}, TablesSummer([Table({"bwt": values})]))["a"]
    assert found.sd[0] == pytest.approx(values.std(ddof=1), rel=1e-13)


@given(st.lists(st.integers(-(2**99), 2**99), max_size=20))
def test_limbs_add_apart_and_join_exactly(values: list[int]) -> None:
    added = sum((split_limbs([v]) for v in values), np.zeros(2, np.int64))
    assert join_limbs(added) == [sum(values)]


def test_a_value_beyond_the_limbs_is_refused_not_wrapped() -> None:
    with pytest.raises(DataError, match=r"beyond 2\^100"):
        split_limbs([2**100])
    with pytest.raises(DataError, match=r"beyond 2\^100"):
        total([[1e20]], scale_bits=56)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_sum_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="1 of 1 sums are not finite"):
        total([[bad]])


def test_fixed_point_rounds_to_even() -> None:
    assert fixed_point(np.array([0.5, 1.5, -0.5]), [0, 0, 0]) == [0, 2, 0]


def test_the_range_question_shows_only_in_which_range_a_sum_lies() -> None:
    question = Question("test_plain_sums", {"columns": ["c"], "phase": "range"}, 68)
    one, other = (answer(question, Table({"c": np.array([v])})) for v in (1.25, 77.0))
    assert one.sum() == 1
    np.testing.assert_array_equal(one, other)


def test_means_and_deviations_are_those_of_the_pooled_columns() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(1e9, 1.0, 200), rng.normal(0, 1e-8, 200)
    x[3] = math.nan
    tables = [Table({"x": x[part], "y": y[part]}) for part in np.array_split(np.arange(200), [0, 1, 50])]
    found: Moments = converse({"a": moments([Term("x"), Term("y")])}, TablesSummer(tables))["a"]
    kept = ~np.isnan(x)
    assert found.n == 199
    assert found.mean == pytest.approx((x[kept].mean(), y[kept].mean()), rel=1e-10)
    assert found.sd == pytest.approx((x[kept].std(ddof=1), y[kept].std(ddof=1)), rel=1e-9)


def test_nobody_has_no_mean() -> None:
    with pytest.raises(DataError, match="no hospital has a row with x"):
        converse({"a": moments([Term("x")])}, TablesSummer([Table({"x": np.array([math.nan])})]))
