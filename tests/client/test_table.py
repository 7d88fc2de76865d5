"""Which rows a word selects, and which columns a question may name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.scores import ScoreStore
from fl_liver.client.table import SiteTables, cohort_columns, positive_classes, select_rows
from fl_liver.errors import ProtocolError
from fl_liver.stats.conversation import Question
from fl_liver.study import Study
from fl_liver.study_files import load_study

PART = np.array([0, 0, 0, 1, 1, 2, 2, 0, 0], np.int8)
FOLD = np.array([0, 1, 2, 0, 1, -1, -1, 0, -1], np.int8)


@pytest.fixture
def cohort() -> Cohort:
    count = len(PART)
    return Cohort(
        patients=tuple(f"p{i}" for i in range(count)),
        label=np.arange(count) % 2,
        part=PART,
        fold=FOLD,
        factors=np.stack([np.arange(count, dtype=float), np.full(count, np.nan)], axis=1),
        background=np.array([0, 1, -1, 0, 1, 2, 0, 1, 2]),
        size_mm=np.arange(count, dtype=np.float64) * 1.5,
        images={},
        owner=np.empty(0, np.int64),
        findings=(),
    )


@pytest.mark.parametrize(
    ("word", "rows"),
    [
        ("train", [0, 1, 2, 7, 8]),
        ("calibration", [3, 4]),
        ("internal", [5, 6]),
        ("external", []),
        ("training", [0, 1, 2, 3, 4, 7, 8]),
        ("all", list(range(9))),
        ("fold-0", [0, 3, 7]),
        ("not-fold-0", [1, 2, 4]),
        ("fold-9", []),
    ],
)
def test_a_word_selects_its_patients(cohort: Cohort, word: str, rows: list[int]) -> None:
    """A patient without a fold is in no fold and in no "not-fold": nobody has an unseen score of them."""
    assert select_rows(cohort, word).tolist() == rows


@pytest.mark.parametrize(
    "word", ["", "test", "fold-", "fold--1", "fold-x", "Train", "not-fold", "p0", "fold-²", "fold-01"]
)
def test_any_other_word_is_refused(cohort: Cohort, word: str) -> None:
    with pytest.raises(ProtocolError, match="is not a part of a cohort"):
        select_rows(cohort, word)


def test_a_long_word_is_not_repeated_whole(cohort: Cohort) -> None:
    with pytest.raises(ProtocolError) as caught:
        select_rows(cohort, "x" * 1000)
    assert len(str(caught.value)) < 100


def test_columns_carry_label_factors_background_size_and_scores(
    cohort: Cohort, table_study: Study, tmp_path: Path
) -> None:
    store = ScoreStore(tmp_path, len(PART))
    store.keep("federated", np.arange(9), np.linspace(-2, 2, 9)[:, None])
    columns = cohort_columns(cohort, table_study, store)
    np.testing.assert_array_equal(columns["label"], np.arange(9) % 2)
    assert columns["class_name"].tolist() == ["benign", "malignant"] * 4 + ["benign"]
    np.testing.assert_array_equal(columns["age"], np.arange(9))
    assert np.isnan(columns["hepatitis"]).all()
    np.testing.assert_array_equal(columns["background"], [0, 1, np.nan, 0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(columns["size_mm"], np.arange(9) * 1.5)
    np.testing.assert_array_equal(columns["score:federated"], np.linspace(-2, 2, 9))
    assert "patient_id" not in columns


def test_the_positive_class_need_not_be_the_second(cohort: Cohort, table_study: Study, tmp_path: Path) -> None:
    turned = table_study.changed(task={"positive": ["benign"]})
    assert positive_classes(turned) == [0]
    label = cohort_columns(cohort, turned, ScoreStore(tmp_path, 9))["label"]
    np.testing.assert_array_equal(label, 1 - np.arange(9) % 2)


def test_a_network_of_many_classes_has_a_column_for_each(cohort: Cohort, tmp_path: Path) -> None:
    study = load_study("clinical")
    store = ScoreStore(tmp_path, 9)
    share = np.random.default_rng(1).dirichlet(np.ones(5), 9)
    store.keep("federated", np.arange(9), np.log(share / (1 - share)))
    wide = Cohort(
        **{field: getattr(cohort, field) for field in Cohort.__dataclass_fields__ if field != "factors"},
        factors=np.zeros((9, len(study.factor))),
    )
    columns = cohort_columns(wide, study, store)
    np.testing.assert_allclose(columns["score:federated:hcc"], np.log(share[:, 1] / (1 - share[:, 1])), rtol=1e-9)
    np.testing.assert_allclose(columns["score:federated"], np.log((1 - share[:, 0]) / share[:, 0]), rtol=1e-9)


def test_a_question_gets_the_rows_that_it_names(cohort: Cohort, table_study: Study, tmp_path: Path) -> None:
    tables = SiteTables(cohort, table_study, ScoreStore(tmp_path, 9))
    table = tables.for_question(Question("counts", {"rows": "calibration"}, 1))
    np.testing.assert_array_equal(table["age"], [3, 4])
    with pytest.raises(ProtocolError, match="no column 'name'"):
        table["name"]


@pytest.mark.parametrize("rows", [None, 3, ["p0"]])
def test_a_question_that_names_no_rows_is_refused(
    cohort: Cohort, table_study: Study, tmp_path: Path, rows: object
) -> None:
    """Never "all" by default: rows decide what a sum may describe."""
    tables = SiteTables(cohort, table_study, ScoreStore(tmp_path, 9))
    arguments = {} if rows is None else {"rows": rows}
    with pytest.raises(ProtocolError, match="question 'counts' names no rows"):
        tables.for_question(Question("counts", arguments, 1))


def test_an_endpoint_has_a_column_that_is_empty_where_it_does_not_ask(
    cohort: Cohort, table_study: Study, tmp_path: Path
) -> None:
    """`among` of three classes: the free ones are asked neither whether nor which."""
    classes = {"free": "0", "cyst": "1", "hcc": "2", "meta": "3"}
    among = ["cyst", "hcc", "meta"]
    study = table_study.changed(task={"classes": classes, "positive": among}).with_top(
        endpoint=[
            {"name": "bad", "title": "Malignant", "among": among, "positive": ["hcc", "meta"]},
            {"name": "kind", "title": "Which", "among": among},
        ]
    )
    four = replace(cohort, label=np.arange(len(PART)) % 4)
    store = ScoreStore(tmp_path, len(PART))
    third = np.full((len(PART), 3), -np.log(2.0))
    store.keep("a-kind", np.arange(len(PART)), third, endpoint="kind")
    store.keep("a-bad", np.arange(len(PART)), third[:, :1], endpoint="bad")
    columns = cohort_columns(four, study, store)
    np.testing.assert_array_equal(columns["label:bad"], [np.nan, 0, 1, 1, np.nan, 0, 1, 1, np.nan])
    assert columns["class:kind"].tolist()[:4] == ["", "cyst", "hcc", "meta"]
    assert {name for name in columns if name.startswith("score:a")} == {
        "score:a-bad", "score:a-kind:cyst", "score:a-kind:hcc", "score:a-kind:meta",
    }  # fmt: skip


def test_the_word_of_a_selection_says_what_is_taught_and_not_to_whom(cohort: Cohort) -> None:
    assert select_rows(cohort, "selection-not-fold-0").tolist() == select_rows(cohort, "not-fold-0").tolist()
