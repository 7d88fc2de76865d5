import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fl_liver.errors import DataError
from fl_liver.stats.local_auc import auc_delong, paired_delong

values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 0.29, 1e-300, -1e-300, 1e300, -1e300, 5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
)
rows = st.lists(st.tuples(st.integers(0, 1), values), min_size=4, max_size=30).filter(
    lambda found: 2 <= sum(r[0] for r in found) <= len(found) - 2
)


def by_definition(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    kernel = (x[y == 1][:, None] > x[y == 0][None, :]) + 0.5 * (x[y == 1][:, None] == x[y == 0][None, :])
    v10, v01 = kernel.mean(axis=1), kernel.mean(axis=0)
    return float(kernel.mean()), float(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))


@settings(max_examples=200)
@given(rows)
def test_every_finite_score_is_ordered_exactly(found: list[tuple[int, float]]) -> None:
    """Ties, signed zeros, subnormals and spans of 600 decades all take a different road to the sort."""
    y, x = np.array([r[0] for r in found]), np.array([r[1] for r in found])
    auc, var = by_definition(y, x)
    result = auc_delong(y, x)
    assert result.auc == pytest.approx(auc, rel=1e-12)
    assert result.var == pytest.approx(var, rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("decimals", [1, 12])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_large_tables_agree_with_scikit_learn(decimals: int, scale: float) -> None:
    rng = np.random.default_rng(1)
    y = rng.random(20_000) < 0.3
    x = np.round(scale * (rng.normal(size=20_000) + y), decimals)
    assert auc_delong(y, x).auc == pytest.approx(roc_auc_score(y, x), rel=1e-12)


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 3))
def test_the_paired_test_agrees_with_the_definition(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.concatenate([[0, 0, 1, 1], rng.integers(0, 2, 40)])
    a, b = (np.round(rng.normal(size=44) + y, decimals) for _ in range(2))
    found = paired_delong(y, a, b)
    kernels = [(s[y == 1][:, None] > s[y == 0]) + 0.5 * (s[y == 1][:, None] == s[y == 0]) for s in (a, b)]
    v10, v01 = np.stack([k.mean(axis=1) for k in kernels]), np.stack([k.mean(axis=0) for k in kernels])
    cov = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    assert found.cov == pytest.approx(cov[0, 1], rel=1e-9, abs=1e-15)
    assert found.var == pytest.approx((cov[0, 0], cov[1, 1]), rel=1e-9)
    assert found.z == pytest.approx(
        (found.auc[0] - found.auc[1]) / math.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]), rel=1e-6, abs=1e-12
    )
    assert paired_delong(y, b, a).z == -found.z


def test_a_class_of_one_has_no_interval() -> None:
    result = auc_delong([0, 0, 1], [0.1, 0.5, 0.3])
    assert (result.auc, result.var, result.ci95) == (0.5, None, None)
    assert result.to_json()["se"] is None


def test_the_same_score_twice_has_p_of_one() -> None:
    found = paired_delong([0, 0, 1, 1], [1, 3, 2, 4], [1, 3, 2, 4])
    assert (found.z, found.p) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("y", "x", "message"),
    [
        ([0, 0], [1.0, 2.0], "0 of 2 labels are 1"),
        ([0, 1], [1.0], "two vectors of one length"),
        ([0, 2], [1.0, 2.0], "another value than 0 and 1"),
        ([0, 1], [1.0, math.nan], "1 of 2 scores are not finite"),
        ([], [], "0 of 0 labels"),
    ],
)
def test_bad_input_is_refused(y: list[int], x: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        auc_delong(y, x)


def test_a_paired_test_needs_two_of_each_class() -> None:
    with pytest.raises(DataError, match="1 positives and 2 negatives"):
        paired_delong([0, 0, 1], [1, 2, 3], [3, 2, 1])
