import csv
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.stats.compose import Withheld
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.design import Factor, Term, log_odds
from fl_liver.stats.logistic import LogisticResult, logistic, univariate

METADATA = Path(__file__).resolve().parents[2] / "../shared/data/mct-ltdiag-metadata"
Columns = dict[str, np.ndarray]
GRADE = Factor(("low", "middle", "high"), "low")


def example(seed: int, n: int = 300) -> Columns:
    rng = np.random.default_rng(seed)
    age, size = rng.normal(60, 12, n), np.exp(rng.normal(3, 0.5, n))
    grade = np.array(["low", "middle", "high"], object)[rng.integers(0, 3, n)]
    hbv = (rng.random(n) < 0.4).astype(float)
    eta = 0.05 * (age - 60) - 0.03 * (size - 20) + 0.9 * (grade == "high") + 0.8 * hbv - 0.3
    return {"age": age, "size": size, "grade": grade, "hbv": hbv, "y": (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0}


def split(columns: Columns, part: np.ndarray, sites: int) -> TablesSummer:
    return TablesSummer([Table({k: v[part == s] for k, v in columns.items()}) for s in range(sites)])


def fit(columns: Columns, terms: list[str], part: np.ndarray | None = None, **options: Any) -> LogisticResult:
    part = np.zeros(len(columns["y"]), int) if part is None else part
    talk = logistic("y", terms, **{"min_cell": 1, **options})
    result: LogisticResult = converse({"a": talk}, split(columns, part, int(part.max()) + 1))["a"]
    return result


def design(columns: Columns) -> np.ndarray:
    dummies = [(columns["grade"] == level).astype(float) for level in ("high", "middle")]
    return np.column_stack([np.ones(len(columns["y"])), columns["age"], columns["size"], *dummies, columns["hbv"]])


TERMS = ["age", "size", "grade", "hbv"]


@settings(max_examples=15)
@given(st.integers(0, 10**6))
@also(256168)
def test_any_split_equals_statsmodels_on_the_pooled_table(seed: int) -> None:
    columns = example(seed)
    part = np.random.default_rng(seed).integers(0, 7, 300)
    part[part == 5] = 4  # an empty site
    part[0] = 7  # and one with one row
    found = fit(columns, TERMS, part, factors={"grade": GRADE})
    model = sm.Logit(columns["y"], design(columns)).fit(method="newton", tol=1e-14, maxiter=100, disp=False)
    assert found.terms == ("(Intercept)", "age", "size", "gradehigh", "grademiddle", "hbv")
    # On the scale of the standard errors: what is nearly 0 beside them has fewer digits, on either side.
    se, near = model.bse, partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-8)
    near(found.beta / se, model.params / se)
    np.testing.assert_allclose(found.se, se, rtol=1e-8)
    np.testing.assert_allclose(found.p, model.pvalues, rtol=1e-7)
    near(found.cov / np.outer(se, se), model.cov_params() / np.outer(se, se))
    near(np.log(found.or_ci95) / se[:, None], model.conf_int() / se[:, None])
    assert found.loglik == pytest.approx(model.llf, rel=1e-10)
    assert found.null_deviance == pytest.approx(-2 * model.llnull, rel=1e-8)  # statsmodels fits it
    assert found.aic == pytest.approx(model.aic, rel=1e-10)


def test_merging_two_sites_and_reordering_change_nothing_beyond_rounding() -> None:
    columns = example(1)
    part = np.arange(300) % 5
    one = fit(columns, TERMS, part, factors={"grade": GRADE})
    order = np.random.default_rng(0).permutation(300)
    other = fit({k: v[order] for k, v in columns.items()}, TERMS, np.minimum(part, 3)[order], factors={"grade": GRADE})
    np.testing.assert_allclose(one.beta, other.beta, rtol=1e-12)


def test_units_of_a_column_scale_its_coefficient() -> None:
    """A size in metres and one in micrometres give the same fit: columns are standardised first."""
    columns = example(2)
    base = fit(columns, ["size"])
    for factor in (1e-9, 1e9):
        found = fit(columns | {"size": columns["size"] * factor}, ["size"])
        assert found.beta[1] * factor == pytest.approx(base.beta[1], rel=1e-9)
        assert found.z == pytest.approx(base.z, rel=1e-9)


def test_rows_with_a_missing_value_are_left_out() -> None:
    columns = example(3)
    holes = {k: v.copy() for k, v in columns.items()}
    holes["age"][:10], holes["grade"][10:20], holes["y"][20:25] = math.nan, "", math.nan
    found = fit(holes, TERMS, factors={"grade": GRADE})
    rest = fit({k: v[25:] for k, v in columns.items()}, TERMS, factors={"grade": GRADE})
    assert found.n == 275
    np.testing.assert_allclose(found.beta, rest.beta, rtol=1e-12)


def test_screening_is_one_model_a_term_in_the_rounds_of_the_longest() -> None:
    columns = example(4)
    talk = univariate("y", TERMS, factors={"grade": GRADE}, min_cell=1)
    found = converse({"a": talk}, split(columns, np.arange(300) % 4, 4))["a"]
    assert list(found) == TERMS
    for term in TERMS:
        alone = fit(columns, [term], factors={"grade": GRADE} if term == "grade" else {})
        np.testing.assert_allclose(found[term].beta, alone.beta, rtol=1e-10)


def separated() -> Columns:
    columns = example(5, n=60)
    columns["y"] = np.where(columns["hbv"] == 1, 1.0, columns["y"])
    columns["y"][columns["hbv"] == 0] = np.arange(int((columns["hbv"] == 0).sum())) % 2
    return columns


def test_separation_is_refused_and_names_the_term() -> None:
    with pytest.raises(DataError, match=r"separation in .*hbv.*fit with firth = true"):
        fit(separated(), ["hbv", "age"])


def test_in_a_batch_separation_withholds_one_model_only() -> None:
    talk = univariate("y", ["hbv", "age"], min_cell=1)
    found = converse({"a": talk}, split(separated(), np.zeros(60, int), 1))["a"]
    assert isinstance(found["hbv"], Withheld)
    assert isinstance(found["age"], LogisticResult)


@pytest.mark.parametrize("columns", [separated(), example(6, n=60)])
def test_firth_maximises_the_penalised_likelihood(columns: Columns) -> None:
    """Oracle: direct maximisation of log-likelihood + ½ log det X'WX over the pooled table."""
    found = fit(columns, ["hbv", "age"], np.arange(60) % 4, firth=True)
    x = np.column_stack([np.ones(60), columns["hbv"], (columns["age"] - 60) / 12])

    def negative(beta: np.ndarray) -> float:
        eta = x @ beta
        p = 1 / (1 + np.exp(-eta))
        penalty = 0.5 * np.linalg.slogdet(x.T @ (x * (p * (1 - p))[:, None]))[1]
        return float(-(columns["y"] * eta - np.logaddexp(0, eta)).sum() - penalty)

    best = minimize(negative, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    ours = np.array([found.beta[0] + 60 * found.beta[2], found.beta[1], 12 * found.beta[2]])
    np.testing.assert_allclose(ours, best, rtol=2e-5, atol=1e-6)
    assert negative(ours) <= negative(best) + 1e-10
    assert "firth" in found.flags
    p = 1 / (1 + np.exp(-x @ ours))
    se = np.sqrt(np.diag(np.linalg.inv(x.T @ (x * (p * (1 - p))[:, None]))))
    assert found.se[1] == pytest.approx(se[1], rel=1e-7)


@pytest.mark.parametrize("seed", [264, 291, 349])
def test_firth_converges_on_skewed_and_separated_columns(seed: int) -> None:
    """Tables on which plain Fisher scoring needs more than 25 steps; at the maximum the penalised score is 0."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(30, 200))
    skewed, flat, group = np.exp(2 * rng.normal(size=n)), rng.normal(size=n), rng.integers(0, 2, n) * 1.0
    eta = rng.normal() * 2 + 0.3 * np.log(skewed) * rng.normal() + group * rng.normal() * 2
    y = (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0
    found = fit({"y": y, "skewed": skewed, "flat": flat, "group": group}, ["skewed", "flat", "group"], firth=True)
    x = np.column_stack([np.ones(n), skewed, flat, group])
    p = 1 / (1 + np.exp(-x @ found.beta))
    w = p * (1 - p)
    h = w * np.einsum("ij,jk,ik->i", x, np.linalg.inv(x.T @ (x * w[:, None])), x)
    scale = np.abs(x).T @ w + 1e-9
    np.testing.assert_allclose(x.T @ (y - p + h * (0.5 - p)) / scale, 0.0, atol=1e-7)


def test_firths_two_by_two_table_adds_a_half_to_every_cell() -> None:
    """Known closed form: with one 0/1 term Firth's odds ratio is that of the table with ½ added to each cell."""
    y = np.array([1.0] * 9 + [0] * 1 + [1] * 4 + [0] * 8)
    x = np.array([1.0] * 10 + [0] * 12)
    found = fit({"y": y, "x": x}, ["x"], firth=True)
    assert found.odds_ratio[1] == pytest.approx((9.5 * 8.5) / (1.5 * 4.5), rel=1e-9)


def test_dependent_columns_are_refused_by_name() -> None:
    columns = example(7)
    columns["double"] = 2 * columns["age"] + 1
    with pytest.raises(DataError, match="age, double are linearly dependent"):
        fit(columns, ["age", "hbv", "double"])


def test_a_constant_column_is_refused() -> None:
    columns = example(7) | {"one": np.ones(300)}
    with pytest.raises(DataError, match="one is constant over all sites"):
        fit(columns, ["age", "one"])


def test_one_outcome_only_is_refused() -> None:
    columns = example(8) | {"y": np.ones(300)}
    with pytest.raises(DataError, match="all complete rows have the same outcome"):
        fit(columns, ["age"])


def test_an_outcome_that_is_not_0_or_1_is_refused() -> None:
    columns = example(8)
    columns["y"][0] = 2.0
    with pytest.raises(DataError, match="'y': 1 of 300 "):
        fit(columns, ["age"])


def test_a_level_that_the_plan_lacks_is_refused() -> None:
    with pytest.raises(DataError, match=r"column 'grade': .* rows have a level other than low, middle"):
        fit(example(9), ["grade"], factors={"grade": Factor(("low", "middle"), "low")})


def test_a_level_that_nobody_has_is_refused() -> None:
    factor = Factor(("low", "middle", "high", "none"), "low")
    with pytest.raises(DataError, match="no complete row has level 'none'"):
        fit(example(9), ["grade"], factors={"grade": factor})


@pytest.mark.parametrize("as_factor", [True, False])
def test_a_cell_of_outcome_by_attribute_below_the_floor_is_refused(as_factor: bool) -> None:
    """A 0/1 column is an attribute even where the plan calls it no factor: the Hessian at β = 0 is its cross-table."""
    columns = example(10)
    columns["rare"] = np.zeros(300)
    columns["rare"][:7] = 1.0
    columns["y"][:7] = [1, 1, 1, 1, 1, 0, 0]
    options: dict[str, Any] = {"factors": {"rare": Factor(("0", "1"), "0")}} if as_factor else {}
    with pytest.raises(PrivacyError, match=r"'rare'.*fewer than 5 patients"):
        fit(columns, ["rare"], min_cell=5, **options)


def test_few_events_are_flagged() -> None:
    columns = example(11, n=60)
    assert "few_events" in fit(columns, ["age", "size", "hbv"]).flags
    assert "few_events" not in fit(example(11), ["age"]).flags


@pytest.mark.parametrize(
    ("terms", "factors", "message"),
    [
        ([], {}, "wanted one or more different columns"),
        (["age", "age"], {}, "wanted one or more different columns"),
        (["age"], {"grade": GRADE}, "factors grade are not among the terms age"),
    ],
)
def test_a_plan_without_sense_is_refused(terms: list[str], factors: dict[str, Factor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(example(1), terms, factors=factors)


def test_a_reference_that_is_no_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="reference level 'x' is not among the levels a, b"):
        Factor(("a", "b"), "x")


def test_fitted_log_odds_at_a_site_are_missing_where_a_column_is() -> None:
    columns = example(12)
    found = fit(columns, TERMS, factors={"grade": GRADE})
    columns["age"][4], columns["grade"][9] = math.nan, ""
    values = log_odds(found.design, found.beta, Table(columns))
    assert np.flatnonzero(np.isnan(values)).tolist() == [4, 9]
    kept = ~np.isnan(values)
    np.testing.assert_allclose(values[kept], (design(columns) @ found.beta)[kept], rtol=1e-12)


def test_coefficients_and_terms_must_match() -> None:
    with pytest.raises(ConfigError, match="3 coefficients for an intercept and 1 terms"):
        log_odds([Term("age")], [1.0, 2.0, 3.0], Table({"age": np.array([1.0])}))


@pytest.mark.skipif(not METADATA.exists(), reason="needs shared/data beside the repository")
def test_517_real_patients_over_nine_sites_equal_statsmodels() -> None:
    """Malignant against haemangioma, from sex, age, hepatitis and diameter; ages are written "062Y" and "42"."""
    with (METADATA / "meta_info_patient.csv").open() as one, (METADATA / "meta_info_tumor.csv").open() as two:
        size = {row["ID"]: float(row["Max3D_Diameter_mm"]) for row in csv.DictReader(two)}
        rows = [row for row in csv.DictReader(one) if row["ID"] in size]
    columns: Columns = {
        "y": np.array([row["type"] != "HH" for row in rows], float),
        "male": np.array([row["patient_sex"] == "M" for row in rows], float),
        "age": np.array([float(row["patient_age"].rstrip("Y")) for row in rows]),
        "hepatitis": np.array([row["History of viral hepatitis (Y/N)"] == "Y" for row in rows], float),
        "mm": np.array([size[row["ID"]] for row in rows]),
    }
    terms = ["male", "age", "hepatitis", "mm"]
    found = fit(columns, terms, np.random.default_rng(9).integers(0, 9, len(rows)))
    x = np.column_stack([np.ones(len(rows)), *(columns[t] for t in terms)])
    model = sm.Logit(columns["y"], x).fit(method="newton", tol=1e-14, maxiter=100, disp=False)
    assert found.n == 517
    np.testing.assert_allclose(found.beta, model.params, rtol=1e-8)
    np.testing.assert_allclose(found.se, model.bse, rtol=1e-8)
    np.testing.assert_allclose(found.p, model.pvalues, rtol=1e-7)
