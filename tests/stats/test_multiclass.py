"""Several classes against scikit-learn on the pooled rows; DeLong's variance against the patient-level formula."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, confusion_matrix, roc_auc_score

from fl_liver.errors import DataError, PrivacyError
from fl_liver.stats.conversation import Table, TablesSummer, converse
from fl_liver.stats.multiclass import Multiclass, multiclass

CLASSES = ["HCC", "cyst", "FNH"]
SCORES = {"HCC": "p_hcc", "cyst": "p_cyst", "FNH": "p_fnh"}


def cohort(n: int = 150, seed: int = 2) -> dict[str, NDArray[Any]]:
    """Probabilities of three classes, rounded so that some tie; one patient lacks a score."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + 1.2 * np.eye(3)[truth]
    p = np.round(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 2)
    p /= p.sum(1, keepdims=True)
    columns: dict[str, NDArray[Any]] = {"truth": np.array(CLASSES, dtype=object)[truth]}
    columns |= {name: p[:, i].copy() for i, name in enumerate(SCORES.values())}
    columns["p_cyst"][7] = np.nan
    return columns


def answered(columns: dict[str, NDArray[Any]], cuts: list[int], min_cell: int = 1) -> Multiclass:
    n = len(columns["truth"])
    edges = [0, *sorted(cut % (n + 1) for cut in cuts), n]
    tables = [Table({k: v[a:b] for k, v in columns.items()}) for a, b in pairwise(edges)]
    found = converse({"it": multiclass("truth", SCORES, min_cell=min_cell)}, TablesSummer(tables))["it"]
    assert isinstance(found, Multiclass)
    return found


@settings(max_examples=10)
@given(st.integers(0, 50), st.lists(st.integers(0, 150), min_size=2, max_size=6))
def test_any_split_equals_scikit_learn_pooled(seed: int, cuts: list[int]) -> None:
    columns = cohort(seed=seed)
    found = answered(columns, cuts)
    keep = ~np.isnan(columns["p_cyst"])
    truth = np.array([CLASSES.index(one) for one in columns["truth"][keep]])
    p = np.stack([columns[name][keep] for name in SCORES.values()], axis=1)
    each = [roc_auc_score(truth == i, p[:, i]) for i in range(3)]
    assert found.auc == pytest.approx(each, rel=1e-12)
    assert found.macro_auc == pytest.approx(np.mean(each), rel=1e-12)
    assert found.micro_auc == pytest.approx(roc_auc_score(np.eye(3)[truth].ravel(), p.ravel()), rel=1e-12)
    assert found.hand_till == pytest.approx(roc_auc_score(truth, p, multi_class="ovo", average="macro"), rel=1e-12)
    called = p.argmax(1)
    assert found.confusion == tuple(tuple(row) for row in confusion_matrix(truth, called).tolist())
    assert found.kappa == pytest.approx(cohen_kappa_score(truth, called), rel=1e-12)
    assert found.accuracy[0] == pytest.approx((truth == called).mean(), rel=1e-12)


def test_variance_is_delongs_over_patients() -> None:
    columns = cohort()
    keep = ~np.isnan(columns["p_cyst"])
    own = columns["truth"][keep] == "cyst"
    score = columns["p_cyst"][keep]
    wins = (score[own][:, None] > score[~own][None, :]) + 0.5 * (score[own][:, None] == score[~own][None, :])
    variance = wins.mean(1).var(ddof=1) / own.sum() + wins.mean(0).var(ddof=1) / (~own).sum()
    assert answered(columns, [40, 41, 90]).var[1] == pytest.approx(variance, rel=1e-11)


def test_a_missing_or_a_small_class_is_refused() -> None:
    columns = cohort()
    columns["truth"][columns["truth"] == "FNH"] = "cyst"
    with pytest.raises(DataError, match="no site has a patient of class FNH"):
        answered(columns, [50, 100])
    columns["truth"][:2] = "FNH"
    with pytest.raises(PrivacyError, match="truth = FNH: fewer than 5"):
        answered(columns, [50, 100], min_cell=5)


def test_a_label_that_is_no_class_is_refused_at_the_site() -> None:
    columns = cohort()
    columns["truth"][0] = "abscess"
    with pytest.raises(DataError, match="1 of 49 rows have a level other than HCC, cyst, FNH"):
        answered(columns, [50, 100])
