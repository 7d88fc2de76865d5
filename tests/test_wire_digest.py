"""The digest that binds a masked answer to its question: one for all that was said, another for anything else."""

from __future__ import annotations

import dataclasses
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.messages import Fit, Sum
from fl_liver.securesum.context import Slot
from fl_liver.stats.conversation import Question
from fl_liver.wire import question_digest
from tests.message_examples import ASKED, KEYS, NUMBERS, QUESTIONS, SLOT, VECTOR, crossed, fit

OTHER_SUM: dict[str, Any] = {
    "study_sha256": "ac" * 32,
    "purpose": "named",
    "contributors": 4,
    "questions": QUESTIONS[:2],
    "batch": "b2",
    "step": 3,
    "sites": ("H02", "H01"),
    "previous": np.array([-1, 2**62 + 1]),
    "scores": {"federated": "ea" * 32},
    "bits": 32,
    "run": "run-2",
}
OTHER_SLOT: dict[str, Any] = {
    "study": "ac" * 32,
    "run": "run-2",
    "purpose": "training/train",
    "round": 2,
    "attempt": 0,
}


def changed_questions() -> list[tuple[Question, ...]]:
    """The questions of ASKED with one thing changed in the first."""
    first, *rest = QUESTIONS
    active = first.arrays["active"]
    variants: list[dict[str, Any]] = [
        {"kind": "key_bins"},
        {"arguments": {**first.arguments, "low": np.nextafter(0.1, 1).item()}},
        {"arguments": {**first.arguments, "high": None}},
        {"length": 5},
        {"bound": 61},
        {"bound": None},
        {"arrays": {"active": active ^ np.array([1, 0], np.uint64)}},
        {"arrays": {"active": active.view(np.int64)}},
        {"arrays": {"active": active.reshape(1, 2)}},
        {"arrays": {"shape": active}},
        {"arrays": {}},
    ]
    return [(dataclasses.replace(first, **one), *rest) for one in variants] + [(*rest, first)]


def test_the_digest_changes_with_everything_that_is_said_to_all_hospitals() -> None:
    """A field that is added to Sum, Fit or Slot must be added here too, or be outside of the digest on purpose."""
    assert {one.name for one in dataclasses.fields(Sum)} == {*OTHER_SUM, "announced"}
    assert {one.name for one in dataclasses.fields(Slot)} == {*OTHER_SLOT, "sum"}, "a Sum's sum is its step"
    assert {one.name for one in dataclasses.fields(Fit)} == {"slot", "vector", "announced", "abandoned"}
    sums = [dataclasses.replace(ASKED, **{name: value}) for name, value in OTHER_SUM.items()]
    sums += [dataclasses.replace(ASKED, questions=questions) for questions in changed_questions()]
    fits = [Fit(dataclasses.replace(SLOT, **{name: value}), VECTOR, {}, {}) for name, value in OTHER_SLOT.items()]
    asked: list[Fit | Sum] = [ASKED, Fit(SLOT, VECTOR, {}, {}), *sums, *fits]
    digests = [question_digest(one) for one in asked]
    assert len(set(digests)) == len(digests) == 2 + 11 + 12 + 5
    assert all(len(one) == 64 for one in digests)


@given(arrays.arrays(np.uint32, st.integers(1, 20)), st.data())
def test_the_digest_changes_with_any_bit_of_the_model(bits: NDArray[np.uint32], data: st.DataObject) -> None:
    other = bits.copy()
    other[data.draw(st.integers(0, len(bits) - 1))] ^= np.uint32(1 << data.draw(st.integers(0, 31)))
    said, changed = (question_digest(fit(one.view(np.float32))) for one in (bits, other))
    assert said != changed


def test_the_digest_does_not_depend_on_keys_and_statements() -> None:
    """They are signed and bound on their own; the digest is made before the hospitals' keys are fixed."""
    assert question_digest(ASKED) == question_digest(dataclasses.replace(ASKED, announced={}))
    assert question_digest(Fit(SLOT, VECTOR, KEYS, KEYS)) == question_digest(Fit(SLOT, VECTOR, {}, {}))


@given(arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)), st.floats(width=64))
def test_a_hospital_digests_what_it_received_to_what_the_server_digested(array: NDArray[Any], number: float) -> None:
    """Also non-contiguous and big-endian arrays: they are the same numbers."""
    told = {"x": number if np.isfinite(number) else None, "names": ("a", "b")}
    question = Question("bins", told, 1, {"a": array[::-1].T, "b": array.astype(array.dtype.newbyteorder(">"))}, 7)
    asked = dataclasses.replace(ASKED, questions=(question,))
    assert question_digest(crossed(asked)) == question_digest(asked)
    assert question_digest(crossed(fit(VECTOR[::-1]))) == question_digest(fit(VECTOR[::-1]))
