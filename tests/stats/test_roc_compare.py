import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.stats.compare import Comparison, compare, compare_unpaired, unpaired
from fl_liver.stats.compose import together, within
from fl_liver.stats.conversation import Conversation, Table, TablesSummer, converse
from fl_liver.stats.cross import covariance_of
from fl_liver.stats.local_auc import auc_delong, paired_delong
from fl_liver.stats.refine import refine

Columns = dict[str, np.ndarray]


def example(seed: int, n: int = 90, models: int = 3) -> Columns:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.45).astype(float)
    shared = rng.normal(size=n)
    columns = {f"s{i}": np.round(shared + rng.normal(size=n) + (0.4 + 0.3 * i) * y, 1 + i) for i in range(models)}
    return columns | {"y": y, "patient": rng.integers(0, n // 2, n).astype(float)}


def tables(columns: Columns, part: np.ndarray) -> list[Table]:
    return [Table({k: v[part == site] for k, v in columns.items()}) for site in range(int(part.max()) + 1)]


def federated(columns: Columns, part: np.ndarray, scores: list[str], **options: object) -> Comparison:
    talk: Conversation[Comparison] = compare(scores, "y", **{"min_cell": 1, **options})  # type: ignore[arg-type]
    result: Comparison = converse({"a": talk}, TablesSummer(tables(columns, part)))["a"]
    return result


def placements(y: np.ndarray, scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    kernels = [
        (s[y == 1][:, None] > s[y == 0][None, :]) + 0.5 * (s[y == 1][:, None] == s[y == 0][None, :]) for s in scores
    ]
    return np.stack([k.mean(axis=1) for k in kernels]), np.stack([k.mean(axis=0) for k in kernels])


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_any_split_gives_the_covariance_of_the_definition(seed: int) -> None:
    """Oracle: DeLong's S₁₀/m + S₀₁/n from the matrix of all comparisons."""
    columns = example(seed)
    part = np.random.default_rng(seed).integers(0, 6, len(columns["y"]))
    part[part == 4] = 5  # an empty site
    found = federated(columns, part, ["s0", "s1", "s2"])
    v10, v01 = placements(columns["y"], [columns[f"s{i}"] for i in range(3)])
    expected = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    np.testing.assert_allclose(np.array(found.cov, float), expected, rtol=1e-9)
    np.testing.assert_allclose([float(a) for a in found.auc], v10.mean(axis=1), rtol=1e-12)


def test_swapping_the_scores_flips_z_and_keeps_p() -> None:
    columns = example(1)
    part = np.zeros(90, int)
    one = federated(columns, part, ["s0", "s1"]).paired()
    other = federated(columns, part, ["s1", "s0"]).paired()
    assert (one.z, one.p, one.cov) == (-other.z, other.p, other.cov)
    assert federated(columns, part, ["s0", "s1", "s2"]).paired(1, 0).z == other.z


def test_a_score_compared_with_itself_has_p_of_one() -> None:
    found = federated(example(2), np.zeros(90, int), ["s0", "s0"])
    assert (found.paired().z, found.paired().p) == (0.0, 1.0)
    assert (found.joint().chi2, found.joint().df, found.joint().p) == (0.0, 0, 1.0)


def test_merging_two_sites_changes_nothing() -> None:
    columns = example(3)
    part = np.arange(90) % 5
    assert federated(columns, part, ["s0", "s2"]) == federated(columns, np.minimum(part, 3), ["s0", "s2"])


def test_the_joint_test_of_two_scores_is_the_square_of_the_paired_z() -> None:
    found = federated(example(4), np.arange(90) % 3, ["s0", "s1"])
    assert found.joint().chi2 == pytest.approx(found.paired().z ** 2, rel=1e-12)
    assert found.joint().p == pytest.approx(found.paired().p, rel=1e-10)


def test_the_mean_auc_has_the_variance_of_the_averaged_placements() -> None:
    """Oracle: averaging placements over models patient by patient."""
    columns = example(5)
    mean = federated(columns, np.arange(90) % 4, ["s0", "s1", "s2"]).mean()
    v10, v01 = (v.mean(axis=0) for v in placements(columns["y"], [columns[f"s{i}"] for i in range(3)]))
    assert mean.estimate == pytest.approx(v10.mean(), rel=1e-12)
    assert mean.var == pytest.approx(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01), rel=1e-10)


def test_both_aucs_come_from_the_patients_that_have_both_scores() -> None:
    """pROC drops missing scores per curve; here complete cases are fixed first."""
    columns = example(6)
    columns["s1"][:7] = math.nan
    found = federated(columns, np.arange(90) % 3, ["s0", "s1"])
    local = paired_delong(columns["y"][7:], columns["s0"][7:], columns["s1"][7:])
    assert found.paired().auc == local.auc
    assert found.paired().z == pytest.approx(local.z, rel=1e-12)


def test_two_limbs_give_the_integers_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 2^63 the products travel in halves; here the bound is lowered so that a small table takes that road."""
    columns = example(7)
    parts = tables(columns, np.arange(90) % 3)

    def matrix() -> Conversation[object]:
        leaves = yield from together([refine("s0", "y"), refine("s1", "y")])
        return (yield from covariance_of(["s0", "s1"], "y", leaves))

    plain = converse({"a": matrix()}, TablesSummer(parts))["a"]
    monkeypatch.setattr("fl_liver.stats.cross.ONE_LIMB", 10)
    assert converse({"a": matrix()}, TablesSummer(parts))["a"] == plain


def test_two_groups_are_compared_by_welch() -> None:
    """Oracle: pROC's unpaired formula from two separate curves."""
    columns = example(8)
    group = np.array(["new", "old", "new"] * 30, object)
    talk = compare_unpaired("s0", "y", "group", ["old", "new"], min_cell=1)
    found = converse({"a": talk}, TablesSummer(tables(columns | {"group": group}, np.arange(90) % 4)))["a"]
    one, two = (auc_delong(columns["y"][group == g], columns["s0"][group == g]) for g in ("old", "new"))
    assert one.var is not None
    assert two.var is not None
    t = (one.auc - two.auc) / math.sqrt(one.var + two.var)
    df = (one.var + two.var) ** 2 / (one.var**2 / 29 + two.var**2 / 59)
    assert (found.t, found.df) == (pytest.approx(t, rel=1e-12), pytest.approx(df, rel=1e-12))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-10)


def test_two_perfect_curves_do_not_differ() -> None:
    found = unpaired(Fraction(1), Fraction(0), 10, Fraction(1), Fraction(0), 12)
    assert (found.z, found.p, found.p_normal) == (0.0, 1.0, 1.0)


def obuchowski(y: np.ndarray, scores: list[np.ndarray], patient: np.ndarray) -> np.ndarray:
    """Patient by patient, as printed in Biometrics 53 (1997) 567–578."""
    v10, v01 = placements(y, scores)
    names = np.unique(patient)
    m, n = (y == 1).sum(), (y == 0).sum()
    theta = v10.mean(axis=1)
    mi = np.array([((patient == i) & (y == 1)).sum() for i in names])
    ni = np.array([((patient == i) & (y == 0)).sum() for i in names])
    x = np.stack([v10[:, patient[y == 1] == i].sum(axis=1) for i in names], axis=1) - mi * theta[:, None]
    z = np.stack([v01[:, patient[y == 0] == i].sum(axis=1) for i in names], axis=1) - ni * theta[:, None]
    i10, i01, i = (mi > 0).sum(), (ni > 0).sum(), len(names)
    s10, s01, s11 = i10 / ((i10 - 1) * m) * x @ x.T, i01 / ((i01 - 1) * n) * z @ z.T, i / (i - 1) * x @ z.T
    total: np.ndarray = s10 / m + s01 / n + (s11 + s11.T) / (m * n)
    return total


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_clustered_covariance_is_obuchowskis(seed: int) -> None:
    """Lesions within patients; a patient's lesions are at one hospital."""
    columns = example(seed)
    part = columns["patient"].astype(int) % 5
    found = federated(columns, part, ["s0", "s1"], cluster="patient")
    expected = obuchowski(columns["y"], [columns["s0"], columns["s1"]], columns["patient"])
    np.testing.assert_allclose(np.array(found.cov, float), expected, rtol=1e-9)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_a_table_that_knows_whose_its_rows_are_needs_no_column_of_patients(seed: int) -> None:
    """The same fractions, also where rows lack a value and only some are asked about."""
    columns = example(seed)
    draw = np.random.default_rng(seed)
    columns["s0"][draw.random(90) < 0.2] = np.nan
    columns["ward"] = (draw.random(90) < 0.7) * 1.0
    part = columns["patient"].astype(int) % 3
    named = tables(columns, part)
    knowing = [
        Table({k: v for k, v in one.columns.items() if k != "patient"}, patients=one["patient"] + 7.5) for one in named
    ]

    def asked(cluster: str, of: list[Table]) -> Comparison:
        talk = within(compare(["s0", "s1"], "y", min_cell=1, cluster=cluster), where={"ward": "1"})
        result: Comparison = converse({"a": talk}, TablesSummer(of))["a"]
        return result

    assert asked("", knowing) == asked("patient", named)


def test_patients_that_nobody_told_are_no_clusters() -> None:
    with pytest.raises(DataError, match="this table does not say whose its rows are"):
        federated(example(1), np.zeros(90, int), ["s0", "s1"], cluster="")


def test_clustered_variance_is_that_of_a_cluster_bootstrap() -> None:
    """Within three Monte-Carlo errors of resampling patients with all their lesions."""
    columns = example(9, n=400)
    columns["s0"] += 1.5 * np.random.default_rng(0).normal(size=200)[columns["patient"].astype(int)]
    var = float(federated(columns, columns["patient"].astype(int) % 4, ["s0", "s1"], cluster="patient").cov[0][0])
    rows = [np.flatnonzero(columns["patient"] == i) for i in np.unique(columns["patient"])]
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(1000):
        take = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        drawn.append(auc_delong(columns["y"][take], columns["s0"][take]).auc)
    boot = float(np.var(drawn))
    assert abs(var - boot) < 3 * boot * math.sqrt(2 / 1000) + 0.05 * boot
    plain = float(federated(columns, np.zeros(400, int), ["s0", "s1"]).cov[0][0])
    assert abs(var - plain) > 0.05 * boot  # the clustering matters here


def test_one_lesion_a_patient_is_delong_up_to_the_cluster_factor() -> None:
    """With every cluster of size one the cross term is Σ 0 and the two formulas agree."""
    columns = example(10) | {"patient": np.arange(90.0)}
    clustered = federated(columns, np.arange(90) % 3, ["s0", "s1"], cluster="patient")
    plain = federated(columns, np.arange(90) % 3, ["s0", "s1"])
    assert clustered.cov == plain.cov


def test_one_score_is_no_comparison() -> None:
    with pytest.raises(ConfigError, match="needs two scores or more"):
        federated(example(1), np.zeros(90, int), ["s0"])


def test_a_small_class_is_refused() -> None:
    columns = example(1)
    columns["y"][:] = np.arange(90) < 3
    with pytest.raises(PrivacyError, match="'y' 1: fewer than 5 patients"):
        federated(columns, np.zeros(90, int), ["s0", "s1"], min_cell=5)
    columns["y"][:] = np.arange(90) < 1
    with pytest.raises(DataError, match="fewer than two patients"):
        federated(columns, np.zeros(90, int), ["s0", "s1"])


def test_wrong_number_of_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 weights for 2 AUCs"):
        federated(example(1), np.zeros(90, int), ["s0", "s1"]).contrast([1, 0, 0])
