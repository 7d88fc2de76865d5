"""Messages cross the wall unchanged; whatever is not exactly one of ours is refused with a ProtocolError."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
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
    Prepare,
    Ready,
    Refusal,
    Shares,
    Sum,
    Survivors,
    Totals,
    Update,
)
from fl_liver.stats.conversation import Question
from fl_liver.wire import from_record, question_digest, to_record
from tests.message_examples import (
    ASKED,
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


LARGE = np.arange(1 << 17, dtype=np.float32)
"""512 KiB: more than travels beside the JSON."""


def test_small_arrays_travel_in_two_objects_and_large_ones_in_one_array_of_all() -> None:
    """Every object is a request to the server and one from it, for each of eleven hospitals."""
    questions = tuple(dataclasses.replace(one, arrays={"a": LARGE, "b": LARGE[:5]}) for one in QUESTIONS)
    large = to_record(Sum("s", "masked", 3, questions))
    assert [list(one) for one in large.array_records.values()] == [["bytes"]]
    for small in (ASKED, Prepare("ab" * 32), Update(3, CODED, b"")):
        assert len(get_all_nested_objects(to_record(small))) == 2


@pytest.mark.parametrize("size", [0, 1, (128 << 10) - 1, 128 << 10, (128 << 10) + 1])
def test_both_ways_of_packing_say_the_same(size: int) -> None:
    """At the border between them, with arrays of one-byte numbers in front, so that the next begins anywhere."""
    first, second = np.arange(size).astype(np.uint8), np.array([1.5, -2.0])
    asked = Sum("s", "masked", 3, (Question("bins", {}, 1, {"a": first[:-16], "b": second}),))
    back = crossed(asked)
    assert_same(asked, back)
    assert question_digest(back) == question_digest(asked)
    assert all(array.flags.aligned and not array.flags.writeable for array in back.questions[0].arrays.values())


def test_a_received_vector_that_nobody_touched_goes_out_as_the_same_bytes() -> None:
    """A relay of 45 MB to thirteen sites must not copy it thirteen times."""
    came = to_record(fit(LARGE))
    data = came.array_records["arrays"]["bytes"].data
    vector = from_record(came, (Fit,)).vector
    again = to_record(fit(vector, 2)).array_records["arrays"]["bytes"].data
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


UPDATE, SUM, TOTALS = Update(3, CODED, b""), Sum("s", "masked", 3, QUESTIONS), Totals(CODED)


def record(kind: str, plain: object, arrays: Mapping[str, NDArray[Any]] | None = None) -> RecordDict:
    """As somebody would write it who does not use our classes."""
    if arrays:
        assert isinstance(plain, dict)
        cut = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
        return with_bytes(kind, plain | {"arrays": cut}, b"".join(array.tobytes() for array in arrays.values()))
    return RecordDict({"message": ConfigRecord({"kind": kind, "json": json.dumps(plain)})})


def with_bytes(kind: str, plain: object, data: bytes) -> RecordDict:
    return RecordDict({"message": ConfigRecord({"kind": kind, "json": json.dumps(plain), "bytes": data})})


def packed(kind: str, plain: object, **arrays: Array) -> RecordDict:
    head = ConfigRecord({"kind": kind, "json": json.dumps(plain)})
    return RecordDict({"message": head, "arrays": ArrayRecord(dict(arrays))})


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


ANNOUNCED = {"round": 3, "announced": ""}
RAW = CODED.tobytes()
CUTS: dict[str, object] = {
    "objects": [["vector", "|O", [1]]],
    "text": [["vector", "<U3", [1]]],
    "records": [["vector", "|V12", [1]]],
    "the other end first": [["vector", ">u4", [3]]],
    "another name of the type": [["vector", "uint32", [3]]],
    "no dtype": [["vector", "nonsense", [3]]],
    "too long": [["vector", "<u4", [4]]],
    "far too long": [["vector", "<u4", [1 << 62, 1 << 62]]],
    "too short": [["vector", "<u4", [2]]],
    "a negative side": [["vector", "<u4", [-3]]],
    "a side that is no whole number": [["vector", "<u4", [3.0]]],
    "a side that is true": [["vector", "<u4", [3, True]]],
    "a name twice": [["vector", "<u4", [1]], ["vector", "<u4", [2]]],
    "no name": [[3, "<u4", [3]]],
    "no array": [],
    "no list": None,
    "half a line": [["vector", "<u4"]],
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_bytes_that_are_not_cut_into_raw_numbers_to_the_last_one_are_refused(cut: object) -> None:
    told = ANNOUNCED | {"arrays": cut}
    whole = Array("|u1", (12,), "little-endian", RAW)
    good = ANNOUNCED | {"arrays": [["vector", "<u4", [3]]]}
    for right, wrong in (
        (with_bytes("Update", good, RAW), with_bytes("Update", told, RAW)),
        (packed("Update", good, bytes=whole), packed("Update", told, bytes=whole)),
    ):
        assert_same(from_record(right, (Update,)), UPDATE)
        with pytest.raises(ProtocolError, match="message cannot be read"):
            from_record(wrong, (Update,))


def foreign() -> dict[str, RecordDict]:
    """Records with something too many, too few, or of another kind than ours."""
    good = ANNOUNCED | {"arrays": [["vector", "<u4", [3]]]}
    whole = Array("|u1", (12,), "little-endian", RAW)
    both = packed("Update", good, bytes=whole)
    both.config_records["message"]["bytes"] = RAW
    more, other, text = (with_bytes("Update", good, RAW) for _ in range(3))
    more["metrics"] = MetricRecord({"loss": 1.0})
    other.config_records["message"]["patient"] = "Anna"
    text.config_records["message"]["bytes"] = "text"
    return {
        "bytes in both places": both,
        "a record too many": more,
        "a key too many": other,
        "bytes that are text": text,
        "cut without bytes": record("Update", good),
        "bytes without cut": with_bytes("Update", ANNOUNCED, RAW),
        "bytes of no table": with_bytes("Update", "text", RAW),
        "another array": packed("Update", good, bytes=whole, more=whole),
        "another name": packed("Update", good, vector=whole),
        "no array": packed("Update", good),
        "pickled": packed("Update", good, bytes=Array("|u1", (12,), "numpy.ndarray", RAW)),
        "another width": packed("Update", good, bytes=Array("<u4", (3,), "little-endian", RAW)),
        "another length": packed("Update", good, bytes=Array("|u1", (11,), "little-endian", RAW)),
        "deep": RecordDict({"message": ConfigRecord({"kind": "Done", "json": "[" * 100_000})}),
    }


@pytest.mark.parametrize("bad", foreign().values(), ids=foreign())
def test_a_record_that_is_not_made_as_ours_is_refused(bad: RecordDict) -> None:
    with pytest.raises(ProtocolError, match=r"message cannot be read|Update: fields \["):
        from_record(bad, KINDS)


def test_arrays_of_a_question_that_is_not_asked_are_refused() -> None:
    good = json.loads(str(to_record(SUM).config_records["message"]["json"]))
    del good["arrays"]
    arrays = {f"questions/{number}/x": np.zeros(1) for number in (0, 3)} | {"previous": SUM.previous}
    with pytest.raises(ProtocolError, match="arrays of other questions than the 3 that are asked"):
        from_record(record("Sum", good, arrays), (Sum,))


def spoiled(message: Incoming | Outgoing, **fields: object) -> RecordDict:
    """The record of a message with some fields replaced: a numpy array as such, all else as JSON."""
    plain = json.loads(str(to_record(message).config_records["message"]["json"]))
    arrays = _arrays(message, plain.pop("arrays", []))
    for name, value in fields.items():
        plain.pop(name, None)
        arrays.pop(name, None)
        if isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            plain[name] = value
    return record(type(message).__name__, plain, arrays)


def _arrays(message: Incoming | Outgoing, cut: list[tuple[str, str, list[int]]]) -> dict[str, NDArray[Any]]:
    data = to_record(message).config_records["message"].get("bytes", b"")
    assert isinstance(data, bytes)
    found, at = dict[str, NDArray[Any]](), 0
    for name, kind, shape in cut:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        found[name] = np.frombuffer(data[at : at + size], kind).reshape(shape)
        at += size
    return found


GOOD_SLOT = dataclasses.asdict(SLOT)


def each(message: Incoming | Outgoing, field: str, *values: object) -> list[tuple[Incoming | Outgoing, str, object]]:
    return [(message, field, value) for value in values]


SPOILED = [
    *each(UPDATE, "round", "3", [3], None, 3.0, True),
    *each(UPDATE, "vector", [1, 2], VECTOR, CODED.astype(np.uint64), CODED.reshape(3, 1)),
    *each(UPDATE, "vector", CODED.astype(np.int32), CODED.astype(np.float32)),
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
