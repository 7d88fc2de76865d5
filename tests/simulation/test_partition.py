"""Partitions: every patient once, the promised shares, the same for the same seed, and refusals that say what to do."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_liver.errors import ConfigError
from fl_liver.toml_file import parse
from simulation.partition import Indices, Partition, parse_partition, partition

LABELS = np.repeat([0, 1, 2, 3, 4], [96, 103, 100, 103, 115])
SEXES = np.where(np.arange(517) % 5 < 3, "F", "M")


def table(parts: tuple[tuple[str, Indices], ...], labels: np.ndarray = LABELS) -> np.ndarray:
    """(classes, hospitals) patients."""
    classes = np.unique(labels)
    return np.array([[(labels[rows] == code).sum() for _, rows in parts] for code in classes])


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int]:
    sizes = draw(st.lists(st.integers(20, 120), min_size=2, max_size=5))
    labels = np.random.default_rng(draw(st.integers(0, 99))).permutation(np.repeat(np.arange(len(sizes)), sizes))
    hospitals = draw(st.integers(2, 8))
    return labels, hospitals, draw(st.integers(0, hospitals - 1)), draw(st.integers(0, 2**31 - 1))


@settings(max_examples=80)
@given(cohorts(), st.sampled_from(["iid", "dirichlet:0.8", "dirichlet:50", "sizes:0", "sizes:0.7"]))
def test_every_patient_is_in_exactly_one_hospital(case: tuple[np.ndarray, int, int, int], text: str) -> None:
    labels, hospitals, external, seed = case
    parts = partition(
        parse_partition(text), labels, {}, hospitals=hospitals, external=external, seed=seed, min_patients=1
    )
    assert len(parts) == hospitals
    assert np.array_equal(np.sort(np.concatenate([rows for _, rows in parts])), np.arange(len(labels)))
    assert all((np.diff(rows) > 0).all() for _, rows in parts)


@settings(max_examples=40)
@given(cohorts(), st.sampled_from(["iid", "dirichlet:0.8", "sizes:0.7"]))
def test_the_same_seed_gives_the_same_hospitals(case: tuple[np.ndarray, int, int, int], text: str) -> None:
    labels, hospitals, external, seed = case
    first, second = (
        partition(parse_partition(text), labels, {}, hospitals=hospitals, external=external, seed=seed, min_patients=1)
        for _ in range(2)
    )
    assert [name for name, _ in first] == [name for name, _ in second]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, second, strict=True))


@settings(max_examples=60)
@given(cohorts())
def test_iid_hospitals_differ_by_one_patient_in_every_class_and_in_all(case: tuple[np.ndarray, int, int, int]) -> None:
    labels, hospitals, external, seed = case
    counts = table(
        partition(Partition("iid"), labels, {}, hospitals=hospitals, external=external, seed=seed, min_patients=1),
        labels,
    )
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert np.ptp(counts.sum(axis=0)) <= 1


def test_another_seed_gives_other_hospitals() -> None:
    one, two = (partition(Partition("iid"), LABELS, {}, hospitals=8, external=2, seed=seed)[0][1] for seed in (1, 2))
    assert not np.array_equal(one, two)


def test_sizes_follow_the_power_and_the_external_hospitals_are_the_smallest() -> None:
    """Oracle: share of hospital k is k^-1 / (1 + 1/2 + … + 1/8) in every class, to the rounding of one patient."""
    counts = table(partition(Partition("sizes", 1.0), LABELS, {}, hospitals=8, external=2, seed=3))
    ideal = np.outer(np.bincount(LABELS), (1 / np.arange(1, 9)) / sum(1 / k for k in range(1, 9)))
    assert np.abs(counts - ideal).max() <= 1.0
    assert sorted(counts.sum(axis=0)[-2:]) == sorted(counts.sum(axis=0))[:2]


def test_no_hospital_gets_the_odd_patient_of_every_class() -> None:
    """60 classes of 3 patients over 4 equal hospitals: in one fixed order the third would get nobody."""
    total = table(
        partition(Partition("sizes", 0.0), np.repeat(np.arange(60), 3), {}, hospitals=4, external=0, seed=1),
        np.repeat(np.arange(60), 3),
    ).sum(axis=0)
    assert (np.abs(total - 45) < 20).all()


def test_dirichlet_class_shares_have_the_variance_of_the_distribution() -> None:
    """Oracle: Var of one share is (1/K)(1 − 1/K)/(Kα + 1); α large enough that hardly a draw is refused."""
    labels = np.repeat([0, 1], 4000)
    shares = np.concatenate(
        [
            table(partition(Partition("dirichlet", 3.0), labels, {}, hospitals=4, external=1, seed=seed), labels) / 4000
            for seed in range(400)
        ]
    )
    assert shares.mean(axis=0) == pytest.approx(np.full(4, 0.25), abs=0.02)
    assert shares.var(axis=0) == pytest.approx(np.full(4, 0.25 * 0.75 / 13), rel=0.15)


def test_a_drawn_partition_keeps_the_floor_and_the_classes() -> None:
    for seed in range(20):
        counts = table(partition(Partition("dirichlet", 0.2), LABELS, {}, hospitals=8, external=2, seed=seed))
        assert counts.sum(axis=0).min() >= 10
        assert ((counts[:, :6] > 0).sum(axis=0) >= 2).all()
        assert (counts[:, 6:].sum(axis=1) > 0).all()


def test_names_count_up_with_enough_digits_and_are_valid_site_names() -> None:
    from fl_liver.study import Sites

    labels = np.arange(3000) % 2
    few = partition(Partition("iid"), labels, {}, hospitals=8, external=2, seed=0)
    many = partition(Partition("iid"), labels, {}, hospitals=200, external=2, seed=0)
    assert [name for name, _ in few] == [f"H0{k}" for k in range(1, 9)]
    assert (many[0][0], many[-1][0]) == ("H001", "H200")
    assert parse({"train": [name for name, _ in many]}, Sites, "test").train[99] == "H100"


def test_by_column_makes_one_hospital_per_value_largest_first() -> None:
    parts = partition(parse_partition("by:sex"), LABELS, {"sex": SEXES}, hospitals=2, external=1, seed=0)
    assert [name for name, _ in parts] == ["H01-F", "H02-M"]
    assert np.array_equal(parts[1][1], np.flatnonzero(SEXES == "M"))


def test_by_column_joins_the_two_smallest_values_until_the_number_fits() -> None:
    """40 a, 30 b, 20 c, 6 d, 4 unknown: unknown + d = 10, then + c = 30, and b stands before "c-d…" by name."""
    column = np.repeat(["a", "b", "c", "d", ""], [40, 30, 20, 6, 4])
    labels = np.arange(100) % 2
    parts = partition(parse_partition("by:x"), labels, {"x": column}, hospitals=3, external=0, seed=0)
    assert [(name, len(rows)) for name, rows in parts] == [("H01-a", 40), ("H02-b", 30), ("H03-c-d-unknown", 30)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dirichlet:0", r"found '0', wanted ALPHA above 0"),
        ("dirichlet:-1", r"found '-1', wanted ALPHA above 0"),
        ("dirichlet:nan", r"found 'nan', wanted ALPHA above 0"),
        ("dirichlet", r"unknown form; give iid, dirichlet:ALPHA"),
        ("sizes:-0.5", r"found '-0.5', wanted POWER of 0 or more"),
        ("sizes:big", r"found 'big', wanted POWER of 0 or more"),
        ("iid:3", r"partition 'iid:3': unknown form"),
        ("by:", r"unknown form"),
        ("random", r"unknown form; give iid"),
        ("", r"unknown form"),
    ],
)
def test_a_wrong_text_is_refused_with_the_wanted_form(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_partition(text)


@pytest.mark.parametrize("text", ["iid", "dirichlet:0.5", "sizes:1", "by:age_band"])
def test_a_partition_prints_as_it_was_given(text: str) -> None:
    assert str(parse_partition(text)) == text


@pytest.mark.parametrize(
    ("text", "hospitals", "external", "message"),
    [
        ("iid", 600, 2, "517 patients cannot fill 600 hospitals with at least 10 each; give at most 51 hospitals"),
        ("iid", 1, 0, "found 1 hospitals of which 0 external; wanted at least 2"),
        ("iid", 8, 8, "found 8 hospitals of which 8 external"),
        ("iid", 8, -1, "found 8 hospitals of which -1 external"),
        ("sizes:2", 8, 2, "none of 10000 draws fits, in the last one .*give fewer hospitals or a smaller POWER"),
        ("dirichlet:0.001", 8, 2, "none of 10000 draws fits.*or a larger ALPHA"),
        ("by:sex", 3, 1, re.escape("2 values (F, M) for 3 hospitals; give at most 2 hospitals")),
        ("by:height", 2, 0, "no such column; this data set offers sex"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_the_way_out(
    text: str, hospitals: int, external: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        partition(parse_partition(text), LABELS, {"sex": SEXES}, hospitals=hospitals, external=external, seed=0)


def test_by_column_that_leaves_a_training_hospital_one_class_is_refused() -> None:
    column = np.where(np.arange(100) < 60, "a", "b")
    with pytest.raises(ConfigError, match="training hospital 2 has fewer than 2 classes; give fewer hospitals"):
        partition(parse_partition("by:x"), (np.arange(100) < 30) * 1, {"x": column}, hospitals=2, external=0, seed=0)


def test_one_class_in_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="labels hold 1 class, wanted at least 2"):
        partition(Partition("iid"), np.zeros(100), {}, hospitals=4, external=1, seed=0)


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="100 values for 517 patients"):
        partition(parse_partition("by:x"), LABELS, {"x": ["a"] * 100}, hospitals=2, external=0, seed=0)
