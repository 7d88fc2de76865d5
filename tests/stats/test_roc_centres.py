import math

import numpy as np
import pytest
from scipy import stats

from fl_liver.errors import DataError, PrivacyError
from fl_liver.stats.centres import CentreAuc, centre_auc
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.local_auc import auc_delong


def hospitals(seed: int, count: int, *, shift: float = 1.0, spread: float = 0.0) -> list[Table]:
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(count):
        n = int(rng.integers(20, 60))
        y = (np.arange(n) % 3 == 0).astype(float)
        effect = 1.0 + spread * rng.normal()
        tables.append(Table({"y": y, "x": rng.normal(size=n) + effect * y + shift * rng.normal()}))
    return tables


def ask(tables: list[Table], min_cell: int = 5) -> CentreAuc:
    result: CentreAuc = converse({"a": centre_auc("x", "y", min_cell=min_cell)}, TablesSummer(tables))["a"]
    return result


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_it_is_dersimonian_and_lairds_of_the_sites_own_aucs(spread: float) -> None:
    """Oracle: the textbook formulas on the list of site AUCs, which the federated answer never sees."""
    tables = hospitals(1, 8, spread=spread)
    own = [auc_delong(t["y"], t["x"]) for t in tables]
    auc, var = np.array([o.auc for o in own]), np.array([o.var for o in own], float)
    pairs = np.array([o.n_pos * o.n_neg for o in own])
    w = 1 / var
    q = (w * (auc - (w * auc).sum() / w.sum()) ** 2).sum()
    tau2 = max(0.0, (q - 7) / (w.sum() - (w**2).sum() / w.sum()))
    v = 1 / (var + tau2)
    mean, se = (v * auc).sum() / v.sum(), math.sqrt(1 / v.sum())
    found = ask(tables)
    assert found.auc == pytest.approx((pairs * auc).sum() / pairs.sum(), rel=1e-10)
    assert found.var == pytest.approx((pairs**2 * var).sum() / pairs.sum() ** 2, rel=1e-10)
    assert found.tau2 == pytest.approx(tau2, rel=1e-9, abs=1e-12)
    assert (tau2 > 0) == (spread > 0)
    assert found.mean == pytest.approx(mean, rel=1e-10)
    assert found.mean_se == pytest.approx(se, rel=1e-10)
    half = stats.t.ppf(0.975, 6) * math.sqrt(tau2 + se**2)
    assert found.prediction95 == pytest.approx((max(0, mean - half), min(1, mean + half)), rel=1e-9)


def test_shifts_between_hospitals_do_not_move_the_within_centre_auc() -> None:
    """The pooled AUC answers another question: it falls when hospitals' scores are shifted against each other."""
    tables = hospitals(2, 6, shift=0.0)
    moved = [Table({"y": t["y"], "x": t["x"] + 5 * i}) for i, t in enumerate(tables)]
    assert ask(moved).auc == pytest.approx(ask(tables).auc, rel=1e-12)
    both = [np.concatenate([t[c] for t in moved]) for c in ("y", "x")]
    assert abs(auc_delong(*both).auc - ask(moved).auc) > 0.05


def test_hospitals_without_both_classes_add_nothing() -> None:
    tables = hospitals(3, 5)
    idle = [Table({"y": np.zeros(4), "x": np.arange(4.0)}), Table({"y": np.array([]), "x": np.array([])})]
    assert ask([*tables, *idle]) == ask(tables)


def test_a_hospital_with_one_positive_adds_pairs_and_is_flagged() -> None:
    single = Table({"y": np.array([1.0, 0, 0]), "x": np.array([3.0, 1, 2])})
    found = ask([*hospitals(4, 4), single])
    assert (found.centres, found.centres_with_variance, found.flags) == (5, 4, ("variance_incomplete",))


def test_a_perfect_hospital_does_not_get_infinite_weight() -> None:
    perfect = Table({"y": np.array([0.0, 0, 1, 1]), "x": np.arange(4.0)})
    found = ask([*hospitals(5, 4), perfect])
    assert found.mean < 0.95


def test_two_hospitals_are_refused() -> None:
    with pytest.raises(PrivacyError, match="fewer than 3 hospitals have two patients of each class"):
        ask(hospitals(6, 2))
    assert ask(hospitals(6, 2), min_cell=1).prediction95 is None


def test_no_hospital_with_two_of_each_class_is_refused() -> None:
    with pytest.raises(DataError, match="no within-centre AUC"):
        ask([Table({"y": np.array([1.0, 0]), "x": np.array([3.0, 1])})], min_cell=1)
