"""Nomogram, readers against a model, the confidence zone, and the HCC risk score."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, recall_score

from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.stats import hcc_risk_score
from fl_liver.stats.conversation import Conversation, Table, TablesSummer, converse
from fl_liver.stats.design import Factor
from fl_liver.stats.nomogram import nomogram
from fl_liver.stats.reader_groups import t_test
from fl_liver.stats.readers import low_confidence, ordinal_from_call, readers_against_model


def over_sites(talk: Conversation[Any], columns: dict[str, NDArray[Any]]) -> Any:
    n = len(next(iter(columns.values())))
    tables = [Table({k: v[a:b] for k, v in columns.items()}) for a, b in pairwise([0, n // 4, n // 4, n // 2, n])]
    return converse({"it": talk}, TablesSummer(tables))["it"]


def cohort(n: int = 400, seed: int = 4) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    age, size = rng.normal(60, 10, n).round(), rng.gamma(3, 10, n).round(1)
    vessel = np.array(["rim", "none", "hyper"], dtype=object)[rng.integers(0, 3, n)]
    eta = 0.05 * (age - 60) - 0.03 * (size - 30) + 1.0 * (vessel == "rim")
    y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    model = 1 / (1 + np.exp(-eta - rng.normal(0, 0.5, n)))
    calls = {f"reader{i}": (rng.random(n) < np.where(y == 1, 0.8, 0.25)).astype(float) for i in range(3)}
    return {"age": age, "size": size, "vessel": vessel, "y": y, "model": model, **calls}


def drawn() -> Any:
    factors = {"vessel": Factor(("hyper", "none", "rim"), "none")}
    limits = {"age": (40.0, 80.0), "size": (10.0, 70.0)}
    return over_sites(nomogram("y", ["age", "size", "vessel"], limits, factors=factors), cohort())


def test_the_widest_term_runs_to_100_and_every_term_starts_at_0() -> None:
    found = drawn()
    ends = [*found.points.values(), *(tuple(one.values()) for one in found.level_points.values())]
    assert [min(one) for one in ends] == [0, 0, 0]
    assert max(max(one) for one in ends) == pytest.approx(100)
    assert found.points["age"][0] == 0
    assert found.points["size"][1] == 0


def test_adding_up_points_gives_the_fitted_probability() -> None:
    found = drawn()
    beta = dict(zip(found.terms, found.beta, strict=True))
    points = found.points["age"][1] + found.points["size"][0] + found.level_points["vessel"]["rim"]
    fitted = beta["(Intercept)"] + 80 * beta["age"] + 10 * beta["size"] + beta["vesselrim"]
    assert found.log_odds_at_zero + points / found.points_per_log_odds == pytest.approx(fitted, rel=1e-12)


def test_limits_must_be_those_of_the_numeric_terms() -> None:
    with pytest.raises(ConfigError, match="no limits for 'size'"):
        over_sites(nomogram("y", ["age", "size"], {"age": (1, 2)}), cohort())
    with pytest.raises(ConfigError, match="wanted low below high"):
        over_sites(nomogram("y", ["age"], {"age": (2, 2)}), cohort())
    with pytest.raises(ConfigError, match="'size', which is not a numeric term"):
        over_sites(nomogram("y", ["age"], {"age": (1, 2), "size": (1, 2)}), cohort())


def test_readers_have_the_accuracy_and_paired_tests_of_pooled_counting() -> None:
    columns = cohort()
    readers = ["reader0", "reader1", "reader2"]
    found = over_sites(readers_against_model("y", readers, "model", 0.5), columns)
    y, call = columns["y"], (columns["model"] >= 0.5).astype(float)
    assert found.model.accuracy[0] == pytest.approx(accuracy_score(y, call))
    for name in readers:
        one = columns[name]
        assert found.readers[name].accuracy.sensitivity[0] == pytest.approx(recall_score(y, one))
        positives = y == 1
        assert found.readers[name].mcnemar_sensitivity.b == int((one[positives] > call[positives]).sum())
        right, model_right = one == y, call == y
        b, c = int((right & ~model_right).sum()), int((~right & model_right).sum())
        both = found.readers[name].mcnemar_accuracy
        assert (both.b, both.c) == (b, c)
        assert both.p_exact == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-9)
        negatives = ~positives
        assert found.readers[name].mcnemar_specificity.b == int((one[negatives] < call[negatives]).sum())
    shares = [recall_score(y, columns[name]) for name in readers]
    wanted = stats.ttest_1samp(shares, recall_score(y, call)).pvalue
    assert found.reader_t_p["sensitivity"] == pytest.approx(wanted, rel=1e-9)
    assert found.to_json()["reader_mean"]["sensitivity"] == pytest.approx(np.mean(shares))


def test_one_reader_has_no_t_test() -> None:
    assert np.isnan(t_test([0.8 - 0.7]))


def test_low_confidence_compares_a_reader_with_a_model_on_the_same_patients() -> None:
    """Khalili 2020: ratings 4 to 7 of the ten-point scale; probabilities above 0.3 up to 0.7."""
    rng = np.random.default_rng(1)
    rating = ordinal_from_call(rng.integers(0, 2, 90), rng.integers(1, 6, 90)).astype(float)
    p = rng.random(90).round(2)
    found = over_sites(low_confidence({"r": "ordinal", "p": "probability"}), {"r": rating, "p": p})
    reader, model = np.isin(rating, [4, 5, 6, 7]), (p > 0.3) & (p <= 0.7)
    assert (found.raters["r"].x, found.raters["p"].x) == (int(reader.sum()), int(model.sum()))
    assert (found.mcnemar.b, found.mcnemar.c) == (int((reader & ~model).sum()), int((~reader & model).sum()))
    assert found.to_json()["raters"]["p"]["n"] == 90


def test_a_zone_with_too_few_patients_is_refused() -> None:
    with pytest.raises(PrivacyError, match="r in the zone: fewer than 5"):
        over_sites(low_confidence({"r": "ordinal"}), {"r": np.array([1.0] * 20 + [5.0] * 2)})


def test_a_confidence_outside_one_to_five_is_refused() -> None:
    with pytest.raises(DataError, match="confidences 1 to 5"):
        ordinal_from_call([0, 1], [0, 3])


@pytest.mark.parametrize(
    ("call", "sure"), [([1, 0], [5.9, 1.2]), ([0.7, 1], [3, 3]), ([1, np.nan], [3, 3]), ([1, 0], [3, np.nan])]
)
def test_a_confidence_between_two_points_is_refused_and_not_cut_down(call: list[float], sure: list[float]) -> None:
    with pytest.raises(DataError, match="confidences 1 to 5, whole numbers"):
        ordinal_from_call(call, sure)
    assert ordinal_from_call([1.0, 0.0], [5.0, 1.0]).tolist() == [10, 5]


def test_risk_score_is_the_printed_formula_and_halves_with_a_second_equal_image() -> None:
    p = np.array([0.2, 0.5, 0.9])
    w = p / p.sum()
    assert hcc_risk_score(p) == pytest.approx(-(w * np.log10(1 - p)).sum() / 3, rel=1e-14)
    assert hcc_risk_score([*p, *p]) == pytest.approx(hcc_risk_score(p) / 2, rel=1e-12)
    assert hcc_risk_score([*p, *p], per_image=False) == pytest.approx(hcc_risk_score(p, per_image=False), rel=1e-12)


def test_risk_score_of_certain_images_is_finite_and_of_none_is_refused() -> None:
    assert hcc_risk_score([1.0]) == pytest.approx(12.0, abs=1e-3)
    assert hcc_risk_score([0.0, 0.0]) == 0.0
    for wrong in ([], [1.1], [np.nan]):
        with pytest.raises(DataError, match="at least one image probability"):
            hcc_risk_score(wrong)
