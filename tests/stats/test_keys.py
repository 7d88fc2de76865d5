import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_liver.errors import DataError
from fl_liver.stats.keys import (
    KEY_BITS,
    encode,
    float64_from_key,
    float64_key,
    logit32_from_key,
    logit32_key,
    lower_edge,
)

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, finite)
def test_float64_keys_are_ordered_as_their_numbers(a: float, b: float) -> None:
    ka, kb = (int(k) for k in float64_key(np.array([a, b])))
    assert (ka < kb) == (a < b)
    assert (ka == kb) == (a == b)


@given(st.lists(finite, max_size=20))
def test_a_float64_key_gives_its_number_back(values: list[float]) -> None:
    array = np.array(values, np.float64)
    np.testing.assert_array_equal(float64_from_key(float64_key(array)), array)


def test_minus_zero_has_the_key_of_plus_zero() -> None:
    assert len(set(float64_key(np.array([-0.0, 0.0])).tolist())) == 1


def test_keys_beyond_every_number_are_infinite_edges() -> None:
    edges = float64_from_key(np.array([0, 2**64 - 1], np.uint64))
    assert edges.tolist() == [-math.inf, math.inf]


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_logit_keys_never_fall_as_the_log_odds_rise(a: float, b: float) -> None:
    low, high = sorted([a, b])
    ka, kb = (int(k) for k in logit32_key(np.array([low, high])))
    assert ka <= kb < 2 ** KEY_BITS["logit32"]
    if low < high - 2**-25 and low >= -32 and high < 32:
        assert ka < kb


@given(st.floats(-50, 50), st.floats(-50, 50), st.sampled_from(["float64", "logit32"]))
def test_a_score_reaches_an_edge_exactly_when_its_key_does(a: float, b: float, key: str) -> None:
    """A threshold that is a bin edge classifies scores as the bins do."""
    ka, kb = encode(key, np.array([a, b]))  # type: ignore[arg-type]
    edge = lower_edge(key, np.array([kb]))[0]  # type: ignore[arg-type]
    assert (a >= edge) == (ka >= kb)


@given(st.sampled_from([-40.0, -8.0, 0.0, 8.0]), st.integers(-3, 3))
def test_an_edge_beside_a_seam_of_the_logit_grid_belongs_to_its_own_cell(seam: float, steps: int) -> None:
    key = logit32_key(np.array([seam])) + np.uint64(max(steps, 0)) - np.uint64(max(-steps, 0) if seam > -40 else 0)
    edge = logit32_from_key(key)
    if np.isfinite(edge[0]):
        assert logit32_key(edge).tolist() == key.tolist()
        assert logit32_key(np.nextafter(edge, -np.inf))[0] == key[0] - np.uint64(1)


def test_the_lowest_logit_cell_is_open_below() -> None:
    assert logit32_from_key(logit32_key(np.array([-500.0])))[0] == -math.inf


@pytest.mark.parametrize("key", ["float64", "logit32"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused(key: str, bad: float) -> None:
    with pytest.raises(DataError, match="1 of 2 scores are not finite"):
        encode(key, np.array([0.5, bad]))  # type: ignore[arg-type]
