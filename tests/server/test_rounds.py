"""A round: the weighted mean, the same bits in any order of arrival, and every update that it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_liver.errors import IncompleteError, ProtocolError
from fl_liver.messages import Update
from fl_liver.server.rounds import _BLOCK, Round, RoundResult

SITES = ("H01", "H02", "H03", "H04", "H05")


def updates(size: int = 7, seed: int = 1) -> dict[str, Update]:
    draw = np.random.default_rng(seed)
    return {
        site: Update(
            1, draw.normal(0, 1, size).astype(np.float32), int(draw.integers(1, 200)), float(draw.uniform(0.1, 2))
        )
        for site in SITES
    }


def run(order: Sequence[str], given_updates: dict[str, Update], min_sites: int = 3) -> RoundResult:
    size = len(next(iter(given_updates.values())).vector)
    current = Round(1, SITES, size, min_sites)
    for site in order:
        current.receive(site, given_updates[site])
    return current.close()


@pytest.mark.parametrize("size", [1, 7, _BLOCK - 1, _BLOCK, 2 * _BLOCK + 3])
def test_the_mean_is_numpys_weighted_mean(size: int) -> None:
    """Also across the edges of the blocks in which it is added."""
    sent = updates(size)
    result = run(SITES, sent)
    vectors = np.stack([sent[site].vector.astype(np.float64) for site in SITES])
    weights = [sent[site].weight for site in SITES]
    np.testing.assert_allclose(result.vector, np.average(vectors, axis=0, weights=weights), rtol=2e-6, atol=1e-6)
    assert result.vector.dtype == np.float32
    assert result.loss == pytest.approx(np.average([sent[site].loss for site in SITES], weights=weights), rel=1e-12)
    assert (result.round, result.answered, result.missing) == (1, SITES, ())


@given(st.permutations(SITES))
def test_the_order_of_arrival_does_not_change_a_bit(order: list[str]) -> None:
    """Float32 addition is not associative: only a fixed order of adding makes engines agree."""
    sent = updates(101)
    fixed, found = run(SITES, sent), run(order, sent)
    assert found.vector.tobytes() == fixed.vector.tobytes()
    assert found.loss == fixed.loss
    assert found.answered == fixed.answered


@given(st.permutations(SITES), st.sets(st.sampled_from(SITES), min_size=0, max_size=5))
def test_whoever_drops_out_the_mean_is_that_of_the_others(order: list[str], gone: set[str]) -> None:
    sent = updates(33)
    left = tuple(site for site in SITES if site not in gone)
    arrivals = [site for site in order if site not in gone]
    if len(left) < 3:
        with pytest.raises(IncompleteError, match=rf"{len(left)} of 5 hospitals answered, wanted at least 3"):
            run(arrivals, sent)
        return
    result = run(arrivals, sent)
    vectors = np.stack([sent[site].vector.astype(np.float64) for site in left])
    weights = [sent[site].weight for site in left]
    np.testing.assert_allclose(result.vector, np.average(vectors, axis=0, weights=weights), rtol=2e-6, atol=1e-6)
    assert result.answered == left
    assert result.missing == tuple(site for site in SITES if site in gone)
    assert result.vector.tobytes() == run(left, sent).vector.tobytes()


def test_below_the_floor_nothing_is_opened_and_the_missing_are_named() -> None:
    sent = updates()
    current = Round(4, SITES, 7, min_sites=3)
    for site in ("H05", "H02"):
        current.receive(site, Update(4, sent[site].vector, 3, 0.5))
    with pytest.raises(
        IncompleteError,
        match=r"^round 4: 2 of 5 hospitals answered, wanted at least 3; missing: H01, H03, H04$",
    ):
        current.close()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (Update(2, np.zeros(7, np.float32), 3, 0.5), "round 1: H01 answered round 2"),
        (Update(1, np.zeros(6, np.float32), 3, 0.5), r"H01 sent float32\(6,\), wanted float32\(7,\)"),
        (Update(1, np.zeros((1, 7), np.float32), 3, 0.5), r"H01 sent float32\(1, 7\), wanted float32\(7,\)"),
        (Update(1, np.zeros(7, np.float64), 3, 0.5), r"H01 sent float64\(7,\), wanted float32\(7,\)"),
        (Update(1, np.zeros(7, np.float32), 0, 0.5), "H01 sent weight 0 and loss 0.5"),
        (Update(1, np.zeros(7, np.float32), -3, 0.5), "H01 sent weight -3 and loss 0.5"),
        (Update(1, np.zeros(7, np.float32), 3, float("nan")), "H01 sent weight 3 and loss nan"),
        (Update(1, np.zeros(7, np.float32), 3, float("inf")), "H01 sent weight 3 and loss inf"),
    ],
)
def test_an_update_that_does_not_fit_is_refused_and_leaves_no_trace(wrong: Update, match: str) -> None:
    sent = updates()
    current = Round(1, SITES, 7, min_sites=3)
    with pytest.raises(ProtocolError, match=match):
        current.receive("H01", wrong)
    for site in SITES[1:]:
        current.receive(site, sent[site])
    result = current.close()
    assert result.missing == ("H01",)
    assert result.vector.tobytes() == run(SITES[1:], sent).vector.tobytes()


@pytest.mark.parametrize("first", [("H01",), ("H03",)], ids=["already added", "still waiting"])
def test_a_second_answer_is_refused_and_does_not_count_twice(first: tuple[str, ...]) -> None:
    sent = updates()
    current = Round(1, SITES, 7, min_sites=3)
    for site in first:
        current.receive(site, sent[site])
        with pytest.raises(ProtocolError, match=f"an update of {site} is not expected"):
            current.receive(site, sent[site])
    for site in SITES:
        if site not in first:
            current.receive(site, sent[site])
    assert current.close().vector.tobytes() == run(SITES, sent).vector.tobytes()


def test_a_stranger_is_refused() -> None:
    with pytest.raises(ProtocolError, match="round 1: an update of H99 is not expected"):
        Round(1, SITES, 7, min_sites=3).receive("H99", updates()["H01"])


def test_a_weight_of_two_is_two_equal_hospitals() -> None:
    same = np.array([1, 2, 3], np.float32)
    other = np.array([5, 5, 5], np.float32)
    double = Round(1, ("A", "B"), 3, 1)
    double.receive("A", Update(1, same, 2, 1.0))
    double.receive("B", Update(1, other, 1, 4.0))
    result = double.close()
    np.testing.assert_allclose(result.vector, (2 * same + other) / 3, rtol=1e-6)
    assert result.loss == 2.0
