"""R's answers on three small published tables that stand in this file, so that a bare clone can fail.

R 4.2.2: stats::wilcox.test, stats::t.test, irr 0.84.1 (kappa2, kappam.fleiss, agree), vcd 1.4.11 (Kappa), exact2x2
1.7.0 (mcnemar.exact), stats::chisq.test(correct = FALSE), each on the table named in the test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fl_liver.stats.conversation import Conversation, Table, TablesSummer, converse
from fl_liver.stats.fleiss import fleiss_kappa
from fl_liver.stats.kappa import cohen_kappa
from fl_liver.stats.mcnemar import mcnemar
from fl_liver.stats.rank_sum import rank_sum
from fl_liver.stats.table_one import pearson_chi2

# psychiatric diagnoses of 30 patients by six raters (Fleiss 1971), one digit a rater; irr::diagnoses
DIAGNOSES = """
444444 222555 233335 555555 222444 113333 333355 113334 114444 555555
144444 124444 222333 144444 224445 333335 111455 111112 224444 133555
555555 244444 224555 114444 144445 222224 111155 224444 133333 555555
"""
TINY_X = [1.1, 2.3, 0.7, 3.9, 5.2, 4.4, 0.2, 6.1, 7.7, 2.9, 8.3]
TINY_GROUP = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def over_three_sites(talk: Conversation[Any], columns: dict[str, np.ndarray[Any, Any]]) -> Any:
    n = len(next(iter(columns.values())))
    parts = [slice(0, 1), slice(1, n // 2), slice(n // 2, n)]
    return converse({"it": talk}, TablesSummer([Table({k: v[p] for k, v in columns.items()}) for p in parts]))["it"]


def diagnoses() -> dict[str, np.ndarray[Any, Any]]:
    digits = np.array([[float(one) for one in line] for line in DIAGNOSES.split()])
    return {f"rater{i + 1}": digits[:, i] for i in range(6)}


def test_cohens_kappa_of_raters_1_and_2_of_fleiss_1971() -> None:
    found = over_three_sites(cohen_kappa(("rater1", "rater2"), min_cell=1), diagnoses())
    assert found.kappa == pytest.approx(0.651162790697674, rel=1e-12)
    assert found.z == pytest.approx(6.99647076978209, rel=1e-12)
    assert found.p == pytest.approx(2.62490505369643e-12, rel=1e-8)
    assert found.ase == pytest.approx(0.0996826561268852, rel=1e-12)


def test_fleiss_kappa_of_fleiss_1971() -> None:
    columns = diagnoses()
    found = over_three_sites(fleiss_kappa(list(columns), min_cell=1), columns)
    assert found.kappa == pytest.approx(0.430244520060141, rel=1e-12)
    assert found.z == pytest.approx(17.6518305829914, rel=1e-12)
    assert found.p == pytest.approx(9.85107094092615e-70, rel=1e-8)
    assert found.agree_percent == pytest.approx(100 * 5 / 30)


def test_exact_rank_sum_and_welch_of_a_small_table() -> None:
    columns = {"x": np.array(TINY_X), "g": np.array(TINY_GROUP, dtype=float)}
    found = over_three_sites(rank_sum("x", "g", min_cell=1), columns)
    assert (found.U, found.n) == (9, (6, 5))
    assert found.median == pytest.approx((3.1, 6.1), rel=1e-12)
    assert found.p_exact == pytest.approx(0.329004329004329, rel=1e-12)
    assert (found.p_cc, found.p_nocc) == pytest.approx((0.315302452081746, 0.273321678292298), rel=1e-10)
    assert (found.welch_t, found.welch_df) == pytest.approx((-1.23550665839861, 5.89133231669645), rel=1e-12)
    assert found.welch_p == pytest.approx(0.263630489824521, rel=1e-8)


def test_mcnemar_of_approval_ratings() -> None:
    """Agresti 1990, page 350."""
    cells = {(1, 1): 794, (1, 0): 150, (0, 1): 86, (0, 0): 570}
    first, second = (np.repeat([float(one[i]) for one in cells], list(cells.values())) for i in (0, 1))
    found = over_three_sites(mcnemar("first", "second"), {"first": first, "second": second})
    assert (found.b, found.c) == (150, 86)
    assert found.p_exact == pytest.approx(3.71593613957144e-05, rel=1e-10)


def test_chi_squared_of_race_and_low_birth_weight() -> None:
    """MASS::birthwt."""
    chi2, df, p = pearson_chi2(np.array([[73, 23], [15, 11], [42, 25]]))
    assert (chi2, df, p) == pytest.approx((5.00481301090326, 2, 0.0818876981247951), rel=1e-10)
