from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_liver.errors import DataError
from fl_liver.stats.compose import together, within
from fl_liver.stats.conversation import Question, Table, TablesSummer, Totals, answer, converse
from fl_liver.stats.keys import float64_key
from fl_liver.stats.refine import allowed_children, bins_question, refine


class Listening(TablesSummer):
    """A summer that remembers what was asked and answered."""

    def __init__(self, tables: Sequence[Table]) -> None:
        super().__init__(tables)
        self.rounds: list[tuple[list[Question], Totals]] = []

    def total(self, questions: Sequence[Question]) -> Totals:
        totals = super().total(questions)
        self.rounds.append((list(questions), totals))
        return totals


def sites(columns: dict[str, np.ndarray], count: int) -> list[Table]:
    part = np.arange(len(next(iter(columns.values())))) % count
    return [Table({name: values[part == site] for name, values in columns.items()}) for site in range(count)]


scores = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([-2.5, -0.0, 0.0, 0.1, 0.2, 7.0, 1e300])), max_size=30)


@settings(max_examples=50)
@given(scores)
def test_leaves_count_every_row_and_mix_classes_only_in_true_ties(rows: list[tuple[int, float]]) -> None:
    y, x = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows], float)
    leaves = converse({"a": refine("x", "y")}, TablesSummer(sites({"x": x, "y": y}, 3)))["a"]
    keys = float64_key(x)
    place = np.searchsorted(leaves.low, keys, side="right") - 1
    for level in (0, 1):
        found = np.bincount(place[y == level], minlength=len(leaves.low))
        np.testing.assert_array_equal(leaves.counts[level], found)
    for bin_ in np.flatnonzero((leaves.counts > 0).all(axis=0)):
        assert len(set(keys[place == bin_].tolist())) == 1


def test_only_children_of_mixed_bins_are_asked_for() -> None:
    """What a site checks of the server: the active bins of each round are among those that the last total allows."""
    rng = np.random.default_rng(1)
    columns = {"x": rng.normal(size=300), "y": (rng.random(300) < 0.4).astype(float)}
    summer = Listening(sites(columns, 4))
    converse({"a": refine("x", "y", key="logit32")}, summer)
    assert 3 <= len(summer.rounds) <= 6
    for (before, total), (after, _) in zip(summer.rounds, summer.rounds[1:], strict=False):
        allowed = allowed_children(before[0], total[0])
        assert set(after[0].arrays["active"].tolist()) == set(allowed.tolist())
    last, total = summer.rounds[-1]
    assert len(allowed_children(last[0], total[0])) == 0


def test_two_patients_of_one_class_are_never_told_apart() -> None:
    summer = Listening([Table({"x": np.array([1.0, 1.0001, 9.0]), "y": np.array([0.0, 0.0, 1.0])})])
    leaves = converse({"a": refine("x", "y")}, summer)["a"]
    assert len(summer.rounds) == 1
    assert leaves.counts.tolist() == [[2, 0], [0, 1]]


def test_true_ties_end_when_the_key_is_used_up() -> None:
    summer = Listening([Table({"x": np.array([0.3, 0.3]), "y": np.array([0.0, 1.0])})])
    leaves = converse({"a": refine("x", "y")}, summer)["a"]
    assert len(summer.rounds) == 14
    assert leaves.counts.tolist() == [[1], [1]]
    assert leaves.thresholds().tolist() == [0.3]


def test_three_models_of_2143_patients_cost_less_than_110_kb_up_at_two_bytes_an_entry() -> None:
    rng = np.random.default_rng(3)
    y = (rng.random(2143) < 0.8).astype(float)
    columns = {"y": y} | {f"s{i}": rng.normal(size=2143) * 2 + 2 * y for i in range(3)}
    summer = Listening(sites(columns, 13))
    models = [refine(f"s{i}", "y", key="logit32") for i in range(3)]
    converse({"all": together(models)}, summer)
    entries = sum(question.length for questions, _ in summer.rounds for question in questions)
    assert len(summer.rounds) <= 6
    assert 2 * entries <= 110_000


def test_several_levels_are_told_apart_pairwise() -> None:
    table = Table({"x": np.array([1.0, 1.5, 2.0, 2.0]), "kind": np.array(["a", "b", "c", "a"], object)})
    leaves = converse({"a": refine("x", "kind", levels=("a", "b", "c"))}, TablesSummer([table]))["a"]
    assert leaves.counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_a_stratum_refines_over_its_own_rows() -> None:
    table = Table(
        {"x": np.array([1.0, 2.0, 3.0]), "y": np.array([0.0, 1.0, 1.0]), "g": np.array(["u", "u", "v"], object)}
    )
    leaves = converse({"a": within(refine("x", "y"), where={"g": "u"})}, TablesSummer([table]))["a"]
    assert leaves.counts.sum() == 2


def test_a_label_that_is_neither_0_nor_1_is_refused() -> None:
    table = Table({"x": np.array([1.0, 2.0]), "y": np.array([0.0, 2.0])})
    with pytest.raises(DataError, match="'y': 1 of 2 rows have a level other than 0, 1"):
        converse({"a": refine("x", "y")}, TablesSummer([table]))


def test_an_empty_site_answers_zeros() -> None:
    question = bins_question("x", "y", ("0", "1"), "float64", np.zeros(1, np.uint64), 0, 12)
    empty = Table({"x": np.array([], float), "y": np.array([], float)})
    assert not answer(question, empty).any()
    assert question.length == 2 * 4096
