"""Messages cross the wall unchanged; whatever is not exactly one of ours is refused with a ProtocolError."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_liver.errors import ProtocolError
from fl_liver.messages import (
    Abandon,
    Combine,
    Done,
    Endorsed,
    Figures,
    Fit,
    Incoming,
    Named,
    Outgoing,
    Ready,
    Refusal,
    Shares,
    Sum,
    Survivors,
    Totals,
    Update,
)
from fl_liver.stats.conversation import Question
from fl_liver.wire import from_record, to_record
from tests.message_examples import (
    CODED,
    EVERY_KIND,
    KEYS,
    KINDS,
    NUMBERS,
    QUESTIONS,
    SLOT,
    VECTOR,
    assert_same,
    crossed,
    fit,
    received,
)


@pytest.mark.parametrize("message", EVERY_KIND, ids=lambda one: type(one).__name__)
def test_every_kind_comes_back_as_it_went(message: Incoming | Outgoing) -> None:
    assert_same(message, crossed(message))


@given(arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)))
def test_an_array_of_any_number_kind_and_shape_comes_back_bit_for_bit(array: NDArray[Any]) -> None:
    """Also empty ones, and uint64 beyond 2⁵³, which a JSON number would have rounded."""
    question = Question("bins", {}, 1, {"a": array, "b": array[::2]})
    back = crossed(Sum("s", "masked", 3, (question,))).questions[0].arrays
    assert_same(array, back["a"])
    assert_same(np.ascontiguousarray(array[::2]), back["b"])


@given(arrays.arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32)))
def test_a_vector_comes_back_bit_for_bit_even_with_nan(vector: NDArray[np.float32]) -> None:
    assert_same(vector, crossed(fit(vector)).vector)


def test_a_big_endian_array_travels_as_little_endian_numbers() -> None:
    back = crossed(Totals(np.array([1, 2**63], ">u8"))).vector
    assert back.dtype == np.dtype("<u8")
    assert back.tolist() == [1, 2**63]


@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=5), st.binary(max_size=40), max_size=4))
def test_bytes_of_any_value_come_back_also_inside_a_table(alone: bytes, table: dict[str, bytes]) -> None:
    assert_same(Endorsed(alone, table), crossed(Endorsed(alone, table)))


def test_a_received_vector_that_nobody_touched_goes_out_as_the_same_bytes() -> None:
    """A relay of 45 MB to thirteen sites must not copy it thirteen times."""
    came = to_record(fit(VECTOR))
    data = came.array_records["arrays"]["vector"].data
    vector = from_record(came, (Fit,)).vector
    again = to_record(fit(vector, 2)).array_records["arrays"]["vector"].data
    assert np.shares_memory(np.frombuffer(again, np.uint8), np.frombuffer(data, np.uint8))


def test_a_part_of_a_received_vector_goes_out_as_that_part() -> None:
    """Its base is the same bytes object, but those bytes are not its own."""
    vector = from_record(to_record(fit(VECTOR)), (Fit,)).vector
    for part in (vector[1:], vector[:2], vector[::-1]):
        assert_same(np.ascontiguousarray(part), crossed(fit(part)).vector)


def test_a_received_vector_cannot_be_written() -> None:
    vector = crossed(fit(VECTOR)).vector
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1


def test_a_number_that_json_cannot_hold_is_not_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_record(Combine("s", "fusion", "federated", float("nan"), 0.0, {}))


def record(kind: str, plain: object, arrays: dict[str, Array] | None = None) -> RecordDict:
    head = ConfigRecord({"kind": kind, "json": json.dumps(plain)})
    return RecordDict({"message": head, "arrays": ArrayRecord(arrays or {})})


def raw(array: NDArray[Any]) -> Array:
    return Array(array.dtype.str, array.shape, "little-endian", array.tobytes())


def test_an_answer_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(ProtocolError, match="message is a Done, wanted Update or Refusal"):
        from_record(to_record(Done(0)), (Update, Refusal))


@pytest.mark.parametrize("kind", ["Question", "Exec", "", "messages.Update"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(ProtocolError, match=r"cannot be read \(KeyError\); the two sides' versions differ"):
        from_record(record(kind, {}), KINDS)


def test_an_empty_record_is_refused() -> None:
    with pytest.raises(ProtocolError, match="cannot be read"):
        from_record(RecordDict(), KINDS)


@pytest.mark.parametrize(
    ("plain", "match"),
    [
        ({"count": 0, "patient": "Anna"}, r"Done: fields \['count', 'patient'\], wanted \['count'\]"),
        ({}, r"Done: fields \[\], wanted \['count'\]"),
    ],
)
def test_a_field_too_many_or_too_few_is_refused(plain: dict[str, object], match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        from_record(record("Done", plain), (Done,))


@pytest.mark.parametrize(
    "array",
    [
        Array("|O", (1,), "little-endian", b"\x00" * 8),
        Array("<f4", (3,), "numpy.ndarray", VECTOR.tobytes()),
        Array("<f4", (4,), "little-endian", VECTOR.tobytes()),
        Array("<f4", (3,), "little-endian", VECTOR.tobytes()[:-1]),
        Array("nonsense", (3,), "little-endian", VECTOR.tobytes()),
    ],
    ids=["objects", "pickled", "wrong shape", "cut", "no dtype"],
)
def test_an_array_that_is_not_raw_numbers_is_refused(array: Array) -> None:
    with pytest.raises(ProtocolError, match="message cannot be read"):
        from_record(spoiled(fit(VECTOR), vector=array), (Fit,))


def spoiled(message: Incoming | Outgoing, **fields: object) -> RecordDict:
    """The record of a message with some fields replaced: an Array or numpy array as such, all else as JSON."""
    good = to_record(message)
    plain = json.loads(str(good.config_records["message"]["json"]))
    packed = {name: received(array) for name, array in good.array_records["arrays"].items()}
    for name, value in fields.items():
        plain.pop(name, None)
        packed.pop(name, None)
        if isinstance(value, np.ndarray):
            packed[name] = raw(value)
        elif isinstance(value, Array):
            packed[name] = value
        else:
            plain[name] = value
    return record(type(message).__name__, plain, packed)


UPDATE, SUM, TOTALS = Update(3, CODED, b""), Sum("s", "masked", 3, QUESTIONS), Totals(CODED)
GOOD_SLOT = dataclasses.asdict(SLOT)


def each(message: Incoming | Outgoing, field: str, *values: object) -> list[tuple[Incoming | Outgoing, str, object]]:
    return [(message, field, value) for value in values]


SPOILED = [
    *each(UPDATE, "round", "3", [3], None, 3.0, True),
    *each(UPDATE, "vector", [1, 2], VECTOR, CODED.astype(np.uint64), CODED.reshape(3, 1)),
    *each(UPDATE, "vector", CODED.astype(">u4"), CODED.astype(np.int32)),
    *each(UPDATE, "announced", 7, None, ["YQ=="], "a", "YQ", "Y\u00e4==", "Y Q=", {}),
    *each(TOTALS, "vector", np.zeros(2), np.zeros(2, np.int64), np.zeros(2, np.uint8), [1]),
    *each(fit(VECTOR), "vector", VECTOR.astype(np.float64), VECTOR.reshape(1, 3), "AA=="),
    *each(Shares(SLOT, KEYS), "announced", ["YQ=="], {"H01": 3}, {"H01": "?"}, "YQ=="),
    *each(Abandon(SLOT), "slot", None, "ab", [1], {}, GOOD_SLOT | {"more": 1}),
    *each(Abandon(SLOT), "slot", *(GOOD_SLOT | {"round": wrong} for wrong in ("3", 3.5, None, -1, True))),
    *each(Abandon(SLOT), "slot", *(GOOD_SLOT | {"purpose": wrong} for wrong in ("training/../x", "votes/a", "", 3))),
    *each(Survivors(SLOT, ("H01",), {}), "survivors", "H01", 7, [["H01"]], [1]),
    *each(SUM, "bits", 8, 128, 16.0, "16", None),
    *each(SUM, "purpose", "anything", None),
    *each(SUM, "previous", VECTOR, [1], np.zeros((1, 2), np.int64)),
    *each(Ready("H01", "0", "train", True, None), "site", 1),
    *each(Ready("H01", "0", "train", True, None), "named", "yes"),
    *each(Figures({}), "figures", [1]),
    *each(Refusal("DATA", 0), "code", "BECAUSE"),
    *each(Named("s", "external", ("a",)), "scores", 7),
]


@pytest.mark.parametrize(
    ("message", "field", "value"), SPOILED, ids=[f"{type(one).__name__}.{field}" for one, field, _ in SPOILED]
)
def test_a_field_of_another_type_is_refused_by_name(message: Incoming | Outgoing, field: str, value: object) -> None:
    """Otherwise one broken hospital ends the coordinator's run with a TypeError deep inside a round."""
    assert_same(message, from_record(spoiled(message), (type(message),)))
    kind = type(message).__name__
    with pytest.raises(ProtocolError, match=f"^{kind}: field '{field}' is a .*, which it must not be$"):
        from_record(spoiled(message, **{field: value}), KINDS)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (record("Done", []), "Done: its fields are a list, wanted a table"),
        (record("Sum", []), "Sum: its fields are a list, wanted a table"),
        (
            spoiled(SUM, questions=[{}]),
            r"a question cannot be read \(KeyError\); wanted kind, arguments, length, bound",
        ),
        (spoiled(SUM, questions=[3]), r"a question cannot be read \(TypeError\)"),
        (spoiled(SUM, questions=[QUESTIONS[0].head() | {"length": "x"}]), r"cannot be read \(ValueError\)"),
    ],
)
def test_what_is_no_table_or_no_question_is_refused(bad: RecordDict, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        from_record(bad, KINDS)
