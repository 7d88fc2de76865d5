"""Readers twice on the same patients, readers by experience, the balanced cut-off, and box plots."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, recall_score

from fl_liver.errors import ConfigError, PrivacyError
from fl_liver.stats.boxes import boxes
from fl_liver.stats.conversation import Conversation, Table, TablesSummer, converse
from fl_liver.stats.fleiss import fleiss_kappa
from fl_liver.stats.reader_groups import pooled_difference
from fl_liver.stats.readers import readers_against_model
from fl_liver.stats.readers_with_ai import readers_with_ai
from fl_liver.stats.roc import roc

ALONE, WITH_AI = ["r1", "r2", "r3"], ["a1", "a2", "a3"]


def over_sites(talk: Conversation[Any], columns: dict[str, NDArray[Any]]) -> Any:
    n = len(next(iter(columns.values())))
    tables = [Table({k: v[a:b] for k, v in columns.items()}) for a, b in pairwise([0, n // 5, n // 5, n // 2, n])]
    return converse({"it": talk}, TablesSummer(tables))["it"]


def cohort(n: int = 240, seed: int = 3) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.45).astype(np.float64)
    seen = rng.normal(1.4 * (2 * y - 1), 1.0)
    calls = {name: (seen + rng.normal(0, 1.6, n) > 0.3 * place).astype(float) for place, name in enumerate(ALONE)}
    calls |= {name: (seen + rng.normal(0, 0.8, n) > 0.1).astype(float) for name in WITH_AI}
    calls["r1"][:7] = np.nan  # patients whom one reader did not call are left out
    return {"y": y, "model": 1 / (1 + np.exp(-seen)), "site": np.arange(n) % 2 * 1.0, **calls}


def complete(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    keep = ~np.any([np.isnan(values) for values in columns.values()], axis=0)
    return {name: values[keep] for name, values in columns.items()}


def test_every_reader_and_the_pooled_test_are_those_of_the_patients_rows() -> None:
    found = over_sites(readers_with_ai("y", ALONE, WITH_AI, ["1-5", "1-5", "> 15"]), cohort())
    rows = complete(cohort())
    y = rows["y"]
    for one, other in zip(ALONE, WITH_AI, strict=True):
        reader = found.readers[one]
        assert reader.alone.sensitivity[0] == pytest.approx(recall_score(y, rows[one]))
        assert reader.with_ai.accuracy[0] == pytest.approx(accuracy_score(y, rows[other]))
        b, c = ((rows[other] == y) & (rows[one] != y)).sum(), ((rows[other] != y) & (rows[one] == y)).sum()
        assert (reader.mcnemar_accuracy.b, reader.mcnemar_accuracy.c) == (b, c)
        negative = y == 0
        made_right = (rows[one][negative] > rows[other][negative]).sum()
        assert reader.mcnemar_specificity.b == made_right
    right = np.array([(rows[b] == y).astype(int) - (rows[a] == y) for a, b in zip(ALONE, WITH_AI, strict=True)])
    for group, places in (("1-5", [0, 1]), ("> 15", [2]), (None, [0, 1, 2])):
        of = found.pooled if group is None else found.groups[group]
        assert of.readers == tuple(ALONE[i] for i in places)
        for what, chosen in (("accuracy", y >= 0), ("sensitivity", y == 1), ("specificity", y == 0)):
            d = right[places][:, chosen].sum(axis=0)
            assert of.difference[what].z == pytest.approx(d.sum() / np.sqrt((d**2).sum()), rel=1e-12)
            mean = d / len(places)
            half = stats.norm.ppf(0.975) * mean.std(ddof=1) / np.sqrt(len(d))
            assert of.difference[what].ci95 == pytest.approx((mean.mean() - half, mean.mean() + half), rel=1e-9)
            assert of.difference[what].estimate == pytest.approx(of.mean[what] - of.other[what], abs=1e-12)
    after, before = ([recall_score(y, rows[name]) for name in names] for names in (WITH_AI, ALONE))
    assert found.reader_t_p["sensitivity"] == pytest.approx(stats.ttest_rel(after, before).pvalue, rel=1e-9)


def test_agreement_with_and_without_ai_is_fleiss_kappa_of_the_same_patients() -> None:
    rows = complete(cohort())
    found = over_sites(readers_with_ai("y", ALONE, WITH_AI), rows)
    for name, raters in (("alone", ALONE), ("with_ai", WITH_AI)):
        alone = over_sites(fleiss_kappa(raters), rows)
        assert found.agreement[name] == alone
    assert over_sites(readers_with_ai("y", ["r1"], ["a1"]), rows).agreement is None


def test_with_one_reader_the_pooled_test_is_mcnemars() -> None:
    """R 4.2.2: mcnemar.test(matrix(c(10, 1, 5, 14), 2), correct = FALSE)$p.value"""
    assert pooled_difference(5 - 1, 5 + 1, 30, 1).p == pytest.approx(0.102470434860, rel=1e-9)


@pytest.mark.parametrize(
    ("sums", "estimate", "p"),
    [((10, 10, 10, 1), 1.0, 0.0015654), ((0, 0, 6, 3), 0.0, np.nan), ((-14, 28, 7, 3), -2 / 3, 0.0081510)],
)
def test_a_difference_that_is_the_same_in_every_patient_has_no_interval_and_says_why(
    sums: tuple[int, int, int, int], estimate: float, p: float
) -> None:
    """An interval without width would be the surest of all; z is Σd/√Σd², as ever."""
    found = pooled_difference(*sums)
    assert found.estimate == pytest.approx(estimate)
    assert np.isnan(found.ci95).all()
    assert found.flags == ("degenerate_variance",)
    assert found.p == pytest.approx(p, abs=1e-7, nan_ok=True)
    assert pooled_difference(9, 9, 10, 1).flags == ()


def test_where_ai_changes_nothing_there_is_no_test() -> None:
    rows = complete(cohort())
    found = over_sites(readers_with_ai("y", ALONE, ALONE), rows)
    nothing = {"estimate": 0, "ci95": [None, None], "z": None, "p": None, "flags": ["degenerate_variance"]}
    assert found.to_json()["pooled"]["difference"]["accuracy"] == nothing
    assert found.to_json()["reader_t_p"]["accuracy"] is None


def test_readers_by_experience_against_the_model_count_patients_once() -> None:
    rows = complete(cohort())
    found = over_sites(readers_against_model("y", ALONE, "model", 0.5, ["junior", "junior", "senior"]), rows)
    y, call = rows["y"], rows["model"] >= 0.5
    d = np.array([(rows[name] == y).astype(int) - (call == y) for name in ("r1", "r2")]).sum(axis=0)
    assert found.groups["junior"].difference["accuracy"].z == pytest.approx(d.sum() / np.sqrt((d**2).sum()))
    assert found.groups["senior"].other["accuracy"] == pytest.approx(accuracy_score(y, call))
    assert list(found.groups) == ["junior", "senior"]


def test_readers_and_their_second_calls_must_be_as_many() -> None:
    with pytest.raises(ConfigError, match="3 columns without AI and 2 with it"):
        over_sites(readers_with_ai("y", ALONE, WITH_AI[:2]), cohort())
    with pytest.raises(ConfigError, match="2 groups are named for 3 readers; give one a reader"):
        over_sites(readers_with_ai("y", ALONE, WITH_AI, ["a", "b"]), cohort())


def test_a_small_class_is_refused_before_readers_are_described() -> None:
    rows = complete(cohort())
    rows["y"] = np.where(np.arange(len(rows["y"])) < 3, 1.0, 0.0)
    with pytest.raises(PrivacyError, match="y = 1: fewer than 5"):
        over_sites(readers_with_ai("y", ALONE, WITH_AI), rows)


@pytest.mark.parametrize("seed", range(6))
def test_the_balanced_cutoff_is_the_nearest_among_all_thresholds_that_tell_the_classes_apart(seed: int) -> None:
    """Oracle: every score as a threshold. Scores with one decimal leave no range of one class undivided."""
    rng = np.random.default_rng(seed)
    y = (rng.random(90) < 0.4).astype(float)
    score = np.round(rng.normal(y, 1.0) * 2) / 2
    found = over_sites(roc("s", "y", min_cell=1), {"s": score, "y": y}).balanced
    shares = [((score[y == 1] >= t).mean(), (score[y == 0] < t).mean()) for t in [*np.unique(score), 99]]
    nearest = min(abs(a - b) for a, b in shares)
    assert abs(found.sensitivity - found.specificity) == pytest.approx(nearest, abs=1e-12)
    assert found.tp == (score[y == 1] >= found.threshold).sum()
    assert found.tn == (score[y == 0] < found.threshold).sum()


def test_the_balanced_cutoff_differs_from_youdens() -> None:
    """Positives 2, 3, 4, 9; negatives 1, 1, 1, 5, 5: at 2 (1, .6), at 3 (.75, .6), at 4 (.5, .6), the nearest."""
    columns = {"s": np.array([2, 3, 4, 9, 1, 1, 1, 5, 5.0]), "y": np.array([1, 1, 1, 1, 0, 0, 0, 0, 0.0])}
    found = over_sites(roc("s", "y", min_cell=1), columns)
    assert (found.youden.sensitivity, found.youden.specificity) == (1.0, 0.6)
    assert (found.balanced.sensitivity, found.balanced.specificity) == (0.5, 0.6)


def test_boxes_are_the_quantiles_of_each_group() -> None:
    """NumPy's default is R's type 7; with a floor of 5 a whisker wants five patients at or beyond it."""
    rng = np.random.default_rng(5)
    x, group = rng.normal(0, 1, 120).round(2), np.array(["a", "b"], dtype=object)[(np.arange(120) < 20).astype(int)]
    found = over_sites(boxes("x", "g", min_cell=1), {"x": x, "g": group})
    for place, name in enumerate(found.groups):
        wanted = np.quantile(x[group == name], [0.1, 0.25, 0.5, 0.75, 0.9])
        shown = [getattr(found, key)[place] for key in ("low", "q1", "median", "q3", "high")]
        assert shown == pytest.approx(wanted.tolist(), abs=1e-12)
    assert found.n == (100, 20)
    floored = over_sites(boxes("x", "g"), {"x": x, "g": group})
    assert floored.low[0] is not None
    assert (floored.low[1], floored.high[1]) == (None, None)
    low, high = floored.median[1]
    assert low <= np.median(x[group == "b"]) <= high
    assert ((x[group == "b"] >= low) & (x[group == "b"] < high)).sum() >= 5
    rounded = over_sites(boxes("x", "g", resolution=0.5), {"x": x, "g": group})
    assert rounded.median[0] == pytest.approx(np.median(np.rint(x[group == "a"] / 0.5) * 0.5))
