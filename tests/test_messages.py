"""What a message says of itself: its study, its round and rows, its place among all sums."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from fl_liver.errors import ProtocolError
from fl_liver.messages import Fit, Incoming, Sum
from fl_liver.securesum.context import Slot
from tests.message_examples import ASKED, EVERY_KIND, KINDS, VECTOR


def test_the_examples_cover_every_kind() -> None:
    assert {type(one) for one in EVERY_KIND} == set(KINDS)


def test_every_question_names_the_study_that_it_is_about() -> None:
    """A hospital looks there for its approval before it looks at anything else."""
    questions = [one for one in EVERY_KIND if isinstance(one, get_args(Incoming))]
    assert {one.study_sha256 for one in questions} == {"ab" * 32}


def test_a_message_cannot_be_changed() -> None:
    for one in EVERY_KIND:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, dataclasses.fields(one)[0].name, None)


@pytest.mark.parametrize("rows", ["train", "not-fold-2"])
def test_the_slot_of_an_update_says_its_round_and_rows(rows: str) -> None:
    fit = Fit(Slot("s", "run-1", f"training/{rows}", 7, 0, 2), VECTOR, {}, {})
    assert (fit.round, fit.rows, fit.study_sha256) == (7, rows, "s")


def test_a_step_of_a_batch_is_its_place_in_the_run() -> None:
    slot = dataclasses.replace(ASKED, step=4).slot
    assert slot == Slot("ab" * 32, "run-1", "statistics/b1", 0, 4, 0)
    assert not slot.recovers


@pytest.mark.parametrize("batch", ["", "../b", "a" * 65])
def test_a_sum_whose_batch_is_no_name_has_no_slot(batch: str) -> None:
    with pytest.raises(ProtocolError, match="was asked, wanted training/… or statistics/…"):
        _ = Sum("s", "masked", 3, (), batch, run="run-1").slot


def test_a_sum_without_a_run_has_no_slot() -> None:
    """Two runs with the same masks would give each other away."""
    with pytest.raises(ProtocolError, match="round 0, sum 0, attempt 0 of run ''"):
        _ = Sum("s", "masked", 3, (), "b1").slot
