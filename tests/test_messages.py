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
    Combine,
    Done,
    Figures,
    Fit,
    Incoming,
    Named,
    Outgoing,
    Prepare,
    Ready,
    Refusal,
    Score,
    Sum,
    Totals,
    Update,
    from_record,
    to_record,
)
from fl_liver.stats.conversation import Question

VECTOR = np.array([1.5, -0.0, 3e38], np.float32)
QUESTIONS = (
    Question("bins", {"rows": "internal", "low": 0.1}, 4, {"active": np.array([0, 2**64 - 1], np.uint64)}),
    Question("class_counts", {"score": "score:federated"}, 2, {}),
    Question("newton_step", {}, 0, {"beta": np.zeros(0), "shape": np.arange(6, dtype=np.int32).reshape(2, 3)}),
)
EVERY_KIND: list[Incoming | Outgoing] = [
    Prepare("ab" * 32),
    Fit("ab" * 32, 3, "not-fold-2", VECTOR),
    Score("ab" * 32, "federated", "all", "train", VECTOR),
    Combine("ab" * 32, "fusion", "federated", 1.25, -0.1, {"age": 0.3, "male": -1e-300}),
    Sum("ab" * 32, "masked", 11, QUESTIONS),
    Sum("ab" * 32, "named", 1, ()),
    Named("ab" * 32, "external", ("federated", "fusion")),
    Ready("H01", "0.1.0", "train", True, {"patients": 40, "positives": 20}),
    Ready("H01", "0.1.0", "train", False, None),
    Update(3, VECTOR, 40, 0.6931471805599453),
    Done(0),
    Totals(np.array([0, -1, 2**63 - 1, -(2**63)])),
    Figures({"n": 40, "federated": {"auc": 0.91, "ci95": [0.8, None], "roc": {"fpr": [0.0, 1.0]}}}),
    Refusal("BELOW_FLOOR", 14),
]
KINDS = (Prepare, Ready, Fit, Update, Score, Combine, Done, Sum, Totals, Named, Figures, Refusal)


def crossed(message: Incoming | Outgoing) -> Any:
    """There and back, through the bytes that Flower would send."""
    sent = to_record(message)
    config, arrays = sent.config_records["message"], sent.array_records["arrays"]
    received = {
        name: Array(array.dtype, tuple(array.shape), array.stype, bytes(array.data)) for name, array in arrays.items()
    }
    return from_record(
        RecordDict({"message": ConfigRecord(dict(config)), "arrays": ArrayRecord(received)}), (type(message),)
    )


def assert_same(left: Any, right: Any) -> None:
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes()
    elif dataclasses.is_dataclass(left):
        assert type(left) is type(right)
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, (tuple, list)):
        assert type(left) is type(right)
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    else:
        assert left == right
        assert type(left) is type(right)


@pytest.mark.parametrize("message", EVERY_KIND, ids=lambda one: type(one).__name__)
def test_every_kind_comes_back_as_it_went(message: Incoming | Outgoing) -> None:
    assert_same(message, crossed(message))


def test_the_examples_cover_every_kind() -> None:
    assert {type(one) for one in EVERY_KIND} == set(KINDS)


NUMBERS = st.sampled_from([np.float32, np.float64, np.int64, np.uint64, np.int32, np.uint8, np.bool_])


@given(arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)))
def test_an_array_of_any_number_kind_and_shape_comes_back_bit_for_bit(array: NDArray[Any]) -> None:
    """Also empty ones, and uint64 beyond 2⁵³, which a JSON number would have rounded."""
    question = Question("bins", {}, 1, {"a": array, "b": array[::2]})
    back = crossed(Sum("s", "masked", 3, (question,))).questions[0].arrays
    assert_same(array, back["a"])
    assert_same(np.ascontiguousarray(array[::2]), back["b"])


@given(arrays.arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32)))
def test_a_vector_comes_back_bit_for_bit_even_with_nan(vector: NDArray[np.float32]) -> None:
    assert_same(vector, crossed(Fit("s", 1, "train", vector)).vector)


def test_a_big_endian_array_travels_as_little_endian_numbers() -> None:
    back = crossed(Totals(np.array([1, -2], ">i8"))).vector
    assert back.dtype == np.dtype("<i8")
    assert back.tolist() == [1, -2]


def test_a_received_vector_that_nobody_touched_goes_out_as_the_same_bytes() -> None:
    """A relay of 45 MB to thirteen sites must not copy it thirteen times."""
    received = to_record(Fit("s", 1, "train", VECTOR))
    data = received.array_records["arrays"]["vector"].data
    vector = from_record(received, (Fit,)).vector
    again = to_record(Fit("s", 2, "train", vector)).array_records["arrays"]["vector"].data
    assert np.shares_memory(np.frombuffer(again, np.uint8), np.frombuffer(data, np.uint8))


def test_a_part_of_a_received_vector_goes_out_as_that_part() -> None:
    """Its base is the same bytes object, but those bytes are not its own."""
    vector = from_record(to_record(Fit("s", 1, "train", VECTOR)), (Fit,)).vector
    for part in (vector[1:], vector[:2], vector[::-1]):
        assert_same(np.ascontiguousarray(part), crossed(Fit("s", 1, "train", part)).vector)


def test_a_received_vector_cannot_be_written() -> None:
    vector = crossed(Fit("s", 1, "train", VECTOR)).vector
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1


def test_a_number_that_json_cannot_hold_is_not_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_record(Update(1, VECTOR, 40, float("nan")))


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
    plain = {"round": 1, "weight": 4, "loss": 0.5}
    with pytest.raises(ProtocolError, match="message cannot be read"):
        from_record(record("Update", plain, {"vector": array}), (Update,))


UPDATE: dict[str, object] = {"round": 1, "weight": 4, "loss": 0.5}
SUM: dict[str, object] = {"study_sha256": "s", "purpose": "masked", "contributors": 3, "questions": []}


@pytest.mark.parametrize(
    "bad",
    [
        record("Update", UPDATE | {"weight": "many"}, {"vector": raw(VECTOR)}),
        record("Update", UPDATE | {"loss": None}, {"vector": raw(VECTOR)}),
        record("Update", UPDATE | {"round": [1]}, {"vector": raw(VECTOR)}),
        record("Update", UPDATE | {"vector": [1.0, 2.0]}),
        record("Totals", {}, {"vector": raw(np.zeros(2))}),
        record("Ready", {"site": 1, "version": "", "role": "train", "named": True, "figures": None}),
        record("Figures", {"figures": [1]}),
        record("Refusal", {"code": "BECAUSE", "count": 0}),
        record("Done", []),
        record("Sum", []),
        record("Sum", SUM | {"questions": [{}]}),
        record("Sum", SUM | {"questions": [3]}),
        record("Sum", SUM | {"purpose": "anything"}),
        record("Named", {"study_sha256": "s", "rows": "external", "scores": 7}),
    ],
    ids=[
        "weight is text",
        "loss is null",
        "round is a list",
        "vector is JSON",
        "totals are not integers",
        "site is a number",
        "figures are a list",
        "unknown refusal",
        "JSON is a list",
        "JSON of a sum is a list",
        "question without kind",
        "question is a number",
        "unknown purpose",
        "scores is a number",
    ],
)
def test_a_field_of_another_type_is_refused(bad: RecordDict) -> None:
    """Otherwise one broken hospital ends the coordinator's run with a TypeError deep inside a round."""
    with pytest.raises(ProtocolError):
        from_record(bad, KINDS)
