"""The digest that binds a masked answer to its question: every part of what the server says is in it, unambiguously."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_args

import numpy as np
import pytest

from fl_liver.errors import ProtocolError
from fl_liver.messages import Fit, Incoming, Keys, Sum
from fl_liver.stats.conversation import Question
from fl_liver.wire import from_record, question_digest, to_record
from tests.securesum.hospitals import TRAINING, other

SITES = ("H01", "H02", "H03")
KEYS = {"H01": b"1" * 128, "H02": b"2" * 128}
FIT = Fit(TRAINING, np.linspace(0, 1, 5, dtype=np.float32), KEYS, {})
ACTIVE = np.arange(4, dtype=np.uint64)
BINS = Question("bins", {"column": "score:a", "rows": "internal"}, 8, {"active": ACTIVE}, None)
SUM = Sum("5" * 64, "masked", 3, (BINS,), "batch", 2, SITES, np.arange(3), bits=64, run="run-a", announced=KEYS)
UNBOUND = {"announced", "abandoned"}
"""Signed, and in the masks on their own."""


def asked(**changes: Any) -> Sum:
    return replace(SUM, questions=(replace(BINS, **changes),))


OTHER_FITS: dict[str, Any] = {
    "slot": other(TRAINING, round=2),
    "vector": np.nextafter(FIT.vector, np.float32(2)),
}
OTHER_SUMS: dict[str, Any] = {
    "study_sha256": "6" * 64,
    "purpose": "named",
    "contributors": 4,
    "batch": "hctab",
    "step": 3,
    "sites": ("H01", "H03", "H02"),
    "previous": np.array([0, 1, 3]),
    "bits": 32,
    "run": "run-b",
    "scores": {"a": "7" * 64},
}


def test_every_field_of_a_question_is_tried_below() -> None:
    assert {field.name for field in fields(Fit)} == OTHER_FITS.keys() | UNBOUND
    assert {field.name for field in fields(Sum)} == OTHER_SUMS.keys() | UNBOUND - {"abandoned"} | {"questions"}


@pytest.mark.parametrize("name", OTHER_FITS)
def test_every_field_of_a_fit_is_in_the_digest(name: str) -> None:
    assert question_digest(replace(FIT, **{name: OTHER_FITS[name]})) != question_digest(FIT)


@pytest.mark.parametrize("name", OTHER_SUMS)
def test_every_field_of_a_sum_is_in_the_digest(name: str) -> None:
    assert question_digest(replace(SUM, **{name: OTHER_SUMS[name]})) != question_digest(SUM)


@pytest.mark.parametrize(
    "changed",
    [
        asked(kind="cell_counts"),
        asked(arguments={**BINS.arguments, "rows": "train"}),
        asked(arguments={**BINS.arguments, "threshold": 0.5}),
        asked(length=9),
        asked(bound=100),
        asked(arrays={"active": ACTIVE + np.uint64(1)}),
        asked(arrays={"active": ACTIVE[:3]}),
        asked(arrays={"active": ACTIVE.view(np.int64)}),
        asked(arrays={"active": ACTIVE.reshape(2, 2)}),
        asked(arrays={"other": ACTIVE}),
        asked(arrays={}),
        asked(arrays={"active": ACTIVE, "low": np.zeros(0)}),
        replace(SUM, questions=()),
        replace(SUM, questions=(BINS, BINS)),
    ],
    ids=[
        "kind", "rows", "coefficient", "length", "bound", "values", "fewer", "dtype", "shape", "name", "none",
        "one more", "no question", "two",
    ],
)  # fmt: skip
def test_everything_in_a_question_is_in_the_digest(changed: Sum) -> None:
    assert question_digest(changed) != question_digest(SUM)


def test_the_order_of_questions_counts_and_that_of_names_does_not() -> None:
    second = replace(BINS, length=9)
    two, turned = replace(SUM, questions=(BINS, second)), replace(SUM, questions=(second, BINS))
    assert question_digest(two) != question_digest(turned)
    arrays = {"a": ACTIVE, "b": np.ones(2)}
    forwards = asked(arrays=arrays, arguments={"x": 1, "y": 2})
    backwards = asked(arrays=dict(reversed(arrays.items())), arguments={"y": 2, "x": 1})
    assert question_digest(forwards) == question_digest(backwards)


@pytest.mark.parametrize("question", [FIT, SUM], ids=["fit", "sum"])
def test_keys_and_statements_are_outside_and_the_wire_changes_nothing(question: Any) -> None:
    assert question_digest(replace(question, announced={})) == question_digest(question)
    received = from_record(to_record(question), (type(question),))
    assert question_digest(received) == question_digest(question)


def test_an_arrays_name_cannot_spell_out_another_array() -> None:
    """Found as a hole: with "\\0name dtype (shape)\\0" as a header, one array under a long name had the digest of two;
    the hospital that was shown one would answer another question under the same masks.
    """
    first, second = np.array([1, 2], np.int64), np.array([3], np.int64)
    two = asked(arrays={"x": first, "y": second})
    header = first.tobytes().decode() + "\0questions/0/y"
    one = asked(arrays={f"x <i8 (2,)\0{header}": second})
    assert question_digest(one) != question_digest(two)
    quoted = asked(arrays={'x", "<i8", [2]]' + first.tobytes().decode() + '["questions/0/y': second})
    assert question_digest(quoted) != question_digest(two)


@pytest.mark.parametrize("changes", [{"sum": 1}, {"round": -1}, {"purpose": "statistics/train"}, {"run": ""}])
@pytest.mark.parametrize("question", [Keys(TRAINING, ()), FIT], ids=["keys", "fit"])
def test_a_message_with_an_impossible_slot_is_not_read(question: Incoming, changes: dict[str, Any]) -> None:
    """As a server would write it that does not use our classes."""
    record = to_record(question)
    head: Any = record["message"]
    text = str(head["json"])
    for name, value in changes.items():
        before = getattr(TRAINING, name)
        old, new = (f'"{name}": {json.dumps(one)}' for one in (before, value))
        assert old in text
        text = text.replace(old, new)
    head["json"] = text
    with pytest.raises(ProtocolError, match="field 'slot' is a dict, which it must not be"):
        from_record(record, get_args(Incoming))
