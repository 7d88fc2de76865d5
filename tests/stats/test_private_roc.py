"""Noise in shares has the distribution that it promises, and the interval that it widens covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fl_liver.errors import ConfigError, DataError, ProtocolError
from fl_liver.stats.allowed import of_one
from fl_liver.stats.conversation import Question, Table, TablesSummer, answer, converse
from fl_liver.stats.discrete_laplace import noise_share, noise_variance
from fl_liver.stats.guard import Guard
from fl_liver.stats.local_auc import auc_delong
from fl_liver.stats.permit import Permit
from fl_liver.stats.private_roc import BINS, EDGES, PrivateRoc, from_noised_cells, noised_histogram, private_roc

DRAWS = 60_000
PERMIT = Permit(5, lambda _: [of_one("noised_histogram", scores=["a"], label="y")], noise=(2.0, 2))


def summed(epsilon: float, honest: int, sites: int) -> NDArray[np.int64]:
    shares = np.stack([noise_share(DRAWS, epsilon, honest) for _ in range(sites)])
    total: NDArray[np.int64] = shares.sum(axis=0)
    return total


@pytest.mark.parametrize(("epsilon", "honest"), [(2.0, 1), (2.0, 3), (0.7, 7)])
def test_the_shares_of_the_honest_hospitals_add_up_to_discrete_laplace_noise(epsilon: float, honest: int) -> None:
    """Chi-square against P(k) = (1 − α)/(1 + α)·α^|k|; fails by chance once in 10⁵ runs."""
    noise, alpha = summed(epsilon, honest, honest), np.exp(-epsilon)
    inside = np.arange(-40, 41)
    expected = DRAWS * (1 - alpha) / (1 + alpha) * alpha ** np.abs(inside)
    kept = inside[expected >= 10]
    observed = np.append([np.count_nonzero(noise == k) for k in kept], np.count_nonzero(np.abs(noise) > kept.max()))
    wanted = np.append(expected[expected >= 10], DRAWS - expected[expected >= 10].sum())
    assert stats.chisquare(observed, wanted).pvalue > 1e-5


def test_one_share_alone_is_not_the_whole_noise() -> None:
    """The test above can fail: a third of the noise is far from it."""
    assert np.var(noise_share(DRAWS, 2.0, 3)) < 0.5 * noise_variance(2.0, 1, 1)


@pytest.mark.parametrize("sites", [3, 5, 8])
def test_more_hospitals_than_the_honest_ones_add_noise_as_announced(sites: int) -> None:
    noise = summed(1.0, 3, sites)
    wanted = noise_variance(1.0, 3, sites)
    assert np.var(noise) == pytest.approx(wanted, rel=0.06)
    assert abs(noise.mean()) < 5 * np.sqrt(wanted / DRAWS)
    assert wanted == pytest.approx(sites / 3 * 2 * np.exp(-1) / (1 - np.exp(-1)) ** 2)


def test_two_draws_differ() -> None:
    assert not np.array_equal(noise_share(400, 2.0, 3), noise_share(400, 2.0, 3))


@pytest.mark.parametrize(("epsilon", "honest"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (1.0, 0)])
def test_noise_without_a_meaning_is_refused(epsilon: float, honest: int) -> None:
    with pytest.raises(ConfigError, match=r"wanted ε >= 0\.05, 1 or more"):
        noise_share(1, epsilon, honest)


def hospitals(n: int, sites: int, seed: int, columns: Sequence[str] = ("a",)) -> list[Table]:
    draw = np.random.default_rng(seed)
    label = (draw.random(n) < 0.4).astype(float)
    scores = {name: 1.2 * label - 0.5 + draw.normal(0, 1.2, n) for name in columns}
    place = np.arange(n) % sites
    every = {"y": label, **scores}
    return [Table({name: values[place == site] for name, values in every.items()}) for site in range(sites)]


def asked(
    tables: Sequence[Table], epsilon: float, honest: int = 2, scores: Sequence[str] = ("a",)
) -> dict[str, PrivateRoc]:
    talk = private_roc(scores, "y", epsilon=epsilon, honest=honest, sites=len(tables))
    found: dict[str, PrivateRoc] = converse({"dp": talk}, TablesSummer(tables))["dp"]
    return found


def test_with_hardly_any_noise_it_is_the_auc_of_the_binned_scores() -> None:
    """Oracle: DeLong over the bin numbers of the pooled patients."""
    tables = hospitals(900, 3, seed=4)
    label, score = (np.concatenate([one[name] for one in tables]) for name in ("y", "a"))
    pooled = auc_delong(label, np.searchsorted(EDGES, score, side="right"))
    found = asked(tables, epsilon=60.0)["a"]
    assert (found.n_pos, found.n_neg) == (pooled.n_pos, pooled.n_neg)
    assert found.auc == pytest.approx(pooled.auc, abs=1e-12)
    assert found.se == pytest.approx(pooled.se, rel=1e-9)
    assert abs(found.auc - auc_delong(label, score).auc) <= found.certificate


def test_the_interval_covers_the_true_auc_within_monte_carlo_error() -> None:
    """Binormal scores on the grid; 95 % ± three standard errors of 1500 cohorts, and too narrow without the noise."""
    repeats, m, n, epsilon, models = 1500, 150, 250, 2.0, 3
    p1, p0 = (np.diff(stats.norm.cdf([-np.inf, *EDGES, np.inf], mean, 1.5)) for mean in (1.0, -0.5))
    truth = float(p1 @ (np.cumsum(p0) - 0.5 * p0))
    draw = np.random.default_rng(8)
    shares = np.stack([noise_share(repeats * 2 * BINS, epsilon / models, 2) for _ in range(3)])
    noise = shares.sum(axis=0).reshape(repeats, 2, BINS)
    variance = noise_variance(epsilon / models, 2, 3)
    found = [
        from_noised_cells(draw.multinomial(n, p0) + one[0], draw.multinomial(m, p1) + one[1], variance, epsilon=epsilon)
        for one in noise
    ]
    auc, se = np.array([one.auc for one in found]), np.array([one.se for one in found])
    margin = 3 * np.sqrt(0.05 * 0.95 / repeats)
    assert abs(np.mean(np.abs(auc - truth) <= 1.959964 * se) - 0.95) < margin
    alone = np.sqrt([one.var_sampling for one in found])
    assert np.mean(np.abs(auc - truth) <= 1.959964 * alone) < 0.95 - margin
    assert np.var(auc) == pytest.approx(np.mean(se**2), rel=0.15)


def test_all_models_of_the_plan_share_epsilon() -> None:
    tables = hospitals(600, 3, seed=1, columns=("a", "b", "c"))
    one, three = asked(tables, 2.0)["a"], asked(tables, 2.0, scores=("a", "b", "c"))
    assert set(three) == {"a", "b", "c"}
    assert three["a"].noise_sd == pytest.approx(np.sqrt(noise_variance(2.0 / 3, 2, 3)))
    assert three["a"].noise_sd > 2 * one.noise_sd
    assert (three["a"].epsilon, three["a"].models) == (2.0, 3)


def test_the_cost_stands_in_the_result() -> None:
    body = asked(hospitals(300, 3, seed=2), 2.0)["a"].to_json()
    assert body["cost"].startswith(
        "differential privacy, epsilon 2 for 1 model together: the noise widens the standard"
    )
    assert body["flags"] == ["few_patients"]
    assert body["var_noise"] > 0


@pytest.mark.parametrize("epsilon", [1.99, 0.0, -2.0, float("nan"), float("inf")])
def test_an_epsilon_below_two_is_refused_by_the_plan_and_by_the_hospital(epsilon: float) -> None:
    tables = hospitals(60, 3, seed=2)
    with pytest.raises(ConfigError, match="wanted 2 or more for all models together"):
        asked(tables, epsilon)
    good = noised_histogram(["a"], "y", epsilon=2.0, honest=2)
    with pytest.raises(ConfigError, match="wanted 2 or more for all models together"):
        answer(replace(good, arguments={**good.arguments, "epsilon": epsilon}), tables[0])


@pytest.mark.parametrize(
    ("scores", "honest", "reason"),
    [
        ((), 2, "wanted one or more different scores"),
        (("a", "a"), 2, "different scores"),
        (("a",), 0, "wanted 1 or more"),
        (("a",), 4, "4 honest hospitals among 3"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(scores: tuple[str, ...], honest: int, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        asked(hospitals(60, 3, seed=2), 2.0, honest, scores)


def test_too_few_patients_under_the_noise_give_no_auc() -> None:
    with pytest.raises(DataError, match="fewer than 10 patients of a class are left after the noise"):
        from_noised_cells(np.full(BINS, 9), np.zeros(BINS, np.int64), 4.0, epsilon=2.0)


def test_no_exact_count_may_be_asked_beside_it() -> None:
    guard = Guard(PERMIT)
    with pytest.raises(ProtocolError, match="question 'class_counts' is not in the plan"):
        guard.check([Question("class_counts", {"score": "a", "label": "y"}, 2)])


def test_noise_is_answered_once_and_as_agreed() -> None:
    guard = Guard(PERMIT)
    with pytest.raises(ProtocolError, match=r"noise \(40.0, 2\) was asked, agreed is \(2.0, 2\)"):
        guard.check([noised_histogram(["a"], "y", epsilon=40.0, honest=2)])
    good = noised_histogram(["a"], "y", epsilon=2.0, honest=2)
    guard.check([good])
    with pytest.raises(ProtocolError, match="the plan asks once, for all models together"):
        guard.check([good])


def test_it_is_off_where_nobody_agreed_to_it() -> None:
    with pytest.raises(ProtocolError, match="agreed is None"):
        Guard(replace(PERMIT, noise=None)).check([noised_histogram(["a"], "y", epsilon=2.0, honest=2)])
